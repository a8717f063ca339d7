"""Downloads from a real server on this machine, which cuts, lies, dawdles and refuses."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.checkpoints.server import Served, serving
from trainer.checkpoints import download, fetch_weights
from trainer.core.errors import CheckpointError, NetworkError, ResourceError

CONTENT = random.Random(0).randbytes(3_000_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()
NAME = f"model_20220905_161602-{DIGEST[:8]}.pth"
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRAINER_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setattr("trainer.core.retry.PAUSE", 0.01)
    return tmp_path / "weights"


def apart(url: str, folder: Path) -> subprocess.Popen[str]:
    """Fetch in a process of its own."""
    code = "import sys; from trainer.checkpoints import fetch_weights; print(fetch_weights(sys.argv[1]))"
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TRAINER_WEIGHTS": str(folder)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", code, url], text=True, env=env, **pipes)  # type: ignore[call-overload]


def test_once_and_then_from_the_cache(folder, capsys):
    with serving(Served(CONTENT), NAME) as served:
        path = fetch_weights(served.url)
        assert path == folder / NAME and path.read_bytes() == CONTENT
        assert fetch_weights(served.url) == path
    assert served.requests == [("GET", None)]
    told = capsys.readouterr().err
    assert f"downloading {served.url}" in told and "3.0 MB of 3.0 MB" in told
    assert sorted(one.name for one in folder.iterdir()) == [f".{NAME}.lock", NAME]


def test_cut_off_in_mid_download_and_continued(capsys):
    with serving(Served(CONTENT, cut_after=[1_000_000, 500_000]), NAME) as served:
        assert fetch_weights(served.url).read_bytes() == CONTENT
    assert served.requests == [("GET", None), ("GET", "bytes=1000000-"), ("GET", "bytes=1500000-")]
    assert served.sent == len(CONTENT), "nothing was sent twice"
    assert "resuming at 1.0 MB" in capsys.readouterr().err


def test_a_server_without_ranges_starts_over():
    with serving(Served(CONTENT, cut_after=[1_000_000], ranges=False), NAME) as served:
        assert fetch_weights(served.url).read_bytes() == CONTENT
    assert len(served.requests) == 2 and served.sent == 1_000_000 + len(CONTENT)


def test_killed_in_mid_download_and_continued(folder):
    with serving(Served(CONTENT, pause=0.02), NAME) as served:
        process = apart(served.url, folder)
        part = folder / f"{NAME}.part"
        while not part.exists() or part.stat().st_size < 600_000:
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        process.kill()
        process.communicate()
        left = part.stat().st_size
        assert not (folder / NAME).exists() and left < len(CONTENT)
        served.pause = 0.0
        assert fetch_weights(served.url).read_bytes() == CONTENT
    assert served.requests == [("GET", None), ("GET", f"bytes={left}-")]


def test_two_processes_make_one_download(folder):
    with serving(Served(CONTENT, pause=0.02), NAME) as served:
        both = [apart(served.url, folder) for _ in range(2)]
        told = [process.communicate(timeout=60) for process in both]
    assert [out.strip() for out, _ in told] == [str(folder / NAME)] * 2
    assert len(served.requests) == 1 and served.sent == len(CONTENT)
    assert sum("which downloads it" in err and "waiting for process " in err for _, err in told) == 1


def test_a_wrong_hash_is_an_error_and_leaves_nothing(folder):
    refusal = pytest.raises(CheckpointError, match=f"instead of {DIGEST[:8]}")
    with serving(Served(CONTENT[:-1] + b"!"), NAME) as served, refusal:
        fetch_weights(served.url)
    assert [one.name for one in folder.iterdir()] == [f".{NAME}.lock"]


def test_a_part_of_another_file_is_given_up(folder):
    """The server's file changed between the cut and now, and the server doesn't say so."""
    folder.mkdir()
    with serving(Served(CONTENT), NAME) as served:
        part = folder / f"{NAME}.part"
        part.write_bytes(b"x" * 1000)
        note = f'{{"url": "{download._mark(served.url)}", "tag": null, "size": {len(CONTENT)}}}'
        download._note(part).write_text(note)
        assert fetch_weights(served.url).read_bytes() == CONTENT
    assert served.requests == [("GET", "bytes=1000-"), ("GET", None)]


def test_not_found_says_what_to_do_without_a_network(folder):
    with serving(Served(CONTENT, status=[404]), NAME) as served, pytest.raises(NetworkError) as caught:
        fetch_weights(served.url.replace("//", "//user:secret@"))
    message = str(caught.value)
    assert "404" in message and "secret" not in message and len(served.requests) == 1
    assert served.url in message and str(folder / NAME) in message and DIGEST[:8] in message
    assert "models fetch" in message and "model.weights=none" in message


def test_an_overloaded_server_is_asked_again():
    with serving(Served(CONTENT, status=[503, 429]), NAME) as served:
        assert fetch_weights(served.url).read_bytes() == CONTENT
    assert len(served.requests) == 3


def test_nobody_there(folder):
    with serving(Served(CONTENT), NAME) as served:
        pass
    with pytest.raises(NetworkError, match="refused"):
        fetch_weights(served.url)
    folder.mkdir(exist_ok=True)
    (folder / NAME).write_bytes(CONTENT)  # put there by hand
    assert fetch_weights(served.url) == folder / NAME


def test_a_slow_server_that_stops(monkeypatch):
    monkeypatch.setattr("trainer.checkpoints.remote_file.TIMEOUT", 0.2)
    with serving(Served(CONTENT, pause=0.5), NAME) as served, pytest.raises(NetworkError, match="timed out"):
        monkeypatch.setattr(download, "TRIES", 1)
        monkeypatch.setattr("trainer.core.remote_content.CHUNK_BYTES", 1 << 20)
        fetch_weights(served.url)


def test_a_name_without_a_hash_follows_the_server(folder, capsys):
    with serving(Served(CONTENT), "best.pth") as served:
        path = fetch_weights(served.url)
        assert path == folder / "127.0.0.1" / "models" / "best.pth"
        assert fetch_weights(served.url) == path
        served.content, served.etag = b"trained further", '"two"'
        assert fetch_weights(served.url).read_bytes() == b"trained further"
    assert [method for method, _ in served.requests] == ["GET", "HEAD", "HEAD", "HEAD", "GET"]
    assert fetch_weights(served.url).read_bytes() == b"trained further", "offline: what is at hand"


def test_a_damaged_file_in_the_cache_is_named(folder):
    folder.mkdir()
    (folder / NAME).write_bytes(CONTENT[:1000])
    with pytest.raises(CheckpointError, match="Remove it"):
        fetch_weights(f"https://example.invalid/{NAME}")


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match="TRAINER_WEIGHTS"):
        fetch_weights(f"https://example.invalid/{NAME}", to=tmp_path / "file" / "below")


def test_a_disk_without_space(monkeypatch):
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(download.shutil, "disk_usage", lambda path: usage(10**6, 10**6, 10))
    with serving(Served(CONTENT), NAME) as served, pytest.raises(ResourceError, match=r"3\.0 MB are needed"):
        fetch_weights(served.url)


def test_a_bar_on_a_terminal(folder):
    """In a pseudo-terminal, as a person runs it."""
    import pty

    with serving(Served(CONTENT), NAME) as served:
        code = f"from trainer.checkpoints import fetch_weights; fetch_weights({served.url!r})"
        leader, follower = pty.openpty()
        env = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "120"}
        process = subprocess.Popen([sys.executable, "-c", code], stderr=follower, env=env)
        os.close(follower)
        shown = b""
        while True:
            try:
                piece = os.read(leader, 4096)
            except OSError:
                break
            if not piece:
                break
            shown += piece
        os.close(leader)
        assert process.wait() == 0
    assert "━".encode() in shown and b"MB" in shown
