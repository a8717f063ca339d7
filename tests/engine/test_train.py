"""A training from its config to result.json, and what is said when it fails."""

from __future__ import annotations

import copy
import json
import logging
import sys
from pathlib import Path
from typing import Any

import pytest
from toy import toy_bundle, toy_config, toy_experiment, toy_fit

from trainer.core.errors import DatasetError, FrameworkError, ResourceError
from trainer.engine.train import run_training
from trainer.runs.events.reader import events
from trainer.runs.run import Run

RESULT_KEYS = [
    "status",
    "command",
    "task",
    "model",
    "dataset",
    "primary_metric",
    "metrics",
    "checkpoints",
    "epochs_completed",
    "duration_seconds",
    "run_id",
    "mlflow_run_id",
    "error",
]


def kinds(run: Run) -> list[str]:
    return [event["type"] for event in events(run.events)]


def test_result_and_files(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    config = toy_config(epochs=2, scores=[0.25, 0.75])
    before = copy.deepcopy(config.to_dict())
    result = run_training(config, run, toy_experiment(), toy_bundle())
    assert config.to_dict() == before  # building changed a copy
    assert list(result) == RESULT_KEYS
    assert result == json.loads((run.dir / "result.json").read_text())
    assert result.exit_code == 0
    assert result["primary_metric"] == {"name": "score", "value": 0.75, "mode": "max", "epoch": 2}
    assert result["metrics"] == {
        "score": 0.75,
        "other": 1.0,
        "per_class": {"cat": {"AP": 0.5}, "a/dog": {"AP": 0.25}},
    }
    assert result["checkpoints"] == {"best": "checkpoints/best.pth", "last": "checkpoints/last.pth"}
    assert (result["status"], result["epochs_completed"], result["error"]) == ("finished", 2, None)
    files = {path.name for path in run.dir.iterdir() if not path.name.startswith(".")}
    assert files == {"run.json", "events.jsonl", "train.log", "mmengine.py", "checkpoints", "result.json"}
    shown = capsys.readouterr().out
    assert shown.startswith("run directory ")
    assert "0.7500 (epoch 2)" in shown
    assert "System environment" not in shown and "System environment" in (run.dir / "train.log").read_text()


def test_events_of_a_run(run: Run) -> None:
    toy_fit(run, epochs=2)
    beside = ("checkpoint", "log", "system")  # from threads of their own
    log = [event for event in events(run.events) if event["type"] not in beside]
    epoch = ["train", "train", "epoch", "validation"]
    assert [event["type"] for event in log] == ["run_started", *epoch * 2, "finished"]
    first = log[0]
    assert (first["epochs"], first["iterations"], first["parameters"]) == (2, 8, 410)
    trains = [event for event in log if event["type"] == "train"]
    assert [event["iter"] for event in trains] == [2, 4, 6, 8]
    assert [event["epoch"] for event in trains] == [1, 1, 2, 2]
    assert {"loss", "loss_cls", "loss_reg", "grad_norm"} == set(trains[0]["losses"])
    epochs = [event for event in log if event["type"] == "epoch"]
    for number, event in enumerate(epochs):
        halves = [one["losses"]["loss"] for one in trains[2 * number : 2 * number + 2]]
        assert event["losses"]["loss"] == pytest.approx(sum(halves) / 2)


def test_loss_that_is_not_finite_is_told(run: Run) -> None:
    optimizer = dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=1e30))
    toy_fit(run, epochs=1, ema=False, optim_wrapper=optimizer, param_scheduler=None)
    log = list(events(run.events))
    assert any(event["type"] == "warning" and "not a finite number" in event["message"] for event in log)
    assert None in [event["losses"]["loss"] for event in log if event["type"] == "train"]


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"data": {"fail_at": 3}}, DatasetError, "/data/missing.jpg"),
        ({"data": {"fail_at": 3}, "workers": 1}, DatasetError, "/data/missing.jpg"),
        ({"model": {"error": "oom"}}, ResourceError, "Not even one image fits: a smaller dataset.image_size"),
        ({"model": {"nonsense": 1}}, FrameworkError, "nonsense"),
    ],
)
def test_failure(
    run: Run, capsys: pytest.CaptureFixture[str], options: dict[str, Any], kind: type, words: str
) -> None:
    with pytest.raises(kind, match=words):
        toy_fit(run, **options)
    result = json.loads((run.dir / "result.json").read_text())
    assert list(result) == RESULT_KEYS
    assert result["status"] == "failed" and result["error"]["type"] == kind.__name__
    assert words in result["error"]["message"] and "\n" not in result["error"]["message"]
    last = list(events(run.events))[-1]
    assert last["type"] == "failed" and last["error"] == result["error"]
    assert run.facts["attempts"][-1]["status"] == "failed"
    assert "Traceback (most recent call last)" in (run.dir / "train.log").read_text()
    shown = capsys.readouterr()
    assert "Traceback" not in shown.out + shown.err
    assert not list(run.dir.rglob("*.tmp"))


