"""The package of an export: the model file, what it says of itself, the proof, and code that uses it."""

from __future__ import annotations

import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

from trainer.core.atomic_files import atomic_file, atomic_write
from trainer.export.metadata import Metadata
from trainer.export.readme import header, readmes, requirements

RUNTIMES = Path(__file__).parent / "runtimes"
LANGUAGES = {"onnx": ("python", "cpp"), "tensorrt": ("python",), "torchscript": ("python",)}
_FILES = {
    "python": ("model_wrapper.py",),
    "cpp": ("CMakeLists.txt", "main.cpp", "model_wrapper.cpp", "model_wrapper.h"),
}
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest a zip knows


def copy_runtimes(folder: Path, metadata: Metadata) -> None:
    """Code that uses the file, for the languages of its format, into ``folder`` (``runtimes``)."""
    kind = metadata["format"]
    for language in LANGUAGES[kind]:
        (folder / language).mkdir(parents=True, exist_ok=True)
        for name in _FILES[language]:
            shutil.copyfile(RUNTIMES / language / name, folder / language / name)
    for place, text in readmes(metadata, LANGUAGES[kind]).items():
        atomic_write(folder / place, text)
    atomic_write(folder / "python" / "requirements.txt", requirements(kind))
    if "cpp" in LANGUAGES[kind]:
        atomic_write(folder / "cpp" / "model_metadata.h", header(metadata))


def write_package(folder: Path, name: str) -> Path:
    """``export_<name>.zip`` in ``folder``, with all that is in it. The same files give the same bytes."""
    path = folder / f"export_{safe(name)}.zip"
    with (
        atomic_file(path) as file,
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as package,
    ):
        for one in _files(folder):
            entry = zipfile.ZipInfo(one.relative_to(folder).as_posix(), _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o100644 << 16
            entry.create_system = 3  # Unix, wherever it is made
            with one.open("rb") as source, package.open(entry, "w", force_zip64=True) as target:
                shutil.copyfileobj(source, target, 1 << 20)
    return path


def safe(name: str) -> str:
    """``name`` as a part of a file's name anywhere: letters, digits, ``.``, ``_`` and ``-``, none of them leading."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-_") or "model"


def _files(folder: Path) -> Iterator[Path]:
    for one in sorted(folder.rglob("*"), key=lambda path: path.relative_to(folder).as_posix()):
        hidden = any(part.startswith(".") for part in one.relative_to(folder).parts)
        if one.is_file() and not hidden and "__pycache__" not in one.parts and one.suffix != ".zip":
            yield one
