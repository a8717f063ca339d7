"""Evaluation jobs: what their variables mean, and what is told of the metrics. No model is loaded here."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tests.platform.contract import check_body
from trainer.core.errors import DatasetError
from trainer.platform.jobs import PlatformJob, evaluate_job
from trainer.platform.settings.environment_variables import read

PATH = "/api/v1/test_inference/test/7/results"
GIVEN = {"CHECKPOINT_S3_URI": "s3://training-checkpoints/checkpoints/5/best.pt", "DATASET_S3_URI": "ds_1"}


def prepared(tmp_path: Path, **variables: str) -> tuple[PlatformJob, list[str]]:
    mistakes: list[str] = []
    found = read("evaluate", [], {"WORK_DIR": str(tmp_path), **variables})
    return evaluate_job.prepare(found, 7, "http://backend/api/v1", mistakes), mistakes


def test_the_backends_settings(tmp_path: Path) -> None:
    config = {"task_type": "detection", "dataset_split": "test", "batch_size": 16, "device": "cpu"}
    job, mistakes = prepared(tmp_path, **GIVEN, CONFIG=json.dumps(config))
    assert not mistakes
    assert set(job.overrides) == {
        "checkpoint='s3://training-checkpoints/checkpoints/5/best.pt'", "dataset=auto", "dataset.name=ds_1",
        "dataset.path='s3://training-datasets/datasets/ds_1/'", "split=auto", "batch_size=16", "device=cpu",
        f"output={tmp_path}/evaluation/7/results",
    }  # fmt: skip
    assert job.notes == ["ignored: CONFIG.task_type=detection: the checkpoint says its task"]


def test_the_older_names_and_a_split_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "cats").mkdir()
    split = {"splits": {"1": "train", "2": "val"}}
    config = {
        "split": "val",
        "conf_threshold": 0.25,
        "iou_threshold": 0.45,
        "imgsz": 640,
        "split_config": split,
    }
    variables = {"CHECKPOINT_PATH": "/m/best.pth", "LOCAL_DATASET_PATH": str(tmp_path / "cats")}
    job, mistakes = prepared(tmp_path, **variables, CONFIG=json.dumps(config))
    assert not mistakes
    assert {"split=val", f"dataset.path={tmp_path}/cats", "dataset.follow_links=true"} <= set(job.overrides)
    (file,) = (word.partition("=")[2] for word in job.overrides if word.startswith("dataset.split_file"))
    assert json.loads(Path(file).read_text()) == split
    assert len(job.notes) == 3 and "CONFIG.conf_threshold=0.25: metrics take every score" in job.notes[0]


def test_all_mistakes_at_once(tmp_path: Path) -> None:
    _, mistakes = prepared(tmp_path, CONFIG='{"dataset_split": "tests", "batch_size": "many"}')
    assert [line.partition(" is missing")[0].partition(":")[0] for line in mistakes] == [
        "CHECKPOINT_S3_URI (or CHECKPOINT_PATH, --checkpoint-s3-uri)",
        "DATASET_S3_URI (or --dataset-s3-uri) or DATASET_ID",
        "CONFIG.dataset_split",
        "CONFIG.batch_size",
    ]
    assert "expected one of train, val, test, got tests. Did you mean 'test'?" in mistakes[2]


def test_metrics_are_told_under_the_names_that_are_read(
    tmp_path: Path, s3_store: Callable[[], dict[str, bytes]]
) -> None:
    job, _ = prepared(tmp_path, **GIVEN, TRAINING_JOB_ID="5")
    folder = job.work / "results"
    (folder / "plots").mkdir(parents=True)
    (folder / "curves").mkdir()
    per_class = {"cat": {"mAP50-95": 0.5, "mAP50": 0.7}, "dog": {"mAP50-95": 0.3, "mAP50": 0.6}}
    result: dict[str, Any] = {
        "task": "detection", "split": "val", "dataset": "ds_1", "images": 20,
        "metrics": {"mAP50-95": 0.4, "mAP50": 0.65, "mAP75": float("nan"), "per_class": per_class},
        "primary_metric": {"name": "mAP50-95", "value": 0.4},
    }  # fmt: skip
    (folder / "evaluation-ds_1-val.json").write_text(json.dumps(result))
    curves = {
        "classes": ["cat", "dog"],
        "confusion": {"names": ["cat", "dog"], "matrix": [[3, 1, 1], [0, 4, 2], [1, 0, 0]]},
    }
    (folder / "curves" / "evaluation-ds_1-val.json").write_text(json.dumps(curves))
    for name in ("pr", "confusion", "worst"):
        cv2.imwrite(str(folder / "plots" / f"evaluation-ds_1-val_{name}.png"), np.zeros((4, 4, 3), np.uint8))
    body = evaluate_job._JOB.finished(job).content()
    assert not check_body(PATH, body)
    assert (body["status"], body["task_type"], body["training_job_id"]) == (
        "completed",
        "object_detection",
        5,
    )
    assert (
        body["metrics"]["accuracy"] == body["metrics"]["mAP50-95"] == body["metrics"]["mAP@0.5:0.95"] == 0.4
    )
    assert "mAP75" not in body["metrics"]  # not a number
    assert (
        body["per_class_metrics"]["dog"] | {"ap_50_95": 0.3, "support": 6, "class_id": 1}
        == (body["per_class_metrics"]["dog"])
    )
    assert set(body["visualization_urls"]) == {"pr_curve", "confusion_matrix", "worst"}
    assert set(s3_store()) == {
        "test-runs/7/result.json",
        *(f"test-runs/7/plots/{name}.png" for name in ("pr_curve", "confusion_matrix", "worst")),
    }


def test_a_failure_has_a_task_even_when_nobody_knows_it(tmp_path: Path) -> None:
    error = DatasetError("no images")
    for config, task in (({"task_type": "segmentation"}, "segmentation"), ({}, "unknown")):
        variables = read("evaluate", [], {"CONFIG": json.dumps(config)})
        body = evaluate_job.failure(variables, 7, error, None).content()
        assert not check_body(PATH, body)
        assert (body["task_type"], body["error_message"]) == (task, "[DatasetError] no images")
    assert evaluate_job.failure(read("evaluate", [], {"CONFIG": "no json"}), 7, error, None).content()[
        "task_type"
    ]
