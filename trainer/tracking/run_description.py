"""What MLflow is told once about a run: parameters, tags and data set, read from the run directory and its log."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from trainer.core.secrets import MASK, is_secret, mask_text, mask_urls
from trainer.runs.events.reader import Event
from trainer.runs.tracking_uri import without_credentials
from trainer.tracking.metric_mapping import clean_key

PARAM_LENGTH = 6000
TAG_LENGTH = 8000
DIGEST_LENGTH = 32
BUILT_IN = "digits"
# What one image of a task's data set comes with, as MLflow's column types.
_BOXES = [("boxes", "double", 2), ("labels", "long", 1)]
COLUMNS: dict[str, list[tuple[str, str, int]]] = {
    "detection": _BOXES,
    "instance_segmentation": [*_BOXES, ("masks", "binary", 1)],
    "semantic_segmentation": [("label_map", "binary", 0)],
    "pose": [*_BOXES, ("keypoints", "double", 3)],
}


@dataclass(frozen=True)
class DataSet:
    """A data set as MLflow's inputs have it; ``source``, ``schema`` and ``profile`` are JSON."""

    name: str
    digest: str
    source_type: str
    source: str
    schema: str
    profile: str


def parameters(run_dir: Path) -> dict[str, str]:
    """The composed configuration as flat parameters, ``optimizer.lr`` -> ``0.002``, and what a step's batch is made
    of (``batch.effective``); secrets are masked."""
    try:
        config = yaml.safe_load((run_dir / "config.yaml").read_text())
    except (OSError, yaml.YAMLError):
        return {}
    batch = _json(run_dir / "run.json").get("batch")
    told = [*_flatten(config), *_flatten({"batch": batch} if batch else {})]
    return {clean_key(key): _text(key, value)[:PARAM_LENGTH] for key, value in told}


def tags(run_dir: Path) -> dict[str, str]:
    """Who, what, where and with which code: see docs/tracking.md."""
    facts = _json(run_dir / "run.json")
    config = parameters(run_dir)
    code, own = facts.get("git") or {}, facts.get("trainer_git") or {}
    found: dict[str, Any] = {
        "run_id": facts.get("id", run_dir.name),
        "run_dir": run_dir,
        "task": config.get("task.name") or facts.get("task"),
        "model": config.get("model.name") or facts.get("model"),
        "dataset": config.get("dataset.name") or facts.get("dataset"),
        "launcher": config.get("launcher.name"),
        "fingerprint": facts.get("fingerprint"),
        "sweep": facts.get("parent"),
        "pruned": _pruned(run_dir) if facts.get("parent") else None,
        "host": facts.get("host") or socket.gethostname(),
        "git.commit": code.get("commit"),
        "git.branch": code.get("branch"),
        "git.dirty": code.get("dirty"),
        "trainer_git.commit": own.get("commit"),
        "trainer_git.dirty": own.get("dirty"),
        **{f"hardware.{name}": value for name, value in (facts.get("hardware") or {}).items()},
        **{f"version.{name}": value for name, value in (facts.get("versions") or {}).items()},
        "mlflow.source.name": "python -m trainer",
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": code.get("commit"),
        "mlflow.source.git.branch": code.get("branch"),
        "mlflow.user": os.environ.get("USER") or os.environ.get("USERNAME"),
    }
    return {
        clean_key(key): _plain(value)[:TAG_LENGTH]
        for key, value in found.items()
        if value not in (None, "", [])
    }


def dataset(event: Event) -> DataSet:
    """The data set that a ``run_started`` event with ``data`` names."""
    data = event["data"]
    path = data.get("source")
    source: dict[str, Any]
    if path:
        source_type, source = "local", {"uri": mask_urls(str(path))}
    else:
        source_type, source = "code", {"tags": {"mlflow.source.name": f"dataset={event.get('dataset')}"}}
    classes = list(event.get("classes") or [])
    profile: dict[str, Any] = {"num_classes": len(classes)}
    for name, split in (data.get("splits") or {}).items():
        profile |= {f"{name}_{what}": number for what, number in split.items()}
    profile |= {"format": data.get("format"), "classes": ", ".join(classes)[:TAG_LENGTH]}
    columns = [("image", "binary", 0), *COLUMNS.get(str(event.get("task")), [])]
    return DataSet(
        name=str(event.get("dataset") or BUILT_IN),
        digest=str(data.get("fingerprint") or "unknown")[:DIGEST_LENGTH],
        source_type=source_type,
        source=json.dumps(source),
        schema=json.dumps({"mlflow_colspec": [_column(*column) for column in columns]}),
        profile=json.dumps(profile, ensure_ascii=False),
    )


def _pruned(run_dir: Path) -> bool:
    return bool(_json(run_dir / "result.json").get("status") == "pruned")


def _column(name: str, kind: str, depth: int) -> dict[str, Any]:
    """A column of values, or of lists of lists of them."""
    column: dict[str, Any] = {"type": kind}
    for _ in range(depth):
        column = {"type": "array", "items": column}
    return {**column, "name": name, "required": True}


def _flatten(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and (value or not prefix):
        for key, item in value.items():
            yield from _flatten(item, f"{prefix}.{key}" if prefix else str(key))
    elif prefix:
        yield prefix, value


def _text(key: str, value: Any) -> str:
    if value is not None and is_secret(key):
        return MASK
    return mask_text(without_credentials(value) if isinstance(value, str) else json.dumps(value, default=str))


def _plain(value: Any) -> str:
    """As people read it: ``true``, ``NVIDIA A100, NVIDIA A100``."""
    if isinstance(value, bool):
        return str(value).lower()
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
