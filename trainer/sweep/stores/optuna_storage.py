"""Optuna's storages by URL, and its journal file so that a kill at any moment leaves it whole and unlocked."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import optuna
from optuna.storages.journal import BaseJournalBackend, JournalFileBackend

from trainer.core.errors import ConfigError
from trainer.core.secrets import mask_text
from trainer.sweep.stores.plain_journal import append, journal_lock
from trainer.sweep.stores.trial_store import StoreDown

T = TypeVar("T")

CONNECT_SECONDS = 20.0
# What a database's URL needs besides SQLAlchemy, by the import that fails.
_DRIVERS = {
    "psycopg": "psycopg[binary]",
    "psycopg2": "psycopg2-binary",
    "MySQLdb": "mysqlclient",
    "pymysql": "pymysql",
    "grpc": "grpcio protobuf",
    "sqlalchemy": "sqlalchemy",
}
# By scheme: the package of SQLAlchemy's default driver, and what is written where that one isn't installed.
_USUAL = {
    "postgresql": ("psycopg2", "postgresql+psycopg"),
    "postgres": ("", "postgresql+psycopg"),
    "mysql": ("MySQLdb", "mysql+pymysql"),
    "mariadb": ("MySQLdb", "mariadb+pymysql"),
}


class Journal(JournalFileBackend):
    """Optuna's journal file. Its own locks outlive a killed writer, and a line that one has torn hides all later
    ones."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        super().__init__(str(path))
        self._path = path

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        import json

        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        with journal_lock(self._path):
            append(self._path, lines.encode())


def open_storage(url: str | None, journal: Path) -> Any:
    """The storage at ``url``: ``sqlite:///file``, ``postgresql://...``, ``mysql://...``, ``grpc://host:port``; None:
    the journal file.

    Raises:
        ConfigError: the URL can't be read, or its driver isn't installed.
        StoreDown: nobody answers there.
    """
    if url is None:
        backend: BaseJournalBackend = Journal(journal)
        return optuna.storages.JournalStorage(backend)
    shown = mask_text(url)
    try:
        if url.startswith("grpc://"):
            return _proxy(url)
        return _patiently(lambda: _database(url))
    except ImportError as error:
        missing = getattr(error.__cause__, "name", None) or error.name or "its driver"
        package = _DRIVERS.get(missing.partition(".")[0], missing)
        raise ConfigError(
            f"sweep.storage={shown} needs a package that isn't here: pip install {package}"
        ) from None
    except ValueError as error:
        raise ConfigError(f"sweep.storage={shown}: {mask_text(str(error).splitlines()[0])}") from None


def study_names(storage: Any) -> list[str]:
    """The names of all studies in a storage."""
    with reaching():
        return list(optuna.get_all_study_names(storage))


def with_driver(url: str) -> str:
    """A URL that names no driver gets the one that is here: SQLAlchemy's defaults are older ones."""
    scheme, mark, rest = url.partition("://")
    names = _USUAL.get(scheme)
    if not names or (names[0] and find_spec(names[0]) is not None):
        return url
    return f"{names[1]}{mark}{rest}"


@contextmanager
def reaching() -> Iterator[None]:
    """What a storage says when it can't be reached, as :class:`StoreDown`."""
    try:
        yield
    except Exception as error:
        if is_down(error) and not isinstance(error, StoreDown):
            raise StoreDown(_words(error)) from error
        raise


def is_down(error: Exception) -> bool:
    """Whether an error means that the storage can't be reached."""
    ours = (StoreDown, optuna.exceptions.StorageInternalError, OSError)
    return isinstance(error, ours) or type(error).__module__.partition(".")[0] in ("sqlalchemy", "grpc")


def _proxy(url: str) -> Any:
    host, colon, port = url.removeprefix("grpc://").strip("/").rpartition(":")
    if not colon or not host or not port.isdigit():
        raise ValueError("expected grpc://host:port")
    from optuna.storages import GrpcStorageProxy

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        proxy = GrpcStorageProxy(host=host, port=int(port))
    try:
        proxy.wait_server_ready(timeout=CONNECT_SECONDS)
    except Exception as error:
        raise StoreDown(f"sweep.storage={url}: nobody answers ({_words(error)})") from None
    return proxy


def _database(url: str) -> Any:
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

    options: dict[str, Any] = {"pool_pre_ping": True}
    url = with_driver(url)
    if url.startswith("sqlite"):
        options = {"connect_args": {"timeout": 60.0}}
        _make_folder(url)
    try:
        return optuna.storages.RDBStorage(url, engine_kwargs=options)
    except (ArgumentError, NoSuchModuleError) as error:
        raise ValueError(str(error)) from None
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        raise StoreDown(f"sweep.storage={mask_text(url)}: {_words(error)}") from error


def _make_folder(url: str) -> None:
    path = url.partition(":///")[2].partition("?")[0]
    if path and path != ":memory:":
        Path(path).parent.mkdir(parents=True, exist_ok=True)


def _patiently(connect: Callable[[], T]) -> T:
    """Two that make the tables of an empty database at once get into each other's way; the later one finds them."""
    until = time.monotonic() + CONNECT_SECONDS
    while True:
        try:
            return connect()
        except StoreDown:
            if time.monotonic() > until:
                raise
            time.sleep(0.5)


def _words(error: BaseException) -> str:
    cause = error.__cause__ or error
    return mask_text(f"{type(cause).__name__}: {' '.join(str(cause).split())}")[:300]
