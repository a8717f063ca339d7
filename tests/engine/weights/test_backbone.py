"""Pretrained backbones through the same cache and reader, and looked at afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import published
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import MODELS

from tests.mmconfig.bases import make_bundle, make_experiment
from trainer.core.errors import CheckpointError
from trainer.engine.weights.backbone import all_reports
from trainer.engine.weights.start import StartingWeights

RESNET = {"type": "mmdet.ResNet", "depth": 18, "base_channels": 8, "frozen_stages": -1}
# Small, and with windows of its own: their tables are resized to the model's.
SWIN = {
    "type": "mmdet.SwinTransformer",
    "embed_dims": 12,
    "depths": (1, 1, 1, 1),
    "num_heads": (1, 1, 2, 2),
    "convert_weights": True,
}


def initialised(part: dict[str, Any], source: str) -> tuple[torch.nn.Module, list[Any]]:
    """The part as ``backbone`` of a model, initialised as the Runner does it, and the reports."""
    init = {"init_cfg": {"type": "Pretrained", "checkpoint": source}}
    cfg = ConfigDict(model={"backbone": {**part, **init}})
    exp, bundle = make_experiment(published.base_of("rtmdet-tiny")), make_bundle("detection")
    weights = StartingWeights(cfg, exp, bundle, lambda reports: None)
    weights.take_over(cfg)
    backbone = MODELS.build(cfg.model.backbone)
    weights.initialise(backbone.init_weights)
    holder = torch.nn.ModuleDict({"backbone": backbone})
    return backbone, all_reports(holder, weights._contents)


def saved(
    path: Path, part: dict[str, Any], prefix: str = "", **extra: torch.Tensor
) -> tuple[str, dict[str, Any]]:
    torch.manual_seed(3)
    state = MODELS.build(ConfigDict(part)).state_dict()
    state = {key: value for key, value in state.items() if "relative_position_index" not in key}
    state = {
        key: torch.rand_like(value) if value.is_floating_point() else value for key, value in state.items()
    }
    torch.save({f"{prefix}{key}": value for key, value in {**state, **extra}.items()}, path)
    return str(path), state


def test_a_backbone_of_torchvision_s_layout(tmp_path):
    path, state = saved(tmp_path / "resnet.pth", RESNET, **{"fc.weight": torch.rand(1000, 64)})
    backbone, (report,) = initialised(RESNET, path)
    assert all(torch.equal(value, state[key]) for key, value in backbone.state_dict().items())
    assert report.complete and report.loaded == report.total > 50
    assert str(report).startswith("backbone from resnet.pth: loaded ")


def test_from_a_url_that_is_in_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TRAINER_WEIGHTS", str(tmp_path))
    (tmp_path / "host.invalid").mkdir()
    saved(tmp_path / "host.invalid" / "resnet.pth", RESNET)
    assert initialised(RESNET, "https://host.invalid/resnet.pth")[1][0].complete


def test_a_swin_that_converts_and_resizes(tmp_path):
    path, _ = saved(tmp_path / "swin.pth", {**SWIN, "window_size": 4}, prefix="backbone.")
    part = {**SWIN, "window_size": 7, "convert_weights": False}
    (report,) = initialised(part, path)[1]
    assert report.total - report.loaded == 4
    assert "relative_position_bias_table" in report.notes[0] and not report.complete


def test_layers_that_the_file_has_not_are_told(tmp_path):
    path, _ = saved(tmp_path / "resnet.pth", RESNET)
    (report,) = initialised({**RESNET, "in_channels": 4}, path)[1]
    assert report.total - report.loaded == 1
    assert "not in the file, or of another shape: backbone.conv1.weight" in str(report)


def test_a_file_of_another_backbone_is_refused(tmp_path):
    path, _ = saved(tmp_path / "resnet.pth", {**RESNET, "base_channels": 16})
    with pytest.raises(CheckpointError, match=r"resnet\.pth doesn't fit the model's backbone: only 0 of its"):
        initialised(RESNET, path)


def test_a_file_that_runs_code_is_refused(tmp_path):
    import os

    class Runs:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {tmp_path / 'trace'}",)

    torch.save({"state_dict": {}, "meta": Runs()}, tmp_path / "resnet.pth")
    with pytest.raises(CheckpointError, match=r"system, which is no data"):
        initialised(RESNET, str(tmp_path / "resnet.pth"))
    assert not (tmp_path / "trace").exists()


def test_a_file_that_mmengine_can_t_take(tmp_path):
    path, _ = saved(tmp_path / "resnet.pth", RESNET)
    with pytest.raises(CheckpointError, match=r"can't be loaded from .*resnet\.pth: .*neck"):
        _with_prefix(path)


def _with_prefix(path: str) -> None:
    init = {"type": "Pretrained", "checkpoint": path, "prefix": "neck."}
    cfg = ConfigDict(model={"backbone": {**RESNET, "init_cfg": init}})
    exp, bundle = make_experiment(published.base_of("rtmdet-tiny")), make_bundle("detection")
    weights = StartingWeights(cfg, exp, bundle, lambda reports: None)
    weights.take_over(cfg)
    weights.initialise(MODELS.build(cfg.model.backbone).init_weights)
