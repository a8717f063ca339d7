"""result.json is a view of the log."""

from __future__ import annotations

import json
import os
import time

import pytest

from trainer.core.errors import ConfigError
from trainer.tracking.mlflow_state import MlflowState
from trainer.tracking.rebuild_result import KILLED, rebuild_result

IDENTITY = {"task": "detection", "model": "rtmdet-s", "dataset": "digits"}
METRIC = {"primary_metric": {"name": "mAP50-95", "mode": "max"}}


def test_a_last_word_is_what_counts(make_run, log):
    result = {"status": "finished", "primary_metric": {"name": "m", "value": 0.5}, "mlflow_run_id": None}
    run = make_run(None, "r", [log.started(), {"type": "finished", "result": result}])
    MlflowState(mlflow_run_id="abc").save(run.dir / "sinks" / "mlflow.json")
    assert rebuild_result(run) == {**result, "mlflow_run_id": "abc"}
    file = run.dir / "result.json"
    before = file.stat().st_mtime_ns
    rebuild_result(run)
    assert file.stat().st_mtime_ns == before and json.loads(file.read_bytes())["mlflow_run_id"] == "abc"


def test_a_killed_run_gets_a_result_from_what_it_had_said(make_run, log):
    run = make_run(None, "r", [{**log.started(), **IDENTITY, **METRIC}, *log.epoch(1), *log.epoch(2)])
    with pytest.raises(ConfigError, match="still being trained"):
        rebuild_result(run)
    os.utime(run.events, (time.time() - 1000,) * 2)
    result = rebuild_result(run)
    assert (result["status"], result["error"], result["epochs_completed"]) == ("failed", KILLED, 2)
    assert result["primary_metric"] == {"name": "mAP50-95", "value": 0.2, "mode": "max", "epoch": 2}
    assert json.loads((run.dir / "result.json").read_bytes()) == result


def test_a_run_that_never_began_has_none(make_run):
    with pytest.raises(ConfigError, match="never began"):
        rebuild_result(make_run(None, "r", []))
