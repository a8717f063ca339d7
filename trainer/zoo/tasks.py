"""Which tasks a config of the installed packages is for, from folder and metafile, never by loading it."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from trainer.config.yamls import load
from trainer.errors import ConfigError
from trainer.zoo.locate import configs_dir

_BY_RESULT = {
    "object detection": "detection",
    "instance segmentation": "instance_segmentation",
    "semantic segmentation": "semantic_segmentation",
}
# A model with masks is usually wanted for them.
_ORDER = ("instance_segmentation", "detection", "semantic_segmentation", "pose")
_OTHER = (
    *("panoptic", "tracking", "reid", "vis_", "_vis", "masktrack", "bytetrack", "sort", "qdtrack"),
    *("classification/", "common/", "override_category", "refcoco"),
)


def tasks_of(package: str, relative: str) -> list[str]:
    """The tasks of a config such as ``rtmdet/rtmdet_s_8xb32-300e_coco``, the usual first; may be empty."""
    if package == "mmseg":
        return ["semantic_segmentation"]
    if package == "mmpose":
        return ["pose"] if "_2d_" in relative.partition("/")[0] else []
    path = Path(relative)
    if any(word in relative for word in _OTHER) or path.name.startswith(("rpn_", "ga-rpn_")):
        return []
    # A metafile doesn't list every config, and some entries forget a task: the namesakes know.
    own = _published(package, path.parent.as_posix()).get(path.name, [])
    found = {*own, *_families(package).get(_family(path.name), [])}
    if not found and path.name not in _published(package, path.parent.as_posix()):
        found = {"detection"}
    return [task for task in _ORDER if task in found]


@functools.cache
def _families(package: str) -> dict[str, list[str]]:
    """For each first word of a name, the tasks that nearly all published configs of that name are for."""
    root = configs_dir(package)
    seen: dict[str, list[list[str]]] = {}
    for metafile in sorted(root.rglob("metafile.yml")) if root else []:
        folder = metafile.parent.relative_to(root or metafile).as_posix()
        for name, tasks in _published(package, folder).items():
            seen.setdefault(_family(name), []).append(tasks)
    return {
        family: [task for task in _ORDER if sum(task in tasks for tasks in each) >= 0.8 * len(each)]
        for family, each in seen.items()
    }


def _family(name: str) -> str:
    return name.partition("_")[0]


@functools.cache
def _published(package: str, folder: str) -> dict[str, list[str]]:
    """Each config's tasks by the results published in its folder's metafile."""
    root = configs_dir(package)
    metafile = root / folder / "metafile.yml" if root else None
    if metafile is None or not metafile.is_file():
        return {}
    try:
        models = load(metafile).get("Models") or []
    except ConfigError:
        return {}
    found: dict[str, list[str]] = {}
    for model in models:
        tasks = {_BY_RESULT.get(str(result.get("Task", "")).lower()) for result in _results(model)}
        found[Path(str(model.get("Config", ""))).stem] = [task for task in _ORDER if task in tasks]
    return found


def _results(model: Any) -> list[dict[str, Any]]:
    results = model.get("Results") if isinstance(model, dict) else None
    return [result for result in results or [] if isinstance(result, dict)]
