"""Which stage of a backbone each of its parts belongs to, told by the parts' names.

0 is the stem, 1 to n are the stages. Parts without a number belong to the stem when they come before the first
numbered one, else to the last stage.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

# layer1, stage2, transition1, patch_embed3 (MSCAN), conv_res_block4 (Darknet), stage4_CEBlock (BiSeNetV2), ...
_NUMBERED = re.compile(
    r"(?:layer|stage|transition|block|patch_embed|conv_res_block|compression_|down_|pag_|diff_)(\d+)(?:_[A-Za-z]\w*)?"
)
# Lists of stages: stages.0 (Swin), layers.0 (MiT, ViT), context_branch_layers.0 (DDRNet), encoder.0 (UNet), ...
_LIST = re.compile(
    r"stages|layers|blocks|encoder|downsample_layers|patch_embeds|position_encodings|\w+_branch(?:_layers)?"
)
_DEPTH = 3  # parts of a dotted name that are looked at; numbers further down count blocks


@dataclass(frozen=True)
class Stages:
    """The number of stages, and the stage of each module and parameter by dotted name."""

    count: int
    of: dict[str, int]


def stages(backbone: nn.Module) -> Stages | None:
    """The stages of a backbone; None when its parts don't show any."""
    names = list(_names(backbone))
    offset = {"downsample_layers": -1} if any(name.startswith("downsample_layers.") for name in names) else {}
    norms = _norm_offset(names)
    pools = _pools(backbone)
    numbers = {name: _number(name, offset, norms, pools) for name in names}
    found = {number for number in numbers.values() if number is not None}
    if len(found - {0}) < 2:
        return None
    count = max(found)
    of: dict[str, int] = {}
    begun = False
    for name in names:
        number = numbers[name]
        begun = begun or number is not None
        of[name] = number if number is not None else count if begun else 0
    return Stages(count, of)


def _names(backbone: nn.Module) -> Iterator[str]:
    """Modules and their own parameters, as they were made: the backbone's own parameters first."""
    for prefix, module in backbone.named_modules():
        if prefix:
            yield prefix
        for name, _ in module.named_parameters(recurse=False):
            yield f"{prefix}.{name}" if prefix else name


def _number(name: str, offset: dict[str, int], norms: int | None, pools: list[int]) -> int | None:
    parts = name.split(".")
    for place, part in enumerate(parts[:_DEPTH]):
        if numbered := _NUMBERED.fullmatch(part):
            return int(numbered[1])
        following = parts[place + 1] if place + 1 < len(parts) else ""
        if not following.isdigit():
            continue
        if pools and part == "features":
            return sum(pool < int(following) for pool in pools) + 1
        if _LIST.fullmatch(part):
            return int(following) + 1 + offset.get(part, 0)
    norm = re.fullmatch(r"norm(\d+)", parts[0])
    return int(norm[1]) + norms if norm and norms is not None else None


def _norm_offset(names: list[str]) -> int | None:
    """What norm0 or norm1, a stage's output norm, is to be counted from; None where norms have other meanings."""
    if any(name.startswith("stages.") for name in names):
        return 1
    return 0 if any(name.startswith("block1.") for name in names) else None


def _pools(backbone: nn.Module) -> list[int]:
    """Where VGG's list of layers goes to half the size."""
    features = getattr(backbone, "features", None)
    if not isinstance(features, nn.Sequential):
        return []
    return [place for place, layer in enumerate(features) if isinstance(layer, nn.MaxPool2d)]
