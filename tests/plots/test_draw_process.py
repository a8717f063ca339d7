"""The drawing process beside a training, as it is told things, and as its training is killed."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from made_up import append, epoch_of

from trainer.plots.draw_client import DrawClient, start_drawing, wait_until_drawn

ROOT = Path(__file__).parents[2]


def test_it_draws_at_the_end_what_was_not_drawn_before(made_up):
    run = made_up(classes=2, epochs=2)
    artist = start_drawing(run.dir)
    artist.tell("warm")
    artist.tell("draw")
    _wait_for(lambda: (run.dir / "plots" / "keypoints.png").exists())
    first = (run.dir / "plots" / "metrics.png").stat().st_mtime_ns
    append(run, epoch_of(3, ["a"]))
    artist.tell("draw")  # too soon after the first
    assert not wait_until_drawn(run.dir, 0.0)
    assert artist.finish(60)
    assert (run.dir / "plots" / "metrics.png").stat().st_mtime_ns > first
    assert wait_until_drawn(run.dir, 0.0)
    assert (run.dir / "sinks" / "plots.log").read_text() == ""


def test_a_killed_training_is_drawn_too(made_up):
    run = made_up(classes=2)
    code = (
        "import os, sys; from pathlib import Path; from trainer.plots.draw_client import start_drawing;"
        "artist = start_drawing(Path(sys.argv[1])); artist.tell('warm'); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code, run.dir], cwd=ROOT, timeout=60)
    assert done.returncode == -9
    _wait_for(lambda: (run.dir / "plots" / "keypoints.png").exists())
    assert wait_until_drawn(run.dir, 60)
    assert (run.dir / "plots" / "confusion.png").exists()


def test_a_training_without_validation_needs_no_plots(made_up):
    run = made_up()
    assert start_drawing(run.dir).finish(60)
    assert not (run.dir / "plots").exists()


def test_nobody_to_tell_is_fine(made_up, monkeypatch, caplog):
    artist = DrawClient()
    artist.tell("draw")
    assert artist.finish(0)
    run = made_up()
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    start_drawing(run.dir).tell("draw")
    assert "no plots are drawn" in caplog.text
    monkeypatch.undo()
    artist = start_drawing(run.dir)
    artist.process.kill()
    artist.process.wait()
    for _ in range(3):
        artist.tell("draw")
    assert artist.finish(1)


def test_a_reader_that_has_stuck_is_not_waited_for(made_up):
    """A pipe takes some thousand words; after that they are dropped, not waited with."""
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, bufsize=0)
    import os

    os.set_blocking(process.stdin.fileno(), False)
    artist = DrawClient(process)
    for _ in range(50_000):
        artist.tell("draw")
    assert not artist.finish(0.01)
    process.kill()
    process.wait()


def _wait_for(condition) -> None:
    for _ in range(600):
        if condition():
            return
        time.sleep(0.1)
    pytest.fail("not within a minute")
