"""A sweep's folder and name: ``<output_dir>/sweeps/<id>``, the same for the same command.

``sweep.json`` says what is searched; ``trials.jsonl`` is a view of the store, one trial a line, made again whenever
one ends; ``journal.log`` is the store itself unless ``sweep.storage`` names another (Optuna's format; for a plain
grid ``journal.jsonl``, ours); ``sweep.log`` is the driver's, ``trials/<number>.log`` what a trial's process said.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.config.overrides import key_of, last_of_each
from trainer.core.atomic_files import atomic_write
from trainer.core.errors import ConfigError

# How a sweep is run, not what it is: these may differ between two calls of the same sweep, or two machines.
OF_THE_CALL = (
    *("sweep.n_trials", "sweep.max_minutes", "sweep.workers", "sweep.threads", "sweep.gpus_per_trial"),
    *(
        "sweep.max_failures",
        "sweep.retries",
        "sweep.lease_seconds",
        "sweep.warm",
        "sweep.fresh",
        "sweep.study",
    ),
    *("output_dir", "sweep.storage"),
)


@dataclass(frozen=True)
class SweepFolder:
    """One sweep's folder."""

    dir: Path

    @property
    def id(self) -> str:
        return self.dir.name

    @property
    def description(self) -> Path:
        return self.dir / "sweep.json"

    @property
    def journal(self) -> Path:
        return self.dir / "journal.log"

    @property
    def plain_journal(self) -> Path:
        return self.dir / "journal.jsonl"

    @property
    def trials(self) -> Path:
        return self.dir / "trials.jsonl"

    @property
    def log(self) -> Path:
        return self.dir / "sweep.log"

    def trial_log(self, number: int) -> Path:
        return self.dir / "trials" / f"{number}.log"

    def run_id(self, number: int) -> str:
        """The id of a trial's run, which is its run directory's name."""
        return f"{self.id}-{number}"

    def describe(self, about: Mapping[str, Any]) -> None:
        """Write ``sweep.json``."""
        atomic_write(self.description, json.dumps(about, indent=2, ensure_ascii=False, default=str) + "\n")

    def about(self) -> dict[str, Any]:
        """What ``sweep.json`` says; empty where there is none.

        Raises:
            ConfigError: it can't be read.
        """
        try:
            found = json.loads(self.description.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise ConfigError(f"{self.description} can't be read: {error}") from None
        return found if isinstance(found, dict) else {}

    def write_trials(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write ``trials.jsonl``."""
        lines = (json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows)
        atomic_write(self.trials, "".join(lines))

    def read_trials(self) -> list[dict[str, Any]]:
        """The rows of ``trials.jsonl``, none where there is no such file."""
        if not self.trials.is_file():
            return []
        return [json.loads(line) for line in self.trials.read_text(encoding="utf-8").splitlines()]


def sweep_name(
    command: str,
    words: Sequence[str],
    stem: str,
    study: str | None,
    *,
    per_call: Collection[str] = OF_THE_CALL,
    study_key: str = "sweep.study",
) -> str:
    """A sweep's name: ``study``, else ``stem`` and eight digits that follow from the overrides, in any order.

    Args:
        per_call: keys that may differ between two calls of the same sweep.
        study_key: the key of ``study``, for the error.

    Raises:
        ConfigError: ``study`` can't be a folder's name.
    """
    if study is not None:
        if not study or slug(study) != study:
            raise ConfigError(
                f"{study_key}={study}: letters, digits, '-', '_', '.' and '+' only, such as {slug(study)}"
            )
        return study
    kept = sorted(word for word in last_of_each(words) if key_of(word) not in per_call)
    return f"{slug(stem)}-{hashlib.sha256(json.dumps([command, *kept]).encode()).hexdigest()[:8]}"


def newest(name: str, names: Iterable[str], fresh: bool) -> str:
    """The newest of a sweep's generations (``name``, ``name-2``, ...) among ``names``; with ``fresh`` the next one."""
    pattern = re.compile(rf"{re.escape(name)}(?:-(\d+))?")
    found = [int(match[1] or 1) for match in map(pattern.fullmatch, names) if match]
    generation = max(found, default=0) + fresh
    return name if generation <= 1 else f"{name}-{generation}"


def generations(output_dir: str | Path) -> list[str]:
    """The names of the sweeps' folders."""
    root = Path(output_dir) / "sweeps"
    return [folder.name for folder in root.iterdir() if folder.is_dir()] if root.is_dir() else []


def slug(name: str) -> str:
    return re.sub(r"[^\w.+-]+", "-", name).strip("-.") or "sweep"
