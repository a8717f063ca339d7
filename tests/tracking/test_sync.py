"""The sink on finished logs, with a real MLflow on a SQLite file."""

from __future__ import annotations

import json
import os
import resource
import sqlite3
import time
from dataclasses import replace
from pathlib import Path

import pytest

from trainer.core.errors import ConfigError
from trainer.runs.events.sink import cursor_file
from trainer.runs.run import Run
from trainer.schema import Tracking
from trainer.tracking import mlflow_run_id, sync
from trainer.tracking.mlflow_sink import state_for
from trainer.tracking.mlflow_state import MlflowProgress, load, name_for


@pytest.fixture(autouse=True)
def no_server(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def test_all_of_a_run_arrives(database, make_run):
    run = make_run(database, "whole")
    assert mlflow_run_id(run.dir) is None
    state = sync(run.dir)
    assert state.error is None
    client, found = _client(database), _run(database, run)
    assert client.get_experiment(found.info.experiment_id).name == "whole"
    assert (found.info.status, found.info.run_name) == ("FINISHED", run.id)
    assert found.info.end_time == 1_700_000_030_000
    assert found.data.params["optimizer.lr"] == "0.002"
    assert "hunter2" not in json.dumps([found.data.params, found.data.tags])
    assert found.data.tags["fingerprint"] == "f1e2d3"
    assert _history(database, run, "train/loss") == [(i, 10 / i) for i in range(1, 31)]
    assert _history(database, run, "mAP50-95") == [(1, 0.1), (2, 0.2), (3, 0.3)]
    assert _history(database, run, "per_class/one/mAP50") == [(1, 0.5), (2, 0.5), (3, 0.5)]
    names = {
        a.path for folder in (None, "checkpoints") for a in client.list_artifacts(found.info.run_id, folder)
    }
    assert {"config.yaml", "overrides.yaml", "mmengine.py", "train.log", "run.json"} <= names
    assert {"checkpoints/best.pth", "checkpoints/last.pth"} <= names
    assert (found.data.metrics["best/mAP50-95"], found.data.metrics["best/epoch"]) == (0.3, 3)
    assert (found.data.tags["git.dirty"], found.data.tags["version.torch"]) == ("true", "2.13.0")
    [data] = found.inputs.dataset_inputs
    assert (data.dataset.name, data.dataset.digest) == ("digits", ("f1e2d3" * 6)[:32])
    assert json.loads(data.dataset.profile)["train_images"] == 12
    assert [(tag.key, tag.value) for tag in data.tags] == [("mlflow.data.context", "training")]


def test_twice_changes_nothing(database, make_run):
    run = make_run(database, "twice")
    sync(run.dir)
    before, state = _everything(database, run), (run.dir / "sinks" / "mlflow.json").read_bytes()
    assert sync(run.dir).error is None
    assert _everything(database, run) == before
    assert (run.dir / "sinks" / "mlflow.json").read_bytes() == state


@pytest.mark.parametrize("lost", ["offset", "file"])
def test_a_kill_before_the_progress_was_noted_tells_nothing_twice(database, make_run, lost):
    run = make_run(database, f"lost-{lost}")
    sync(run.dir)
    before = _everything(database, run)
    if lost == "offset":
        state = load(run.dir)
        state.progress, state.offset = replace(MlflowProgress(), iterations=30), 0
        state.save(cursor_file(run.dir, "mlflow"))
    else:
        (run.dir / "sinks" / "mlflow.json").unlink()
    sync(run.dir)
    assert _everything(database, run) == before
    assert len(_runs(database, f"lost-{lost}")) == 1


def test_a_torn_line_waits_for_its_end(database, make_run, log):
    run = make_run(database, "torn", [log.started(), *log.epoch(1)])
    with run.events.open("a") as file:
        file.write('{"type": "validation", "epoch": 2, "metr')
    sync(run.dir)
    assert _run(database, run).info.status == "RUNNING"
    with run.events.open("a") as file:
        file.write('ics": {"mAP50-95": 0.9}}\n')
    sync(run.dir)
    assert _history(database, run, "mAP50-95") == [(1, 0.1), (2, 0.9)]


def test_a_resumed_run_goes_on_in_its_mlflow_run(database, make_run, log):
    run = make_run(database, "resumed", [log.started(), *log.epoch(1), {"type": "cancelled", "iter": 10}])
    sync(run.dir)
    assert _run(database, run).info.status == "KILLED"
    config = (run.dir / "config.yaml").read_text().replace("lr: 0.002", "lr: 0.001")
    (run.dir / "config.yaml").write_text(config)
    log.append(
        run.dir,
        [log.started(), {"type": "resumed", "epoch": 1, "iter": 10}, *log.epoch(2), {"type": "finished"}],
    )
    sync(run.dir)
    found = _run(database, run)
    assert found.info.status == "FINISHED"
    assert found.data.params["optimizer.lr"] == "0.002"  # MLflow doesn't change parameters ...
    assert found.data.tags["changed.optimizer.lr"] == "0.001"  # ... so the difference is a tag.
    assert [step for step, _ in _history(database, run, "mAP50-95")] == [1, 2]
    assert len(_runs(database, "resumed")) == 1


def test_a_failed_run_is_failed(database, make_run, log):
    run = make_run(database, "failed", log.whole("failed"))
    sync(run.dir)
    assert _run(database, run).info.status == "FAILED"


def test_the_checkpoint_stays_here_when_told_so(database, make_run):
    run = make_run(database, "no-checkpoint")
    text = (run.dir / "config.yaml").read_text().replace("log_checkpoint: true", "log_checkpoint: false")
    (run.dir / "config.yaml").write_text(text)
    sync(run.dir)
    assert not _client(database).list_artifacts(mlflow_run_id(run.dir), "checkpoints")


def test_files_of_artifact_events_are_uploaded_but_none_from_outside(database, make_run, tmp_path, log):
    (tmp_path / "secret.txt").write_text("x")
    paths = ["plots/curve.png", "../../../secret.txt", str(tmp_path / "secret.txt"), "nowhere.png"]
    run = make_run(
        database, "artifacts", [log.started(), *({"type": "artifact", "path": path} for path in paths)]
    )
    (run.dir / "plots").mkdir()
    (run.dir / "plots" / "curve.png").write_bytes(b"png")
    assert sync(run.dir).error is None
    client, run_id = _client(database), mlflow_run_id(run.dir)
    assert [a.path for a in client.list_artifacts(run_id, "plots")] == ["plots/curve.png"]
    assert "secret.txt" not in str(load(run.dir).artifacts)


def test_more_metrics_than_a_call_takes(database, make_run, log):
    classes = {f"class {i}": {"mAP50": i / 2500, "mAP50-95": 0.5} for i in range(1250)}
    event = {"type": "validation", "epoch": 1, "metrics": {"mAP50": 0.5}, "per_class": classes}
    run = make_run(database, "many", [log.started(), event, {"type": "finished"}])
    assert sync(run.dir).error is None
    assert len(_run(database, run).data.metrics) == 2501


def test_a_deleted_run_is_an_answer_not_a_wait(database, make_run):
    run = make_run(database, "deleted")
    sync(run.dir)
    _client(database).delete_run(mlflow_run_id(run.dir))
    assert "was deleted" in sync(run.dir).error


def test_another_server_is_told_everything(database, make_run, tmp_path):
    """And so is a database that was thrown away."""
    run = make_run(database, "moved")
    first = sync(run.dir).mlflow_run_id
    file = tmp_path / "other.db"
    other = f"sqlite:///{file}"
    moved = sync(run.dir, other)
    assert moved.error is None and mlflow_run_id(run.dir) == first  # the run's own stays what it is
    assert load(run.dir, name_for(run.dir, other)).mlflow_run_id == moved.mlflow_run_id
    before = _everything(other, run, moved.mlflow_run_id)
    assert len(before[0]["train/loss"]) == 30
    assert sync(run.dir, other) == moved
    assert _everything(other, run, moved.mlflow_run_id) == before
    with sqlite3.connect(file) as connection:  # as if thrown away; to make its tables anew takes seconds
        connection.execute("PRAGMA foreign_keys = OFF")
        for table in ("metrics", "latest_metrics", "params", "tags", "runs", "inputs"):
            connection.execute(f"DELETE FROM {table}")
    again = sync(run.dir, other)
    assert again.error is None and again.mlflow_run_id != moved.mlflow_run_id
    assert _everything(other, run, again.mlflow_run_id)[0] == before[0]


def test_a_store_that_only_reads_is_told_later(database, make_run, log):
    run = make_run(database, "read-only")
    file = database.removeprefix("sqlite:///")
    with sqlite3.connect(file) as connection:
        connection.execute(
            "CREATE TRIGGER frozen BEFORE INSERT ON runs "
            "BEGIN SELECT RAISE(FAIL, 'attempt to write a readonly database'); END"
        )
    try:
        assert "readonly database" in sync(run.dir, patience=0).error
    finally:
        with sqlite3.connect(file) as connection:
            connection.execute("DROP TRIGGER frozen")
    assert sync(run.dir).error is None
    assert _history(database, run, "mAP50-95") == [(1, 0.1), (2, 0.2), (3, 0.3)]


def test_a_full_disk_is_told_later(database, make_run):
    """As if there were no room: no file may grow beyond what the database has long reached."""
    run = make_run(database, "full")
    _client(database)
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, most))
    try:
        assert sync(run.dir, patience=0).error
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    assert sync(run.dir).error is None
    assert _history(database, run, "train/loss") == [(i, 10 / i) for i in range(1, 31)]
    assert len(_runs(database, "full")) == 1


