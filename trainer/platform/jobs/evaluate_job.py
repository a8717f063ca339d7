"""An evaluation job: the metrics of a checkpoint on a split of a data set."""

from __future__ import annotations

import json
from typing import Any

from trainer.core.errors import ConfigError, FrameworkError, TrainerError
from trainer.core.secrets import mask_urls
from trainer.platform.callbacks.metric_names import Scores
from trainer.platform.callbacks.payloads import EvaluationCompletionPayload, Payload
from trainer.platform.jobs import PlatformJob
from trainer.platform.jobs.operation import Operation, device, elsewhere, said, upload
from trainer.platform.settings.datasets import find_dataset, split_of
from trainer.platform.settings.environment_variables import Variables
from trainer.platform.settings.setting_keys import JobFacts, Pair, Reader, SettingKey
from trainer.platform.settings.task_names import LONG
from trainer.platform.storage.result_uploads import PLOTS
from trainer.platform.supervisor import Supervisor


def _split(value: Any, facts: JobFacts) -> list[Pair]:
    """The backend writes ``test`` when nobody chose, whether there is such a split or not."""
    return [("split", "auto" if value == "test" else value)]


SETTINGS = (
    SettingKey(
        "dataset_split",
        _split,
        "`split`; test, also when nobody chose: val where the data set has no test split",
        type="text",
        choices=("train", "val", "test"),
        aliases=("split",),
    ),
    SettingKey("batch_size", "batch_size", type="int", low=1, aliases=("batch",)),
    SettingKey("workers", "workers", type="int", low=0, high=256),
    SettingKey("device", device, "`device`: cpu, or the GPU where there is one", type="text", sample="0"),
    SettingKey("half", "half", type="bool", aliases=("fp16",)),
    SettingKey("conf_threshold", None, "metrics take every score", aliases=("conf", "confidence_threshold")),
    SettingKey("iou_threshold", None, "metrics have overlaps of their own", aliases=("iou",)),
    SettingKey(
        "imgsz", None, "images get the size that the model was validated with", aliases=("image_size",)
    ),
    SettingKey("split_config", elsewhere, "`dataset.split_file`, written from it", type="object"),
    SettingKey("task_type", None, "the checkpoint says its task"),
    SettingKey("model_name", None, "the checkpoint says its model"),
)


class EvaluateOperation(Operation):
    command = "evaluate"
    settings = SETTINGS

    def place(self, job: PlatformJob, config: dict[str, Any], reader: Reader, mistakes: list[str]) -> None:
        try:
            place = find_dataset(job.variables)
        except ConfigError as error:
            mistakes.append(error.message)
            return
        reader.take(place.pairs, place.source, place.note or mask_urls(job.variables.text(place.source)))
        wanted = config.get("split_config")
        pairs, where = split_of(wanted if isinstance(wanted, dict) else None, job.variables, job.work)
        if pairs:
            reader.take(pairs, where, wanted or "")

    def read(self, config: dict[str, Any], source: str, reader: Reader) -> None:
        super().read(config, source, reader)
        reader.pairs.setdefault("split", "auto")

    def started(self, job: PlatformJob) -> None:
        return None

    def finished(self, job: PlatformJob) -> Payload:
        folder = job.work / "results"
        found = sorted(folder.glob("evaluation-*.json"))
        if not found:
            raise FrameworkError(f"the evaluation left no result in {folder}")
        result = json.loads(found[0].read_bytes())
        metrics = {name: value for name, value in result["metrics"].items() if name != "per_class"}
        curves = folder / "curves" / found[0].name
        content = json.loads(curves.read_bytes()) if curves.is_file() else {}
        per_class = result["metrics"]["per_class"]
        classes = content.get("classes") or list(per_class)
        scores = Scores(result["task"], classes, metrics, per_class, content)
        prefix = f"test-runs/{job.id}"
        names = {
            path: path.stem.removeprefix(f"{found[0].stem}_") for path in (folder / "plots").glob("*.png")
        }
        plots = {PLOTS.get(name, name): path for path, name in sorted(names.items())}
        store = upload(
            [
                (found[0], f"{prefix}/result.json"),
                *((path, f"{prefix}/plots/{name}.png") for name, path in plots.items()),
            ]
        )
        return EvaluationCompletionPayload(
            job.id,
            "completed",
            _task(job.variables) or LONG[result["task"]],
            training_job_id=_number(job.variables),
            metrics={**scores.aliased, "accuracy": _headline(result)},
            per_class_metrics=scores.classwise or None,
            class_names=list(classes),
            num_images=result["images"],
            visualization_urls={name: f"{store}/{prefix}/plots/{name}.png" for name in plots},
            config={"split": result["split"], "dataset": result["dataset"]},
            exit_code=0,
        )

    def failed(self, variables: Variables, id: int, text: str, trace: str | None) -> Payload:
        return EvaluationCompletionPayload(
            id,
            "failed",
            _task(variables) or "unknown",
            training_job_id=_number(variables),
            error_message=text,
            traceback=trace,
            exit_code=1,
        )


def _task(variables: Variables) -> str | None:
    """The task in the backend's own word."""
    try:
        given = variables.get("TASK_TYPE") or said(variables.config()[0], "task_type")
    except ConfigError:
        return None
    return given.value if given else None


def _number(variables: Variables) -> int | None:
    text = variables.text("TRAINING_JOB_ID")
    return int(text) if text.isascii() and text.isdecimal() else None


def _headline(result: dict[str, Any]) -> float:
    value = result["primary_metric"]["value"]
    return float("nan") if value is None else float(value)


_JOB = EvaluateOperation()


def prepare(variables: Variables, id: int, url: str, mistakes: list[str]) -> PlatformJob:
    """See :mod:`trainer.platform.jobs`."""
    return _JOB.prepare(variables, id, url, mistakes)


def run(job: PlatformJob, supervisor: Supervisor) -> int:
    """See :mod:`trainer.platform.jobs`."""
    return _JOB.run(job, supervisor)


def failure(variables: Variables, id: int, error: TrainerError, trace: str | None) -> Payload:
    """See :mod:`trainer.platform.jobs`."""
    return _JOB.failure(variables, id, error, trace)
