"""A command line on its way to where it runs: arguments, variables, and the folder that holds its state."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic

from trainer.core.atomic_files import atomic_write
from trainer.core.errors import ConfigError
from trainer.schema import LauncherConfig, options_from

if TYPE_CHECKING:  # a type checker's own: at run time Python before 3.13 knows no defaults
    from typing_extensions import TypeVar

    ConfigT_co = TypeVar("ConfigT_co", bound=LauncherConfig, covariant=True, default=LauncherConfig)
else:
    from typing import TypeVar

    ConfigT_co = TypeVar("ConfigT_co", covariant=True)

FOLDER = ".launched"
FILE = "job.json"
_PATHS = ("cwd", "folder", "run_dir")


@dataclass(frozen=True)
class Job(Generic[ConfigT_co]):
    """One command line that runs elsewhere, again and again until it has finished.

    Attributes:
        id: the run's id; a command that trains nothing has a name of its own.
        argv: everything after ``python -m trainer``, secrets included.
        cwd: the folder that relative paths in ``argv`` start from.
        environment: variables that travel with it, secrets included.
        folder: ``<output_dir>/.launched/<id>``, with ``job.json`` and the job's state.
        title: what it does, in a few words.
        options: the launcher's options.
        run_dir: the run directory that it writes; None for a command that trains nothing.
        device: ``runtime.device``.
    """

    id: str
    argv: tuple[str, ...]
    cwd: Path
    folder: Path
    title: str
    environment: dict[str, str] = field(default_factory=dict)
    options: ConfigT_co = field(default_factory=LauncherConfig)  # type: ignore[assignment]
    run_dir: Path | None = None
    device: str = "auto"

    @property
    def command(self) -> str:
        """The command, such as ``train``."""
        return self.argv[0]

    def save(self) -> Path:
        """Write ``job.json``, which only its owner can read: no other file holds arguments and variables."""
        self.folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.as_dict(), indent=1, ensure_ascii=False)
        return atomic_write(self.folder / FILE, text + "\n", mode=0o600)

    def as_dict(self) -> dict[str, Any]:
        """The content of ``job.json``."""
        content = asdict(self)
        paths = {key: value and str(value) for key, value in content.items() if key in _PATHS}
        return {"id": self.id, "words": list(content.pop("argv")), **content, **paths}

    @classmethod
    def load(cls, folder: str | Path) -> Job[Any]:
        """Read the job of a folder, which may have been moved or mounted elsewhere.

        Raises:
            ConfigError: the folder holds no job, or the job can't be read.
        """
        path = Path(folder).absolute() / FILE
        try:
            content = json.loads(path.read_bytes())
            paths = {key: Path(content[key]) for key in _PATHS if content[key]}
            argv, options = tuple(content.pop("words")), options_from("launcher", content["options"])
            return Job(**{**content, **paths, "argv": argv, "options": options, "folder": path.parent})
        except FileNotFoundError:
            raise ConfigError(f"no job was launched from {path.parent}: it has no {FILE}") from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{path} can't be read: {type(error).__name__}: {error}") from None


def travelling(
    argv: Iterable[str], names: Iterable[str] = (), environ: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """The variables that a job needs where it runs.

    These are the trainer's, the tracker's and the stores' variables, those that an argument refers to
    (``${oc.env:NAME}``), and those in ``names``.

    Args:
        argv: the job's arguments.
        names: ``NAME`` for a variable with its value here, ``NAME=value`` for another value.
        environ: the variables to choose from.

    Raises:
        ConfigError: a variable in ``names`` isn't set here.

    >>> travelling(["tracking.uri=${oc.env:DB}"], ["A", "B=2"], {"DB": "u", "A": "1", "HOME": "/root"})
    {'DB': 'u', 'A': '1', 'B': '2'}
    """
    referenced = {name for argument in argv for name in _REFERENCE.findall(argument)}
    result = {
        name: value
        for name, value in environ.items()
        if (name.startswith(_PREFIXES) and name not in _OF_THIS_PROCESS)
        or name in _NAMES
        or name in referenced
    }
    for assignment in names:
        name, equals, value = assignment.partition("=")
        if not equals and name not in environ:
            raise ConfigError(f"launcher.env: {name} isn't set here; write {name}=<value>, or leave it out.")
        result[name] = value if equals else environ[name]
    return result


_REFERENCE = re.compile(r"\$\{oc\.env:\s*(\w+)")
_PREFIXES = ("TRAINER_", "MLFLOW_", "AWS_", "S3_", "EXTERNAL_STORAGE_", "INTERNAL_STORAGE_")
_NAMES = {
    *("PYTHONPATH", "NO_ALBUMENTATIONS_UPDATE", "HYDRA_FULL_ERROR", "DATASET_CACHE_DIR", "MODEL_WEIGHTS_DIR"),
    *(spelling for name in ("http_proxy", "https_proxy", "no_proxy") for spelling in (name, name.upper())),
    *("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"),
}
# What is true of this process alone: its launcher, its failure file, its share of the cores.
_OF_THIS_PROCESS = {"TRAINER_LAUNCHED", "TRAINER_FAILURE", "TRAINER_CORES"}
