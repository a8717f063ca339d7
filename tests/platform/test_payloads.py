"""Bodies are refused at home before the backend would; what it can't store is left out or cut."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.platform.contract import TABLES, check_body
from trainer.core.errors import ValidationError
from trainer.platform.callbacks import payloads
from trainer.platform.callbacks.payloads import (
    BoxPayload,
    CompletionPayload,
    EvaluationCompletionPayload,
    ExportCompletionPayload,
    ExportStartedPayload,
    ImageResultPayload,
    InferenceCompletionPayload,
    InferenceResultPayload,
    InferenceStartedPayload,
    LogPayload,
    MetricsPayload,
    ProgressPayload,
    ValidationPayload,
    timestamp,
)

NAN, INFINITY = float("nan"), float("inf")
BEST = "s3://training-checkpoints/checkpoints/42/best.pt"
WHOLE = [
    ProgressPayload(42, 0, 12),
    ProgressPayload(
        42, 1, 12, metrics=MetricsPayload(0.8, 0.3, 0.02, {"loss": 0.8, "mAP50": NAN}), best_checkpoint_path=BEST,
        epoch_duration_seconds=61.2, estimated_time_remaining=673.0,
    ),
    ValidationPayload(
        42, 1, "object_detection", "mAP50-95", 0.31, None, {"mAP@0.5": np.float32(0.5), "precision": INFINITY},
        {"scratch": {"ap_50": 0.6, "support": 41}}, [[30, 3], [2, np.int64(25)]],
        {"scratch": {"precision": [1.0, 0.9], "recall": np.array([0.1, 0.4])}}, ["scratch"],
        {"pr_curve": BEST, "f1_curve": None}, ["a.png"], None,
        [ImageResultPayload("a.png", True, 0, iou=0.8, confidence=0.9, true_boxes=[BoxPayload(0, [1, 2, 3, 4])],
                     predicted_boxes=[BoxPayload(0, np.array([1.0, 2, 3, 4]), 0.93)],
                         extra_data={"num_tp": np.int32(1)})],
    ),
    CompletionPayload(42, "completed", 12, MetricsPayload(0.2), MetricsPayload(0.2), 11, BEST, BEST, BEST, exit_code=0),
    CompletionPayload(43, "failed", 3, error_message="[ResourceError] CUDA out of memory", traceback="Traceback",
        exit_code=1),
    LogPayload(42, "trainer", "ready", data={"train": 80}, timestamp=timestamp(0.0)),
    InferenceStartedPayload(9, timestamp=timestamp()),
    InferenceCompletionPayload(
        9, "completed", total_images=1, total_inference_time_ms=43.1, avg_inference_time_ms=43.1,
        results=[InferenceResultPayload("/tmp/a.jpg", "a.jpg", [
            {"class_id": 0, "class_name": "scratch", "confidence": np.float32(0.9), "bbox": np.array([1, 2, 3, 4.0]),
             "mask": {"polygon": [[1, 2], [3, 4], [5, 6]]}},
            {"class_id": 0, "class_name": "person", "confidence": 0.4, "bbox": None, "keypoints": [[1.0, 2.0, 0.5]]},
        ], 43.1, 2)],
        result_urls={"predictions_json": BEST},
    ),
    InferenceCompletionPayload(9, "failed", error_message="[DatasetError] No images found", exit_code=1),
    ExportStartedPayload(5, timestamp=timestamp()),
    ExportCompletionPayload(
        5, "completed", export_format="onnx", output_s3_uri="s3://b/exports/1/5/export_5.zip", file_size_bytes=9,
        metadata={"input_shape": (640, 640, 3), "opset": np.int64(17)},
    ),
    ExportCompletionPayload(5, "failed", error_message="[FrameworkError] unsupported op", exit_code=1),
    EvaluationCompletionPayload(
        7, "completed", "detection", 42, {"mAP50-95": 0.4}, {"scratch": {"class_id": 0, "mAP50": 0.7}}, ["scratch"], 20,
        {"pr_curve": BEST}, BEST, {"split": "val"}, exit_code=0,
    ),
    EvaluationCompletionPayload(7, "failed", "detection", error_message="[CheckpointError] not found"),
]  # fmt: skip


def path_of(body: payloads.Payload) -> str:
    return "/api/v1/" + payloads.ROUTES[body.route].format(id=42)


@pytest.mark.parametrize("body", WHOLE, ids=lambda body: type(body).__name__)
def test_every_body_fits_the_contract_and_is_strict_json(body):
    content = json.loads(json.dumps(body.content(), allow_nan=False))
    assert check_body(path_of(body), content) == []


def test_all_routes_of_the_contract_have_a_body():
    assert {path_of(body).replace("/42/", "/N/") for body in WHOLE} == {
        f"/api/v1{pattern}".replace(r"/\d+/", "/N/") for pattern in TABLES
    }


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (ProgressPayload("x", 1, 2), "Progress.job_id is 'x': expected a whole number"),
        (ProgressPayload("42", 1, 2), "Progress.job_id is '42'"),
        (ProgressPayload(True, 1, 2), "Progress.job_id is True"),
        (ProgressPayload(None, 1, 2), "Progress.job_id is missing"),
        (ProgressPayload(42, 3, 2), "of 2 epochs in total"),
        (ProgressPayload(42, -1, 2), "Progress.current_epoch is -1: expected a whole number, at least 0"),
        (ProgressPayload(42, 1.5, 2), "Progress.current_epoch is 1.5"),
        (ProgressPayload(42, 0, 0), "Progress.total_epochs is 0: expected a whole number, more than 0"),
        (ProgressPayload(42, 1, 2, progress_percent=100.5), "at most 100"),
        (ProgressPayload(42, 1, 2, status="s" * 21), "21 characters: expected 20 at most"),
        (ProgressPayload(42, 1, 2, best_checkpoint_path="s3://" + "x" * 500), "expected 500 at most"),
        (LogPayload(42, "checkpoints", "m"), "11 characters: expected 10 at most"),
        (LogPayload(42, "trainer", "m", "CRITICAL"), "expected one of DEBUG, INFO, WARNING, ERROR"),
        (ValidationPayload(42, 1, "detection"), "expected one of object_detection"),
        (ValidationPayload(42, 1, "object_detection", per_class_metrics=[{"name": "a"}]), "not a list"),
        (ValidationPayload(42, 1, "object_detection", confusion_matrix=[[1, 2]]), "expected a square matrix"),
        (ValidationPayload(42, 1, "object_detection", confusion_matrix=[[1.5]]), "expected whole numbers"),
        (ValidationPayload(42, 1, "object_detection", pr_curves={"a": {"precision": [1], "recall": []}}), "as many"),
        (ValidationPayload(42, 1, "object_detection", image_results=[ImageResultPayload(None, True)]),
            "image_name is missing"),
        (CompletionPayload(42, "completed", None), "total_epochs_completed is missing"),
        (InferenceResultPayload("a", "a", [{"bbox": [1, 2]}]), "expected 4 numbers"),
        (InferenceResultPayload("a", "a", [], None), "inference_time_ms is missing: expected a number, at least 0"),
        (InferenceResultPayload("a", "a", [], NAN), "inference_time_ms is missing"),
        (ExportCompletionPayload(5, "completed"), "has an output_s3_uri and file_size_bytes"),
        (ExportCompletionPayload(5, "completed", output_s3_uri="s3://b/x", file_size_bytes="20 MB"), "file_size_bytes"),
        (EvaluationCompletionPayload(7, "failed", None), "task_type is missing"),
    ],
)  # fmt: skip
def test_what_the_backend_would_refuse_is_refused_by_name(body, words):
    with pytest.raises(ValidationError) as error:
        body.content()
    assert words in error.value.message


def test_percent_comes_from_the_epoch_and_metrics_are_never_null():
    assert ProgressPayload(42, 1, 12).content()["progress_percent"] == 8.3333
    assert ProgressPayload(42, 12, 12).content()["progress_percent"] == 100.0
    assert ProgressPayload(42, 1, 2, metrics=MetricsPayload(NAN)).content()["metrics"] == {
        "extra_metrics": {}
    }


def test_long_texts_keep_the_end_that_says_most():
    body = CompletionPayload(
        42, "failed", 0, error_message="e" * 20_000, traceback="x" * 60_000 + "the end"
    ).content()
    assert len(body["error_message"]) == payloads.MESSAGE
    assert len(body["traceback"]) == payloads.TRACEBACK
    assert body["traceback"].endswith("the end")
    name = "x" * 300 + ".jpg"
    assert InferenceResultPayload("p", name).content()["image_name"] == name[-200:]
    assert LogPayload(42, "trainer", "a\x00b").content()["message"] == "ab"


def test_times_are_written_as_the_contract_has_them():
    assert timestamp(1_769_333_400.123456) == "2026-01-25T09:30:00.123456+00:00"


def test_the_page_is_current():
    from trainer.platform.callbacks_page import document

    page = Path(__file__).parents[2] / "docs" / "callbacks.md"
    assert page.read_text(encoding="utf-8") == document(), (
        "python -m trainer.platform.callbacks_page > docs/callbacks.md"
    )
