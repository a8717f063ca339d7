"""The drawing process beside a training: told what has happened by lines on its standard input.

``warm``: a validation begins; ``draw``: it is over; ``end``: so is the training, of which a closed input says the same.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from importlib import import_module
from pathlib import Path
from typing import IO

from trainer.plots.draw_client import mark

PAUSE = 100.0
"""Seconds between two drawings for each second that one takes: a hundredth of a processor at most."""


def follow_run(run_dir: Path, words: IO[str]) -> None:
    """Draw after validations, not too often, and once more at the end."""
    told: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(words, told), daemon=True).start()
    with mark(run_dir, os.getpid()):
        word = told.get()  # while training starts, nothing is in its way
        _warm_up()
        from trainer.plots.run_plots import RunPlots

        drawing, due, pending = RunPlots(run_dir), 0.0, False
        drawing.draw_data()
        if word == "end":
            return  # training didn't get as far as a validation
        while word != "end":
            if word == "draw":
                pending = True
                drawing.draw_sheets()
            if pending and time.monotonic() >= due:
                started = time.monotonic()
                drawing.draw()
                due, pending = time.monotonic() + PAUSE * (time.monotonic() - started), False
            try:
                word = told.get(timeout=max(0.0, due - time.monotonic()) if pending else None)
            except queue.Empty:
                word = ""
        drawing.draw()
        drawing.draw_sheets()


def _listen(words: IO[str], told: queue.SimpleQueue[str]) -> None:
    for line in words:
        told.put(line.strip())
    told.put("end")


def _warm_up() -> None:
    """Import while the validation goes on."""
    for name in ("cv2", "matplotlib.backends.backend_agg", "PIL.ImageFont"):
        import_module(name)
