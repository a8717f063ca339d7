"""Pretrained backbones (``init_cfg`` of type ``Pretrained``): whether what mmengine loaded really came from the file.

Backbones load their files themselves, each in its way (Swin converts names, resizes tables), and leave out silently
what doesn't fit. So the outcome is looked at: which of the module's tensors hold values that are in the file, under
whatever name and in whatever order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from trainer.core.errors import CheckpointError
from trainer.engine.weights.layout import counts, open_checkpoint
from trainer.engine.weights.loading_report import LoadingReport, some

SCHEME = "trainer-weights:"
# Below this share of its tensors a module isn't the one that the file was made for.
ENOUGH = 0.5


def pretrained_modules(model: nn.Module) -> Iterator[tuple[str, nn.Module, Path]]:
    """(name, module, file) of every part that was told to load a file through :data:`SCHEME`."""
    for name, module in model.named_modules():
        init = getattr(module, "init_cfg", None)
        files = [
            each.get("checkpoint") for each in (init if isinstance(init, (list, tuple)) else [init or {}])
        ]
        for file in [*files, getattr(module, "pretrained", None)]:
            if isinstance(file, str) and file.startswith(SCHEME):
                yield name, module, Path(file.removeprefix(SCHEME))
                break


def check_backbone(name: str, module: nn.Module, content: Any, path: Path) -> LoadingReport:
    """How much of a module came from a file.

    Raises:
        CheckpointError: less than half of it did.
    """
    known = {_print(tensor) for tensor in open_checkpoint(content, path).tensors.values()}
    own = {key: value for key, value in module.state_dict().items() if counts(key) and _tells(value)}
    strangers = [f"{name}.{key}" for key, value in own.items() if _print(value) not in known]
    report = LoadingReport(f"{name} from {path.name}", total=len(own), loaded=len(own) - len(strangers))
    if report.loaded < ENOUGH * report.total:
        raise CheckpointError(
            f"{path} doesn't fit the model's {name}: only {report.loaded} of its {report.total} tensors are in the "
            f"file, not {some(strangers)}"
        )
    if strangers:
        report.notes.append(f"not in the file, or of another shape: {some(strangers)}")
    return report


def all_reports(model: nn.Module, contents: Mapping[Path, Any]) -> list[LoadingReport]:
    """A report for each pretrained part of the model."""
    return [
        check_backbone(name, module, contents[path], path)
        for name, module, path in pretrained_modules(model)
        if path in contents
    ]


def _tells(tensor: torch.Tensor) -> bool:
    """Whether its values tell it from others: not all ones, or all zeros."""
    return tensor.is_floating_point() and tensor.numel() > 1 and bool((tensor != tensor.flatten()[0]).any())


def _print(tensor: torch.Tensor) -> tuple[int, str, str]:
    """The same for tensors with the same values, in whatever order."""
    values = tensor.detach().double()
    return tensor.numel(), f"{float(values.sum()):.5g}", f"{float(values.square().sum()):.5g}"
