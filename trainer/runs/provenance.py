"""Where a run's results come from: versions of packages, git commit, hardware. Imports no torch.

What a field of ``run.json`` means is written in ``docs/run-directory.md``.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from trainer.core.installation import VERSION, package_root

# What can change a result, by the name it is imported under, and the distributions that provide it.
PACKAGES: dict[str, tuple[str, ...]] = {
    "torch": ("torch",),
    "mmengine": ("onedl-mmengine", "mmengine"),
    "mmcv": ("onedl-mmcv", "mmcv", "mmcv-lite"),
    "mmdet": ("onedl-mmdetection", "mmdet"),
    "mmseg": ("onedl-mmsegmentation", "mmsegmentation"),
    "mmpose": ("onedl-mmpose", "mmpose"),
    "numpy": ("numpy",),
    "opencv": ("opencv-python-headless", "opencv-python"),
    "albumentations": ("albumentations",),
    "faster-coco-eval": ("faster-coco-eval",),
}
_SECONDS = 10.0


def provenance() -> dict[str, Any]:
    """``versions``, ``git``, ``trainer_git`` and ``hardware`` of this process, as ``run.json`` has them."""
    here, own = repository(Path.cwd()), own_checkout()
    return {
        "versions": versions(),
        "git": git(here or own),
        "trainer_git": git(own) if own != here else None,
        "hardware": hardware(),
    }


def versions() -> dict[str, str]:
    """Of Python, this package, torch, the OpenMMLab packages and what computes for them; only those installed."""
    found = {"python": platform.python_version(), "trainer": VERSION}
    for name, distributions in PACKAGES.items():
        version = next(filter(None, map(_version, distributions)), None)
        if version:
            found[name] = version
    return found


def repository(folder: Path) -> Path | None:
    """The git checkout that ``folder`` is in, None where it is in none."""
    for one in (folder, *folder.parents):
        if (one / ".git").exists():
            return one
    return None


def git(root: Path | None) -> dict[str, Any] | None:
    """``commit``, ``dirty`` (tracked files are changed), ``changes`` (a digest of these, None where there are none),
    ``branch`` (None: detached) and ``root`` of a checkout.

    None where there is none, no git, or git refuses.
    """
    if root is None:
        return None
    told = _git(root, "status", "--porcelain=v2", "--branch", "--untracked-files=no")
    if told is None:
        return None
    head: dict[str, str] = {}
    dirty = False
    for line in told.splitlines():
        if line.startswith("# branch."):
            key, _, value = line.removeprefix("# branch.").partition(" ")
            head[key] = value
        else:
            dirty = True
    commit, branch = head.get("oid"), head.get("head")
    return {
        "commit": None if commit == "(initial)" else commit,
        "dirty": dirty,
        "changes": _digest(_git(root, "diff", "HEAD", "--no-ext-diff", "--no-color")) if dirty else None,
        "branch": None if branch == "(detached)" else branch,
        "root": str(root),
    }


def hardware() -> dict[str, Any]:
    """``cpu`` (its model), ``cores`` and ``memory_gb`` that this process may use, ``gpus`` (their models)."""
    from trainer.core.cpu_budget import usable_cpus

    return {"cpu": _cpu(), "cores": usable_cpus(), "memory_gb": _memory(), "gpus": _gpus()}


def differences(before: Any, after: Any, prefix: str = "") -> dict[str, list[Any]]:
    """What differs between two mappings, ``{dotted key: [before, after]}``; None where one lacks the key."""
    if isinstance(before, dict) and isinstance(after, dict):
        found: dict[str, list[Any]] = {}
        for key in [*before, *(key for key in after if key not in before)]:
            found |= differences(before.get(key), after.get(key), f"{prefix}.{key}" if prefix else str(key))
        return found
    return {} if before == after else {prefix: [before, after]}


def own_checkout() -> Path | None:
    """The checkout that this package runs from; None where it is installed."""
    root = package_root()
    return root if (root / ".git").exists() else None


def _git(root: Path, *words: str) -> str | None:
    # Without its optional locks, which a git command that the user types meanwhile would stumble over.
    return _output(["git", "-C", str(root), *words], {**os.environ, "GIT_OPTIONAL_LOCKS": "0"})


def _digest(text: str | None) -> str | None:
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:12] if text else None


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu() -> str:
    for line in _lines("/proc/cpuinfo"):
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "Model", "Processor") and value.strip():
            return " ".join(value.split())
    return platform.processor() or platform.machine()


def _memory() -> float | None:
    """GiB of the machine, or of the container where that has less."""
    sizes = [int(line.split()[1]) * 1024 for line in _lines("/proc/meminfo") if line.startswith("MemTotal")]
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        sizes += [int(line) for line in _lines(path) if line.isdigit()]
    return round(min(sizes) / 2**30, 1) if sizes else None


def _gpus() -> list[str]:
    """Models, from the driver's files, which cost nothing to ask; from ``nvidia-smi`` where these are hidden."""
    found = []
    for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        found += [line.partition(":")[2].strip() for line in _lines(path) if line.startswith("Model")]
    if found or not shutil.which("nvidia-smi"):
        return found
    told = _output(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"])
    return [line.strip() for line in (told or "").splitlines() if re.search(r"\w", line)]


def _lines(path: str | Path) -> Iterable[str]:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _output(command: list[str], environment: dict[str, str] | None = None) -> str | None:
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            check=True,
            env=environment,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout
