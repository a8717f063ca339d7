"""The platform as the callback of a training: what ``callback=platform`` chooses."""

from __future__ import annotations

from trainer.core.errors import NetworkError
from trainer.platform.callbacks import sink_process
from trainer.platform.callbacks.sink_state import PlatformSinkState
from trainer.runs.callback import RunCallback
from trainer.runs.run import Run
from trainer.schema import Callback


class PlatformRunCallback(RunCallback):
    """Reports a run to the platform's backend, as the job ``callback.job_id`` at ``callback.url``."""

    config_class = Callback

    def check(self, config: Callback) -> None:
        """See :meth:`RunCallback.check`."""
        PlatformSinkState.of(config)

    def start(self, run: Run, config: Callback) -> sink_process.PlatformSinkProcess:
        """See :meth:`RunCallback.start`."""
        return sink_process.start(run, config)

    def replay(self, run: Run, uri: str | None, patience: float) -> str:
        """See :meth:`RunCallback.replay`."""
        state = sink_process.sync(run, uri, patience)
        if state.error:
            raise NetworkError(f"the platform at {state.address} doesn't have all of this run: {state.error}")
        return f"the platform at {state.address} knows all of job {state.job_id}"
