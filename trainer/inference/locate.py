"""Which file ``checkpoint=...`` means. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trainer.engine.manifest import Manifest
from trainer.errors import CheckpointError, ConfigError, did_you_mean
from trainer.run import LATEST, Run


@dataclass(frozen=True)
class Found:
    """A checkpoint file and the run that it is of; None for a file outside a run directory."""

    path: Path
    run: Run | None
    notes: tuple[str, ...] = ()

    def folder(self, name: str) -> Path:
        """Where a command's files go when it isn't told: ``name`` in the run, or beside the file."""
        return (self.run.dir if self.run else self.path.parent) / name


def find_checkpoint(checkpoint: str | Path | None, output_dir: str | Path = "runs") -> Found:
    """The checkpoint that is meant by a run's folder, id or id prefix, ``latest`` (also None), or a ``.pth`` file.

    A run's best checkpoint is taken, its last where there is no best one.

    Raises:
        CheckpointError: there is no such file, or none in the run is whole.
        ConfigError: no run, or more than one, has that name.
    """
    name = str(checkpoint or LATEST)
    path = Path(name).expanduser()
    if name != LATEST and path.is_file():
        return Found(path.resolve(), _run_of(path.resolve()))
    if path.suffix == ".pth":
        beside = [str(one) for one in sorted(path.parent.glob("*.pth"))]
        raise CheckpointError(f"there is no checkpoint {path}.{did_you_mean(name, beside)}")
    if path.is_dir() and (path / "manifest.json").is_file() and _run_of(path.resolve() / "best.pth"):
        path = path.resolve().parent  # the run's checkpoints folder
        name = str(path)
    try:
        run = Run.find(output_dir, name)
    except ConfigError as error:
        raise type(error)(f"checkpoint={name}: {error}") from None
    notes = () if checkpoint else (f"checkpoint=latest: {run.id}",)
    return _best(run, notes)


def _best(run: Run, notes: tuple[str, ...]) -> Found:
    manifest = Manifest(run.checkpoints)
    for name in ("best", "last"):
        if manifest.entry(name) is not None:
            if name == "last":
                why = "doesn't match its checksum" if manifest.file("best").exists() else "is missing"
                notes = (*notes, f"{manifest.file('best').name} {why}: last.pth is used")
            return Found(manifest.file(name), run, notes)
    state = "is whole" if manifest.folder.is_dir() else "was saved"
    raise CheckpointError(f"no checkpoint of run {run.id} {state} ({manifest.folder})")


def _run_of(path: Path) -> Run | None:
    try:
        return Run.open(path.parent.parent)
    except ConfigError:
        return None
