"""``python -m trainer replay <run> sink=...``: bring a view of a run up to date with its event log."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from trainer.core.errors import ConfigError, NetworkError
from trainer.runs.run import Run
from trainer.schema import typed_field

# ruff: noqa: RUF009  typed_field() makes a dataclass field


@dataclass
class ReplayOptions:
    """Tell MLflow, a platform, TensorBoard or the console what a run's event log says, after the fact.

    Only what the sink doesn't know yet is told; done twice, the second time changes nothing. It works for a run that
    was tracked nowhere, whose server was away or has lost it, and into another server (uri=...).

        python -m trainer replay latest
        python -m trainer replay runs/digits-detection/rtmdet-s-20261123-101500-ab12 sink=mlflow uri=http://host:5000
    """

    run: list[str] = typed_field(
        [], "the run: its folder, its id or the id's beginning, or latest", kind="words"
    )
    sink: str = typed_field(
        "mlflow", "who is told", choices=("mlflow", "platform", "tensorboard", "result", "console")
    )
    uri: str | None = typed_field(
        None, "mlflow, platform: another server, database or address than the run's own"
    )
    output_dir: str = typed_field("runs", "where runs are looked up", kind="path")
    patience: float = typed_field(
        20.0, "mlflow, platform: seconds to wait for a server that doesn't answer", ge=0
    )


def main(options: ReplayOptions) -> int:
    """0 when the sink knows all of the run.

    Raises:
        ConfigError: no such run, or not one run.
        NetworkError: MLflow didn't take all of it.
    """
    if len(options.run) != 1:
        raise ConfigError("replay: name one run: python -m trainer replay <run> sink=mlflow")
    if options.uri and options.sink not in ("mlflow", "platform"):
        raise ConfigError(f"replay: uri is for sink=mlflow and sink=platform, not for sink={options.sink}")
    run = Run.find(options.output_dir, options.run[0])
    if not run.events.is_file():
        raise ConfigError(f"{run.dir} has no events.jsonl: there is nothing to tell")
    _REPLAY[options.sink](run, options)
    return 0


def _mlflow(run: Run, options: ReplayOptions) -> None:
    from trainer.tracking import sync

    state = sync(run.dir, options.uri, options.patience)
    if state.error:
        raise NetworkError(f"MLflow at {state.uri} doesn't have all of this run: {state.error}")
    print(f"MLflow at {state.uri} knows all of run {state.mlflow_run_id} in experiment {state.experiment}")


def _platform(run: Run, options: ReplayOptions) -> None:
    from trainer.platform.callbacks import sink_process

    state = sink_process.sync(run, options.uri, options.patience)
    if state.error:
        raise NetworkError(f"the platform at {state.address} isn't told all of this run: {state.error}")
    print(f"the platform at {state.address} knows all of job {state.job_id}")


def _tensorboard(run: Run, options: ReplayOptions) -> None:
    from trainer.tracking.tensorboard_sink import TensorboardSink, sync_tensorboard

    state = sync_tensorboard(run.dir)
    if state.error:
        raise NetworkError(f"{run.dir / 'tensorboard'} can't be written: {state.error}")
    print(f"tensorboard --logdir {TensorboardSink(run).path.parent}")


def _result(run: Run, options: ReplayOptions) -> None:
    from trainer.tracking.rebuild_result import rebuild_result

    result = rebuild_result(run)
    primary = result["primary_metric"]
    print(f"{run.dir / 'result.json'}: {result['status']}, {primary['name']} {primary['value']}")


def _console(run: Run, options: ReplayOptions) -> None:
    from trainer.runs.events.event_text import event_text
    from trainer.runs.events.reader import events

    for event in events(run.events):
        line = event_text(event)
        if line:
            sys.stdout.write(f"{line}\n")


_REPLAY = {
    "mlflow": _mlflow,
    "platform": _platform,
    "tensorboard": _tensorboard,
    "result": _result,
    "console": _console,
}
