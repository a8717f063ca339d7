"""A run in the results store: what a pod leaves there, and what the next one makes of it. No torch in here.

Of the contract's defects of earlier trainers (12.3), here: the last checkpoint isn't chosen by the order of names.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from trainer.core.errors import CheckpointError, NetworkError
from trainer.platform.job_run import weights_of
from trainer.platform.storage.run_archive import ArchiveUploads, forget, restore
from trainer.platform.storage.s3_stores import S3Store
from trainer.runs.events.log import EventLog
from trainer.runs.manifest import Manifest
from trainer.runs.run import Run

Content = Callable[[], dict[str, bytes]]
SAME = {"model": "rtmdet-tiny", "task": "detection", "dataset": "ds_1"}
STATE = "checkpoints/42/restart.json.gz"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    made = Run.create(tmp_path / "first", "ds_1-detection", "rtmdet-tiny", "job-42")
    made.update(**SAME)
    (made.dir / "config.yaml").write_text("model: {weights: coco}\n")
    with EventLog(made.events) as log:
        log.emit("warning", message="one")
    return made


def save(run: Run, name: str, content: bytes, epoch: int) -> None:
    with Manifest(run.checkpoints).replacing(name, {"epoch": epoch, "iter": 10 * epoch}) as file:
        file.write(content)


def test_another_pod_goes_on_where_the_first_one_was(run: Run, s3_store: Content, tmp_path: Path) -> None:
    uploads = ArchiveUploads(run, S3Store(), 42)
    save(run, "last", b"three", 3)
    Manifest(run.checkpoints).copy("last", "best", value=0.5)
    assert uploads.upload("last") == "s3://training-checkpoints/checkpoints/42/last.pt"
    assert uploads.upload("best") == "s3://training-checkpoints/checkpoints/42/best.pt"
    save(run, "last", b"four", 4)
    uploads.upload("last")
    assert (
        s3_store()["checkpoints/42/last.pt"] == b"four" and s3_store()["checkpoints/42/best.pt"] == b"three"
    )

    made = restore(S3Store(), 42, tmp_path / "second", SAME)
    assert made is not None and made.exists and made.dir == tmp_path / "second" / "ds_1-detection" / "job-42"
    path, entry, complaints = Manifest(made.checkpoints).newest_valid()
    assert (path.read_bytes(), entry["epoch"], complaints) == (b"four", 4, [])
    assert Manifest(made.checkpoints).entry("best")["value"] == 0.5  # type: ignore[index]
    assert made.events.read_bytes() == run.events.read_bytes()
    assert made.facts == run.facts
    assert weights_of(made) == "coco"  # layers are frozen as they were
    EventLog(made.events).close()


def test_the_newest_checkpoint_is_not_uploaded_twice(run: Run, s3_store: Content) -> None:
    save(run, "last", b"one", 1)
    ArchiveUploads(run, S3Store(), 42).upload("last")
    before = s3_store()[STATE]
    run.update(note="changed")
    ArchiveUploads(run, S3Store(), 42).upload("last")  # another process of the same run
    assert s3_store()[STATE] == before


@pytest.mark.parametrize("cut_after", [1, 2])
def test_an_upload_cut_off_leaves_a_checkpoint_that_is_known(
    run: Run, s3_store: Content, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut_after: int
) -> None:
    save(run, "last", b"one", 1)
    uploads = ArchiveUploads(run, S3Store(), 42)
    uploads.upload("last")
    save(run, "last", b"two!", 2)
    calls = 0
    put, put_bytes = S3Store.put, S3Store.put_bytes

    def cut(original: Callable[..., str]) -> Callable[..., str]:
        def call(*args: object) -> str:
            nonlocal calls
            calls += 1
            if calls > cut_after:
                raise NetworkError("killed here")
            return original(*args)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(S3Store, "put", cut(put))
        patch.setattr(S3Store, "put_bytes", cut(put_bytes))
        with pytest.raises(NetworkError):
            uploads.upload("last")
    made = restore(S3Store(), 42, tmp_path / "second", SAME)
    assert made is not None
    path, entry, _ = Manifest(made.checkpoints).newest_valid()
    # The state goes first, then the file: after one write the old file is there, after two the new one.
    assert (path.read_bytes(), entry["epoch"]) == ((b"one", 1) if cut_after == 1 else (b"two!", 2))
    ArchiveUploads(run, S3Store(), 42).upload("last")
    assert json.loads(gzip.decompress(s3_store()[STATE]))["checkpoints"]["last"][0]["epoch"] == 2


def test_the_file_is_what_it_was_when_its_upload_began(run: Run, s3_store: Content) -> None:
    save(run, "last", b"one", 1)
    store = S3Store()
    original = store.put

    def put(path: str | Path, key: str, content_type: str | None = None) -> str:
        save(run, "last", b"two", 2)  # training goes on meanwhile
        return original(path, key, content_type)

    store.put = put  # type: ignore[method-assign]
    ArchiveUploads(run, store, 42).upload("last")
    assert s3_store()["checkpoints/42/last.pt"] == b"one"
    assert json.loads(gzip.decompress(s3_store()[STATE]))["checkpoints"]["last"][0]["epoch"] == 1
    assert not list(run.checkpoints.glob(".*.tmp"))


def test_nothing_whole_in_the_store_is_a_new_beginning(run: Run, s3_store: Content, tmp_path: Path) -> None:
    assert restore(S3Store(), 42, tmp_path / "second", SAME) is None
    save(run, "last", b"one", 1)
    ArchiveUploads(run, S3Store(), 42).upload("last")
    S3Store().put_bytes(b"of somebody else", "checkpoints/42/last.pt")
    assert restore(S3Store(), 42, tmp_path / "second", SAME) is None
    S3Store().put_bytes(b"no gzip", STATE)
    assert restore(S3Store(), 42, tmp_path / "second", SAME) is None
    assert not (tmp_path / "second" / "ds_1-detection" / "job-42").exists()


@pytest.mark.parametrize("other", [{"model": "yolox-s"}, {"task": "pose"}, {"dataset": "ds_2"}])
def test_another_job_under_the_same_number_begins_anew(
    run: Run, s3_store: Content, tmp_path: Path, other: dict[str, str]
) -> None:
    save(run, "last", b"one", 1)
    ArchiveUploads(run, S3Store(), 42).upload("last")
    assert restore(S3Store(), 42, tmp_path / "second", {**SAME, **other}) is None


def test_a_job_that_ended_well_leaves_nothing_to_go_on_from(
    run: Run, s3_store: Content, tmp_path: Path
) -> None:
    save(run, "last", b"one", 1)
    ArchiveUploads(run, S3Store(), 42).upload("last")
    forget(S3Store(), 42)
    assert restore(S3Store(), 42, tmp_path / "second", SAME) is None
    assert list(s3_store()) == ["checkpoints/42/last.pt"]


def test_a_checkpoint_that_is_missing_or_damaged_is_not_uploaded(run: Run, s3_store: Content) -> None:
    uploads = ArchiveUploads(run, S3Store(), 42)
    with pytest.raises(CheckpointError, match=r"there is no .*last\.pth"):
        uploads.upload("last")
    save(run, "last", b"one", 1)
    (run.checkpoints / "last.pth").write_bytes(b"two")
    with pytest.raises(CheckpointError, match="not what its manifest says"):
        uploads.upload("last")
    assert s3_store() == {}


def test_the_newest_checkpoint_is_the_one_of_the_latest_epoch_not_of_the_last_name(run: Run) -> None:
    for epoch in (9, 10):
        save(run, f"epoch-{epoch}", f"epoch {epoch}".encode(), epoch)
    path, entry, _ = Manifest(run.checkpoints).newest_valid()
    assert (path.name, entry["epoch"]) == ("epoch-10.pth", 10)
