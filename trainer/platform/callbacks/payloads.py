"""The bodies of all callbacks, as the platform's backend takes them; what it would refuse is refused here already.

A body is a dataclass of :func:`part` fields; ``content()`` gives it as plain JSON values: what isn't known is left
out, numbers that JSON doesn't know (NaN, infinity) too, numpy's numbers become Python's. :data:`ROUTES` says where
each body goes. The backend drops keys that it doesn't know, so nothing is sent that has no field here.

Evaluations know their id by the path alone, so their bodies carry it only for people who read them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from datetime import datetime, timezone
from typing import Any, ClassVar

from trainer.core.errors import ValidationError
from trainer.platform.callbacks.payload_values import (
    curves,
    is_whole,
    links,
    nested,
    number,
    numbers,
    plain,
    predictions,
    scalars,
    square,
    texts,
)
from trainer.platform.settings.task_names import LONG

EVENT_TYPE = 10  # characters of a VARCHAR; a longer text loses the whole row
STATUS = 20
PATH = 500
NAME = 200
MESSAGE = 10_000
TRACEBACK = 50_000
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
FORMATS = ("yolo", "coco", "xyxy")

ROUTES = {
    "progress": "training/jobs/{id}/callback/progress",
    "validation": "validation/jobs/{id}/results",
    "completion": "training/jobs/{id}/callback/completion",
    "log": "training/jobs/{id}/callback/logs",
    "inference_started": "test_inference/inference/jobs/{id}/callback/started",
    "inference_completion": "test_inference/inference/jobs/{id}/callback/completion",
    "export_started": "export/jobs/{id}/callback/started",
    "export_completion": "export/jobs/{id}/callback/completion",
    "evaluation_completion": "test_inference/test/{id}/results",
}
"""Behind the callback address, by :attr:`Payload.route`."""


def part(
    default: Any = None,
    *,
    required: bool = False,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    longest: int | None = None,
    keep: str | None = None,
    choices: tuple[str, ...] | None = None,
    check: Callable[[Any], Any] | None = None,
) -> Any:
    """A field of a body.

    Args:
        required: may not be left out.
        ge, gt, le: limits of a number.
        longest: most characters of a text. One that is longer is refused, or cut where ``keep`` says which end
            stays (``start`` or ``end``).
        check: gives the value to be sent, or raises ValueError saying what was expected.
    """
    limits = {"required": required, "ge": ge, "gt": gt, "le": le, "longest": longest, "keep": keep}
    metadata = {**limits, "choices": choices, "check": check}
    if isinstance(default, (dict, list)):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    return field(default=default, metadata=metadata)


# ruff: noqa: RUF009  part() makes a dataclass field


class Payload:
    """Base of the bodies; ``route`` is the key of :data:`ROUTES` that they are sent to, empty for a part of one."""

    route: ClassVar[str] = ""

    @classmethod
    def kind(cls) -> str:
        """What the payload is called in messages and documentation: ``Progress``, ``Completion``."""
        return cls.__name__.removesuffix("Payload")

    def content(self) -> dict[str, Any]:
        """Plain JSON values.

        Raises:
            ValidationError: names the field, what it is and what was expected.
        """
        self.prepare()
        found = {}
        for one in fields(self):  # type: ignore[arg-type]  # every subclass is a dataclass
            value = _value(self.kind(), one, getattr(self, one.name))
            if value is not None:
                found[one.name] = value
        return found

    def prepare(self) -> None:
        """Rules between fields; raises ValidationError."""


@dataclass
class MetricsPayload(Payload):
    """The figures of an epoch: appends one row to the job's chart."""

    loss: float | None = part()
    accuracy: float | None = part()
    learning_rate: float | None = part()
    extra_metrics: dict[str, float] = part({}, check=scalars)


