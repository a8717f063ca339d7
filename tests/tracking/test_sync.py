"""The sink on finished logs, with a real MLflow on a SQLite file."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from trainer.errors import ConfigError
from trainer.tracking import mlflow_run_id, sync
from trainer.tracking.__main__ import main
from trainer.tracking.state import Progress, load


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
    assert {"config.yaml", "overrides.yaml", "mmengine.py", "train.log", "checkpoints/best.pth"} <= names


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
        state.progress = replace(Progress(), iterations=30)
        state.save(run.dir)
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


def test_another_server_is_told_everything(database, make_run, tmp_path, capsys):
    """And so is a database that was thrown away."""
    run = make_run(database, "moved")
    first = sync(run.dir).mlflow_run_id
    other = f"sqlite:///{tmp_path / 'other.db'}"
    assert main([str(run.dir), "--uri", other]) == 0
    assert "knows all of run" in capsys.readouterr().out
    assert mlflow_run_id(run.dir) != first
    assert len(_history(other, run, "train/loss")) == 30


def test_the_command_says_what_is_wrong(tmp_path, capsys):
    assert main([str(tmp_path)]) == 2
    assert "not a run directory" in capsys.readouterr().err
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


def _history(uri, run, key):
    return sorted((m.step, m.value) for m in _client(uri).get_metric_history(mlflow_run_id(run.dir), key))


def _everything(uri, run):
    found = _run(uri, run)
    histories = {key: _history(uri, run, key) for key in found.data.metrics}
    return histories, found.data.params, found.data.tags, found.info.status, found.info.end_time