def test_terminal_loggers_and_stdout_come_back(run: Run) -> None:
    stdout, handlers = sys.stdout, list(logging.getLogger("trainer").handlers)
    toy_fit(run, epochs=1)
    assert sys.stdout is stdout
    assert logging.getLogger("trainer").handlers == handlers


def test_max_batches(run: Run) -> None:
    toy_fit(run, toy_experiment(debug__max_batches=2), epochs=2)
    log = list(events(run.events))
    assert next(event for event in log if event["type"] == "run_started")["iterations"] == 4
    assert [event["iter"] for event in log if event["type"] == "epoch"] == [2, 4]


def test_profile(run: Run) -> None:
    toy_fit(run, toy_experiment(debug__profile=True), epochs=3)
    trace = json.loads((run.dir / "profile" / "trace.json").read_text())
    assert any("conv2d" in str(event.get("name")) for event in trace["traceEvents"])
    assert "aten::" in (run.dir / "profile" / "operators.txt").read_text()


def test_iteration_loop(run: Run) -> None:
    result = toy_fit(run, epochs=3, by_iter=True, scores=[0.1, 0.3, 0.2])
    assert result["primary_metric"] == {"name": "score", "value": 0.3, "mode": "max", "epoch": 2}
    assert result["epochs_completed"] == 3
    log = list(events(run.events))
    assert [event["iter"] for event in log if event["type"] == "validation"] == [4, 8, 12]


def test_bf16_on_cpu_accumulates_and_clips(run: Run) -> None:
    wrapper = dict(
        type="CpuAmpOptimWrapper",
        optimizer=dict(type="SGD", lr=0.01),
        accumulative_counts=2,
        clip_grad=dict(max_norm=0.5),
    )
    import trainer.engine.amp  # noqa: F401

    result = toy_fit(run, epochs=2, optim_wrapper=wrapper, param_scheduler=None)
    assert result["status"] == "finished"
    losses = [event["losses"] for event in events(run.events) if event["type"] == "train"]
    assert all("grad_norm" in one for one in losses)


def test_gpu_asked_for_and_missing(run: Run) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ResourceError, match="runtime.device"):
        toy_fit(run, toy_experiment(runtime__device="gpu"))


@pytest.mark.parametrize("mode", ["max", "min"])
def test_result_can_be_made_again_from_the_log(tmp_path: Path, mode: str) -> None:
    from trainer.runs.events.log import EventLog
    from trainer.runs.result import build_result

    run = Run.create(tmp_path, "toy", "toy")
    scores = [(1, 4, 0.5), (2, 8, 0.9), (3, 12, 0.1)]
    with EventLog(run.events) as log:
        log.emit("run_started", resumed=False)
        for epoch, iteration, score in scores:
            log.emit("validation", epoch=epoch, iter=iteration, metrics={"score": score}, per_class={})
        log.emit("run_started", resumed=True)
        log.emit("resumed", epoch=2, iter=8)  # what the third epoch said no longer counts
        log.emit("validation", epoch=3, iter=12, metrics={"score": 0.6}, per_class={})
    facts = dict(task="detection", model="m", dataset="d", metric="score", mode=mode, error=None)
    result = build_result(run, status="finished", **facts)
    expected = {"max": (0.9, 2), "min": (0.5, 1)}[mode]
    assert (result["primary_metric"]["value"], result["primary_metric"]["epoch"]) == expected
    assert result["epochs_completed"] == 3
