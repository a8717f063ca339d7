"""``torchvision://resnet50`` and its like: names of published backbones, looked up in mmengine's own lists."""

from __future__ import annotations

import functools
import importlib.util
import json
from pathlib import Path

from trainer.core.errors import ConfigError, did_you_mean

DIRECT = ("http", "https", "s3")
_LISTS = {
    "torchvision": "torchvision_0.12",
    "open-mmlab": "openmmlab",
    "openmmlab": "openmmlab",
    "mmcls": "mmcls",
}
SCHEMES = (*DIRECT, *_LISTS)


def resolve_backbone_url(name: str) -> str:
    """The http(s) or s3 URL behind a name such as ``open-mmlab://resnet50_v1c``; URLs are given back as they are.

    Raises:
        ConfigError: an unknown scheme, or a name that the list of its scheme hasn't; with the nearest.
    """
    scheme, separator, rest = name.partition("://")
    if not separator:
        raise ConfigError(f"{name!r} is no URL")
    scheme = scheme.lower()
    if scheme in DIRECT:
        return f"{scheme}://{rest}"
    if scheme not in _LISTS:
        raise ConfigError(
            f"{name!r}: there is no scheme {scheme!r}.{did_you_mean(scheme, SCHEMES)} "
            f"Schemes: {', '.join(f'{each}://' for each in SCHEMES)}."
        )
    known = _read(_LISTS[scheme])
    rest = _read("deprecated").get(rest, rest) if _LISTS[scheme] == "openmmlab" else rest
    if rest not in known:
        raise ConfigError(f"{name!r}: {scheme} has no weights {rest!r}.{did_you_mean(rest, known)}")
    return known[rest]


@functools.cache
def _read(name: str) -> dict[str, str]:
    spec = importlib.util.find_spec("mmengine")
    for location in (spec.submodule_search_locations or []) if spec else []:
        path = Path(location) / "hub" / f"{name}.json"
        if path.is_file():
            return json.loads(path.read_bytes())
    return {}
