"""``experiment=<a file>``."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainer.config.compose import compose
from trainer.core.errors import ConfigError

TEXT = "# @package _global_\ndefaults:\n  - digits\n  - override /model: yolox-tiny\nruntime:\n  epochs: 20\n"


@pytest.mark.parametrize("name", ["mine.yaml", "my own ~1, a=b.yaml", "été%2F.yml"])
def test_a_recipe_may_lie_anywhere(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text(TEXT)
    config, _ = compose("train", [f"experiment='{path}'", "runtime.seed=3"])
    assert (config.model.name, config.task.name, config.name) == ("yolox-tiny", "detection", "digits")
    assert (config.runtime.epochs, config.runtime.seed) == (20, 3)


def test_relative_to_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(TEXT)
    for word in ("mine.yaml", "./mine.yaml"):
        assert compose("train", [f"experiment={word}"])[0].model.name == "yolox-tiny"


def test_one_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"experiment=some/where.yaml: there is no file some/where.yaml"):
        compose("train", ["experiment=some/where.yaml"])


def test_mistakes_in_it_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("# @package _global_\nruntime: [")
    with pytest.raises(ConfigError, match="mine.yaml"):
        compose("train", [f"experiment={path}"])
