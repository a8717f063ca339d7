"""Which file a checkpoint's name means."""

import pytest

from trainer.checkpoints.resolve_checkpoint import find_checkpoint
from trainer.core.errors import CheckpointError, ConfigError
from trainer.runs.manifest import Manifest
from trainer.runs.run import Run


def _run(folder, *names):
    run = Run.create(folder, "digits", "rtmdet-tiny")
    for name in names:
        with Manifest(run.checkpoints).replacing(name, {"epoch": 1}) as file:
            file.write(name.encode())
    return run


def test_a_run_is_found_by_folder_id_prefix_and_latest(tmp_path):
    run = _run(tmp_path, "last", "best")
    path = run.checkpoints / "best.pth"
    for name in (run.dir, run.id, run.id[:-1], "latest", None, path, run.checkpoints):
        found = find_checkpoint(name, tmp_path)
        assert found.path == path and found.run == run, name
    assert run.id in find_checkpoint(None, tmp_path).notes[0]


def test_a_damaged_best_gives_way_to_the_last_with_a_note(tmp_path):
    run = _run(tmp_path, "last", "best")
    (run.checkpoints / "best.pth").write_bytes(b"cut")
    found = find_checkpoint(run.id, tmp_path)
    assert found.path.name == "last.pth" and "best.pth" in found.notes[0]


def test_a_run_without_checkpoints_is_refused(tmp_path):
    run = _run(tmp_path)
    with pytest.raises(CheckpointError, match=run.id):
        find_checkpoint(run.id, tmp_path)


def test_what_is_missing_is_named_with_the_nearest(tmp_path):
    run = _run(tmp_path, "best")
    with pytest.raises(CheckpointError, match=r"bst\.pth.*best\.pth"):
        find_checkpoint(run.checkpoints / "bst.pth", tmp_path)
    with pytest.raises(ConfigError, match=f"checkpoint=rtmdet-tny.*{run.id}"):
        find_checkpoint("rtmdet-tny" + run.id[len("rtmdet-tiny") :], tmp_path)
    with pytest.raises(ConfigError, match="no run yet"):
        find_checkpoint(None, tmp_path / "empty")


def test_a_file_outside_a_run_has_its_answers_beside_it(tmp_path):
    (tmp_path / "a.pth").write_bytes(b"")
    found = find_checkpoint(tmp_path / "a.pth")
    assert found.run is None and found.folder("predictions") == tmp_path / "predictions"
