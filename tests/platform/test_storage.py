"""The platform's stores: against a real S3 server, and against one that fails."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.platform.conftest import s3_client
from trainer.core.errors import ConfigError, NetworkError
from trainer.platform.storage.s3_stores import S3Store, StoreObjectMissing, fetch_uri, local_path

Content = Callable[[], dict[str, bytes]]


class Failing:
    """An S3 server that answers a request with the next of ``answers``, and 200 when there are none left."""

    def __init__(self) -> None:
        self.answers: list[int] = []
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_PUT(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                outer.asked.append(self.path)
                self.send_response(outer.answers.pop(0) if outer.answers else 200)
                self.send_header("ETag", '"x"')
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_GET = do_HEAD = do_PUT

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Failing]:
    server = Failing()
    monkeypatch.setenv("INTERNAL_STORAGE_ENDPOINT", f"http://127.0.0.1:{server.http.server_port}")
    monkeypatch.setenv("INTERNAL_STORAGE_ACCESS_KEY", "somebody")
    monkeypatch.setenv("INTERNAL_STORAGE_SECRET_KEY", "a-secret-nobody-sees")
    monkeypatch.delenv("EXTERNAL_STORAGE_ENDPOINT", raising=False)
    monkeypatch.setattr("trainer.core.retry.PAUSE", 0.001)
    yield server
    server.http.shutdown()
    server.http.server_close()


def test_files_go_there_and_come_back(s3_store: Content, tmp_path: Path) -> None:
    file = tmp_path / "last.pth"
    file.write_bytes(b"weights")
    store = S3Store()
    assert store.put(file, "checkpoints/42/last.pt") == "s3://training-checkpoints/checkpoints/42/last.pt"
    assert store.copy("checkpoints/42/last.pt", "checkpoints/42/best.pt").endswith("/best.pt")
    store.put_bytes(b"{}", "checkpoints/42/a.json")
    assert s3_store() == {
        "checkpoints/42/a.json": b"{}",
        "checkpoints/42/best.pt": b"weights",
        "checkpoints/42/last.pt": b"weights",
    }
    assert store.exists("checkpoints/42/last.pt") and not store.exists("checkpoints/42/no.pt")
    assert store.read("checkpoints/42/a.json") == b"{}" and store.read("checkpoints/42/no.json") is None
    assert store.get("checkpoints/42/last.pt", tmp_path / "new" / "x.pth").read_bytes() == b"weights"
    assert list(store.list("checkpoints/42/l")) == [("checkpoints/42/last.pt", 7)]
    store.delete("checkpoints/42/a.json")
    store.delete("checkpoints/42/a.json")
    assert not store.exists("checkpoints/42/a.json")


def test_a_content_type_by_suffix(s3_store: Content, s3_endpoint: str, tmp_path: Path) -> None:
    (tmp_path / "last.pth").write_bytes(b"x")
    S3Store().put(tmp_path / "last.pth", "c/last.pt")
    head = s3_client(s3_endpoint).head_object(Bucket="training-checkpoints", Key="c/last.pt")
    assert head["ContentType"] == "application/x-pytorch"


def test_a_large_file_goes_in_parts(
    s3_store: Content, s3_endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.core.object_store.PART_BYTES", 5 << 20)
    content = bytes(range(256)) * (12 << 12)  # 12 MiB
    (tmp_path / "large").write_bytes(content)
    S3Store().put(tmp_path / "large", "large")
    tag = s3_client(s3_endpoint).head_object(Bucket="training-checkpoints", Key="large")["ETag"]
    assert tag.strip('"').endswith("-3")
    assert s3_store()["large"] == content


def test_more_objects_than_a_page(s3_store: Content, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.core.object_store.PAGE_KEYS", 2)
    store = S3Store()
    for number in range(5):
        store.put_bytes(b"", f"many/{number}")
    assert [key for key, _ in store.list("many/")] == [f"many/{number}" for number in range(5)]


def test_nothing_is_left_of_a_download_that_fails(s3_store: Content, tmp_path: Path) -> None:
    with pytest.raises(StoreObjectMissing, match=r"nowhere can't be read from s3://training-checkpoints"):
        S3Store().get("nowhere", tmp_path / "x")
    assert not list(tmp_path.iterdir())
    with pytest.raises(FileNotFoundError):
        S3Store().put(tmp_path / "x", "x")


@pytest.mark.parametrize("status", [500, 503, 429])
def test_what_may_pass_is_tried_again(failing: Failing, status: int) -> None:
    failing.answers = [status, status]
    assert S3Store().put_bytes(b"x", "key") == "s3://training-checkpoints/key"
    assert len(failing.asked) == 3


def test_a_store_that_stays_away_is_given_up(failing: Failing) -> None:
    failing.answers = [500] * 100
    with pytest.raises(NetworkError, match=r"500.*3 times in a row.*INTERNAL_STORAGE_ENDPOINT") as error:
        S3Store(tries=3).put_bytes(b"x", "key")
    assert len(failing.asked) == 3
    assert "a-secret" not in str(error.value)


def test_a_refusal_is_not_tried_again(failing: Failing) -> None:
    failing.answers = [403]
    with pytest.raises(NetworkError, match="403"):
        S3Store().put_bytes(b"x", "key")
    assert len(failing.asked) == 1


def test_nobody_listens(failing: Failing, monkeypatch: pytest.MonkeyPatch) -> None:
    failing.http.server_close()
    failing.http.shutdown()
    with pytest.raises(NetworkError, match="s3://training-checkpoints at http://127"):
        S3Store(tries=2).put_bytes(b"x", "key")


def test_any_kind_of_uri(s3_store: Content, tmp_path: Path) -> None:
    S3Store().put_bytes(b"x", "a/b.pt")
    target = tmp_path / "b.pt"
    assert fetch_uri("s3://training-checkpoints/a/b.pt", target) == target and target.read_bytes() == b"x"
    assert fetch_uri(str(target), tmp_path / "other") == target
    assert fetch_uri(target.as_uri(), tmp_path / "other") == target
    assert local_path("file://localhost/a%20b/c.pth") == Path("/a b/c.pth")
    assert local_path("s3://bucket/key") is None
    with pytest.raises(ConfigError, match="of the machine 'data'"):
        local_path("file://data/x.pth")
    with pytest.raises(ConfigError, match="expected s3://bucket/key, file:///path or a path"):
        fetch_uri("ftp://host/x.pth", target)
