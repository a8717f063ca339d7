"""``result.json`` from the event log, also of a run that was killed before it could write one."""

from __future__ import annotations

import json
from typing import Any

from trainer.core.errors import ConfigError
from trainer.runs.events.reader import Event, events
from trainer.runs.events.schema import LAST_WORDS
from trainer.runs.events.sink import is_running
from trainer.runs.result import build_result
from trainer.runs.run import Run
from trainer.tracking.mlflow_state import mlflow_run_id

KILLED = {"type": "UnknownError", "message": "the process was killed: its log ends without a last word"}


def rebuild_result(run: Run) -> dict[str, Any]:
    """Write ``result.json`` as the log has it, unless it says so already; returns what it holds.

    Raises:
        ConfigError: the run goes on, or its training never began.
    """
    started: Event | None = None
    last: Event | None = None
    for event in events(run.events):
        if event["type"] == "run_started":
            started, last = event, None
        elif event["type"] in LAST_WORDS:
            last = event
    if last is not None and isinstance(last.get("result"), dict):
        result = dict(last["result"])
    elif started is None:
        raise ConfigError(f"{run.dir}: its training never began, so there is no result")
    elif last is None and is_running(run):
        raise ConfigError(f"{run.dir} is still being trained: it has no result yet")
    else:
        primary = started.get("primary_metric") or {}
        result = build_result(
            run,
            status="failed",
            task=started["task"],
            model=started["model"],
            dataset=started["dataset"],
            metric=primary.get("name", ""),
            mode=primary.get("mode", "max"),
            error=KILLED,
        )
    result["mlflow_run_id"] = mlflow_run_id(run.dir) or run.facts.get("mlflow_run_id")
    if _now(run) != result:
        run.write_result(result)
    return result


def _now(run: Run) -> Any:
    try:
        return json.loads((run.dir / "result.json").read_bytes())
    except (OSError, ValueError):
        return None