@dataclass
class ProgressPayload(Payload):
    """``started`` (epoch 0, no metrics), an epoch's row (with metrics), or how far it is by now (without)."""

    route: ClassVar[str] = "progress"
    job_id: int = part(required=True)
    current_epoch: int = part(required=True, ge=0)
    total_epochs: int = part(required=True, gt=0)
    status: str = part("running", required=True, longest=STATUS)
    progress_percent: float | None = part(ge=0, le=100)
    metrics: MetricsPayload | None = part()
    checkpoint_path: str | None = part(longest=PATH)
    best_checkpoint_path: str | None = part(longest=PATH)
    epoch_duration_seconds: float | None = part(ge=0)
    estimated_time_remaining: float | None = part(ge=0)
    error_message: str | None = part(longest=MESSAGE, keep="start")
    traceback: str | None = part(longest=TRACEBACK, keep="end")

    def prepare(self) -> None:
        if is_whole(self.current_epoch) and is_whole(self.total_epochs):
            if self.current_epoch > self.total_epochs > 0:
                raise ValidationError(
                    f"Progress.current_epoch is {self.current_epoch}, of {self.total_epochs} epochs in total"
                )
            if self.progress_percent is None and self.total_epochs > 0:
                self.progress_percent = round(100.0 * self.current_epoch / self.total_epochs, 4)


@dataclass
class BoxPayload(Payload):
    """A box in a picture: ``bbox`` four numbers in the ``format``'s order."""

    class_id: int = part(required=True, ge=0)
    bbox: list[float] = part(required=True, check=lambda value: numbers(value, 4))
    confidence: float | None = part(ge=0, le=1)
    format: str = part("coco", required=True, choices=FORMATS)


@dataclass
class ImageResultPayload(Payload):
    """One picture of a validation."""

    image_name: str = part(required=True, longest=NAME, keep="end")
    is_correct: bool = part(required=True)
    image_index: int | None = part(ge=0)
    true_label: str | None = part()
    true_label_id: int | None = part()
    predicted_label: str | None = part()
    predicted_label_id: int | None = part()
    confidence: float | None = part(ge=0, le=1)
    iou: float | None = part(ge=0, le=1)
    true_boxes: list[BoxPayload] | None = part()
    predicted_boxes: list[BoxPayload] | None = part()
    extra_data: dict[str, Any] | None = part(check=plain)


@dataclass
class ValidationPayload(Payload):
    """An evaluation's results; a second one of the same epoch takes the place of the first."""

    route: ClassVar[str] = "validation"
    job_id: int = part(required=True)
    epoch: int = part(required=True, ge=0)
    task_type: str = part(required=True, choices=tuple(LONG.values()))
    primary_metric_name: str | None = part(longest=50)
    primary_metric_value: float | None = part()
    overall_loss: float | None = part()
    metrics: dict[str, float] | None = part(check=scalars)
    per_class_metrics: dict[str, dict[str, float]] | None = part(check=nested)
    confusion_matrix: list[list[int]] | None = part(check=square)
    pr_curves: dict[str, dict[str, list[float]]] | None = part(check=curves)
    class_names: list[str] | None = part(check=texts)
    visualization_urls: dict[str, str] | None = part(check=links)
    sample_correct_images: list[str] | None = part(check=texts)
    sample_incorrect_images: list[str] | None = part(check=texts)
    image_results: list[ImageResultPayload] | None = part()


@dataclass
class CompletionPayload(Payload):
    """How a training ended: the last thing that is said of it. ``exit_code`` decides the job's status."""

    route: ClassVar[str] = "completion"
    job_id: int = part(required=True)
    status: str = part(required=True, longest=STATUS)
    total_epochs_completed: int = part(required=True, ge=0)
    final_metrics: MetricsPayload | None = part()
    best_metrics: MetricsPayload | None = part()
    best_epoch: int | None = part(ge=0)
    final_checkpoint_path: str | None = part(longest=PATH)
    best_checkpoint_path: str | None = part(longest=PATH)
    last_checkpoint_path: str | None = part(longest=PATH)
    model_artifacts_path: str | None = part(longest=PATH)
    mlflow_run_id: str | None = part()
    total_duration_seconds: float | None = part(ge=0)
    error_message: str | None = part(longest=MESSAGE, keep="start")
    traceback: str | None = part(longest=TRACEBACK, keep="end")
    exit_code: int | None = part()


