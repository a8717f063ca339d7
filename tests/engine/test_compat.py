"""Every repair still has something to repair, and repairs it."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest

from trainer.engine import compat

compat.apply()


@pytest.mark.parametrize("repair", compat.REPAIRS, ids=lambda repair: repair.name)
def test_still_needed(repair: compat.Repair) -> None:
    assert repair.needed(), f"{repair.name} can go: {repair.reason} ({repair.versions})"


def test_apply_twice_changes_nothing() -> None:
    from mmengine.config import Config

    before = Config.__dict__["pretty_text"], len(sys.meta_path)
    compat.apply()
    assert (Config.__dict__["pretty_text"], len(sys.meta_path)) == before


def test_broken_torchvision_becomes_a_missing_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text("raise RuntimeError('operator torchvision::nms')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    compat._disown_broken_torchvision()
    try:
        with pytest.raises(ModuleNotFoundError):
            import torchvision  # noqa: F401
        from mmengine.utils.dl_utils import collect_env

        assert "TorchVision" not in collect_env()
    finally:
        sys.modules.pop("torchvision", None)


def test_stand_in_for_to_pil_image() -> None:
    import torch

    image = compat._ToPILImage()(torch.tensor([[0.0, 0.5, 1.0]]))
    assert image.mode == "L" and image.size == (3, 1) and list(image.getdata()) == [0, 127, 255]


def test_stand_in_lasts_only_while_the_module_is_read() -> None:
    module = types.ModuleType("simcc_vis")

    def execute(target: types.ModuleType) -> None:
        exec("from torchvision.transforms import ToPILImage", vars(target))

    if "torchvision" in sys.modules:
        pytest.skip("torchvision is there")
    compat._with_to_pil_image(execute)(module)
    assert callable(module.ToPILImage)
    assert "torchvision" not in sys.modules
