"""The documented commands, as processes: a run directory whole, MLflow told, resumed in place, every family trained."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from trainer.plots.draw_client import wait_until_drawn

ROOT = Path(__file__).parents[2]
TINY = [
    "dataset=digits",
    "dataset.scenes=8",
    "dataset.val_scenes=4",
    "runtime.batch_size=4",
    "runtime.workers=0",
]
RESULT_KEYS = {
    "status", "command", "task", "model", "dataset", "primary_metric", "metrics", "checkpoints", "epochs_completed",
    "duration_seconds", "run_id", "mlflow_run_id", "error",
}  # fmt: skip


def trainer(*words: str, cwd: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
    process = subprocess.run(
        [sys.executable, "-m", "trainer", *words],
        cwd=cwd,
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=800,
    )
    assert not check or process.returncode == 0, process.stdout + process.stderr
    return process


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with MLflow, trained once for this module; its folder's parents are where it was started."""
    folder = tmp_path_factory.mktemp("train")
    trainer("model=rtmdet-tiny", "task=detection", "runtime.epochs=1", *TINY, cwd=folder)
    return (folder / "runs" / "latest").resolve()


@pytest.mark.slow
def test_the_run_directory_is_whole(run):
    for name in ("run.json", "config.yaml", "overrides.yaml", "mmengine.py", "events.jsonl", "train.log"):
        assert (run / name).stat().st_size, name
    report = json.loads((run / "data_report.json").read_text())
    assert report["data_set"] == "digits"
    picture = run / "data_report.png"
    assert wait_until_drawn(run, 60) and picture.stat().st_size > 20_000
    log = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    told = any(event.get("path") == picture.name for event in log)
    # On a busy machine it is drawn after the last word, for which the run's end doesn't wait.
    assert told or picture.stat().st_mtime > log[-1]["time"] - 1
    result = json.loads((run / "result.json").read_text())
    assert set(result) == RESULT_KEYS
    assert (result["status"], result["epochs_completed"], result["error"]) == ("finished", 1, None)
    assert {"mAP50-95", "mAP50", "mAP75", "per_class"} <= set(result["metrics"])
    for path in result["checkpoints"].values():
        assert (run / path).is_file()
    assert json.loads((run / "run.json").read_text())["fingerprint"]
    assert "model=rtmdet-tiny" in yaml.safe_load((run / "overrides.yaml").read_text())


@pytest.mark.slow
def test_the_saved_config_is_loadable_by_mmengine(run):
    from mmengine.config import Config

    cfg = Config.fromfile(run / "mmengine.py", import_custom_modules=False)
    assert cfg.model.type == "RTMDet" and cfg.model.bbox_head.num_classes == 10
    assert isinstance(cfg.train_dataloader.dataset.metainfo.classes, tuple)
    assert cfg.work_dir == str(run)


@pytest.mark.slow
def test_mlflow_has_the_run(run):
    from mlflow.tracking import MlflowClient

    result = json.loads((run / "result.json").read_text())
    client = MlflowClient(f"sqlite:///{run.parents[1] / 'mlflow.db'}")
    told = client.get_run(result["mlflow_run_id"])
    assert told.info.status == "FINISHED"
    assert told.data.params["model.name"] == "rtmdet-tiny"
    assert told.data.metrics["mAP50"] == pytest.approx(result["metrics"]["mAP50"])
    names = {item.path for item in client.list_artifacts(told.info.run_id)}
    assert {"mmengine.py", "config.yaml", "checkpoints"} <= names


@pytest.mark.slow
def test_resume_goes_on_in_place_from_what_was_typed(run):
    folder = run.parents[2]
    before = json.loads((run / "result.json").read_text())
    trainer("resume=latest", "runtime.epochs=2", cwd=folder)
    after = json.loads((run / "result.json").read_text())
    assert (after["run_id"], after["epochs_completed"]) == (before["run_id"], 2)
    assert after["mlflow_run_id"] == before["mlflow_run_id"]
    assert len(json.loads((run / "run.json").read_text())["attempts"]) == 2
    assert [path.name for path in run.parent.iterdir()] == [run.name]


def test_a_tracking_server_that_is_not_there_stops_nothing(tmp_path):
    words = ["tracking.uri=http://127.0.0.1:9", "debug=one_batch", "output_dir=here", "model=rtmdet-tiny"]
    process = trainer(*words, *TINY, cwd=tmp_path)
    assert json.loads((tmp_path / "here" / "latest" / "result.json").read_text())["status"] == "finished"
    assert "replay here/" in (output := process.stdout + process.stderr) and "sink=mlflow" in output


def test_show_prints_the_final_config_with_its_differences(tmp_path):
    words = ["model=rtmdet-s", "runtime.epochs=3", "mm.train_pipeline.RandomFlip.prob=0.3", *TINY]
    text = trainer("show", *words, cwd=tmp_path).stdout
    assert "'num_classes': 10,  # was 80" in text
    assert "'prob': 0.3},  # was" in text or "'prob': 0.3,  # was 0.5" in text
    assert not (tmp_path / "runs").exists()


def test_mistakes_of_the_bridge_are_words_and_leave_nothing_behind(tmp_path):
    words = ["model=rtmpose-t", "dataset.image_size=100", "mm.train_pipeline.RandomFlop.prob=0.3", *TINY]
    process = trainer(*words, cwd=tmp_path, check=False)
    assert process.returncode == 2
    assert "multiples of 32" in process.stderr and "Traceback" not in process.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [
        "yolox-tiny",  # one-stage, images mixed by a wrapper data set
        "faster-rcnn-r50",  # two-stage
        "cascade-mask-rcnn-r50",  # cascade, masks
        "deformable-detr-r50",  # DETR family
        "deeplabv3plus-r50",  # semantic, with an auxiliary head, iteration-based
        "hrnet-w32",  # heat-map pose
        "yoloxpose-s",  # pose without boxes given
    ],
)
def test_every_family_trains_validates_and_saves(model, tmp_path):
    words = [f"model={model}", "debug=one_batch", "tracking=none", "output_dir=out", *TINY]
    trainer(*words, "runtime.batch_size=2", cwd=tmp_path)
    result = json.loads((tmp_path / "out" / "latest" / "result.json").read_text())
    assert result["status"] == "finished" and result["primary_metric"]["value"] is not None
