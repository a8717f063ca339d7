"""A run's directory and identity: the same across kill, requeue and resume."""

from __future__ import annotations

import json
import os
import re
import secrets
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.core.atomic_files import atomic_write, move_into_place
from trainer.core.errors import ConfigError, ResourceError, did_you_mean
from trainer.core.locks import LockHeld, locked
from trainer.core.secrets import mask_strings
from trainer.runs.provenance import differences, provenance

LATEST = "latest"
LOCK_SECONDS = 3.0  # a process that was told to stop may still be saving
# Who a run belongs to, told by whoever starts its process.
_ENVIRONMENT = {
    "parent": "TRAINER_PARENT",
    "trial": "TRAINER_TRIAL",
    "label": "TRAINER_LABEL",
    "job": "TRAINER_JOB",
}


@dataclass(frozen=True)
class Run:
    """One run directory, ``<output_dir>/<experiment>/<id>``; ``run.json`` in it says what it is."""

    dir: Path
    id: str
    experiment: str

    @classmethod
    def create(cls, output_dir: str | Path, experiment: str, model: str, id: str | None = None) -> Run:
        """Make a new run directory and point ``<output_dir>/latest`` at it.

        Args:
            id: the run's id; None: the model, the time and four hex digits.

        Raises:
            ConfigError: there is a run of that id, or it can't be a folder's name.
        """
        folder = Path(output_dir).absolute() / _slug(experiment)
        if id is not None:
            return _begin(cls.named(output_dir, experiment, id))
        while True:
            new = cls.new_id(model)
            try:
                (folder / new).mkdir(parents=True)
            except FileExistsError:
                continue  # the same name within the same second
            return _begin(cls(folder / new, new, folder.name))

    @staticmethod
    def slug(name: str) -> str:
        """A name as an id can have it."""
        return _slug(name)

    @staticmethod
    def new_id(model: str) -> str:
        """An id for a run that has none: the model, the time and four hex digits."""
        return f"{_slug(model)}-{time.strftime('%Y%m%d-%H%M%S', time.localtime())}-{secrets.token_hex(2)}"

    @classmethod
    def named(cls, output_dir: str | Path, experiment: str, id: str) -> Run:
        """The run of that id, there or not (then it ``exists`` not).

        Raises:
            ConfigError: the id can't be a folder's name.
        """
        if _slug(id) != id:
            raise ConfigError(f"id={id}: letters, digits, '-', '_', '.' and '+' only, such as id={_slug(id)}")
        folder = Path(output_dir).absolute() / _slug(experiment)
        return cls(folder / id, id, folder.name)

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
    def exists(self) -> bool:
        return (self.dir / "run.json").is_file()

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

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes from training the same run while the block runs; a kill frees it.

        Raises:
            ResourceError: another process is training it; says which, and where.
        """
        try:
            with locked(self.dir / "lock", LOCK_SECONDS):
                yield
        except LockHeld as other:
            raise ResourceError(
                f"{other} is training run {self.id} ({self.dir}). Stop it first, or start another run"
            ) from None

    def update(self, **fields: Any) -> None:
        """Set fields of ``run.json``, leaving the others; secrets are masked. Any process may, at any time."""
        with self._changing() as facts:
            facts.update(fields)

    def start_attempt(self) -> None:
        """Note that this process works on the run, with what on which machine, and what is configured otherwise
        than in the attempt before. An attempt left open by a kill is closed as ``killed``.
        """
        origin = provenance()
        with self._changing() as facts:
            attempts = facts.setdefault("attempts", [])
            for attempt in attempts:
                if attempt.get("ended") is None:
                    attempt.update(ended=None, status="killed")
            facts.update(origin)
            facts.update(_belonging())
            attempts.append(
                {
                    "started": time.time(),
                    "pid": os.getpid(),
                    "host": socket.gethostname(),
                    "ended": None,
                    "status": "running",
                    "changed": self._changed(len(attempts)),
                    "versions": origin["versions"],
                    "git": origin["git"],
                }
            )

    def end_attempt(self, status: str) -> None:
        """Close the newest attempt with ``finished``, ``failed``, ``pruned`` or ``cancelled``."""
        with self._changing() as facts:
            if facts.get("attempts"):
                facts["attempts"][-1].update(ended=time.time(), status=status)

    def earlier(self, name: str, attempt: int) -> Path:
        """Where ``config.yaml`` or ``overrides.yaml`` of an attempt (1 is the first) is kept once another attempt
        has a different one: ``config.attempt-1.yaml``."""
        stem, _, suffix = name.partition(".")
        return self.dir / f"{stem}.attempt-{attempt}.{suffix}"

    @contextmanager
    def _changing(self) -> Iterator[dict[str, Any]]:
        """The facts, written back when the block ends; nobody else's change in between is lost."""
        with locked(self.dir / ".run.json.lock", wait=30.0):
            facts = self.facts
            yield facts
            if "attempts" in facts:
                facts["attempts"] = facts.pop("attempts")  # the longest part comes last
            atomic_write(self.dir / "run.json", _json(facts))

    def _changed(self, before: int) -> dict[str, list[Any]]:
        """The keys configured otherwise than in attempt ``before``, ``{key: [old, new]}``."""
        kept = self.earlier("config.yaml", before)
        if not before or not kept.is_file():
            return {}
        from trainer.core.yaml_io import load_yaml

        found = differences(load_yaml(kept), load_yaml(self.dir / "config.yaml"))
        return {key: values for key, values in found.items() if key not in ("resume", "id")}

    def write_result(self, result: dict[str, Any]) -> Path:
        """Write ``result.json``."""
        return atomic_write(self.dir / "result.json", _json(result))


def _begin(run: Run) -> Run:
    """Write a new run's ``run.json``, unless another process has done so a moment before."""
    facts = {
        "id": run.id,
        "experiment": run.experiment,
        "created": time.time(),
        **_belonging(),
        "attempts": [],
    }
    draft = atomic_write(run.dir / f".run.json.{secrets.token_hex(4)}.new", _json(facts))
    try:
        os.link(draft, run.dir / "run.json")
    except FileExistsError:
        raise ConfigError(
            f"there is a run {run.id} already ({run.dir}): resume=auto goes on with it, another id starts anew"
        ) from None
    except OSError:  # a file system without links
        move_into_place(draft, run.dir / "run.json")
    finally:
        draft.unlink(missing_ok=True)
    _point_latest(run.dir.parents[1], run.dir)
    return run


def _belonging() -> dict[str, Any]:
    """The sweep, its trial (a number) and the platform's job that this process was started for."""
    told = {name: os.environ.get(key, "") for name, key in _ENVIRONMENT.items()}
    return {
        name: int(value) if name == "trial" and value.isdigit() else value
        for name, value in told.items()
        if value
    }


def _json(content: Any) -> str:
    return json.dumps(mask_strings(content), indent=2, ensure_ascii=False, default=str) + "\n"


def run_environment(belonging: Mapping[str, str]) -> dict[str, str]:
    """The variables that tell a run's process its ``parent``, ``trial``, ``label`` and ``job``."""
    return {_ENVIRONMENT[name]: value for name, value in belonging.items()}


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
        move_into_place(beside, latest, flush=False)
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
