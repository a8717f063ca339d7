"""A real S3 server and a real backend for the platform's tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.platform.receiver import Receiver

BUCKETS = ("training-checkpoints", "training-datasets", "inference-data")
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


def s3_client(endpoint: str):  # type: ignore[no-untyped-def]
    import boto3

    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=KEYS["ACCESS_KEY"],
        aws_secret_access_key=KEYS["SECRET_KEY"],
        region_name="us-east-1",
    )
