"""What the installed packages' own metafiles say of their configs: published figures, and where the weights are.

Read once from some 300 YAML files, then kept in the cache as one JSON file for these very packages. No torch.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import orjson

from trainer.config_tree.config_files import PACKAGES, configs_dir, list_configs, package_version
from trainer.core.atomic_files import atomic_write
from trainer.core.cache_folder import cache_dir
from trainer.core.errors import ConfigError
from trainer.core.yaml_io import parse_any

_FORMAT = 1
_TASKS = {
    "object detection": "detection",
    "instance segmentation": "instance_segmentation",
    "semantic segmentation": "semantic_segmentation",
}
_KEPT = {"Epochs": "epochs", "Iterations": "iterations", "Training Data": "trained_on"}


@dataclass(frozen=True)
class MetafileEntry:
    """A config as its package's metafile describes it.

    ``published`` holds ``{task, dataset, metrics}`` each; a task is one of this trainer's where it is one, else the
    metafile's own word. ``weights`` is a URL.
    """

    base: str
    published: list[dict[str, Any]] = field(default_factory=list)
    weights: str | None = None
    paper: str | None = None
    about: dict[str, Any] = field(default_factory=dict)


def weights_url(base: str) -> str | None:
    """Where the weights published for a config (``mmdet::rtmdet/...py``) are; None where there are none."""
    entry = entries().get(full(base))
    return entry.weights if entry else None


def published(base: str) -> list[dict[str, Any]]:
    """The figures published for a config, ``{task, dataset, metrics}`` each; may be empty."""
    entry = entries().get(full(base))
    return entry.published if entry else []


def full(base: str) -> str:
    """``package::folder/name.py``, whether ``.py`` was given or not."""
    return base if base.endswith(".py") else f"{base}.py"


@functools.cache
def entries() -> dict[str, MetafileEntry]:
    """All configs that a metafile describes, by their base."""
    path = _cached()
    if path is not None and path.is_file():
        try:
            return {base: MetafileEntry(**values) for base, values in orjson.loads(path.read_bytes()).items()}
        except (ValueError, TypeError, AttributeError):
            pass  # damaged, or of another version: read anew
    found = {entry.base: entry for package in PACKAGES for entry in read(package)}
    if path is not None:
        with contextlib.suppress(OSError):  # a cache that is full or read-only costs time, nothing else
            atomic_write(path, orjson.dumps({base: asdict(entry) for base, entry in found.items()}))
    return found


def read(package: str) -> Iterator[MetafileEntry]:
    """The configs that a package's metafiles describe, each once."""
    root = configs_dir(package)
    if root is None:
        return
    known = set(list_configs(package))
    by_name: dict[str, list[str]] = {}
    for each in known:
        by_name.setdefault(each.rpartition("/")[2], []).append(each)
    found: dict[str, list[dict[str, Any]]] = {}
    papers: dict[str, str] = {}
    for path in sorted(p for p in root.rglob("*.y*ml") if p.suffix in (".yml", ".yaml")):
        folder = path.parent.relative_to(root).as_posix()
        for model in _models(path, papers):
            if config := _config_of(model, folder, known, by_name):
                found.setdefault(config, []).append(model)
    for config, models in found.items():
        yield _entry(package, config, models, papers)


def _models(path: Path, papers: dict[str, str]) -> list[dict[str, Any]]:
    """The models of a metafile, and its collections' papers into ``papers``."""
    try:
        content = parse_any(path.read_text(encoding="utf-8"), str(path))
    except ConfigError:
        return []
    models = content
    if isinstance(content, dict):
        models = content.get("Models")
        for collection in _dicts(content.get("Collections")):
            if url := _paper(collection):
                papers[str(collection.get("Name"))] = url
    return _dicts(models)


def _config_of(
    model: dict[str, Any], folder: str, known: set[str], by_name: dict[str, list[str]]
) -> str | None:
    """The installed config that an entry means; paths in metafiles are sometimes old, short or escaped."""
    stated = unquote(str(model.get("Config", ""))).removeprefix("configs/").removesuffix(".py")
    last = stated.rpartition("/")[2]
    for choice in (stated, f"{folder}/{last}", f"{folder}/{model.get('Name')}"):
        if choice in known:
            return choice
    same = by_name.get(last, [])
    return same[0] if len(same) == 1 else None


def _entry(package: str, config: str, models: list[dict[str, Any]], papers: dict[str, str]) -> MetafileEntry:
    name = config.rpartition("/")[2]
    # Some entries name a sibling's config by mistake: the weights' own file name tells which belongs here.
    models = sorted(models, key=lambda model: -_likeness(name, _url(model)))
    best = models[0]
    results = [r for m in models if _url(m) == _url(best) for r in _dicts(m.get("Results"))]
    # Instances of some mmdet metafiles are listed twice.
    figures = list({str(figure): figure for r in results if (figure := _figure(r, name))}.values())
    metadata = best.get("Metadata") or {}
    about = {ours: metadata[theirs] for theirs, ours in _KEPT.items() if metadata.get(theirs)}
    return MetafileEntry(
        base=f"{package}::{config}.py",
        published=figures,
        weights=_url(best),
        paper=_paper(best) or papers.get(str(best.get("In Collection"))),
        about=about,
    )


def _figure(result: dict[str, Any], name: str) -> dict[str, Any] | None:
    metrics: dict[str, float] = {}
    for part in _dicts(result.get("Metrics")):
        metrics |= {
            str(k): v for k, v in part.items() if isinstance(v, (int, float)) and not isinstance(v, bool)
        }
    if not metrics:
        return None
    said = str(result.get("Task", "")).strip().lower()
    task = "pose" if said.endswith("2d keypoint") else _TASKS.get(said, said)
    dataset = str(result.get("Dataset", "")).strip()
    if dataset.startswith("#"):  # a heading of the README that came into OCRNet's metafile
        dataset = "Cityscapes" if "cityscapes" in name else ""
    return {"task": task, "dataset": dataset, "metrics": metrics}


def _paper(content: dict[str, Any]) -> str | None:
    paper = content.get("Paper")
    url = paper.get("URL") if isinstance(paper, dict) else paper
    return url if isinstance(url, str) and url.startswith("http") else None


def _url(model: dict[str, Any]) -> str | None:
    """The one file of weights; a tracker's list of several files isn't one."""
    url = model.get("Weights")
    return url if isinstance(url, str) and url.startswith("http") else None


def _likeness(name: str, url: str | None) -> float:
    return difflib.SequenceMatcher(None, name, url.rpartition("/")[2]).ratio() if url else 0.0


def _dicts(value: Any) -> list[dict[str, Any]]:
    """One mapping, or a list of them, as a list."""
    return [item for item in ([value] if isinstance(value, dict) else value or []) if isinstance(item, dict)]


def _cached() -> Path | None:
    """The cache's file for the packages as they are installed now."""
    installed = []
    for package in PACKAGES:
        root = configs_dir(package)
        if root is not None:
            installed.append((package, package_version(package), str(root), root.stat().st_mtime_ns))
    key = hashlib.sha256(repr((_FORMAT, installed)).encode()).hexdigest()[:16]
    try:
        return cache_dir() / "zoo" / f"index-{key}.json"
    except OSError:
        return None
