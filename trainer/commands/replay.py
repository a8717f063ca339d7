"""``python -m trainer replay <run> sink=...``: bring a view of a run up to date with its event log."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from trainer.core import plugins
from trainer.core.errors import ConfigError
from trainer.runs.run import Run
from trainer.schema import typed_field

# ruff: noqa: RUF009  typed_field() makes a dataclass field

TRACKERS, CALLBACKS = "trainer.trackers", "trainer.callbacks"
SINKS = (*plugins.names(TRACKERS), *plugins.names(CALLBACKS), "result", "console")


@dataclass
class ReplayOptions:
    """Bring MLflow, TensorBoard, a platform or the console up to date with a run's event log, after the fact.

    Only what the sink doesn't know yet is sent; done twice, the second time changes nothing. It works for a run that
    was tracked nowhere, whose server was away or has lost it, and into another server (uri=...).

        python -m trainer replay latest
        python -m trainer replay runs/digits-detection/rtmdet-s-20261123-101500-ab12 sink=mlflow uri=http://host:5000
    """

    run: list[str] = typed_field(
        [], "the run: its folder, its id or the id's beginning, or latest", kind="words"
    )
    sink: str = typed_field("mlflow", "the sink", choices=SINKS)
    uri: str | None = typed_field(
        None, "sinks with a server: another server, database or address than the run's own"
    )
    output_dir: str = typed_field("runs", "where runs are looked up", kind="path")
    patience: float = typed_field(
        20.0, "sinks with a server: seconds to wait for one that doesn't answer", ge=0
    )


def main(options: ReplayOptions) -> int:
    """0 when the sink has all of the run.

    Raises:
        ConfigError: no such run, or not one run.
        NetworkError: the sink doesn't have all of it.
    """
    if len(options.run) != 1:
        raise ConfigError("replay: name one run: python -m trainer replay <run> sink=mlflow")
    if options.uri and options.sink in _HERE:
        raise ConfigError(
            f"sink={options.sink} takes no uri: uri is for sink=mlflow and other sinks with a server"
        )
    run = Run.find(options.output_dir, options.run[0])
    if not run.events.is_file():
        raise ConfigError(f"{run.dir} has no events.jsonl, so there is nothing to replay")
    if options.sink in _HERE:
        _HERE[options.sink](run)
    elif options.sink in plugins.names(CALLBACKS):
        print(plugins.load(CALLBACKS, options.sink)().replay(run, options.uri, options.patience))
    else:
        from trainer.tracking import replay

        print(replay(options.sink, run, options.uri, options.patience))
    return 0


def _result(run: Run) -> None:
    from trainer.tracking.rebuild_result import rebuild_result

    result = rebuild_result(run)
    primary = result["primary_metric"]
    print(f"{run.dir / 'result.json'}: {result['status']}, {primary['name']} {primary['value']}")


def _console(run: Run) -> None:
    from trainer.runs.events.event_text import event_text
    from trainer.runs.events.reader import events

    for event in events(run.events):
        line = event_text(event)
        if line:
            sys.stdout.write(f"{line}\n")


_HERE = {"result": _result, "console": _console}
"""Views that are neither trackers nor callbacks."""
