"""The environment that a job's process gets: a container's user may have no home, no name and no folder of its own."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from trainer.core.secrets import mask_text
from trainer.platform.settings.environment_variables import Variables

# What the platform's own client of the stores takes where nothing at all is set.
STORES = {
    "EXTERNAL_STORAGE_ENDPOINT": "http://localhost:9000",
    "INTERNAL_STORAGE_ENDPOINT": "http://localhost:9002",
    **{
        f"{store}_STORAGE_{key}_KEY": "minioadmin"
        for store in ("EXTERNAL", "INTERNAL")
        for key in ("ACCESS", "SECRET")
    },
}
_PORTS = (9000, 9002)
MODELS = Path("/data/models")  # the platform's mount


def work_root(environment: Mapping[str, str]) -> Path:
    """Where jobs work: ``WORK_DIR``, else the folder for temporary files."""
    return Path(environment.get("WORK_DIR") or tempfile.gettempdir()).absolute()


def completed(variables: Variables) -> dict[str, str]:
    """The variables of this process and of what it starts, those of ``.env`` and what is missing among them."""
    environment = {name: value for name, value in variables.environment.items() if value.strip()}
    return {**environment, **_stores(environment), **_folders(environment), **_user(environment)}


def hidden(overrides: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Overrides with secrets in them by way of the environment: everybody can read a command line."""
    from trainer.config.overrides import parse_override

    words: list[str] = []
    environment: dict[str, str] = {}
    for index, word in enumerate(overrides):
        value = parse_override(word).value if mask_text(word) != word else None
        if isinstance(value, str):
            name = f"TRAINER_SETTING_{index}"
            environment[name] = value
            word = f"{word.partition('=')[0]}=${{oc.env:{name}}}"
        words.append(word)
    return words, environment


def _stores(environment: Mapping[str, str]) -> dict[str, str]:
    """The usual stores, where none is named at all and they are there."""
    named = any(name.startswith("AWS_") or name in ("S3_ENDPOINT", *STORES) for name in environment)
    return STORES if not named and all(map(_listens, _PORTS)) else {}


def _listens(port: int) -> bool:
    try:
        with socket.create_connection(("localhost", port), timeout=1.0):
            return True
    except OSError:
        return False


def _folders(environment: Mapping[str, str]) -> dict[str, str]:
    root = work_root(environment)
    user = os.getuid() if hasattr(os, "getuid") else "user"
    wanted = {
        "TRAINER_CACHE": root / f"openmmlab-trainer-{user}",
        "MPLCONFIGDIR": root / f"matplotlib-{user}",
        "TORCH_HOME": root / f"torch-{user}",
    }
    datasets = root / "datasets"
    if _writable(datasets):
        wanted["DATASET_CACHE_DIR"] = datasets
    models = Path(environment["MODEL_WEIGHTS_DIR"]) if environment.get("MODEL_WEIGHTS_DIR") else MODELS
    if models.is_dir():
        wanted["TRAINER_WEIGHTS"] = models
    home = environment.get("HOME")
    if not home or not os.access(home, os.W_OK):
        wanted["XDG_CACHE_HOME"] = root / f"cache-{user}"
        wanted["XDG_CONFIG_HOME"] = root / f"config-{user}"
    return {name: str(folder) for name, folder in wanted.items() if not environment.get(name)}


def _user(environment: Mapping[str, str]) -> dict[str, str]:
    """A name for libraries that ask for one, where the system knows none."""
    if any(environment.get(name) for name in ("LOGNAME", "USER")) or os.name == "nt":
        return {}
    import pwd

    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        return {"USER": "trainer", "LOGNAME": "trainer"}
    return {}


def _writable(folder: Path) -> bool:
    """Whether files can be made in a folder, which is made where it isn't there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False
