"""Exported models as files: the model file itself, the folder it was written to, the package. Imports no torch."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path, PurePosixPath

from trainer.core import plugins
from trainer.core.cache_folder import build_folder, cache_dir
from trainer.core.errors import CheckpointError

METADATA = "metadata.json"
MODELS = (".onnx", ".torchscript", ".engine", ".pt")
SUFFIXES = (*MODELS, ".zip")


def is_exported(path: Path) -> bool:
    """Whether a file or folder that is there is an export; a ``.pt`` may be a checkpoint as well."""
    if path.is_dir():
        return is_folder(path)
    if path.suffix == ".pt":
        return _is_torchscript(path)
    return path.suffix in SUFFIXES or (path.suffix != ".pth" and path.suffix in plugin_suffixes())


def plugin_suffixes() -> list[str]:
    """The suffixes of the export formats that plug-ins add."""
    entries = [entry for entry in plugins.entry_points("trainer.exporters") if entry.distribution]
    return [entry.load().suffix for entry in entries]


def is_folder(path: Path) -> bool:
    """Whether it is a folder that an export wrote, or one of several such folders."""
    return path.is_dir() and bool(_folders(path))


def model_file(path: Path) -> Path:
    """The model file of an export: the file itself, or what its folder's or package's ``metadata.json`` names.

    Raises:
        CheckpointError: there is none, or several to choose from.
    """
    if path.is_dir():
        return _in_folder(path)
    return _in_folder(_unpacked(path)) if path.suffix == ".zip" else path


def _folders(path: Path) -> list[Path]:
    folders = [path, *sorted(one for one in path.iterdir() if one.is_dir())]
    return [one for one in folders if (one / METADATA).is_file() and (one is path or _named(one))]


def _in_folder(path: Path) -> Path:
    folders = _folders(path)
    if path in folders:
        folders = [path]
    files = [file for folder in folders if (file := _named(folder))]
    if len(files) == 1:
        return files[0]
    if files:
        choices = ", ".join(str(file.relative_to(path)) for file in files)
        raise CheckpointError(f"{path} holds several exports ({choices}); name one of them")
    raise CheckpointError(f"{path} holds no exported model ({' '.join(MODELS)})")


def _named(folder: Path) -> Path | None:
    """The file that the folder's metadata names, else the only one there."""
    try:
        name = json.loads((folder / METADATA).read_bytes()).get("file")
    except (OSError, ValueError, AttributeError):
        name = None
    if isinstance(name, str) and PurePosixPath(name).name == name and (folder / name).is_file():
        return folder / name
    files = sorted(one for one in folder.iterdir() if one.suffix in MODELS and one.is_file())
    return files[0] if len(files) == 1 else None


def _unpacked(path: Path) -> Path:
    """A package's model and metadata, in the cache; its scripts stay where they are."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if _wanted(name)]
            if METADATA not in names:
                raise CheckpointError(f"{path} is no exported package: it holds no {METADATA}")

            def fill(folder: Path) -> None:
                for name in names:
                    with archive.open(name) as source, (folder / name).open("wb") as target:
                        while block := source.read(1 << 20):
                            target.write(block)

            return build_folder(cache_dir() / "packages" / _digest(path), fill)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise CheckpointError(f"{path} can't be read as a package: {error}") from None


def _wanted(name: str) -> bool:
    """Files at the root, and by their own names: nothing in a package may be written elsewhere."""
    return (
        PurePosixPath(name).name == name and not name.startswith(".") and "\\" not in name and ":" not in name
    )


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:24]


def _is_torchscript(path: Path) -> bool:
    """A TorchScript file holds code, a checkpoint tensors alone; both are zip files."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(PurePosixPath(name).name == "constants.pkl" for name in archive.namelist())
    except (zipfile.BadZipFile, OSError):
        return False
