"""What is said to MLflow, in a way that may be said twice. The only file that imports it."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from trainer.core.errors import NetworkError
from trainer.core.locks import locked
from trainer.runs.tracking_uri import artifact_root, database_file, without_credentials
from trainer.tracking.metric_mapping import Point
from trainer.tracking.run_description import DataSet

BATCH_POINTS = 1000
BATCH_PARAMS = 100
DATABASE_LOCK_SECONDS = 120.0

# MLflow's own retries block for minutes; the sink has its own. What the user has set stays.
ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "GIT_PYTHON_REFRESH": "quiet",
}

# Answers that the same question will get again.
_FINAL = {
    "BAD_REQUEST",
    "CUSTOMER_UNAUTHORIZED",
    "ENDPOINT_NOT_FOUND",
    "FEATURE_DISABLED",
    "INVALID_PARAMETER_VALUE",
    "INVALID_STATE",
    "PERMISSION_DENIED",
    "RESOURCE_DOES_NOT_EXIST",
    "UNAUTHENTICATED",
}


class MlflowRefused(NetworkError):
    """MLflow answered, and will give the same answer again."""


class MlflowTracker:
    """One MLflow server or database; ``uri`` is its address without credentials.

    Methods raise :class:`MlflowRefused` where trying again is of no use, and whatever MLflow raises where it may be.
    """

    def __init__(self, uri: str) -> None:
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        uri = _login(uri)
        from mlflow import MlflowClient

        logging.getLogger("alembic").setLevel(logging.WARNING)
        self.uri = uri
        self._artifact_root = artifact_root(uri)
        self._client = MlflowClient(tracking_uri=uri)
        file = database_file(uri)
        if file:
            file.parent.mkdir(parents=True, exist_ok=True)
        # The first call makes a SQLite database's tables; two processes doing so at once break it.
        with self._alone():
            self._client.search_experiments(max_results=1)

    def has_run(self, run_id: str) -> bool:
        """Whether the run is there.

        Raises:
            Refused: it was deleted.
        """
        from mlflow.exceptions import MlflowException

        try:
            run = self._client.get_run(run_id)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return False
            raise
        if run.info.lifecycle_stage == "deleted":
            raise MlflowRefused(
                f"MLflow's run {run_id} was deleted; `mlflow runs restore --run-id {run_id}` brings it back"
            )
        return True

    def find_or_create_run(
        self, experiment: str, name: str, start_ms: int | None, tags: Mapping[str, str]
    ) -> str:
        """The id of the run that has the tag ``run_id``: an answer may be lost, the run must not be made twice."""
        experiment_id = self._experiment(experiment)
        name_in_filter = tags["run_id"].replace("'", "")
        found = self._client.search_runs([experiment_id], filter_string=f"tags.run_id = '{name_in_filter}'")
        if found:
            return str(found[0].info.run_id)
        run = self._client.create_run(experiment_id, start_time=start_ms, tags=dict(tags), run_name=name)
        return str(run.info.run_id)

    def find_or_create_parent(self, experiment: str, name: str) -> str:
        """The id of the run that groups the trials of a sweep, which may all ask for it at once."""
        with self._alone():
            return self.find_or_create_run(experiment, name, None, {"run_id": name, "kind": "sweep"})

    def describe(self, run_id: str, parameters: Mapping[str, str], tags: Mapping[str, str]) -> None:
        """Tags as they are now; parameters that are new. A changed one, which MLflow can't change, becomes a tag."""
        from mlflow.entities import Param, RunTag

        data = self._client.get_run(run_id).data
        new = [Param(key, value) for key, value in parameters.items() if key not in data.params]
        changed = {
            f"changed.{key}"[:250]: value
            for key, value in parameters.items()
            if data.params.get(key, value) != value
        }
        other = [
            RunTag(key, value) for key, value in {**tags, **changed}.items() if data.tags.get(key) != value
        ]
        for chunk in _chunks(new, BATCH_PARAMS):
            self._client.log_batch(run_id, params=chunk)
        for chunk in _chunks(other, BATCH_PARAMS):
            self._client.log_batch(run_id, tags=chunk)

    def log(self, run_id: str, points: Sequence[Point]) -> None:
        """Metrics; MLflow's database drops those it already has."""
        from mlflow.entities import Metric

        for chunk in _chunks(points, BATCH_POINTS):
            self._client.log_batch(run_id, metrics=[Metric(p.key, p.value, p.time_ms, p.step) for p in chunk])

    def log_dataset(self, run_id: str, data: DataSet) -> None:
        """The data set as the run's input; one that it already has is not added again."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset(
            name=data.name,
            digest=data.digest,
            source_type=data.source_type,
            source=data.source,
            schema=data.schema,
            profile=data.profile,
        )
        tags = [InputTag("mlflow.data.context", "training")]
        self._client.log_inputs(run_id, datasets=[DatasetInput(dataset, tags)])

    def upload(self, run_id: str, file: Path, folder: str | None) -> None:
        self._client.log_artifact(run_id, str(file), folder)

    def set_status(self, run_id: str, status: str, ended: float | None) -> None:
        if status == "RUNNING":
            self._client.update_run(run_id, status=status)
        else:
            self._client.set_terminated(run_id, status, None if ended is None else int(ended * 1000))

    def _alone(self) -> AbstractContextManager[None]:
        """Keeps other processes from a SQLite file; a server looks after itself."""
        file = database_file(self.uri)
        return locked(file.with_name(f".{file.name}.lock"), DATABASE_LOCK_SECONDS) if file else nullcontext()

    def _experiment(self, name: str) -> str:
        from mlflow.exceptions import MlflowException

        experiment = self._client.get_experiment_by_name(name)
        if experiment is None:
            try:
                return str(self._client.create_experiment(name, artifact_location=self._artifact_root))
            except MlflowException as error:
                # Another run's sink may have been quicker.
                experiment = self._client.get_experiment_by_name(name)
                if experiment is None or error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
        if experiment.lifecycle_stage == "deleted":
            raise MlflowRefused(
                f"MLflow's experiment {name!r} was deleted; restore it or set tracking.experiment"
            )
        return str(experiment.experiment_id)


def is_final(error: Exception) -> bool:
    """Whether the same call would fail the same way again."""
    return isinstance(error, (MlflowRefused, ImportError)) or getattr(error, "error_code", None) in _FINAL


def _login(uri: str) -> str:
    """A server's URI without user and password, which MLflow takes from the environment and then doesn't print."""
    parts = urlsplit(uri)
    if not parts.scheme.startswith("http") or parts.username is None:
        return uri
    os.environ["MLFLOW_TRACKING_USERNAME"] = unquote(parts.username)
    os.environ["MLFLOW_TRACKING_PASSWORD"] = unquote(parts.password or "")
    return without_credentials(uri)


def _chunks(items: Sequence[Any], size: int) -> list[list[Any]]:
    iterator = iter(items)
    return list(iter(lambda: list(islice(iterator, size)), []))
