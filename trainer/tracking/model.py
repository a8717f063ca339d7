"""The trained model in MLflow: ``mlflow.pyfunc.load_model(uri).predict(image)``. Imports no torch."""

from __future__ import annotations

import base64
import json
import logging
import tempfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from trainer.checkpoints.resolve_checkpoint import find_checkpoint
from trainer.core.errors import CheckpointError
from trainer.core.installation import VERSION
from trainer.runs.events.reader import Event, events
from trainer.runs.manifest import sha256
from trainer.tracking.metric_mapping import points_of
from trainer.tracking.mlflow_state import MlflowProgress
from trainer.tracking.model_io import CHANNELS, COLUMN, answer_keys

logger = logging.getLogger("trainer")

NAME = "model"
CODE = Path(__file__).with_name("model_code.py")
EXAMPLE_SIDE = 256
REGISTRATION_SECONDS = 30
# What answering needs beside this package, in the versions of this environment.
REQUIREMENTS = (
    *("torch", "onedl-mmengine", "onedl-mmcv", "onedl-mmdetection", "onedl-mmsegmentation", "mmpose"),
    *("albumentations", "faster-coco-eval", "numpy", "opencv-python-headless"),
)
_TYPES = {
    "width": "long",
    "height": "long",
    "boxes": "double",
    "scores": "double",
    "labels": "long",
    "class_names": "string",
}


def log_model(run_dir: Path, mlflow_run_id: str, uri: str, register: str | None = None) -> None:
    """Log the run's best checkpoint (the last where there is no best) as a model that MLflow loads and serves.

    Done again for the same checkpoint it changes nothing; one that was cut off is completed. The model isn't run here.

    Args:
        run_dir: the run directory.
        mlflow_run_id: MLflow's id of the run.
        uri: the tracking server; user and password are taken from MLflow's environment variables.
        register: the name in the model registry under which it becomes a new version; None: not registered.

    Raises:
        CheckpointError: the run has no whole checkpoint.
        MlflowException: the server doesn't take it.
    """
    import mlflow
    from mlflow import MlflowClient

    facts = _facts(run_dir)
    mlflow.set_tracking_uri(uri)
    client = MlflowClient(tracking_uri=uri)
    run = client.get_run(mlflow_run_id)
    model = _known(client, run, facts.digest)
    if model is None:
        model = client.create_logged_model(
            run.info.experiment_id,
            name=NAME,
            source_run_id=mlflow_run_id,
            tags={"checkpoint": facts.digest, "task": facts.task, "model": facts.model},
            params={
                key: value for key, value in run.data.params.items() if key in ("model.name", "task.name")
            },
        )
    if model.status != "READY":
        with tempfile.TemporaryDirectory() as folder:
            _save(Path(folder) / NAME, facts, model)
            client.log_model_artifacts(model.model_id, str(Path(folder) / NAME))
        model = client.finalize_logged_model(model.model_id, "READY")
        _connect(client, mlflow_run_id, model.model_id, facts)
    if register:
        _register(client, mlflow_run_id, model.model_id, register)


def model_uri(mlflow_run_id: str, uri: str) -> str | None:
    """The ``models:/...`` address of the run's newest model; None where none was logged."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    found = _models(client, client.get_run(mlflow_run_id))
    return f"models:/{found[0].model_id}" if found else None


def requirements() -> list[str]:
    """What the model needs to be loaded, as pip writes it: this package, MLflow and OpenMMLab's."""
    found = [f"openmmlab-trainer=={VERSION}"]
    for name in ("mlflow", *REQUIREMENTS):
        try:
            found.append(f"{name}=={version(name)}")
        except PackageNotFoundError:
            continue
    return found


@dataclass(frozen=True)
class _Facts:
    """What is logged: the file, and what is known of the run."""

    run_dir: Path
    checkpoint: Path
    digest: str
    task: str
    model: str
    classes: list[str]
    validation: Event | None


def _facts(run_dir: Path) -> _Facts:
    found = find_checkpoint(run_dir)
    if found.run is None:
        raise CheckpointError(f"{run_dir} has no run.json")
    facts = found.run.facts
    classes: list[str] = []
    best: Event | None = None
    for event in events(found.run.events):
        if event["type"] == "run_started":
            classes = event.get("classes") or classes
        elif event["type"] == "checkpoint" and event.get("kind") == found.path.stem:
            best = event
    validation = None
    if best is not None:
        same = (
            e for e in events(found.run.events) if e["type"] == "validation" and e["iter"] == best["iter"]
        )
        validation = next(iter([*same][-1:]), None)
    task, model = str(facts.get("task", "")), str(facts.get("model", ""))
    return _Facts(run_dir, found.path, sha256(found.path), task, model, classes, validation)


