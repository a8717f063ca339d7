"""Where the weights are in a file, and the names that older versions gave them.

Packages rename keys of older files themselves while a module loads (``_load_from_state_dict`` and its hooks). Those
renamings are asked for here once, on a copy of the model without memory, so that what fits is decided with today's
names.
"""

from __future__ import annotations

import copy
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from trainer.core.errors import CheckpointError

Tensors = dict[str, torch.Tensor]
COUNTERS = ("num_batches_tracked",)  # buffers that older files lack and nothing depends on

# What holds the weights in files of this package, mmengine and mmcv, timm, YOLOX, lightning and others.
_UNDER = ("state_dict", "model_state_dict", "model_state", "model", "ema", "ema_state_dict", "module", "net")


@dataclass
class Checkpoint:
    """A file's weights.

    Attributes:
        tensors: by the names that the file gives them.
        versions: what ``state_dict()`` noted about each module, by its name; empty where nothing was noted.
        meta: what the file says about itself, never executed.
        path: the file.
    """

    tensors: Tensors
    versions: dict[str, Any]
    meta: dict[str, Any]
    path: Path
    old: bool = field(default=True)  # from before mmengine: nothing noted means the first versions


def open_checkpoint(content: Any, path: Path) -> Checkpoint:
    """Find the weights in what :func:`trainer.engine.weights.safe_reader.read` gave.

    Raises:
        CheckpointError: there are none.
    """
    top = content if isinstance(content, Mapping) else {}
    meta = dict(top["meta"]) if isinstance(top.get("meta"), Mapping) else {}
    holder: Any = top
    for _ in range(3):
        if _has_tensors(holder):
            break
        holder = next((holder[key] for key in _UNDER if isinstance(holder.get(key), Mapping)), {})
    if not _has_tensors(holder):
        keys = ", ".join(map(repr, list(top)[:8])) if top else type(content).__name__
        raise CheckpointError(f"{path} holds no weights that can be found; at its top are {keys}")
    tensors = {str(key): value for key, value in holder.items() if isinstance(value, torch.Tensor)}
    versions = getattr(holder, "_metadata", None)
    recent = "mmengine_version" in meta or "trainer" in meta
    return Checkpoint(tensors, dict(versions or {}), meta, path, old=not recent)


def place_in(model: nn.Module, checkpoint: Checkpoint) -> Tensors:
    """The file's tensors by the names that they have in ``model`` today; some may belong to no part of it."""
    target = model.state_dict()
    tensors, versions = _shift(checkpoint, set(target))
    tensors = {key: value for key, value in tensors.items() if not _is_average(key)}
    tensors = _rename(tensors, set(target))
    return _as_loaded(model, tensors, versions, checkpoint.old)


def load_tensors(
    model: nn.Module, tensors: Tensors, versions: Callable[[str, nn.Module], Mapping[str, Any]]
) -> list[str]:
    """Load as ``load_state_dict`` does, but with one dict for all modules, which sees their renamings.

    Returns torch's complaints about shapes.
    """
    complaints: list[str] = []

    def load(module: nn.Module, prefix: str) -> None:
        module._load_from_state_dict(tensors, prefix, versions(prefix[:-1], module), True, [], [], complaints)
        for name, child in module._modules.items():
            if child is not None:
                load(child, f"{prefix}{name}.")

    load(model, "")
    return complaints


def current_names(name: str, module: nn.Module) -> Mapping[str, Any]:
    """The versions of weights whose names are today's."""
    return {"version": getattr(module, "_version", None)}


def counts(key: str) -> bool:
    """Whether a tensor is worth counting: not one of the counters."""
    return not key.endswith(COUNTERS)


def _has_tensors(value: Any) -> bool:
    return isinstance(value, Mapping) and any(isinstance(item, torch.Tensor) for item in value.values())


