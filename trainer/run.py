"""A run's directory and identity: the same across kill, requeue and resume."""

from __future__ import annotations

import json
import os
import re
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.errors import ConfigError, did_you_mean
from trainer.storage import atomic_write

LATEST = "latest"


@dataclass(frozen=True)
class Run:
    """One run directory, ``<output_dir>/<experiment>/<id>``; ``run.json`` in it says what it is."""

    dir: Path
    id: str
    experiment: str

    @classmethod
    def create(cls, output_dir: str | Path, experiment: str, model: str) -> Run:
        """Make a new run directory and point ``<output_dir>/latest`` at it."""
        folder = Path(output_dir).absolute() / _slug(experiment)
        while True:
            created = time.time()
            stamp = time.strftime("%Y%m%d-%H%M%S", time.localtime(created))
            run = cls(folder / f"{_slug(model)}-{stamp}-{secrets.token_hex(2)}", "", folder.name)
            try:
                run.dir.mkdir(parents=True)
                break
            except FileExistsError:
                continue  # the same name within the same second
        run = cls(run.dir, run.dir.name, run.experiment)
        run.update(id=run.id, experiment=run.experiment, created=created, attempts=[])
        _point_latest(Path(output_dir).absolute(), run.dir)
        return run

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """The run whose directory is ``path``.

        Raises:
            ConfigError: there is no ``run.json`` in it, or it can't be read.
        """
        folder = Path(path).absolute().resolve()
        try:
            facts = json.loads((folder / "run.json").read_bytes())
            return cls(folder, facts["id"], facts["experiment"])
        except FileNotFoundError:
            raise ConfigError(f"{path} is not a run directory: it has no run.json") from None
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{folder / 'run.json'} can't be read: {error!r}") from error

    @classmethod
    def find(cls, output_dir: str | Path, ref: str | Path) -> Run:
        """The run that ``ref`` names: a folder, a run id, ``latest``, or a prefix that only one run's id has.

        Raises:
            ConfigError: no run, or more than one, has that name.
        """
        output, name = Path(output_dir).absolute(), str(ref)
        for folder in (Path(name).expanduser(), output / name):
            if (folder / "run.json").is_file():
                return cls.open(folder)
        if name == LATEST:
            return cls.open(_read_latest(output))
        runs = _all(output)
        found = [run for run in runs if run.id == name] or [run for run in runs if run.id.startswith(name)]
        if len(found) == 1:
            return found[0]
        if found:
            raise ConfigError(
                f"{name!r} could be any of {', '.join(run.id for run in found[:5])}; write more of the id"
            )
        known = [run.id for run in runs]
        hint = did_you_mean(name, known) or (
            f" The newest is {known[-1]}." if known else " There are no runs there."
        )
        raise ConfigError(f"no run {name!r} in {output}.{hint}")

    @classmethod
    def newest(cls, output_dir: str | Path, experiment: str) -> Run | None:
        """The run of ``experiment`` that was created last."""
        runs = [run for run in _all(Path(output_dir).absolute()) if run.experiment == _slug(experiment)]
        return runs[-1] if runs else None

    @property
    def facts(self) -> dict[str, Any]:
        """What ``run.json`` says now."""
        path = self.dir / "run.json"
        return json.loads(path.read_bytes()) if path.exists() else {}

    @property
    def events(self) -> Path:
        return self.dir / "events.jsonl"

    @property
    def checkpoints(self) -> Path:
        return self.dir / "checkpoints"

    def update(self, **fields: Any) -> None:
        """Set fields of ``run.json``, leaving the others."""
        facts = {**self.facts, **fields}
        atomic_write(
            self.dir / "run.json", json.dumps(facts, indent=2, ensure_ascii=False, default=str) + "\n"
        )

    def start_attempt(self) -> None:
        """Note that this process works on the run; an attempt left open by a kill is closed as ``killed``."""
        attempts = self.facts.get("attempts", [])
        for attempt in attempts:
            if attempt.get("ended") is None:
                attempt.update(ended=None, status="killed")
        attempts.append({"started": time.time(), "pid": os.getpid(), "ended": None, "status": "running"})
        self.update(attempts=attempts)

    def end_attempt(self, status: str) -> None:
        """Close the newest attempt with ``finished``, ``failed`` or ``cancelled``."""
        attempts = self.facts.get("attempts", [])
        if attempts:
            attempts[-1].update(ended=time.time(), status=status)
            self.update(attempts=attempts)

    def write_result(self, result: dict[str, Any]) -> Path:
        """Write ``result.json``."""
        text = json.dumps(result, indent=2, ensure_ascii=False) + "\n"
        return atomic_write(self.dir / "result.json", text)


def _slug(name: str) -> str:
    """A name as one path component."""
    return re.sub(r"[^\w.+-]+", "-", name).strip("-.") or "run"


def _all(output: Path) -> list[Run]:
    """Every run below ``output``, oldest first."""
    found: list[tuple[float, Run]] = []
    for path in output.glob("*/*/run.json"):
        if path.parent.parent.is_symlink() or path.parent.is_symlink():
            continue
        try:
            facts = json.loads(path.read_bytes())
            found.append((float(facts.get("created", 0)), Run(path.parent, facts["id"], facts["experiment"])))
        except (ValueError, KeyError, TypeError, OSError):
            continue
    return [run for _, run in sorted(found, key=lambda pair: (pair[0], pair[1].id))]


def _point_latest(output: Path, folder: Path) -> None:
    """``<output>/latest`` -> folder: a relative link, or a text file where links aren't allowed."""
    latest, target = output / LATEST, folder.relative_to(output)
    beside = output / f".{LATEST}.{secrets.token_hex(4)}.tmp"
    try:
        os.symlink(target, beside, target_is_directory=True)
        os.replace(beside, latest)
    except (OSError, NotImplementedError):
        beside.unlink(missing_ok=True)
        if latest.is_dir() and not latest.is_symlink():
            return  # somebody's folder of that name is not ours to remove
        atomic_write(latest, f"{target.as_posix()}\n")


def _read_latest(output: Path) -> Path:
    latest = output / LATEST
    if latest.is_file():
        return output / latest.read_text().strip()
    if latest.exists():
        return latest
    raise ConfigError(f"no run yet in {output}: there is no {latest}")
