"""What MLflow is told once about a run: its parameters and tags, read from the run directory."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

import trainer
from trainer.secrets import MASK, is_secret
from trainer.tracking.points import clean_key
from trainer.tracking.uri import without_credentials

PARAM_LENGTH = 6000
TAG_LENGTH = 8000


def parameters(run_dir: Path) -> dict[str, str]:
    """The composed configuration as flat parameters, ``optimizer.lr`` -> ``0.002``; secrets are masked."""
    try:
        config = yaml.safe_load((run_dir / "config.yaml").read_text())
    except (OSError, yaml.YAMLError):
        return {}
    return {clean_key(key): _text(key, value)[:PARAM_LENGTH] for key, value in _flatten(config)}


def tags(run_dir: Path) -> dict[str, str]:
    """Who, what and where: task, model, dataset, fingerprint, git commit, host, version, run directory."""
    facts = _json(run_dir / "run.json")
    config = parameters(run_dir)
    found: dict[str, Any] = {
        "run_id": facts.get("id", run_dir.name),
        "run_dir": run_dir,
        "task": config.get("task.name") or facts.get("task"),
        "model": config.get("model.name") or facts.get("model"),
        "dataset": config.get("dataset.name") or facts.get("dataset"),
        "fingerprint": facts.get("fingerprint") or facts.get("data_fingerprint"),
        "host": facts.get("host") or socket.gethostname(),
        "trainer_version": trainer.__version__,
        "mlflow.source.name": "python -m trainer",
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": facts.get("git_commit") or git_commit(),
        "mlflow.user": os.environ.get("USER") or os.environ.get("USERNAME"),
    }
    return {key: str(value)[:TAG_LENGTH] for key, value in found.items() if value}


def git_commit() -> str | None:
    """The commit of the trainer's own checkout, None when it is installed otherwise."""
    root = Path(trainer.__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _flatten(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and (value or not prefix):
        for key, item in value.items():
            yield from _flatten(item, f"{prefix}.{key}" if prefix else str(key))
    elif prefix:
        yield prefix, value


def _text(key: str, value: Any) -> str:
    if value is not None and is_secret(key):
        return MASK
    if isinstance(value, str):
        return without_credentials(value)
    return json.dumps(value, default=str)


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