def _shift(checkpoint: Checkpoint, target: set[str]) -> tuple[Tensors, dict[str, Any]]:
    """Take off a prefix (``module.``, ``student.``), or put ``backbone.`` before, if more names are right then."""
    keys = [key for key in checkpoint.tensors if counts(key)]
    firsts = Counter(
        ".".join(key.split(".")[:n]) + "." for key in keys for n in (1, 2) if key.count(".") >= n
    )
    drops = ["", *(prefix for prefix, count in firsts.items() if count >= 4)]
    adds = ["", "backbone."] if any(key.startswith("backbone.") for key in target) else [""]

    def right(drop: str, add: str) -> int:
        return sum(add + key[len(drop) :] in target for key in keys if key.startswith(drop))

    drop, add = "", ""
    if not right("", ""):
        drop, add = max(((d, a) for d in drops for a in adds), key=lambda pair: right(*pair))

    def shifted(items: Mapping[str, Any], end: str) -> dict[str, Any]:
        """``end``: what names lack that prefixes have (modules are noted without the dot)."""
        return {
            (add + (key + end)[len(drop) :])[: -len(end) or None]: value
            for key, value in items.items()
            if (key + end).startswith(drop)
        }

    return shifted(checkpoint.tensors, ""), shifted(checkpoint.versions, ".")


def _is_average(key: str) -> bool:
    """mmcv 1.x kept moving averages beside the weights: ema_backbone_conv1_weight."""
    return key.startswith("ema_") and "." not in key


def _ssd_extra(found: re.Match[str]) -> str:
    layer = int(found[1])
    return f"neck.extra_layers.{layer // 2}.{layer % 2}.conv.{found[2]}"


# Layouts of published files that the packages have scripts for and no hooks (mmdet's upgrade_ssd_version.py and
# upgrade_model_version.py). Only used where the new name is the model's and the old one isn't.
_OLD: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (r"^backbone\.extra\.(\d+)\.(weight|bias)$", _ssd_extra),  # SSD before mmdet 2.14
    (r"^backbone\.l2_norm\.weight$", "neck.l2_norm.weight"),
    (r"^(bbox_head\.(?:cls|reg)_convs\.\d+)\.(weight|bias)$", r"\1.0.\2"),
    (r"^(bbox_head\.(?:cls|reg)_convs\.\d+)\.(weight|bias)$", r"\1.conv.\2"),  # RetinaNet, mmdet 0.5
    (r"^((?:bbox|mask|shared)_head\..*)$", r"roi_head.\1"),  # two stages before mmdet 2.0
)


def _rename(tensors: Tensors, target: set[str]) -> Tensors:
    renamed: Tensors = {}
    for key, value in tensors.items():
        choices = [re.sub(old, new, key) for old, new in _OLD] if key not in target else []
        renamed[next((choice for choice in choices if choice in target), key)] = value
    if any(key.startswith("roi_head.") and key not in tensors for key in renamed):
        _background_last(renamed)
    return renamed


def _background_last(tensors: Tensors) -> None:
    """mmdet 1.x had the background as class 0, in box regression and masks too; since 2.0 it is the last class."""
    for key in [key for key in tensors if re.search(r"\.fc_cls\.(weight|bias)$", key)]:
        classes = len(tensors[key])
        tensors[key] = torch.cat((tensors[key][1:], tensors[key][:1]))
        box = key.replace("fc_cls", "fc_reg")
        if box in tensors and len(tensors[box]) == 4 * classes:
            tensors[box] = tensors[box][4:]
        for mask in [each for each in tensors if re.search(r"\.conv_logits\.(weight|bias)$", each)]:
            if len(tensors[mask]) == classes:
                tensors[mask] = tensors[mask][1:]


def _as_loaded(model: nn.Module, tensors: Tensors, versions: dict[str, Any], old: bool) -> Tensors:
    """``tensors`` after every module of the model has renamed what is its own."""

    def noted(name: str, module: nn.Module) -> Mapping[str, Any]:
        if name in versions:
            return versions[name]
        return {} if old else current_names(name, module)

    tensors = dict(tensors)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # torch says of each tensor that loading into no memory does nothing
        try:
            load_tensors(_hollow(model), tensors, noted)
        except Exception as error:
            raise CheckpointError(
                f"the weights are of a layout that {type(model).__name__} can't convert: "
                f"{type(error).__name__}: {error}"
            ) from error
    return tensors


def _hollow(model: nn.Module) -> nn.Module:
    """A copy of the model whose tensors have no memory."""
    memo: dict[int, Any] = {}
    for tensor in _unique([*model.parameters(), *model.buffers()]):
        empty: torch.Tensor = torch.empty_like(tensor, device="meta")
        memo[id(tensor)] = nn.Parameter(empty, False) if isinstance(tensor, nn.Parameter) else empty
    return copy.deepcopy(model, memo)


def _unique(tensors: Iterable[torch.Tensor]) -> list[torch.Tensor]:
    return list({id(tensor): tensor for tensor in tensors}.values())
