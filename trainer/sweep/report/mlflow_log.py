"""A sweep in MLflow: its run, which the trials' runs lie below, with the best of them copied up and all plots.

Everything said here may be said again. A sweep of which no trial is tracked is told nowhere.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from trainer.runs.tracking_uri import scrubbed, with_credentials, without_credentials
from trainer.sweep.report.best import best_row, command
from trainer.sweep.report.results import Row, SweepResults, text
from trainer.sweep.stores.trial_store import COMPLETE
from trainer.tracking.metric_mapping import Point, clean_key
from trainer.tracking.mlflow_state import MlflowState, load, name_for

logger = logging.getLogger("trainer")

TRIES, PAUSE = 3, 5.0
SINK_SECONDS = 60.0  # for the last trials' own sinks to have made their runs
PREFIX = "sweep."  # of parameters and tags


def log_sweep(
    results: SweepResults, files: Sequence[Path], uri: str | None = None
) -> tuple[str | None, str | None]:
    """Tell MLflow all of a sweep.

    Args:
        files: what is uploaded; those in ``plots/`` and ``pareto/`` under these names.
        uri: another MLflow than the trials', which is told of the trials first.

    Returns:
        Where it is told and why it couldn't be: one of them is None.
    """
    rows = [row for row in results.rows if row["run_dir"] and Path(row["run_dir"]).is_dir()]
    if uri is not None and (complaint := _tell_trials(rows, uri)):
        return None, complaint
    states = _states(rows, uri)
    known = next(iter(states.values()), None)
    if known is None:
        return None, "no trial of this sweep is in MLflow"
    for attempt in range(1, TRIES + 1):
        try:
            run_id = _tell(results, files, states, with_credentials(known.uri) if uri is None else uri)
            return f"run {run_id} of experiment {known.experiment} at {without_credentials(known.uri)}", None
        except Exception as error:  # whatever a server or its client comes up with
            reason = scrubbed(" ".join(str(error).split()))[:300]
            logger.warning("MLflow at %s: %s", without_credentials(known.uri), reason)
            from trainer.tracking.client import is_final

            if attempt == TRIES or is_final(error):
                break
            time.sleep(PAUSE)
    again = f"python -m trainer sweep plot {results.folder.dir} --upload"
    return (
        None,
        f"MLflow at {without_credentials(known.uri)} doesn't have all of the sweep ({reason}); {again}",
    )


def _tell(results: SweepResults, files: Sequence[Path], states: dict[int, MlflowState], uri: str) -> str:
    from trainer.tracking.client import MlflowTracker

    tracker = MlflowTracker(uri)
    experiment = next(iter(states.values())).experiment
    parent = tracker.find_or_create_parent(experiment, results.folder.id)
    tracker.describe(parent, _parameters(results), _tags(results))
    tracker.log(parent, list(_points(results)))
    for row in results.rows:
        state = states.get(row["number"])
        if state is not None and state.mlflow_run_id and tracker.has_run(state.mlflow_run_id):
            tracker.describe(state.mlflow_run_id, _searched(results, row), _trial_tags(results, row))
    folder = results.folder.dir
    for file in (results.folder.description, results.folder.trials, *files):
        if file.is_file():
            inside = file.parent.relative_to(folder).as_posix()
            tracker.upload(parent, file, None if inside == "." else inside)
    if results.over:
        ends = [row["ended"] for row in results.rows if row["ended"]]
        tracker.set_status(parent, "FINISHED", max(ends, default=None))
    return parent


def _parameters(results: SweepResults) -> dict[str, str]:
    """What the best trial has, once it won't change any more: MLflow never changes a parameter."""
    row = best_row(results)
    return _searched(results, row) if row and results.over else {}


def _tags(results: SweepResults) -> dict[str, str]:
    about, row = results.about, best_row(results)
    tags = {
        "sweep.sampler": about.get("sampler"),
        "sweep.pruner": about.get("pruner"),
        "sweep.objectives": ", ".join(f"{one.name} ({one.mode})" for one in results.objectives),
        "sweep.trials": f"{results.counted} of {results.n_trials}",
        "sweep.dir": results.folder.dir,
    }
    if row:
        values = ", ".join(f"{name} {value:.6g}" for name, value in row["values"].items())
        which = "best" if len(results.objectives) == 1 else f"knee of {len(results.best)} on the Pareto front"
        again = command(results, results.folder.dir / "best.yaml")
        searched = "\n".join(f"- `{key}` {text(value)}" for key, value in results.searched(row).items())
        tags |= {
            "sweep.best_trial": row["number"],
            **{f"sweep.best.{key}": text(value) for key, value in results.searched(row).items()},
            "mlflow.note.content": (
                f"**Sweep, {results.counted} of {results.n_trials} trials.** {which}: trial {row['number']}, {values}"
                f"\n\n{searched}\n\n`{again}`\n\nPlots are among the artifacts; `sweep.html` is the interactive one."
            ),
        }
    return {key: str(value) for key, value in tags.items() if value is not None}


def _searched(results: SweepResults, row: Row) -> dict[str, str]:
    return {clean_key(f"{PREFIX}{key}"): text(value) for key, value in results.searched(row).items()}


def _trial_tags(results: SweepResults, row: Row) -> dict[str, str]:
    told = {"trial": row["number"], "state": row["state"], "best": row["best"]}
    return {**_searched(results, row), **{f"{PREFIX}{name}": text(value) for name, value in told.items()}}


def _points(results: SweepResults) -> Iterator[Point]:
    """Values by trial and the best so far, step = trial; the best trial's figures under their own names."""
    best: dict[str, float] = {}
    for row in results.rows:
        if row["state"] != COMPLETE:
            continue
        moment = int((row["ended"] or 0) * 1000)
        for one in results.objectives:
            value = row["values"].get(one.name)
            if value is None:
                continue
            better = max if one.mode == "max" else min
            best[one.name] = better(best.get(one.name, value), value)
            yield Point(clean_key(f"trial/{one.name}"), value, moment, row["number"])
            yield Point(clean_key(f"best/{one.name}"), best[one.name], moment, row["number"])
    row = best_row(results) or {}
    figures = {name: value for name, value in row.get("figures", {}).items() if name != "primary"}
    for name, value in {**figures, **row.get("values", {})}.items():
        # By the trials that had ended: the newest is what MLflow shows.
        yield Point(clean_key(name), float(value), int((row["ended"] or 0) * 1000), results.counted)


def _states(rows: Sequence[Row], uri: str | None) -> dict[int, MlflowState]:
    """Where each trial is in MLflow; waits a little for those whose sinks have just begun."""
    until = time.monotonic() + SINK_SECONDS
    bare = without_credentials(uri) if uri else None
    while True:
        found = {
            row["number"]: state
            for row in rows
            if (state := load(row["run_dir"], name_for(Path(row["run_dir"]), bare))) is not None
        }
        if time.monotonic() > until or all(state.mlflow_run_id or state.error for state in found.values()):
            return found
        time.sleep(0.5)


def _tell_trials(rows: Sequence[Row], uri: str) -> str | None:
    """Tell another MLflow of every trial; why that failed, None when it didn't."""
    from trainer.tracking import sync

    for row in rows:
        state: Any = sync(row["run_dir"], uri)
        if state.error:
            return f"MLflow at {without_credentials(uri)} doesn't have all of trial {row['number']}: {state.error}"
    return None
