"""Telling MLflow what the event log says: along with a run, or afterwards. Saying it twice changes nothing."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from trainer.core.errors import ConfigError, TrainerError
from trainer.plots.draw_client import wait_until_drawn
from trainer.runs.events import sink
from trainer.runs.events.reader import Event
from trainer.runs.run import Run
from trainer.runs.tracking_uri import (
    ENVIRONMENT,
    scrubbed,
    tracking_uri,
    ui_command,
    with_credentials,
    without_credentials,
)
from trainer.schema import Tracking
from trainer.tracking import run_description
from trainer.tracking.client import MlflowTracker, is_final
from trainer.tracking.metric_mapping import Point, points_of
from trainer.tracking.mlflow_state import NAME, MlflowState, load, mlflow_run_id, name_for
from trainer.tracking.tracker import Tracker
from trainer.tracking.uploads import ArtifactUploads, signature

logger = logging.getLogger("trainer")

AT_START = ("config.yaml", "overrides.yaml", "mmengine.py", "data_report.json")
# Changes all along; a look at it is worth it at each validation.
ALONG = ("train.log", "plots", "data_report.png")
AT_END = (*AT_START, *ALONG, "run.json", "result.json")
SHEETS = "predictions/*_*.jpg"
DRAWING_SECONDS = 30.0
CHECKPOINTS = ("checkpoints/best.pth", "checkpoints/last.pth")


def sync(run_dir: str | Path, uri: str | None = None, patience: float = 20.0) -> MlflowState:
    """Tell MLflow all that the log of a run says and it doesn't know yet; returns when it is told.

    The result's ``error`` says why that failed, None when it did not.

    Args:
        run_dir: the run directory.
        uri: another server than the run was tracked on; it is told everything. The run's own stays what it is.
        patience: seconds to wait for a server that doesn't answer.

    Raises:
        ConfigError: no run directory.
        ResourceError: another process is telling MLflow about this run.
    """
    return sink.sync(MlflowSink(Run.open(run_dir), uri), patience)


class MlflowSink(Tracker):
    """One run on one MLflow.

    Args:
        uri: the server; None: the one that the run is tracked on.

    Raises:
        ConfigError: a URI that MLflow can't write to, or a run that doesn't say where it is tracked.
    """

    name = NAME
    cursor_class = MlflowState
    takes_uri = True
    cursor: MlflowState

    def __init__(self, run: Run, uri: str | None = None) -> None:
        self.uri = tracking_uri(Tracking(uri=uri), run.dir) if uri else None
        bare = without_credentials(self.uri) if self.uri else None
        self.run, self.name = run, name_for(run.dir, bare)
        self.cursor = load(run.dir, self.name) or _from_config(run, bare)
        self.cursor.uri = bare or self.cursor.uri
        self._tracker: MlflowTracker | None = None
        self._described = False
        self.uploads = ArtifactUploads(run.dir, self.cursor, self._send)

    @classmethod
    def prepare(
        cls, run: Run, tracking: Tracking, output_dir: str | Path, experiment: str | None = None
    ) -> dict[str, str]:
        """Write the state of the run, with what an earlier attempt has already logged on the same server."""
        uri = tracking_uri(tracking, output_dir)
        state = state_for(run, tracking, uri, experiment)
        before = load(run.dir)
        if before and before.uri == state.uri:
            before.run_name, before.error = state.run_name, None
            before.log_checkpoint, before.register = state.log_checkpoint, state.register
            state = before
        state.save(sink.cursor_file(run.dir, NAME))
        return {ENVIRONMENT: uri}

    @classmethod
    def facts(cls, run_dir: Path) -> dict[str, Any]:
        """The id of the MLflow run, once a server has given one."""
        run_id = mlflow_run_id(run_dir)
        return {"mlflow_run_id": run_id} if run_id else {}

    @classmethod
    def compare_command(cls, tracking: Tracking, output_dir: str | Path) -> str | None:
        """The server's page, or the command that shows a database file."""
        return ui_command(tracking, output_dir)

    @property
    def destination(self) -> str:
        """The server without credentials."""
        return f"MLflow at {self.cursor.uri}"

    @property
    def summary(self) -> str:
        """Where the run is to be found."""
        state = self.cursor
        return f"{self.destination} has all of run {state.mlflow_run_id} in experiment {state.experiment}"

    def open(self) -> None:
        """The server, and the run on it; made when it isn't there."""
        if self._described:
            return
        state, tracker = self.cursor, self.tracker
        if state.mlflow_run_id and not tracker.has_run(state.mlflow_run_id):
            state.forget()  # A database that was thrown away: tell it all again.
        tags = run_description.tags(self.run.dir)
        parent = self.run.facts.get("parent")
        if parent:
            tags["mlflow.parentRunId"] = tracker.find_or_create_parent(state.experiment, str(parent))
        if state.mlflow_run_id is None:
            created = self.run.facts.get("created")
            start = int(float(created) * 1000) if created else None
            state.mlflow_run_id = tracker.find_or_create_run(state.experiment, state.run_name, start, tags)
            self.save()
        if self.name == NAME and self.run.facts.get("mlflow_run_id") != state.mlflow_run_id:
            self.run.update(mlflow_run_id=state.mlflow_run_id)
        tracker.describe(state.mlflow_run_id, run_description.parameters(self.run.dir), tags)
        self._described = True
        self.uploads.add(*AT_START)

    def tell(self, events: Sequence[Event]) -> None:
        state, tracker, run_id = self.cursor, self.tracker, self.run_id
        progress, points = state.progress, list[Point]()
        for event in events:
            new, progress = points_of(event, progress)
            points += new
            kind = event["type"]
            if kind == "run_started" and event.get("data"):
                tracker.log_dataset(run_id, run_description.dataset(event))
            elif kind == "artifact" or (
                kind == "checkpoint" and event.get("path") in CHECKPOINTS and state.log_checkpoint
            ):
                self.uploads.add(str(event.get("path")))
            elif kind == "validation":
                self.uploads.add(*ALONG)
        tracker.log(run_id, points)
        state.progress = progress
        self._tell_status()

    def beat(self) -> str | None:
        before = len(self.cursor.artifacts), list(self.cursor.artifacts.values())
        trouble = self.uploads.beat()
        if before != (len(self.cursor.artifacts), list(self.cursor.artifacts.values())):
            self.save()
        return trouble and scrubbed(trouble)

    def finish(self, gone: bool) -> None:
        state = self.cursor
        if gone and state.progress.status == "RUNNING":
            # The process has gone without a last word. A resumed run opens its MLflow run again.
            state.progress = replace(state.progress, status="KILLED", ended=state.progress.time)
        self._tell_status()
        self._described = False  # run.json and config.yaml may say more than when the run began.
        self.open()
        wait_until_drawn(self.run.dir, DRAWING_SECONDS)  # what the run's end didn't wait for
        sheets = (path.relative_to(self.run.dir).as_posix() for path in self.run.dir.glob(SHEETS))
        self.uploads.add(*AT_END, *sheets, *(CHECKPOINTS if state.log_checkpoint else ()))
        self.uploads.drain()
        self._log_model()
        self._end_parent()

    def rewind(self) -> None:
        run_id, uri = self.cursor.mlflow_run_id, self.cursor.uri
        self.cursor.forget()
        self.cursor.mlflow_run_id, self.cursor.uri = run_id, uri

    def is_final(self, error: Exception) -> bool:
        return is_final(error)

    def words(self, error: Exception) -> str:
        return scrubbed(super().words(error))

    @property
    def tracker(self) -> MlflowTracker:
        if self._tracker is None:
            self._tracker = MlflowTracker(self.uri or with_credentials(self.cursor.uri))
        return self._tracker

    @property
    def run_id(self) -> str:
        assert self.cursor.mlflow_run_id is not None, "open() comes first"
        return self.cursor.mlflow_run_id

    def _send(self, file: Path, folder: str | None) -> None:
        self.tracker.upload(self.run_id, file, folder)

    def _tell_status(self) -> None:
        state = self.cursor
        told = f"{state.progress.status} {state.progress.ended or ''}".strip()
        if told != state.status_told:
            self.tracker.set_status(self.run_id, state.progress.status, state.progress.ended)
            state.status_told = told
            self.save()

    def _log_model(self) -> None:
        """The best checkpoint as a model, once for each content of it; in the registry only when it is finished."""
        state = self.cursor
        found = next((path for path in CHECKPOINTS if (self.run.dir / path).is_file()), None)
        finished = state.progress.status == "FINISHED"
        if not state.log_checkpoint or found is None or state.progress.status not in ("FINISHED", "KILLED"):
            return
        register = state.register if finished else None
        told = f"{signature(self.run.dir / found)} {register or ''}".strip()
        if told == state.model:
            return
        from trainer.tracking.model import log_model

        try:
            log_model(self.run.dir, self.run_id, self.tracker.uri, register)
        except TrainerError as error:  # a file that can't be a model; the run is told all the same
            logger.warning("the model isn't logged: %s", error)
        state.model = told
        self.save()

    def _end_parent(self) -> None:
        parent = self.run.facts.get("parent")
        if parent and self.cursor.progress.ended:
            parent_id = self.tracker.find_or_create_parent(self.cursor.experiment, str(parent))
            self.tracker.set_status(parent_id, "FINISHED", self.cursor.progress.ended)


