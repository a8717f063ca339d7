"""Debian's MariaDB for a test: a server of its own in a temporary folder, on a free port of this machine."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.sweep.postgres import DEADLINE, Missing, free_port


@contextmanager
def server() -> Iterator[str]:
    """The URL of an empty database while the block runs.

    Raises:
        Missing: MariaDB isn't installed, or doesn't start here.
    """
    # Not on everybody's path.
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"])
    install, daemon = (shutil.which(name, path=path) for name in ("mariadb-install-db", "mariadbd"))
    if install is None or daemon is None:
        raise Missing("MariaDB isn't installed")
    user = _user()
    folder = Path(tempfile.mkdtemp(prefix="my-"))  # short, as a socket's path must be
    try:
        shutil.chown(folder, user)
        data, said = folder / "data", folder / "log"
        made = subprocess.run(
            [install, "--no-defaults", f"--datadir={data}", f"--user={user}", "--skip-test-db",
             "--auth-root-authentication-method=normal"],
            capture_output=True, text=True, cwd=folder,
        )  # fmt: skip
        if made.returncode:
            raise Missing(f"mariadb-install-db: {(made.stderr or made.stdout).strip()[-500:]}")
        port = free_port()
        setup = folder / "setup.sql"
        setup.write_text(  # a line is a statement
            "CREATE DATABASE sweeps;\nCREATE USER sweep@'127.0.0.1' IDENTIFIED BY 'a-secret-password';\n"
            "GRANT ALL ON sweeps.* TO sweep@'127.0.0.1';\n"
        )
        command = [daemon, "--no-defaults", f"--datadir={data}", f"--port={port}", f"--user={user}"]
        command += ["--bind-address=127.0.0.1", f"--socket={folder / 'socket'}", f"--init-file={setup}"]
        command += [
            "--skip-name-resolve",
            "--innodb-flush-log-at-trx-commit=0",
            f"--pid-file={folder / 'pid'}",
        ]
        with said.open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, start_new_session=True)
        try:
            _wait(process, port, said)
            yield f"mysql+pymysql://sweep:a-secret-password@127.0.0.1:{port}/sweeps"
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _user() -> str:
    """Whom to run it as: it refuses root."""
    if os.geteuid() != 0:
        return pwd.getpwuid(os.geteuid()).pw_name
    for name in ("mysql", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    raise Missing("MariaDB doesn't run as root, and there is nobody else")


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    import pymysql

    until = time.monotonic() + DEADLINE
    while True:
        try:
            pymysql.connect(
                host="127.0.0.1", port=port, user="sweep", password="a-secret-password", database="sweeps"
            ).close()
            return
        except pymysql.OperationalError:
            if process.poll() is not None:
                raise Missing(f"mariadbd: {log.read_text().strip()[-500:]}") from None
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.1)