def test_where_files_cant_be_stored_the_figures_are_told_all_the_same(make_run, tmp_path, database):
    """A full or read-only artifact store."""
    run = make_run(database, "no-room")
    store = Path(database.removeprefix("sqlite:///")).with_name("mlartifacts")
    store.mkdir(exist_ok=True)
    aside = store.rename(store.with_name("aside"))
    store.write_text("a file where a folder should be")
    try:
        state = sync(run.dir, patience=0)
        assert state.error and _run(database, run).info.status == "FINISHED"
        assert len(_history(database, run, "train/loss")) == 30
    finally:
        store.unlink()
        aside.rename(store)
    assert sync(run.dir).error is None
    assert _client(database).list_artifacts(mlflow_run_id(run.dir), "checkpoints")


def test_trials_of_a_sweep_have_one_parent(database, make_run):
    runs = [make_run(database, "sweep") for _ in range(2)]
    for run in runs:
        run.update(parent="sweep-20261123")
        assert sync(run.dir).error is None
    found = {run.data.tags["run_id"]: run for run in _runs(database, "sweep")}
    assert set(found) == {runs[0].id, runs[1].id, "sweep-20261123"}
    parent = found["sweep-20261123"]
    assert parent.info.run_name == "sweep-20261123" and parent.info.status == "FINISHED"
    for run in runs:
        assert found[run.id].data.tags["mlflow.parentRunId"] == parent.info.run_id


