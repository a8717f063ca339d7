"""The compose file's MLflow and dashboard, started by its own words beside a real PostgreSQL and S3 server.

In this environment instead of the image ``servers``, which has the same versions. Only where it is asked for, as
test_build.py: TRAINER_TEST_CONTAINER=1.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import pytest

from tests.container.test_compose import FOLDER, resolved
from tests.platform.conftest import KEYS, s3_client, s3_endpoint
from tests.sweep.postgres import Missing, server

__all__ = ["s3_endpoint"]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        os.environ.get("TRAINER_TEST_CONTAINER") != "1",
        reason="starts a team's servers, beside test_build.py; TRAINER_TEST_CONTAINER=1 asks for it",
    ),
]
Started = Callable[..., str]


@pytest.fixture
def database() -> Iterator[str]:
    """host:port of a PostgreSQL server with the databases that compose's has."""
    import psycopg

    try:
        with server() as url:
            with psycopg.connect(url, autocommit=True) as connection:
                for words in ("CREATE ROLE trainer SUPERUSER LOGIN", "CREATE DATABASE mlflow"):
                    connection.execute(words)
                for words in (FOLDER / "databases.sql").read_text().split(";"):
                    if words.strip():
                        connection.execute(words)
            yield urlsplit(url).netloc.rpartition("@")[2]
    except Missing as missing:
        pytest.skip(str(missing))


@pytest.fixture
def started(tmp_path: Path, database: str, s3_endpoint: str) -> Iterator[Started]:
    """Start a service of the compose file on a port of its own; returns its address once its health check passes."""
    processes: list[subprocess.Popen[bytes]] = []

    def start(name: str, port: str) -> str:
        service = resolved()[name]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            own = str(free.getsockname()[1])
        here = [("http://minio:9000", s3_endpoint), ("@postgres/", f"@{database}/"), (":5000", f":{own}")]
        environment = {key: _replaced(value, here) for key, value in service["environment"].items()}
        environment |= {"AWS_ACCESS_KEY_ID": KEYS["ACCESS_KEY"], "AWS_SECRET_ACCESS_KEY": KEYS["SECRET_KEY"]}
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        with (tmp_path / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [word.replace(port, own) for word in service["command"]],
                env={**os.environ, **environment, "PATH": path},
                stdout=log,
                stderr=log,
                cwd=tmp_path,
                start_new_session=True,
            )
        processes.append(process)
        check = [word.replace(port, own) for word in service["healthcheck"]["test"][1:]]
        until = time.monotonic() + 300
        while subprocess.run(check, env={**os.environ, "PATH": path}, capture_output=True).returncode:
            assert process.poll() is None and time.monotonic() < until, (tmp_path / f"{name}.log").read_text()
            time.sleep(0.5)
        return f"http://127.0.0.1:{own}"

    yield start
    for process in processes:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _replaced(text: str, pairs: list[tuple[str, str]]) -> str:
    for old, new in pairs:
        text = text.replace(old, new)
    return text


def asked(
    address: str, path: str, host: str | None = None, body: object = None, put: bytes | None = None
) -> int:
    """The status of an answer to a request under a host's name."""
    data = put if put is not None else None if body is None else json.dumps(body).encode()
    method = "PUT" if put is not None else "GET" if body is None else "POST"
    headers = {"Content-Type": "application/json", **({"Host": host} if host else {})}
    try:
        with urlopen(Request(address + path, data, headers, method=method), timeout=60) as answer:
            return int(answer.status)
    except HTTPError as error:
        return error.code
    except URLError as error:
        raise AssertionError(f"{address}{path}: {error}") from error


def test_mlflow_keeps_records_in_postgresql_and_files_in_the_store(started: Started, s3_endpoint: str):
    client = s3_client(s3_endpoint)
    client.create_bucket(Bucket="mlflow")
    address = started("mlflow", "5000")
    ours = f"mlflow:{urlsplit(address).port}"
    create = "/api/2.0/mlflow/experiments/create"
    assert asked(address, create, ours, {"name": "one"}) == 200
    assert asked(address, create, "elsewhere:5000", {"name": "two"}) == 403
    assert asked(address, "/api/2.0/mlflow-artifacts/artifacts/1/a.txt", ours, put=b"kept") < 300
    assert client.get_object(Bucket="mlflow", Key="1/a.txt")["Body"].read() == b"kept"


def test_the_dashboard_shows_sweeps_also_before_the_first(started: Started, database: str):
    import optuna

    address = started("optuna-dashboard", "8080")  # its health check asks for the studies, and there are none
    storage = optuna.storages.RDBStorage(f"postgresql+psycopg://trainer@{database}/optuna")
    optuna.create_study(storage=storage, study_name="first")
    with urlopen(f"{address}/api/studies", timeout=60) as answer:
        assert [study["study_name"] for study in json.load(answer)["studies"]] == ["first"]
