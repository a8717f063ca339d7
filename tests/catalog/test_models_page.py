"""The generated table in docs/models.md is the one that would be generated now."""

from __future__ import annotations

import pytest

from trainer.catalog import counts
from trainer.catalog.models_page import PAGE, current, replaced
from trainer.core.errors import ConfigError


def test_the_page_is_up_to_date() -> None:
    if not counts.is_current():
        pytest.skip("other versions are installed than the counts are shipped for")
    text = PAGE.read_text(encoding="utf-8")
    assert text == current(text), "python -m trainer.catalog.models_page"


def test_the_promised_figures_stand_beside_the_metafiles() -> None:
    row = next(
        line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `fcos-r50`")
    )
    assert "box 36.6 (COCO)" in row
    assert "box AP 38.5 (metafile: 36.6), 32.1 M parameters, 19.7 FPS" in row


def test_a_page_without_marks_is_refused() -> None:
    assert replaced("a <!-- x:begin -->old<!-- x:end --> b", "x", "new\n") == (
        "a <!-- x:begin -->\nnew\n<!-- x:end --> b"
    )
    with pytest.raises(ConfigError, match="lacks <!-- models:begin -->"):
        replaced("nothing", "models", "")