def _models(client: Any, run: Any) -> list[Any]:
    where = f"source_run_id = '{run.info.run_id}' AND name = '{NAME}'"
    found = client.search_logged_models([run.info.experiment_id], filter_string=where)
    return sorted(found, key=lambda model: -model.creation_timestamp)


def _known(client: Any, run: Any, digest: str) -> Any:
    """The model of this checkpoint that an earlier call made, whole or not."""
    same = [model for model in _models(client, run) if model.tags.get("checkpoint") == digest]
    return next(iter(same), None)


def _save(path: Path, facts: _Facts, model: Any) -> None:
    """Write MLflow's model folder."""
    import mlflow.pyfunc
    from mlflow.models import Model

    described = Model(
        artifact_path=model.artifact_location,
        run_id=model.source_run_id,
        model_id=model.model_id,
        model_uuid=model.model_id,
        metadata={
            "task": facts.task,
            "model": facts.model,
            "classes": facts.classes,
            "answer": answer_keys(facts.task),
        },
    )
    mlflow.pyfunc.save_model(
        path=str(path),
        mlflow_model=described,
        python_model=str(CODE),
        artifacts={"checkpoint": str(facts.checkpoint)},
        signature=_signature(facts.task),
        input_example=_example(facts.run_dir),
        pip_requirements=requirements(),
    )


def _signature(task: str) -> Any:
    """Any of a column's forms passes: MLflow has no type for "an array or text", so the column is of objects."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema, TensorSpec
    from mlflow.types.schema import AnyType, Array

    outputs = []
    for key in answer_keys(task):
        kind: Any = _TYPES.get(key)
        if key == "boxes":
            kind = Array(Array(kind))
        elif kind and key not in ("width", "height"):
            kind = Array(kind)
        outputs.append(ColSpec(kind or Array(AnyType()), key))
    return ModelSignature(
        inputs=Schema([TensorSpec(np.dtype("O"), (-1,), COLUMN)]),
        outputs=Schema(outputs),
        params=ParamSchema(
            [ParamSpec("threshold", "double", 0.0), ParamSpec("channels", "string", CHANNELS[0])]
        ),
    )


def _example(run_dir: Path) -> Any:
    """A validation image as base64 text in the column ``image``; a grey one where none is at hand."""
    import pandas

    picture: np.ndarray = np.full((EXAMPLE_SIDE // 4, EXAMPLE_SIDE // 4, 3), 128, np.uint8)
    for path in sorted((run_dir / "predictions").glob("epoch_*.json")):
        try:
            shown = cv2.imread(json.loads(path.read_bytes())["images"][0]["prediction"]["file"])
        except (OSError, ValueError, KeyError, IndexError, TypeError):
            continue
        if shown is not None:
            picture = shown
            break
    factor = EXAMPLE_SIDE / max(picture.shape[:2])
    if factor < 1:
        picture = cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 90])[1]
    return pandas.DataFrame({COLUMN: [base64.b64encode(encoded.tobytes()).decode()]})


def _connect(client: Any, run_id: str, model_id: str, facts: _Facts) -> None:
    """The model as an output of its run, with the metrics of the validation that chose it."""
    from mlflow.entities import LoggedModelOutput, Metric

    event = facts.validation
    points = points_of({**event, "per_class": {}}, MlflowProgress())[0] if event else []
    client.log_outputs(run_id, [LoggedModelOutput(model_id, step=points[0].step if points else 0)])
    metrics = [Metric(p.key, p.value, p.time_ms, p.step, model_id=model_id, run_id=run_id) for p in points]
    if metrics:
        client.log_batch(run_id, metrics=metrics)


def _register(client: Any, run_id: str, model_id: str, name: str) -> None:
    """A version of ``name`` that is this model, unless there is one."""
    from mlflow.exceptions import MlflowException

    source = f"models:/{model_id}"
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    quoted = name.replace("'", "''")
    versions = client.search_model_versions(f"name = '{quoted}'")
    if any(one.source == source or getattr(one, "model_id", None) == model_id for one in versions):
        return
    client.create_model_version(
        name, source, run_id=run_id, model_id=model_id, await_creation_for=REGISTRATION_SECONDS
    )
