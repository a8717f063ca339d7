"""What the steps of one training share."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from trainer.data.bundle import DataBundle
from trainer.engine.distributed.ranks import Ranks
from trainer.engine.log_file import LogFile
from trainer.engine.visualization import Visualization
from trainer.runs.events.log import EventLog
from trainer.runs.run import Run
from trainer.schema import Experiment

if TYPE_CHECKING:
    from mmengine.config import Config

    from trainer.engine.stop_signals import StopSignals


@dataclass
class Session:
    """One training in this process, which may be one of several.

    Attributes:
        cfg: the complete MMEngine config; not changed.
        run: the run directory.
        exp: the experiment, as it was composed.
        bundle: the prepared data.
        log: the event log; it writes nothing in all processes but the first.
        file: ``train.log``; likewise.
        signals: the signals that stop the training.
        ranks: the processes that train together.
        visualization: curves and sample predictions; None in all processes but the first.
        started: when the training began, on the monotonic clock, in seconds.
        end_lock: taken by the thread that writes the end of the training, and kept.
    """

    cfg: Config
    run: Run
    exp: Experiment
    bundle: DataBundle
    log: EventLog
    file: LogFile
    signals: StopSignals
    ranks: Ranks
    visualization: Visualization | None = None
    started: float = field(default_factory=time.monotonic)
    end_lock: threading.Lock = field(default_factory=threading.Lock)
