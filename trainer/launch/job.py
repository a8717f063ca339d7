"""A command line on its way to where it runs: words, variables, and the folder that knows about it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from trainer.core.atomic_files import atomic_write
from trainer.core.errors import ConfigError
from trainer.schema import LauncherConfig, options_from

FOLDER = ".launched"
FILE = "job.json"


@dataclass(frozen=True)
class Job:
    """One command line that runs elsewhere, again and again until it is through.

    Attributes:
        id: the run's id; for what is no training a name of its own.
        words: all that follows ``python -m trainer``, secrets and all.
        cwd: the folder that its relative paths are in.
        environment: variables that travel with it, secrets and all.
        folder: ``<output_dir>/.launched/<id>``, with ``job.json`` and what is known about the job.
        title: what it is, in a few words.
        options: the launcher's.
        run_dir: the run directory that it will have; None for what is no training.
        device: ``runtime.device``.
    """

    id: str
    words: tuple[str, ...]
    cwd: Path
    folder: Path
    title: str
    environment: dict[str, str] = field(default_factory=dict)
    options: LauncherConfig = field(default_factory=LauncherConfig)
    run_dir: Path | None = None
    device: str = "auto"

    @property
    def command(self) -> str:
        return self.words[0]

    def save(self) -> Path:
        """Write ``job.json``, which nobody else may read: words and variables are nowhere else."""
        self.folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.as_dict(), indent=1, ensure_ascii=False)
        return atomic_write(self.folder / FILE, text + "\n", mode=0o600)

    def as_dict(self) -> dict[str, Any]:
        """What ``job.json`` holds."""
        found = asdict(self)
        paths = {name: value and str(value) for name, value in found.items() if name in _PATHS}
        return {**found, "words": list(self.words), **paths}

    @classmethod
    def load(cls, folder: str | Path) -> Job:
        """The job of a folder, which may be elsewhere by now.

        Raises:
            ConfigError: there is none, or it can't be read.
        """
        path = Path(folder).absolute() / FILE
        try:
            found = json.loads(path.read_bytes())
            paths = {name: Path(found[name]) for name in _PATHS if found[name]}
            words, options = tuple(found["words"]), options_from("launcher", found["options"])
            return cls(**{**found, **paths, "words": words, "options": options, "folder": path.parent})
        except FileNotFoundError:
            raise ConfigError(f"no job was launched from {path.parent}: it has no {FILE}") from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{path} can't be read: {type(error).__name__}: {error}") from None


def travelling(
    words: Iterable[str], names: Iterable[str] = (), environ: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """The variables that a job needs where it runs: the trainer's, the tracker's, the stores', those that a word
    refers to (``${oc.env:NAME}``), and the named ones.

    Args:
        names: ``NAME`` for one as it is here, ``NAME=value`` for another value.

    Raises:
        ConfigError: a named one isn't set here.
    """
    referred = {name for word in words for name in _REFERRED.findall(word)}
    found = {
        name: value
        for name, value in environ.items()
        if (name.startswith(_PREFIXES) and name not in _OF_THIS_PROCESS) or name in _NAMES or name in referred
    }
    for word in names:
        name, equals, value = word.partition("=")
        if not equals and name not in environ:
            raise ConfigError(f"launcher.env: {name} isn't set here; write {name}=<value>, or leave it out.")
        found[name] = value if equals else environ[name]
    return found


_PATHS = ("cwd", "folder", "run_dir")
_REFERRED = re.compile(r"\$\{oc\.env:\s*(\w+)")
_PREFIXES = ("TRAINER_", "MLFLOW_", "AWS_", "S3_", "EXTERNAL_STORAGE_", "INTERNAL_STORAGE_")
_NAMES = {
    *("PYTHONPATH", "NO_ALBUMENTATIONS_UPDATE", "HYDRA_FULL_ERROR", "DATASET_CACHE_DIR", "MODEL_WEIGHTS_DIR"),
    *(name for low in ("http_proxy", "https_proxy", "no_proxy") for name in (low, low.upper())),
    *("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"),
}
# Who this very process is, and what it may take of this machine.
_OF_THIS_PROCESS = {"TRAINER_LAUNCHED", "TRAINER_FAILURE", "TRAINER_CORES"}