@dataclass
class LogPayload(Payload):
    """A line for the job's log."""

    route: ClassVar[str] = "log"
    job_id: int = part(required=True)
    event_type: str = part(required=True, longest=EVENT_TYPE)
    message: str = part(required=True, longest=MESSAGE, keep="start")
    level: str = part("INFO", required=True, choices=LEVELS)
    data: dict[str, Any] | None = part(check=plain)
    timestamp: str | None = part()


@dataclass
class InferenceStartedPayload(Payload):
    route: ClassVar[str] = "inference_started"
    job_id: int = part(required=True)
    type: str = part("started")
    operation_type: str = part("inference")
    timestamp: str = part(required=True)


@dataclass
class InferenceResultPayload(Payload):
    """What was found in one image; the time has to be a number, or the whole job's results are lost.

    Each of ``predictions``: ``class_id``, ``class_name``, ``confidence`` and, where there is one, ``bbox`` [x1, y1,
    x2, y2] in pixels, never null; ``mask`` and ``keypoints`` where the task has them.
    """

    image_path: str = part(required=True, longest=PATH)
    image_name: str = part(required=True, longest=NAME, keep="end")
    predictions: list[dict[str, Any]] = part([], required=True, check=predictions)
    inference_time_ms: float = part(0.0, required=True, ge=0)
    num_detections: int | None = part(ge=0)
    error: str | None = part(longest=MESSAGE, keep="start")


@dataclass
class InferenceCompletionPayload(Payload):
    route: ClassVar[str] = "inference_completion"
    job_id: int = part(required=True)
    status: str = part(required=True, choices=("completed", "failed"))
    type: str = part("inference_completed")
    total_images: int | None = part(ge=0)
    total_inference_time_ms: float | None = part(ge=0)
    avg_inference_time_ms: float | None = part(ge=0)
    results: list[InferenceResultPayload] | None = part()
    result_urls: dict[str, str] | None = part(check=links)
    error_message: str | None = part(longest=MESSAGE, keep="start")
    traceback: str | None = part(longest=TRACEBACK, keep="end")
    exit_code: int | None = part()
    timestamp: str | None = part()


@dataclass
class ExportStartedPayload(Payload):
    route: ClassVar[str] = "export_started"
    job_id: int = part(required=True)
    type: str = part("started")
    operation_type: str = part("export")
    timestamp: str = part(required=True)


@dataclass
class ExportCompletionPayload(Payload):
    """``file_size_bytes`` is the model's own size, a number, not the package's."""

    route: ClassVar[str] = "export_completion"
    job_id: int = part(required=True)
    status: str = part(required=True, choices=("completed", "failed"))
    type: str = part("export_completed")
    export_format: str | None = part()
    output_s3_uri: str | None = part(longest=PATH)
    file_size_bytes: int | None = part(ge=0)
    metadata: dict[str, Any] | None = part(check=plain)
    error_message: str | None = part(longest=MESSAGE, keep="start")
    traceback: str | None = part(longest=TRACEBACK, keep="end")
    exit_code: int | None = part()
    timestamp: str | None = part()

    def prepare(self) -> None:
        if self.status == "completed" and (self.output_s3_uri is None or self.file_size_bytes is None):
            raise ValidationError(
                "ExportCompletion: a completed export has an output_s3_uri and file_size_bytes"
            )


