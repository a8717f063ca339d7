"""Where MLflow is: the server or database that a configuration means, and how it is looked at."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from trainer.core.errors import ConfigError
from trainer.schema import Tracking

ENVIRONMENT = "MLFLOW_TRACKING_URI"
SQLITE = "sqlite:///"
_SCHEMES = re.compile(r"(https?|sqlite|postgresql|mysql|mssql|databricks(-uc)?)(\+\w+)?(:|$)")


def tracking_uri(tracking: Tracking, output_dir: str | Path) -> str:
    """The tracking URI: ``tracking.uri``, else ``MLFLOW_TRACKING_URI``, else the file mlflow.db in ``output_dir``.

    Raises:
        ConfigError: a URI that MLflow can't write to, such as a folder.
    """
    uri, source = tracking.uri, "tracking.uri"
    if not uri:
        uri, source = os.environ.get(ENVIRONMENT), ENVIRONMENT
    if not uri:
        return f"{SQLITE}{(Path(output_dir).absolute() / 'mlflow.db').as_posix()}"
    if not _SCHEMES.match(uri):
        raise ConfigError(
            f"{source}={without_credentials(uri)}: MLflow no longer writes to plain folders; give a server "
            "(http://host:5000) or a database file (sqlite:///runs/mlflow.db)"
        )
    # The sink, or somebody who catches up later, may run in another folder.
    return f"{SQLITE}{Path(uri[len(SQLITE) :]).absolute().as_posix()}" if uri.startswith(SQLITE) else uri


def database_file(uri: str) -> Path | None:
    """The SQLite file of a URI, None for a server."""
    return Path(uri[len(SQLITE) :]) if uri.startswith(SQLITE) else None


def artifact_root(uri: str) -> str | None:
    """Where a new experiment keeps its artifacts: beside the SQLite file; None leaves it to the server."""
    file = database_file(uri)
    return (file.parent / "mlartifacts").as_uri() if file else None


def without_credentials(uri: str) -> str:
    """The URI without user and password, as it may be written down."""
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])) if "@" in parts.netloc else uri


def scrubbed(text: str) -> str:
    """A message without the user and password of any URI in it."""
    return re.sub(r"://[^/\s@]+@", "://", text)


def with_credentials(uri: str) -> str:
    """The URI with the user and password that the environment has for it, if any."""
    environment = os.environ.get(ENVIRONMENT, "")
    return environment if without_credentials(environment) == uri else uri


def ui_command(tracking: Tracking, output_dir: str | Path) -> str:
    """What to type, or which page to open, to look at the runs."""
    uri = tracking_uri(tracking, output_dir)
    file = database_file(uri)
    if uri.startswith("http"):
        return without_credentials(uri)
    shown = f"{SQLITE}{_shorter(file)}" if file else without_credentials(uri)
    beside = Path(sys.executable).with_name("mlflow")
    # Where the environment isn't activated, the plain word would find no mlflow or another one.
    program = "mlflow" if shutil.which("mlflow") == str(beside) or not beside.exists() else _shorter(beside)
    return f"{program} ui --backend-store-uri {shown}"


def _shorter(path: Path) -> str:
    """Relative to the working directory where that is shorter to type."""
    try:
        return path.relative_to(Path.cwd()).as_posix()
    except ValueError:
        return path.as_posix()
