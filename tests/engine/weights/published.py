"""Real models of the zoo, and checkpoints of them as their authors publish them: made here, never downloaded."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from tests.mmconfig.bases import make_bundle, make_experiment
from trainer.config_tree.base_config import load_base
from trainer.data.bundle import Keypoints
from trainer.engine import compat
from trainer.mmconfig.build_config import build_config
from trainer.mmconfig.initial_weights import strip_pretrained
from trainer.schema.conf_folders import Conf

compat.apply()

import mmdet.datasets  # noqa: E402
import mmdet.models  # noqa: E402, F401
import mmpose.datasets  # noqa: E402
import mmpose.models  # noqa: E402, F401
import mmseg.datasets  # noqa: E402
import mmseg.models  # noqa: E402, F401
import torch  # noqa: E402
from mmengine.config import ConfigDict  # noqa: E402
from mmengine.logging import HistoryBuffer  # noqa: E402
from mmengine.registry import MODELS, DefaultScope  # noqa: E402
from torch import nn  # noqa: E402

import trainer.engine.registered  # noqa: E402, F401
from trainer.engine.weights.layout import open_checkpoint  # noqa: E402
from trainer.engine.weights.loading_report import LoadingReport  # noqa: E402
from trainer.engine.weights.match import MatchTarget, match_weights  # noqa: E402
from trainer.engine.weights.safe_reader import read  # noqa: E402


@dataclass
class Ours:
    """A model for other classes, with what it is for."""

    model: nn.Module
    goal: MatchTarget


def base_of(name: str) -> str:
    return Conf().read("model", name)["base"]


@cache
def theirs(name: str) -> nn.Module:
    """The model as published, with the base's classes. One for all tests: not to be changed."""
    cfg = load_base(base_of(name))
    strip_pretrained(cfg["model"])
    torch.manual_seed(0)
    model = _build(cfg)
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand_like(tensor))
    return model


def ours(name: str, names: tuple[str, ...], **leaves: Any) -> Ours:
    """The model for ``names`` (classes; keypoints for pose), initialised otherwise than theirs."""
    content = Conf().read("model", name)
    task = content["tasks"][0]
    bundle = make_bundle(task)
    if task == "pose":
        bundle = replace(bundle, keypoints=Keypoints(names, (), (), (0.05,) * len(names)))
    else:
        bundle = replace(bundle, classes=names, palette=((0, 0, 0),) * len(names))
    cfg = build_config(make_experiment(content["base"], task, **leaves), bundle).cfg
    torch.manual_seed(1)
    return Ours(_build(cfg), MatchTarget(cfg, task, names, content["base"], name))


def save(path: Path, model: nn.Module, **meta: Any) -> Path:
    """As mmengine publishes it: tensors, and a meta with a log that isn't plain data."""
    about = {"mmengine_version": "0.10.12", "epoch": 300, "loss": HistoryBuffer([1.0], [1]), **meta}
    torch.save({"meta": about, "state_dict": model.state_dict()}, path)
    return path


def load(path: Path, into: Ours, trust: bool = False) -> LoadingReport:
    return match_weights(into.model, open_checkpoint(read(path, trust), path), into.goal)


def _build(cfg: dict[str, Any]) -> nn.Module:
    with DefaultScope.overwrite_default_scope(cfg["default_scope"]):
        return MODELS.build(ConfigDict(copy.deepcopy(cfg["model"])))