@dataclass
class EvaluationCompletionPayload(Payload):
    """``task_type`` is required of a failure too. A headline is shown for ``mAP50-95`` or ``mAP50`` alone."""

    route: ClassVar[str] = "evaluation_completion"
    test_run_id: int = part(required=True)
    status: str = part(required=True, choices=("completed", "failed"))
    task_type: str = part(required=True)
    training_job_id: int | None = part()
    metrics: dict[str, float] | None = part(check=scalars)
    per_class_metrics: dict[str, dict[str, float]] | None = part(check=nested)
    class_names: list[str] | None = part(check=texts)
    num_images: int | None = part(ge=0)
    visualization_urls: dict[str, str] | None = part(check=links)
    predictions_json_uri: str | None = part(longest=PATH)
    config: dict[str, Any] | None = part(check=plain)
    error_message: str | None = part(longest=MESSAGE, keep="start")
    traceback: str | None = part(longest=TRACEBACK, keep="end")
    exit_code: int | None = part()


def timestamp(seconds: float | None = None) -> str:
    """A time as the contract writes it, ``2026-01-25T09:30:00.123456+00:00``; now when none is given."""
    moment = datetime.now(timezone.utc) if seconds is None else datetime.fromtimestamp(seconds, timezone.utc)
    return moment.isoformat(timespec="microseconds")


def failure_text(kind: str, message: str) -> str:
    """An error as the backend stores it: ``[DatasetError] no images``."""
    return f"[{kind}] {message}"


def _value(owner: str, one: Any, value: Any) -> Any:
    """A field's value as it is sent; None to leave it out."""
    rule, name = one.metadata, f"{owner}.{one.name}"
    if isinstance(value, Payload):
        return value.content()
    if isinstance(value, list) and value and all(isinstance(item, Payload) for item in value):
        return [item.content() for item in value]
    kind = str(one.type).partition(" |")[0].partition("[")[0]
    if value is not None:
        value = _typed(name, kind, value, rule)
    if value is None and rule["required"]:
        raise ValidationError(f"{name} is missing: expected {_expected(kind, rule)}")
    return value


def _typed(name: str, kind: str, value: Any, rule: Any) -> Any:
    if rule["check"] is not None:
        try:
            return rule["check"](value)
        except (ValueError, TypeError, KeyError) as error:
            raise ValidationError(f"{name}: {error}") from None
    if kind == "str":
        return _text(name, value, rule)
    if kind == "bool":
        return bool(value)
    if kind in ("int", "float"):
        found = number(value)
        if found is None and isinstance(value, float) and kind == "float":
            return None  # NaN or infinity
        wrong = found is None or isinstance(value, (bool, str)) or (kind == "int" and found != int(found))
        if wrong or not _within(found, rule):
            raise ValidationError(f"{name} is {value!r}: expected {_expected(kind, rule)}")
        assert found is not None
        return int(found) if kind == "int" else found
    return value


def _text(name: str, value: Any, rule: Any) -> str:
    # PostgreSQL has no place for this character.
    text = str(value).replace("\x00", "")
    if rule["choices"] and text not in rule["choices"]:
        raise ValidationError(f"{name} is {text!r}: expected one of {', '.join(rule['choices'])}")
    longest = rule["longest"]
    if longest is not None and len(text) > longest:
        if rule["keep"] is None:
            raise ValidationError(f"{name} has {len(text)} characters: expected {longest} at most")
        return text[:longest] if rule["keep"] == "start" else text[-longest:]
    return text


def _within(found: float | None, rule: Any) -> bool:
    return found is not None and (
        (rule["ge"] is None or found >= rule["ge"])
        and (rule["gt"] is None or found > rule["gt"])
        and (rule["le"] is None or found <= rule["le"])
    )


def _expected(kind: str, rule: Any) -> str:
    signs = {"ge": "at least", "gt": "more than", "le": "at most"}
    limits = [f"{words} {rule[sign]:g}" for sign, words in signs.items() if rule[sign] is not None]
    name = {"int": "a whole number", "float": "a number", "str": "a text"}.get(kind, f"a {kind}")
    return ", ".join([name, *limits])
