"""What people see."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from trainer.runs.events.console import ConsoleView
from trainer.runs.events.event_text import duration, event_text, number

RESULT = {
    "task": "detection",
    "model": "rtmdet-s",
    "dataset": "digits",
    "primary_metric": {"name": "mAP50-95", "value": 0.61234, "mode": "max", "epoch": 7},
    "metrics": {"mAP50-95": 0.61234, "mAP50": 0.85, "per_class": {}},
    "epochs_completed": 8,
    "duration_seconds": 275.0,
    "run_id": "id",
}
LOSSES = {"loss": 1.25, "loss_cls": 1.0}
EVENTS: list[dict[str, Any]] = [
    {
        "type": "run_started",
        "task": "detection",
        "model": "rtmdet-s",
        "dataset": "digits",
        "classes": ["a"],
        "primary_metric": {"name": "mAP50-95", "mode": "max"},
        "epochs": 8,
        "iterations": 80,
        "parameters": 8_890_000,
        "device": "cpu",
    },
    {"type": "train", "epoch": 1, "iter": 10, "lr": 0.002, "losses": LOSSES, "seconds": 0.2, "eta": 3725},
    {"type": "epoch", "epoch": 1, "iter": 10, "losses": LOSSES, "lr": 0.002, "seconds": 2},
    {
        "type": "validation",
        "epoch": 1,
        "iter": 10,
        "metrics": {"mAP50": 0.85, "mAP50-95": 0.6},
        "per_class": {},
    },
    {
        "type": "checkpoint",
        "kind": "last",
        "path": "checkpoints/last.pth",
        "epoch": 1,
        "metric": "m",
        "value": 0.6,
    },
    {
        "type": "checkpoint",
        "kind": "best",
        "path": "checkpoints/best.pth",
        "epoch": 1,
        "metric": "m",
        "value": 0.6,
    },
]


def show(events: list[dict[str, Any]], terminal: bool, **options: Any) -> str:
    out = io.StringIO()
    view = ConsoleView(
        Console(file=out, force_terminal=terminal, width=120, highlight=False), "runs/x", **options
    )
    view.open()
    for event in events:
        view(event)
    view.close()
    return out.getvalue()


def test_plain_lines() -> None:
    lines = show(EVENTS, terminal=False).splitlines()
    assert lines == [
        "run directory runs/x",
        "detection: rtmdet-s on digits (1 classes, 8.89 M parameters, cpu)",
        "epoch 1  iter 10  loss 1.2500  loss_cls 1.0000  lr 0.002  0.200 s/iter  eta 1:02:05",
        "epoch 1  validation  mAP50 0.8500  mAP50-95 0.6000  (?)",
        "epoch 1  best so far: m 0.6000 -> checkpoints/best.pth",
    ]


def test_the_opening_line_says_what_a_step_is_made_of() -> None:
    batch = {"images": 4, "processes": 2, "accumulate": 3, "effective": 24, "lr": 0.0015}
    several = event_text({**EVENTS[0], "batch": batch})
    assert several and several.endswith("cpu, batch 24 (4 x 2 processes x 3 iterations), lr 0.0015)")
    one = event_text({**EVENTS[0], "batch": {**batch, "processes": 1, "accumulate": 1, "effective": 4}})
    assert one and one.endswith("cpu, batch 4, lr 0.0015)")


def test_bar_on_a_terminal() -> None:
    shown = show(EVENTS, terminal=True)
    for words in ("epoch 1/8", "10/80 it", "loss 1.2500", "mAP50-95 0.6000", "eta 1:02:05"):
        assert words in shown
    assert "best so far" not in shown  # the bar has it
    assert shown.endswith("\x1b[?25h") or "\x1b[?25h" in shown  # the cursor is back


def test_final_table_and_next_steps() -> None:
    finished = {"type": "finished", "result": RESULT}
    shown = show(
        [*EVENTS, finished], terminal=False, next_steps=[("compare runs", "mlflow ui --backend-store-uri x")]
    )
    for words in ("0.6123 (epoch 7)", "mAP50", "0.8500", "4:35", "runs/x", "mlflow ui --backend-store-uri x"):
        assert words in shown


@pytest.mark.parametrize("saved", ["checkpoints/last.pth", None])
def test_cancelled_says_how_to_go_on(saved: str | None) -> None:
    event = {"type": "cancelled", "signal": "SIGINT", "saved": saved, "result": RESULT}
    shown = show([event], terminal=False, resume_command="python -m trainer resume=runs/x")
    assert ("resume with: python -m trainer resume=runs/x" in shown) is (saved is not None)


@pytest.mark.parametrize("saved", ["checkpoints/last.pth", None])
def test_pruned_says_by_whom(saved: str | None) -> None:
    shown = show([{"type": "pruned", "saved": saved, "result": RESULT}], terminal=False)
    assert "pruned by its sweep after" in shown and ("saved checkpoints/last.pth" in shown) is (
        saved is not None
    )


def test_numbers() -> None:
    assert [number(x) for x in (None, 0.5, 12345.678)] == ["nan", "0.5000", "1.235e+04"]
    assert [duration(x) for x in (None, 5.4, 65, 3600)] == ["?", "5s", "1:05", "1:00:00"]
    assert event_text({"type": "from a later version"}) is None
