"""Which file ``checkpoint=...`` means. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.core.errors import CheckpointError, ConfigError, did_you_mean
from trainer.runs.manifest import Manifest
from trainer.runs.run import LATEST, Run

if TYPE_CHECKING:
    from trainer.checkpoints.pretrained import PublishedModel


@dataclass(frozen=True)
class ResolvedCheckpoint:
    """A model's file and the run that it is of; None for a file outside a run directory.

    ``exported`` tells an exported file from a checkpoint. ``home`` is where answers go when neither the run nor the
    file's own folder is the place for them: the file lies in a cache. ``published`` is the model of the zoo that the
    file's weights are of.
    """

    path: Path
    run: Run | None
    notes: tuple[str, ...] = ()
    exported: bool = False
    home: Path | None = None
    published: PublishedModel | None = None

    def folder(self, name: str) -> Path:
        """Where a command's files go when it isn't told: ``name`` in the run, or beside the file."""
        return (self.run.dir if self.run else self.home or self.path.parent) / name


def find_checkpoint(checkpoint: str | Path | None, output_dir: str | Path = "runs") -> ResolvedCheckpoint:
    """The model that is meant by a run, a checkpoint, an exported file, or the address of one of these.

    A run (its folder, id or id prefix, ``latest``, also None) means its best checkpoint, its last where there is no
    best one. Files are ``.pth`` of this trainer, and what it exported: the model file, its folder or the package.
    Addresses are ``https://...``, ``s3://bucket/key`` and MLflow's ``models:/...`` and ``runs:/...``.
    ``pretrained:<model>`` is a model of the zoo as its authors published it.

    Raises:
        CheckpointError: there is no such file, or none in the run is whole.
        ConfigError: no run, or more than one, has that name.
        NetworkError: it can't be brought here.
    """
    from trainer.checkpoints import exported_model, remote_models
    from trainer.checkpoints import pretrained as published

    name = str(checkpoint or LATEST)
    if published.is_pretrained_name(name):
        path, model = published.find_pretrained(name)
        return ResolvedCheckpoint(path, None, home=Path.cwd(), published=model)
    if remote_models.is_address(name):
        return _local(remote_models.fetch_model(name, output_dir), Path.cwd())
    path = Path(name).expanduser()
    for there in (path, Path(output_dir) / name):  # latest/export/onnx
        if name != LATEST and (there.is_file() or exported_model.is_folder(there)):
            return _local(there)
    if path.suffix in (".pth", *exported_model.SUFFIXES):
        beside = [str(one) for one in sorted(path.parent.glob(f"*{path.suffix}"))]
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


def _local(path: Path, home: Path | None = None) -> ResolvedCheckpoint:
    """A file or a folder that is there."""
    from trainer.checkpoints import exported_model

    path = path.resolve()
    if exported_model.is_exported(path):
        file = exported_model.model_file(path)
        if home is None and file.parent not in (path, path.parent):
            home = path.parent  # unpacked elsewhere
        return ResolvedCheckpoint(file, _run_of(file), exported=True, home=home)
    return ResolvedCheckpoint(path, _run_of(path), home=home)


def _best(run: Run, notes: tuple[str, ...]) -> ResolvedCheckpoint:
    manifest = Manifest(run.checkpoints)
    for name in ("best", "last"):
        if manifest.entry(name) is not None:
            if name == "last":
                why = "doesn't match its checksum" if manifest.file("best").exists() else "is missing"
                notes = (*notes, f"{manifest.file('best').name} {why}: last.pth is used")
            return ResolvedCheckpoint(manifest.file(name), run, notes)
    state = "is whole" if manifest.folder.is_dir() else "was saved"
    raise CheckpointError(f"no checkpoint of run {run.id} {state} ({manifest.folder})")


def _run_of(path: Path) -> Run | None:
    """The run that a file lies in: ``checkpoints/best.pth``, ``export/onnx/model.onnx``."""
    for folder in path.parents[1:4]:
        if (folder / "run.json").is_file():
            try:
                return Run.open(folder)
            except ConfigError:
                return None
    return None
