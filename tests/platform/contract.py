"""The platform contract's field tables as data, and a check of recorded requests against them.

Written down from the contract's sections 3.2 to 3.10 and 4, not from the code: what the backend's models require, which
types they take, and what its database refuses besides.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Rule = Callable[[Any], bool]


def whole(low: float = -math.inf, high: float = math.inf) -> Rule:
    return lambda v: isinstance(v, int) and not isinstance(v, bool) and low <= v <= high


def number(low: float = -math.inf, high: float = math.inf) -> Rule:
    return lambda v: (
        isinstance(v, (int, float)) and not isinstance(v, bool) and math.isfinite(v) and low <= v <= high
    )


def text(longest: int = 10**6, *choices: str) -> Rule:
    return lambda v: isinstance(v, str) and len(v) <= longest and (not choices or v in choices)


def yes_or_no(v: Any) -> bool:
    return isinstance(v, bool)


def listed(rule: Rule) -> Rule:
    return lambda v: isinstance(v, list) and all(rule(one) for one in v)


def keyed(rule: Rule) -> Rule:
    return lambda v: isinstance(v, dict) and all(isinstance(k, str) and rule(one) for k, one in v.items())


def record(required: Mapping[str, Rule], optional: Mapping[str, Rule] | None = None) -> Rule:
    return lambda v: isinstance(v, dict) and not mistakes(v, required, optional or {})


s3 = lambda v: isinstance(v, str) and v.startswith("s3://") and len(v) <= 500  # noqa: E731

METRICS = record(
    {"extra_metrics": keyed(number())},
    {"loss": number(), "accuracy": number(0, 1), "learning_rate": number(0)},
)
BOX = record(
    {"class_id": whole(0), "bbox": lambda v: listed(number())(v) and len(v) == 4},
    {"confidence": number(0, 1), "format": text(10, "yolo", "coco", "xyxy")},
)
IMAGE = record(
    {"image_name": text(200), "is_correct": yes_or_no},
    {
        "image_index": whole(0), "true_label": text(), "true_label_id": whole(), "predicted_label": text(),
        "predicted_label_id": whole(), "confidence": number(0, 1), "iou": number(0, 1),
        "true_boxes": listed(BOX),
        "predicted_boxes": listed(BOX), "top5_predictions": listed(keyed(lambda v: True)),
        "extra_data": keyed(lambda v: True),
    },
)  # fmt: skip
LONG_TASKS = ("object_detection", "instance_segmentation", "semantic_segmentation", "pose_estimation")
KINDS = "Dataset Checkpoint Config Resource Network Framework Validation Unknown"


def error_text(v: Any) -> bool:
    found = re.match(r"\[(\w+)\] \S", v) if isinstance(v, str) else None
    return bool(found) and found[1] in [f"{kind}Error" for kind in KINDS.split()]


PREDICTION = record(
    {"confidence": number(0, 1)},
    {
        "class_id": whole(), "class_name": text(),
        "bbox": lambda v: listed(number())(v) and len(v) == 4,
        "mask": lambda v: isinstance(v, dict), "keypoints": listed(listed(number())),
        "polygon": listed(listed(number())), "area": number(0),
    },
)  # fmt: skip
RESULT = record(
    {"image_path": text(500), "inference_time_ms": number(0)},
    {"image_name": text(200), "predictions": listed(PREDICTION), "num_detections": whole(0), "error": text()},
)
STARTED = ({"job_id": whole(0)}, {"type": text(), "operation_type": text(), "timestamp": text()})

# route pattern -> required fields, optional fields
TABLES: dict[str, tuple[dict[str, Rule], dict[str, Rule]]] = {
    r"/training/jobs/\d+/callback/progress": (
        {"job_id": whole(0), "status": text(20), "current_epoch": whole(0), "total_epochs": whole(1)},
        {
            "progress_percent": number(0, 100), "metrics": METRICS, "checkpoint_path": s3, "best_checkpoint_path": s3,
            "epoch_duration_seconds": number(0), "estimated_time_remaining": number(0), "logs": text(),
            "error_message": text(), "traceback": text(),
        },
    ),
    r"/validation/jobs/\d+/results": (
        {"job_id": whole(0), "epoch": whole(1), "task_type": text(50, *LONG_TASKS)},
        {
            "primary_metric_name": text(50), "primary_metric_value": number(), "overall_loss": number(),
            "metrics": keyed(number()), "per_class_metrics": keyed(keyed(number())),
            "confusion_matrix": listed(listed(whole(0))),
            "pr_curves": keyed(record({"precision": listed(number(0, 1)), "recall": listed(number(0, 1))})),
            "class_names": listed(text()), "visualization_urls": keyed(s3), "sample_correct_images": listed(text()),
            "sample_incorrect_images": listed(text()), "image_results": listed(IMAGE),
        },
    ),
    r"/training/jobs/\d+/callback/completion": (
        {"job_id": whole(0), "status": text(20), "total_epochs_completed": whole(0)},
        {
            "final_metrics": METRICS, "best_metrics": METRICS, "best_epoch": whole(0), "final_checkpoint_path": s3,
            "best_checkpoint_path": s3, "last_checkpoint_path": s3, "model_artifacts_path": s3, "mlflow_run_id": text(),
            "total_duration_seconds": number(0), "error_message": error_text, "traceback": text(), "exit_code": whole(),
        },
    ),
    r"/training/jobs/\d+/callback/logs": (
        {"job_id": whole(0), "event_type": text(10), "message": text()},
        {"level": text(10, "DEBUG", "INFO", "WARNING", "ERROR"), "data": keyed(lambda v: True), "timestamp": text()},
    ),
    r"/test_inference/inference/jobs/\d+/callback/started": STARTED,
    r"/export/jobs/\d+/callback/started": STARTED,
    r"/test_inference/inference/jobs/\d+/callback/completion": (
        {"status": text(20, "completed", "failed")},
        {
            "type": text(), "job_id": whole(0), "total_images": whole(0), "total_inference_time_ms": number(0),
            "avg_inference_time_ms": number(0), "results": listed(RESULT), "result_urls": keyed(s3),
            "error_message": error_text, "traceback": text(), "exit_code": whole(), "timestamp": text(),
        },
    ),
    r"/export/jobs/\d+/callback/completion": (
        {"status": text(20, "completed", "failed")},
        {
            "type": text(), "job_id": whole(0), "export_format": text(), "output_s3_uri": s3,
            "file_size_bytes": whole(0),
            "metadata": keyed(lambda v: True), "error_message": error_text, "traceback": text(), "exit_code": whole(),
            "timestamp": text(),
        },
    ),
    r"/test_inference/test/\d+/results": (
        {"status": text(20, "completed", "failed"), "task_type": text()},
        {
            "test_run_id": whole(0), "training_job_id": whole(0), "metrics": keyed(number()),
            "per_class_metrics": keyed(keyed(number())), "class_names": listed(text()), "num_images": whole(0),
            "visualization_urls": keyed(s3), "predictions_json_uri": s3, "config": keyed(lambda v: True),
            "error_message": error_text, "traceback": text(), "exit_code": whole(),
        },
    ),
}  # fmt: skip
NULL_IS_TAKEN = (
    "metrics",
    "checkpoint_path",
    "overall_loss",
    "sample_correct_images",
    "sample_incorrect_images",
)


def mistakes(
    body: Mapping[str, Any], required: Mapping[str, Rule], optional: Mapping[str, Rule]
) -> list[str]:
    """What a backend would refuse, lose or drop of a body."""
    found = [f"{name} is missing" for name in required if name not in body]
    for name, value in body.items():
        rule = required.get(name) or optional.get(name)
        if rule is None:
            found.append(f"{name} is no field of this body")
        elif not rule(value) and not (value is None and name in optional and name in NULL_IS_TAKEN):
            found.append(f"{name} is {json.dumps(value)[:200]}")
    return found


def check_body(path: str, body: Any) -> list[str]:
    """The mistakes of one request; ``path`` begins with ``/api/v1``."""
    for pattern, (required, optional) in TABLES.items():
        if re.fullmatch(f"/api/v1{pattern}", path):
            found = mistakes(body, required, optional)
            if path.endswith("/progress") and not found and body["current_epoch"] > body["total_epochs"]:
                found.append("current_epoch is beyond total_epochs")
            if path.endswith("/results") and "confusion_matrix" in body and not found:
                matrix = body["confusion_matrix"]
                if any(len(row) != len(matrix) for row in matrix):
                    found.append("confusion_matrix is not square")
            return found
    return [f"no route {path}"]


def check_sequence(requests: Sequence[tuple[str, Any]], epochs: int) -> list[str]:
    """The mistakes of a whole training job that ended by itself: each body's, and those of the order.

    Args:
        requests: (path, body) of what the backend took, in order.
        epochs: how many the job trained.
    """
    found = [f"{path}: {one}" for path, body in requests for one in check_body(path, body)]
    routes = [path.rsplit("/", 1)[-1] for path, _ in requests]
    progress = [body for (path, body), route in zip(requests, routes, strict=True) if route == "progress"]
    rows = [body for body in progress if body.get("metrics") is not None]
    if (
        routes[:1] != ["progress"]
        or progress[0]["current_epoch"] != 0
        or progress[0].get("metrics") is not None
    ):
        found.append("the first is not 'started': epoch 0 without metrics")
    if [body["current_epoch"] for body in rows] != list(range(1, epochs + 1)):
        found.append(f"rows of epochs {[body['current_epoch'] for body in rows]}")
    percents = [body["progress_percent"] for body in progress]
    if percents != sorted(percents):
        found.append(f"percents go back: {percents}")
    if routes.count("completion") != 1 or routes[-1] != "completion":
        found.append("completion is not the last, or not the only one")
    validations = [
        body["epoch"] for (path, body), route in zip(requests, routes, strict=True) if route == "results"
    ]
    if validations != sorted(set(validations)):
        found.append(f"validations of epochs {validations}")
    if routes.count("logs") >= 2000:
        found.append("too many lines for the log")
    return found
