"""An evaluation reaches the MLflow run of its checkpoint."""

from __future__ import annotations

from mlflow import MlflowClient

from trainer.tracking import mlflow_run_id
from trainer.tracking.evaluation import log_evaluation
from trainer.tracking.mlflow_sink import sync

RESULT = {
    "epochs_completed": 3,
    "metrics": {
        "mAP50-95": 0.25,
        "mAP_small": float("nan"),
        "per_class": {"one": {"mAP50": 0.5}, "two/3": {"mAP50": 0}},
    },
    "speed": {"images_per_second": 12.5},
}


def test_its_values_are_on_the_run_beside_trainings(make_run, database, tmp_path):
    run = make_run(database, "evaluated")
    assert sync(run.dir).error is None
    file = tmp_path / "evaluation-val.json"
    file.write_text("{}")
    assert log_evaluation(run.dir, "cats val", RESULT, [file]) is None
    client = MlflowClient(tracking_uri=database)
    found = client.get_run(mlflow_run_id(run.dir))
    values = {key: value for key, value in found.data.metrics.items() if key.startswith("evaluation/")}
    assert values == {
        "evaluation/cats val/mAP50-95": 0.25,
        "evaluation/cats val/per_class/one/mAP50": 0.5,
        "evaluation/cats val/per_class/two/3/mAP50": 0.0,
        "evaluation/cats val/speed/images_per_second": 12.5,
    }
    (point,) = client.get_metric_history(found.info.run_id, "evaluation/cats val/mAP50-95")
    assert point.step == 3 and found.info.status == "FINISHED"
    assert found.data.metrics["mAP50-95"] == 0.3, "training's own values stay"
    names = [item.path for item in client.list_artifacts(found.info.run_id, "evaluation")]
    assert names == ["evaluation/evaluation-val.json"]


def test_a_run_that_is_not_tracked_and_a_server_that_is_away_are_no_errors(make_run, tmp_path, monkeypatch):
    run = make_run(None)
    assert log_evaluation(run.dir, "val", RESULT) is None
    from trainer.tracking.mlflow_state import NAME, MlflowState

    state = MlflowState(uri=f"sqlite:///{tmp_path / 'no' / 'folder' / 'x.db'}", experiment="e", run_name="r")
    state.mlflow_run_id = "0" * 32
    (tmp_path / "no").write_text("no folder")
    state.save(run.dir / "sinks" / f"{NAME}.json")
    assert "MLflow at sqlite" in (log_evaluation(run.dir, "val", RESULT) or "")
