"""The package of an export: the model file, its metadata, the proof, and code that uses it."""

from __future__ import annotations

import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

from trainer.core.atomic_files import atomic_file, atomic_write
from trainer.export.export_format import load_format
from trainer.export.metadata import Metadata
from trainer.export.readme import header, readmes, requirements

RUNTIMES = Path(__file__).parent / "runtimes"
_FILES = {
    "python": ("model_wrapper.py",),
    "cpp": ("CMakeLists.txt", "main.cpp", "model_wrapper.cpp", "model_wrapper.h"),
}
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date in a zip file


def copy_runtimes(folder: Path, metadata: Metadata) -> None:
    """Write code that uses the file into ``folder``: ``python/`` and what other languages its format has."""
    export_format = load_format(metadata["format"])
    languages = export_format.languages
    for language in languages:
        (folder / language).mkdir(parents=True, exist_ok=True)
        for name in _FILES[language]:
            shutil.copyfile(RUNTIMES / language / name, folder / language / name)
    if export_format.runtime_file is not None:
        shutil.copyfile(export_format.runtime_file, folder / "python" / "runtime.py")
    for path, text in readmes(metadata, languages).items():
        atomic_write(folder / path, text)
    atomic_write(folder / "python" / "requirements.txt", requirements(export_format.requirements))
    if "cpp" in languages:
        atomic_write(folder / "cpp" / "model_metadata.h", header(metadata))


def write_package(folder: Path, name: str) -> Path:
    """Pack all files of ``folder`` as ``export_<name>.zip`` in it; the same files give the same bytes."""
    package = folder / f"export_{safe(name)}.zip"
    with (
        atomic_file(package) as file,
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive,
    ):
        for path in _files(folder):
            entry = zipfile.ZipInfo(path.relative_to(folder).as_posix(), _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o100644 << 16
            entry.create_system = 3  # Unix, wherever it is made
            with path.open("rb") as source, archive.open(entry, "w", force_zip64=True) as target:
                shutil.copyfileobj(source, target, 1 << 20)
    return package


def safe(name: str) -> str:
    """``name`` as a part of a file name on any system: letters, digits, ``.``, ``_`` and ``-``.

    >>> safe("../a b:c")
    'a-b-c'
    """
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-_") or "model"


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*"), key=lambda path: path.relative_to(folder).as_posix()):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.is_file() and not hidden and "__pycache__" not in path.parts and path.suffix != ".zip":
            yield path
