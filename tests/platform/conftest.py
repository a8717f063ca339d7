"""A real S3 server, a real backend, and the scripts as a platform starts them."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.platform.receiver import Receiver

BUCKETS = ("training-checkpoints", "training-datasets", "inference-data")
ROOT = Path(__file__).parents[2]
Start = Callable[..., "subprocess.Popen[str]"]
KEYS = {"ACCESS_KEY": "minioadmin", "SECRET_KEY": "minioadmin-secret"}


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """The address of a real S3 server with the platform's buckets, one for the session."""
    moto = pytest.importorskip("moto.server")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    client = s3_client(address)
    for bucket in BUCKETS:
        client.create_bucket(Bucket=bucket)
    yield address
    server.stop()


@pytest.fixture
def s3_variables(s3_endpoint: str) -> dict[str, str]:
    """The variables that name both of the platform's stores."""
    return {
        f"{store}_STORAGE_{name}": value
        for store in ("INTERNAL", "EXTERNAL")
        for name, value in {"ENDPOINT": s3_endpoint, **KEYS}.items()
    }


@pytest.fixture
def s3_store(s3_variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Callable[[], dict[str, bytes]]:
    """The stores' variables in this process; calling it gives what the results bucket holds, by key."""
    for name, value in s3_variables.items():
        monkeypatch.setenv(name, value)
    client = s3_client(s3_variables["INTERNAL_STORAGE_ENDPOINT"])

    def content() -> dict[str, bytes]:
        listed = client.list_objects_v2(Bucket=BUCKETS[0]).get("Contents", [])
        return {
            one["Key"]: client.get_object(Bucket=BUCKETS[0], Key=one["Key"])["Body"].read() for one in listed
        }

    for key in content():
        client.delete_object(Bucket=BUCKETS[0], Key=key)
    return content


@pytest.fixture
def backend() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder that anybody may work in, whatever user the script has."""
    folder = tmp_path / "work"
    folder.mkdir()
    shared = Path(tempfile.gettempdir())
    for one in (folder, *folder.parents):
        if one == shared or one.stat().st_uid != os.getuid():
            break
        one.chmod(one.stat().st_mode | 0o777 if one == folder else one.stat().st_mode | 0o755)
    return folder


@pytest.fixture
def start(home: Path, backend: Receiver) -> Iterator[Start]:
    """Start a script with variables; what is left of it at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def script(name: str, *words: str, **variables: str) -> subprocess.Popen[str]:
        kept = ("PATH", "LANG", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NO_ALBUMENTATIONS_UPDATE")
        environment = {key: os.environ[key] for key in kept if key in os.environ}
        environment.update(
            {"HOME": "/nonexistent", "TMPDIR": str(home), "CALLBACK_RETRY_DELAY": "0.05", **variables}
        )
        process = subprocess.Popen(
            [sys.executable, str(ROOT / f"{name}.py"), *words],
            cwd=home,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            **other_user(),
        )
        started.append(process)
        return process

    yield script
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@functools.cache
def other_user() -> dict[str, Any]:
    """The platform's user, 1000, where this one may become it and it may read this Python."""
    user: dict[str, Any] = {"user": 1000, "group": 1000, "extra_groups": []}
    try:
        code = f"import sys, yaml; sys.path.insert(0, {str(ROOT)!r}); import trainer.core.errors"
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd="/", **user)
    except (OSError, subprocess.CalledProcessError):
        return {}
    return user


def ended(process: subprocess.Popen[str]) -> str:
    return process.communicate(timeout=600)[0]


def s3_client(endpoint: str):  # type: ignore[no-untyped-def]
    import boto3

    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=KEYS["ACCESS_KEY"],
        aws_secret_access_key=KEYS["SECRET_KEY"],
        region_name="us-east-1",
    )
