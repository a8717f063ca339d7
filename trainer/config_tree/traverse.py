"""Finding places in an MMEngine config by structure: loaders, data sets, pipelines, nested dicts.

A config is handled as plain ``dict``/``list``/``tuple`` (what ``Config.to_dict`` gives), so tuples stay tuples.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Cfg = dict[str, Any]
Path = tuple[Any, ...]

SWITCH_KEYS = ("switch_pipeline", "new_train_pipeline")  # PipelineSwitchHook, YOLOXPoseModeSwitchHook
LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")


def traverse(node: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every value below ``node`` with its path, parents before children."""
    items: Any = ()
    if isinstance(node, dict):
        items = list(node.items())
    elif isinstance(node, (list, tuple)):
        items = list(enumerate(node))
    for key, value in items:
        yield (*path, key), value
        yield from traverse(value, (*path, key))


def dicts(node: Any) -> Iterator[Cfg]:
    """``node`` itself and every dict below it."""
    if isinstance(node, dict):
        yield node
    for _, value in traverse(node):
        if isinstance(value, dict):
            yield value


def of_type(node: Any, *types: str) -> Iterator[Cfg]:
    """Every dict below ``node`` whose ``type`` is one of ``types``, whatever its scope prefix."""
    for item in dicts(node):
        if type_name(item) in types:
            yield item


def type_name(item: Any) -> str:
    """``mmdet.RandomFlip`` and ``RandomFlip`` are both ``RandomFlip``; '' for what has no type."""
    name = item.get("type", "") if isinstance(item, dict) else ""
    return name.rsplit(".", 1)[-1] if isinstance(name, str) else getattr(name, "__name__", "")


def leaf_dataset(loader: Cfg) -> Cfg:
    """The data set that reads the files, inside whatever wrappers (the first of several)."""
    dataset = loader.get("dataset") or {}
    while isinstance(dataset, dict):
        inner = dataset.get("dataset") or (dataset.get("datasets") or [None])[0]
        if not isinstance(inner, dict):
            return dataset
        dataset = inner
    return {}


def wrappers(loader: Cfg) -> list[Cfg]:
    """The wrappers around the leaf data set, outermost first."""
    found: list[Cfg] = []
    dataset = loader.get("dataset") or {}
    while isinstance(dataset, dict):
        inner = dataset.get("dataset") or (dataset.get("datasets") or [None])[0]
        if not isinstance(inner, dict):
            break
        found.append(dataset)
        dataset = inner
    return found


def loader_pipelines(loader: Any) -> Iterator[list[Cfg]]:
    """Every pipeline in a data loader: the leaf's and the wrappers'."""
    for path, value in traverse(loader):
        if path[-1] == "pipeline" and isinstance(value, list):
            yield value


def switch_pipelines(cfg: Cfg) -> Iterator[list[Cfg]]:
    """The pipelines that hooks put in place for the last epochs."""
    for hook in cfg.get("custom_hooks") or []:
        for key in SWITCH_KEYS:
            if isinstance(hook, dict) and isinstance(hook.get(key), list):
                yield hook[key]


def all_pipelines(cfg: Cfg) -> Iterator[list[Cfg]]:
    """Training, validation, test and switch pipelines."""
    for name in LOADERS:
        yield from loader_pipelines(cfg.get(name))
    yield from switch_pipelines(cfg)


def train_pipelines(cfg: Cfg) -> Iterator[list[Cfg]]:
    """What training images go through: the loader's pipelines and those that hooks switch to."""
    yield from loader_pipelines(cfg.get("train_dataloader"))
    yield from switch_pipelines(cfg)


def get_path(node: Any, path: Path) -> Any:
    """The value at ``path``; KeyError, IndexError or TypeError when there is none."""
    for key in path:
        node = node[key]
    return node
