"""Which file of an export is meant, and addresses instead of files."""

from __future__ import annotations

import http.server
import json
import threading
import zipfile
from functools import partial

import pytest

from trainer.checkpoints.resolve_checkpoint import find_checkpoint
from trainer.core.errors import CheckpointError, NetworkError
from trainer.runs.run import Run


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TRAINER_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("TRAINER_WEIGHTS", raising=False)


def _export(folder, name="m.onnx", content=b"model"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    (folder / "metadata.json").write_text(json.dumps({"file": name}))
    return folder


def test_a_model_file_its_folder_and_a_runs_export(tmp_path):
    run = Run.create(tmp_path, "digits", "m")
    folder = _export(run.dir / "export" / "onnx")
    for name in (
        folder / "m.onnx",
        folder,
        folder.parent,
        "latest/export/onnx",
        f"digits/{run.id}/export/onnx/m.onnx",
    ):
        found = find_checkpoint(name, tmp_path)
        assert (found.path, found.exported, found.run) == (folder / "m.onnx", True, run), name
    assert found.folder("predictions") == run.dir / "predictions"
    _export(run.dir / "export" / "torchscript", "m.torchscript")
    with pytest.raises(
        CheckpointError, match=r"several exports \(onnx/m\.onnx, torchscript/m\.torchscript\)"
    ):
        find_checkpoint(folder.parent)
    (folder / "m.onnx").unlink()
    with pytest.raises(CheckpointError, match="no checkpoint"):
        find_checkpoint(folder / "m.onnx")


def test_a_folder_that_names_no_file_has_one(tmp_path):
    folder = _export(tmp_path / "x")
    (folder / "metadata.json").write_text("{}")
    assert find_checkpoint(folder).path == folder / "m.onnx"
    (folder / "metadata.json").write_text(json.dumps({"file": "../m.onnx"}))
    assert find_checkpoint(folder).path == folder / "m.onnx"


def test_a_package_is_unpacked_once_and_its_answers_go_beside_it(tmp_path):
    folder = _export(tmp_path / "x")
    package = tmp_path / "export_1.zip"
    with zipfile.ZipFile(package, "w") as archive:
        for path in folder.iterdir():
            archive.write(path, path.name)
        archive.writestr("runtimes/python/model_wrapper.py", "raise SystemExit")
        archive.writestr("../outside.onnx", "no")
        archive.writestr("/absolute.onnx", "no")
    found = find_checkpoint(package)
    assert found.exported and found.path.read_bytes() == b"model"
    assert sorted(path.name for path in found.path.parent.iterdir()) == ["m.onnx", "metadata.json"]
    assert found.folder("predictions") == tmp_path / "predictions"
    assert find_checkpoint(package).path == found.path
    assert not list(tmp_path.rglob("outside.onnx"))


def test_a_zip_that_is_no_package_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.txt", "no")
    (tmp_path / "b.zip").write_bytes(b"no zip")
    for name, told in (("a.zip", "holds no metadata.json"), ("b.zip", "can't be read as a package")):
        with pytest.raises(CheckpointError, match=told):
            find_checkpoint(tmp_path / name)


def test_a_pt_file_may_be_either(tmp_path):
    for name, inside in (("script.pt", "script/constants.pkl"), ("weights.pt", "weights/data.pkl")):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr(inside, "")
    assert find_checkpoint(tmp_path / "script.pt").exported
    assert not find_checkpoint(tmp_path / "weights.pt").exported


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


def test_an_address_is_brought_here(tmp_path, monkeypatch):
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "best.pth").write_bytes(b"weights")
    handler = partial(_Quiet, directory=str(tmp_path / "served"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.chdir(tmp_path)
    try:
        address = f"http://127.0.0.1:{server.server_port}"
        found = find_checkpoint(f"{address}/best.pth")
        assert found.path.read_bytes() == b"weights" and found.run is None
        assert found.folder("predictions") == tmp_path / "predictions", "not in the cache"
        with pytest.raises(NetworkError, match=r"none\.pth") as caught:
            find_checkpoint(f"{address}/none.pth")
        assert "model.weights" not in str(caught.value)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
