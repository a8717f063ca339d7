"""Debian's PostgreSQL for a test: a server of its own in a temporary folder, on a free port of this machine."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DEADLINE = 120.0


class Missing(Exception):
    """Why there can be no server."""


@contextmanager
def server() -> Iterator[str]:
    """The URL of an empty database while the block runs.

    Raises:
        Missing: PostgreSQL isn't installed, or there is nobody to run it as (it refuses root).
    """
    programs = _programs()
    user = _user()
    # Not pytest's folder, which only its owner may enter; short, as a socket's path must be.
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    try:
        if user is not None:
            shutil.chown(folder, user.pw_name)
        who = {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        data = folder / "data"
        made = subprocess.run(
            [programs / "initdb", "-D", data, "-U", "sweep", "-A", "trust", "-E", "UTF8", "--no-sync"],
            capture_output=True, text=True, cwd=folder, **who,
        )  # fmt: skip
        if made.returncode:
            raise Missing(f"initdb: {made.stderr.strip()}")
        port = free_port()
        settings = {"listen_addresses": "127.0.0.1", "fsync": "off", "unix_socket_directories": str(folder)}
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with (folder / "log").open("wb") as said:
            process = subprocess.Popen(
                [programs / "postgres", "-D", data, "-p", str(port), *words],
                stdout=said, stderr=said, cwd=folder, start_new_session=True, **who,
            )  # fmt: skip
        try:
            _wait(process, port, folder / "log")
            yield f"postgresql://sweep:a-secret-password@127.0.0.1:{port}/postgres"
        finally:
            process.send_signal(signal.SIGINT)  # fast: SIGTERM would wait for clients
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    named = shutil.which("postgres")
    folders = [*reversed(found), *([Path(named).resolve().parent] if named else [])]
    for folder in folders:
        if (folder / "initdb").is_file() and (folder / "postgres").is_file():
            return folder
    raise Missing("PostgreSQL isn't installed")


def _user() -> pwd.struct_passwd | None:
    """Whom to run it as; None: as ourselves."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise Missing("PostgreSQL doesn't run as root, and there is nobody else")


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    import psycopg

    until = time.monotonic() + DEADLINE
    while True:
        try:
            psycopg.connect(f"postgresql://sweep@127.0.0.1:{port}/postgres", connect_timeout=5).close()
            return
        except psycopg.OperationalError:
            if process.poll() is not None:
                raise Missing(f"postgres: {log.read_text().strip()}") from None
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.1)