def test_a_run_that_was_killed_is_so_afterwards_too(database, make_run, log):
    run = make_run(database, "gone", [log.started(), *log.epoch(1)])
    os.utime(run.events, (time.time() - 1000,) * 2)
    sync(run.dir)
    assert _run(database, run).info.status == "KILLED"
    assert _run(database, run).info.end_time == 1_700_000_010_000  # its last sign of life


def test_the_model_is_logged_once_for_each_checkpoint_and_registered_when_finished(
    database, make_run, log, monkeypatch
):
    calls = []
    monkeypatch.setattr("trainer.tracking.model.log_model", lambda *arguments: calls.append(arguments))
    run = make_run(database, "model", [log.started(), *log.epoch(1), {"type": "cancelled"}])
    text = (run.dir / "config.yaml").read_text().replace("name: mlflow", "name: mlflow\n  register: digits")
    (run.dir / "config.yaml").write_text(text)
    for _ in range(2):
        sync(run.dir)
    log.append(run.dir, [{**log.started(), "resumed": True}, *log.epoch(2), {"type": "finished"}])
    for _ in range(2):
        sync(run.dir)
    expected = (run.dir, mlflow_run_id(run.dir), database)
    assert calls == [(*expected, None), (*expected, "digits")]
    (run.checkpoints / "best.pth").write_bytes(b"better weights")
    sync(run.dir)
    assert len(calls) == 3


def test_what_the_log_lost_is_told_again_and_counts_once(database, make_run, log):
    """After a power cut the log is shorter than what was read of it; the run went on from an earlier point."""
    run = make_run(database, "power-cut", [log.started(), *log.epoch(1), *log.epoch(2)])
    first = sync(run.dir)
    lines = run.events.read_bytes().splitlines(keepends=True)
    run.events.write_bytes(b"".join(lines[:13]))
    log.append(
        run.dir, [{**log.started(), "resumed": True}, *log.epoch(2), *log.epoch(3), {"type": "finished"}]
    )
    assert sync(run.dir).mlflow_run_id == first.mlflow_run_id
    assert _history(database, run, "mAP50-95") == [(1, 0.1), (2, 0.2), (3, 0.3)]


def test_a_folder_without_a_run_is_a_mistake(tmp_path):
    with pytest.raises(ConfigError):
        sync(tmp_path / "nowhere")


def _client(uri):
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)


def _run(uri, run):
    return _client(uri).get_run(mlflow_run_id(run.dir))


def _runs(uri, experiment):
    client = _client(uri)
    return client.search_runs([client.get_experiment_by_name(experiment).experiment_id])


def _history(uri, run, key, run_id=None):
    history = _client(uri).get_metric_history(run_id or mlflow_run_id(run.dir), key)
    return sorted((m.step, m.value) for m in history)


def _everything(uri, run, run_id=None):
    found = _client(uri).get_run(run_id or mlflow_run_id(run.dir))
    histories = {key: _history(uri, run, key, run_id) for key in found.data.metrics}
    return histories, found.data.params, found.data.tags, found.info.status, found.info.end_time


def test_a_trial_is_called_by_what_is_varied(tmp_path):
    run = Run.create(tmp_path, "e", "m")
    assert state_for(run, Tracking(), "sqlite:///x").run_name == run.id
    run.update(model="rtmdet-s", label="lr=0.1")
    assert state_for(run, Tracking(), "sqlite:///x").run_name == "lr=0.1 rtmdet-s"
    assert state_for(run, Tracking(run_name="mine"), "sqlite:///x").run_name == "mine"


def test_an_address_from_the_environment_is_read_from_it_again(tmp_path, monkeypatch):
    run = Run.create(tmp_path, "e", "m")
    run.dir.joinpath("config.yaml").write_text("tracking: {name: mlflow, uri: '${oc.env:ADDRESS}'}\n")
    with pytest.raises(ConfigError, match="ADDRESS"):
        sync(run.dir)
    monkeypatch.setenv("ADDRESS", f"sqlite:///{tmp_path / 'there.db'}")
    assert sync(run.dir).uri == f"sqlite:///{tmp_path / 'there.db'}"
