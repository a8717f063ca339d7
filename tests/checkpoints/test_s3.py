"""Weights from a real S3 server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from trainer.checkpoints import download, fetch_weights
from trainer.core.errors import ConfigError, NetworkError
from trainer.core.s3 import bucket_of, client, split_uri, store_of

moto = pytest.importorskip("moto.server")
CONTENT = bytes(range(256)) * 8000
VARIABLES = ("ENDPOINT", "ACCESS_KEY", "SECRET_KEY")


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def store(endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The internal store's bucket, with an object in it."""
    for store in ("INTERNAL", "EXTERNAL"):
        for name in VARIABLES:
            monkeypatch.delenv(f"{store}_STORAGE_{name}", raising=False)
    monkeypatch.setenv("INTERNAL_STORAGE_ENDPOINT", endpoint)
    monkeypatch.setenv("INTERNAL_STORAGE_ACCESS_KEY", "me")
    monkeypatch.setenv("INTERNAL_STORAGE_SECRET_KEY", "secret")
    monkeypatch.setenv("TRAINER_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setattr("trainer.core.retry.PAUSE", 0.01)
    bucket = "training-checkpoints"
    s3 = client(bucket)
    s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="checkpoints/17/best.pt", Body=CONTENT)
    return bucket


def test_an_object_and_a_newer_one_in_its_place(store, tmp_path):
    uri = f"s3://{store}/checkpoints/17/best.pt"
    path = fetch_weights(uri)
    assert path == tmp_path / "weights" / "s3" / store / "checkpoints" / "17" / "best.pt"
    assert path.read_bytes() == CONTENT
    before = path.stat().st_mtime_ns
    assert fetch_weights(uri).stat().st_mtime_ns == before, "not fetched twice"
    client(store).put_object(Bucket=store, Key="checkpoints/17/best.pt", Body=b"further")
    assert fetch_weights(uri).read_bytes() == b"further"


def test_going_on_with_a_part(store, monkeypatch):
    uri = f"s3://{store}/checkpoints/17/best.pt"
    real, asked = download.open_remote, []

    def cut_once(url, start, tag):
        asked.append(start)
        if len(asked) == 1:
            monkeypatch.setattr("trainer.core.remote_content.CHUNK_BYTES", 1 << 19)
            return _cut(real(url, start, tag))
        return real(url, start, tag)

    monkeypatch.setattr(download, "open_remote", cut_once)
    assert fetch_weights(uri).read_bytes() == CONTENT
    assert asked == [0, 1 << 19]


class _cut:
    """An answer that breaks off after its first chunk."""

    def __init__(self, manager):
        self.manager = manager

    def __enter__(self):
        from dataclasses import replace

        answer = self.manager.__enter__()
        return replace(answer, chunks=self._first(answer.chunks))

    def __exit__(self, *error):
        return self.manager.__exit__(*error)

    def _first(self, chunks):
        from trainer.core.remote_faults import TransientFault

        yield next(iter(chunks))
        raise TransientFault("cut")


def test_no_such_object(store):
    with pytest.raises(NetworkError, match="NoSuchKey"):
        fetch_weights(f"s3://{store}/nothing.pt")


def test_nobody_there(store, monkeypatch):
    monkeypatch.setenv("INTERNAL_STORAGE_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(download, "TRIES", 1)
    with pytest.raises(NetworkError, match="Could not connect"):
        fetch_weights(f"s3://{store}/other.pt")


def test_which_store(monkeypatch):
    for store in ("INTERNAL", "EXTERNAL"):
        monkeypatch.delenv(f"{store}_STORAGE_ENDPOINT", raising=False)
    monkeypatch.delenv("EXTERNAL_BUCKET_DATASETS", raising=False)
    assert store_of("anything") is None
    monkeypatch.setenv("EXTERNAL_STORAGE_ENDPOINT", "http://a")
    assert store_of("anything") == "external", "the only one there is"
    monkeypatch.setenv("INTERNAL_STORAGE_ENDPOINT", "http://b")
    assert (store_of("anything"), store_of("training-datasets")) == ("internal", "external")
    monkeypatch.setenv("EXTERNAL_BUCKET_DATASETS", "mine")
    assert (bucket_of("external"), store_of("mine")) == ("mine", "external")


def test_uris():
    assert split_uri("s3://bucket/a/b.pth") == ("bucket", "a/b.pth")
    with pytest.raises(ConfigError):
        split_uri("bucket/a")
