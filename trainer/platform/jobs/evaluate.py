"""An evaluation job: the metrics of a checkpoint on a split of a data set."""

from __future__ import annotations

import json
from typing import Any

from trainer.config.schema import Evaluate
from trainer.errors import ConfigError, FrameworkError, TrainerError
from trainer.platform.bodies import Body, EvaluationCompletion
from trainer.platform.datasets import find_dataset, split_of
from trainer.platform.grammar import override
from trainer.platform.jobs import Job
from trainer.platform.jobs.operation import Operation, device, said, upload
from trainer.platform.keys import Key, Reader
from trainer.platform.metrics import Scores
from trainer.platform.sink import Failure
from trainer.platform.supervise import Supervisor
from trainer.platform.tasks import LONG
from trainer.platform.variables import Variables
from trainer.secrets import mask_urls

SPLITS = Evaluate.__dataclass_fields__["split"].metadata["choices"]
SETTINGS = (
    Key("dataset_split", "split", type="text", choices=SPLITS, aliases=("split",)),
    Key("batch_size", "batch_size", type="int", low=1, aliases=("batch",)),
    Key("workers", "workers", type="int", low=0, high=256),
    Key("device", device, "`device`: cpu, or the GPU where there is one", type="text", sample="0"),
    Key("half", "half", type="bool", aliases=("fp16",)),
    Key("conf_threshold", None, "metrics take every score", aliases=("conf", "confidence_threshold")),
    Key("iou_threshold", None, "metrics have overlaps of their own", aliases=("iou",)),
    Key("imgsz", None, "images get the size that the model was validated with", aliases=("image_size",)),
    Key("split_config", None, "read with the data set"),
    Key("task_type", None, "the checkpoint says its task"),
    Key("model_name", None, "the checkpoint says its model"),
)
USUAL_SPLIT = "test"
"""What the backend asks for when nobody chose; where a data set has none, ``val`` is taken."""


class Evaluation(Operation):
    command = "evaluate"
    settings = SETTINGS

    def place(self, job: Job, config: dict[str, Any], reader: Reader, mistakes: list[str]) -> None:
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
        if not config.get("dataset_split") and not config.get("split"):
            reader.take([("split", USUAL_SPLIT)], "dataset_split, by default", USUAL_SPLIT)

    def started(self, job: Job) -> None:
        return None

    def command_line(
        self, job: Job, overrides: list[str], supervisor: Supervisor
    ) -> tuple[Failure | None, str | None]:
        failure, trace = super().command_line(job, overrides, supervisor)
        asked = override("split", USUAL_SPLIT)
        if failure is None or asked not in overrides or "has no such split" not in failure.message:
            return failure, trace
        job.notes.append(f"the data set has no split {USUAL_SPLIT}: val is taken")
        print(job.notes[-1], flush=True)
        words = [override("split", "val") if word == asked else word for word in overrides]
        return super().command_line(job, words, supervisor)

    def finished(self, job: Job) -> Body:
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
        told = {
            name: {"class_id": index, **scores.classwise.get(name, {})} for index, name in enumerate(classes)
        }
        prefix = f"test-runs/{job.id}/plots"
        plots = sorted((folder / "plots").glob("*.png"))
        store = upload(
            [(found[0], f"test-runs/{job.id}/result.json"), *((one, f"{prefix}/{one.name}") for one in plots)]
        )
        return EvaluationCompletion(
            job.id,
            "completed",
            _task(job.variables) or LONG[result["task"]],
            training_job_id=_number(job.variables),
            metrics={**scores.aliased, "accuracy": _headline(result)},
            per_class_metrics={
                name: {key: float(value) for key, value in one.items()} for name, one in told.items()
            },
            class_names=list(classes),
            num_images=result["images"],
            visualization_urls={
                one.stem.removeprefix(found[0].stem).strip("_") or one.stem: f"{store}/{prefix}/{one.name}"
                for one in plots
            },
            config={"split": result["split"], "dataset": result["dataset"]},
            exit_code=0,
        )

    def failed(self, variables: Variables, id: int, text: str, trace: str | None) -> Body:
        return EvaluationCompletion(
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


_JOB = Evaluation()


def prepare(variables: Variables, id: int, url: str, mistakes: list[str]) -> Job:
    """See :mod:`trainer.platform.jobs`."""
    return _JOB.prepare(variables, id, url, mistakes)


def run(job: Job, supervisor: Supervisor) -> int:
    """See :mod:`trainer.platform.jobs`."""
    return _JOB.run(job, supervisor)


def failure(variables: Variables, id: int, error: TrainerError, trace: str | None) -> Body:
    """See :mod:`trainer.platform.jobs`."""
    return _JOB.failure(variables, id, error, trace)
