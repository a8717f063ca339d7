"""A program that takes a training's words and leaves what a training leaves, in a fraction of a second.

The metric is 1 - (log10(lr) + 2)^2 at the end, and rises to that over the epochs. ``TOY_TROUBLE`` says what goes
wrong: see :func:`misbehave`. Before its second epoch a trial waits for the file ``TOY_GATE``; one whose metric was
below ``TOY_BAR`` after the first waits to be told to stop.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from trainer.runs.events.log import EventLog
from trainer.runs.result import build_result
from trainer.runs.run import Run

PRIMARY = "mAP50-95"


def main(words: list[str]) -> int:
    command, *rest = words
    assert command == "train"
    given = dict(word.split("=", 1) for word in rest if "=" in word)
    misbehave("start", given, None)
    output = Path(given["output_dir"])
    run = Run.named(output, "toy", given["id"])
    if not run.exists:
        run = Run.create(output, "toy", "toy", given["id"])
    assert given["resume"] == "auto"
    with run.held():
        return train(run, given)


def train(run: Run, given: dict[str, str]) -> int:
    told: list[int] = []
    deaf = "TOY_DEAF" in os.environ
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, lambda signum, frame: deaf or told.append(signum))
    run.start_attempt()
    run.update(pids=[*run.facts.get("pids", []), os.getpid()], given=given)
    status, error = "finished", None
    saved = run.dir / "epochs-done"
    first = int(saved.read_text()) if saved.exists() else 0
    epochs = int(os.environ.get("TOY_EPOCHS", "3"))
    primary = {"name": PRIMARY, "mode": "max"}
    with EventLog(run.events) as log:
        log.emit(
            "run_started", primary_metric=primary, epochs=epochs, parameters=parameters(given), batch_size=4
        )
        if first:
            log.emit("resumed", path="checkpoints/last.pth", epoch=first, iter=first)
        for epoch in range(first + 1, epochs + 1):
            log.emit("train", epoch=epoch, iter=epoch, losses={}, seconds=0.01, eta=1.0)
            until = time.monotonic() + float(os.environ.get("TOY_SECONDS", "0.02"))
            while (time.monotonic() < until or (epoch == 2 and waits(given, epochs))) and not told:
                time.sleep(0.01)
            if told:
                break
            try:
                misbehave("epoch", given, epoch)
            except MemoryError:
                status = "failed"
                error = {
                    "type": "ResourceError",
                    "message": "the GPU's memory is full (tried 2 GiB). Smaller: ...",
                }
                break
            except RuntimeError as reason:
                status, error = "failed", {"type": "FrameworkError", "message": str(reason)}
                break
            log.emit(
                "validation", epoch=epoch, iter=epoch, metrics={PRIMARY: value(given) * epoch / epochs},
                per_class={}, seconds=0.01, latency=5.0,
            )  # fmt: skip
            saved.write_text(str(epoch))
            log.emit("checkpoint", path="checkpoints/last.pth", kind="last", epoch=epoch, iter=epoch)
        if told:
            status = "pruned" if told[0] == signal.SIGUSR1 else "cancelled"
        log.flush()
        result = build_result(
            run,
            status=status,
            task="detection",
            model="toy",
            dataset="toy",
            metric=PRIMARY,
            mode="max",
            error=error,
        )
        run.write_result(result)
        if status == "cancelled":
            log.emit(status, signal="SIGTERM", saved=None, result=dict(result))
        elif status == "pruned":
            log.emit(status, saved=None, result=dict(result))
        elif error:
            log.emit(status, error=error, result=dict(result))
        else:
            log.emit(status, result=dict(result))
    run.end_attempt(status)
    if error:
        print(f"{error['type']}: {error['message']}", file=sys.stderr)
    return {"finished": 0, "pruned": 0, "failed": 1}.get(status, 143)


def waits(given: dict[str, str], epochs: int) -> bool:
    gate, bar = os.environ.get("TOY_GATE"), os.environ.get("TOY_BAR")
    return bool((gate and not Path(gate).exists()) or (bar and value(given) / epochs < float(bar)))


def value(given: dict[str, str]) -> float:
    lr = float(given.get("optimizer.lr", "0.01"))
    return 1.0 - (math.log10(lr) + 2.0) ** 2 + 0.01 * int(given.get("runtime.seed", "0"))


def parameters(given: dict[str, str]) -> int:
    return int(1e6 * (1 + int(given.get("runtime.seed", "0"))))


def misbehave(when: str, given: dict[str, str], epoch: int | None) -> None:
    """What TOY_TROUBLE says, a JSON object of ``{"<what>": [seeds]}``, to trials of these seeds (all: an empty list).

    ``refuse``: end without a run directory. ``fail``, ``memory``: an error in the second epoch. ``die``: SIGKILL
    to itself in the second epoch of the first attempt; ``die-always``: of every attempt.
    """
    seed = int(given.get("runtime.seed", "0"))
    for what, seeds in json.loads(os.environ.get("TOY_TROUBLE", "{}")).items():
        if seeds and seed not in seeds:
            continue
        if when == "start" and what == "refuse":
            print("ConfigError: nothing is right", file=sys.stderr)
            sys.exit(2)
        if when == "epoch" and what == "die-always":
            os.kill(os.getpid(), signal.SIGKILL)
        if epoch != 2:
            continue
        if what == "fail":
            raise RuntimeError(f"the toy of seed {seed} broke")
        if what == "memory":
            raise MemoryError
        if what == "die":
            mark = Path(given["output_dir"], f"died-{given['id']}")
            if not mark.exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)


def facts(run_dir: Path) -> dict[str, Any]:
    return dict(json.loads((run_dir / "run.json").read_bytes()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