def state_for(run: Run, tracking: Tracking, uri: str, experiment: str | None = None) -> MlflowState:
    """The state of a run that nobody has been told about."""
    return MlflowState(
        uri=without_credentials(uri),
        experiment=tracking.experiment or experiment or run.experiment,
        run_name=tracking.run_name or _name(run),
        log_checkpoint=tracking.log_checkpoint,
        register=tracking.register,
    )


def _name(run: Run) -> str:
    """The run's id; of a sweep's trial what is varied, before what a narrow column cuts off, and the model."""
    facts = run.facts
    return f"{facts['label']} {facts['model']}" if facts.get("label") and facts.get("model") else run.id


def _from_config(run: Run, uri: str | None) -> MlflowState:
    """For an MLflow that wasn't told while the run went on: what its configuration means."""
    try:
        config = OmegaConf.create(yaml.safe_load((run.dir / "config.yaml").read_text()))
        # What was taken from the environment is taken from it again.
        saved = cast(dict[str, Any], OmegaConf.to_container(config.tracking, resolve=True))
        known = {key: value for key, value in saved.items() if key in Tracking.__dataclass_fields__}
        tracking = Tracking(**known)
        output_dir = Path(run.dir).parents[1]
    except (OSError, yaml.YAMLError, OmegaConfBaseException, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{run.dir / 'config.yaml'}: can't tell where to track this run ({error!r})"
        ) from error
    return state_for(run, tracking, uri or tracking_uri(tracking, output_dir))
