"""What a run directory, or the lack of one, says of a trial."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trainer.runs.events.log import EventLog
from trainer.runs.run import Run
from trainer.sweep.driver import outcome as ends
from trainer.sweep.driver.outcome import died, ended, figures, find_run, is_out_of_memory

GPU = "ResourceError: the GPU's memory is full (CUDA out of memory. Tried to allocate 2 GiB). Smaller: ..."


def run_with(
    tmp_path: Path, status: str, result: dict[str, Any] | None = None, started: float = 100.0
) -> Run:
    run = Run.create(tmp_path, "exp", "toy", "sweep-3")
    run.update(attempts=[{"started": 1.0, "status": "killed"}, {"started": started, "status": status}])
    if result is not None:
        run.write_result({"status": status, **result})
    return run


def test_how_an_attempt_ended(tmp_path: Path) -> None:
    run = run_with(tmp_path, "finished", {"metrics": {"mAP50": 0.5, "per_class": {}}, "epochs_completed": 3})
    assert find_run(tmp_path, "sweep-3") == run and find_run(tmp_path, "sweep-4") is None
    found = ended(run)
    assert found is not None and (found.kind, found.epochs, found.figures) == (
        ends.COMPLETE,
        3,
        {"mAP50": 0.5},
    )
    assert ended(run, before=1) is not None
    assert ended(run, before=2) is None  # an earlier attempt's
    run.write_result({"status": "cancelled"})
    assert ended(run) is None  # of the attempt before
    assert ended(None) is None


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        ("pruned", None, ends.PRUNED),
        ("cancelled", None, ends.STOPPED),
        ("failed", {"type": "DatasetError", "message": "no images"}, ends.FAILED),
        ("failed", {"type": "ResourceError", "message": GPU.partition(": ")[2]}, ends.MEMORY),
        ("failed", {"type": "ResourceError", "message": "the disk is full: x"}, ends.FAILED),
        ("running", None, None),
    ],
)
def test_kinds(tmp_path: Path, status: str, error: dict[str, str] | None, kind: str | None) -> None:
    found = ended(run_with(tmp_path, status, {"error": error}))
    assert (found.kind if found else None) == kind
    if found and error:
        assert found.error == f"{error['type']}: {error['message']}"


@pytest.mark.parametrize(
    ("code", "said", "oom", "kind"),
    [
        (2, "a\nConfigError: no such model\n\n", False, ends.FAILED),
        (1, GPU, False, ends.MEMORY),
        (
            1,
            "ResourceError: process 7 on host is training run sweep-3 (runs/x). Stop it first",
            False,
            ends.BUSY,
        ),
        (-9, "epoch 1", False, ends.KILLED),
        (-9, "epoch 1", True, ends.MEMORY),
        (137, "", True, ends.MEMORY),
        (-11, "", False, ends.FAILED),
        (143, "", False, ends.STOPPED),
        (-15, "", False, ends.STOPPED),
        (0, "", False, ends.FAILED),
    ],
)
def test_ends_without_a_result(code: int, said: str, oom: bool, kind: str) -> None:
    assert died(code, said, oom).kind == kind


def test_errors_name_the_cause_and_no_secret() -> None:
    assert died(2, "x\nConfigError: s3://key:secretword@host\n", False).error == "ConfigError: s3://***@host"
    assert died(-11, "", False).error == "its process was ended by SIGSEGV"
    assert died(0, "", False).error == "its process ended with exit code 0 and without a result"


def test_memory_errors_of_the_engine_are_known() -> None:
    """The words of trainer.engine.failures, which this must not lose touch with."""
    source = (Path(__file__).parents[2] / "trainer" / "engine" / "failures.py").read_text()
    for words in ("the GPU's memory is full", "memory is full", "lack of (shared) memory"):
        assert words in source and is_out_of_memory(f"ResourceError: {words}")
    assert not is_out_of_memory("FrameworkError: memory") and not is_out_of_memory(None)


def test_figures_are_measured_from_the_events(tmp_path: Path) -> None:
    run = run_with(tmp_path, "finished")
    with EventLog(run.events) as log:
        log.emit("run_started", parameters=5_000_000, batch_size=8)
        for seconds in (9.0, 0.5, 0.5):
            log.emit("train", epoch=1, iter=1, losses={}, seconds=seconds)
        for latency in (30.0, 10.0, 12.0):
            log.emit("validation", epoch=1, iter=1, metrics={}, latency=latency)
    primary = {"name": "mAP50-95", "value": 0.4}
    result = {
        "metrics": {"mAP50": 0.6, "per_class": {"a": 1}},
        "primary_metric": primary,
        "duration_seconds": 7.5,
    }
    assert figures(run, result) == {
        "mAP50": 0.6, "mAP50-95": 0.4, "primary": 0.4, "seconds": 7.5, "parameters": 5e6,
        "images_per_second": 16.0, "latency": 12.0,
    }  # fmt: skip
    assert json.dumps(figures(run, result))
