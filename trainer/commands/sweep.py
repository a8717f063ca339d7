"""``python -m trainer sweep status|best|plot <sweep>``: what a sweep has found, while it runs and afterwards."""

from __future__ import annotations

import json
from dataclasses import dataclass

from trainer.core.cli_text import short
from trainer.core.errors import ConfigError, NetworkError, did_you_mean
from trainer.schema import typed_field
from trainer.sweep.report.results import SweepResults, find_sweep, read_results

# ruff: noqa: RUF009  typed_field() makes a dataclass field


@dataclass
class SweepOptions:
    """Look at a sweep: where it is, its best trial as a recipe, its plots.

    A sweep is named by its folder, its name or the beginning of one; without a name it is the newest.

        python -m trainer sweep status
        python -m trainer sweep best digits-06f12d34
        python -m trainer sweep plot runs/sweeps/digits-06f12d34 --upload
    """

    words: list[str] = typed_field([], "status, best or plot, and the sweep", kind="words")
    output_dir: str = typed_field("runs", "where sweeps are looked up", kind="path")
    storage: str | None = typed_field(None, "the URL of its storage, where that has a password")
    json: bool = typed_field(False, "for machines")
    upload: bool = typed_field(False, "plot: tell MLflow all of the sweep too")
    uri: str | None = typed_field(None, "plot --upload: another MLflow than the trials'")


def main(options: SweepOptions) -> int:
    """0; 1 for ``best`` while no trial is complete.

    Raises:
        ConfigError: no such sweep, or not one.
        NetworkError: MLflow wasn't told.
    """
    verb, names = (options.words[0], options.words[1:]) if options.words else ("status", [])
    if verb not in _VERBS:
        hint = did_you_mean(verb, _VERBS) or f" There are: {', '.join(_VERBS)}."
        raise ConfigError(f"sweep: {verb!r} is none of its commands.{hint}")
    if len(names) > 1:
        raise ConfigError(f"sweep {verb} takes one sweep, got {' '.join(names)}")
    folder = find_sweep(names[0] if names else None, options.output_dir)
    return _VERBS[verb](read_results(folder, options.storage), options)


def _status(results: SweepResults, options: SweepOptions) -> int:
    from trainer.sweep.report import sweep_status

    if options.json:
        print(json.dumps(sweep_status.status(results), indent=2))
    else:
        sweep_status.print_status(results)
    return 0


def _best(results: SweepResults, options: SweepOptions) -> int:
    from trainer.sweep.report import sweep_status
    from trainer.sweep.report.best import write_best

    files = write_best(results)
    if options.json:
        print(json.dumps({"best": sweep_status.best(results), "recipes": list(map(str, files))}, indent=2))
    else:
        sweep_status.print_best(results)
    return 0 if results.best else 1


def _plot(results: SweepResults, options: SweepOptions) -> int:
    from trainer.sweep.driver.finalize import finalize_sweep

    done = finalize_sweep(results, upload=options.upload or options.uri is not None, uri=options.uri)
    if options.json:
        print(json.dumps({"files": list(map(str, done.files)), "mlflow": done.told, "error": done.error}))
    else:
        for path in done.files:
            print(f"wrote {short(path)} ({path.stat().st_size / 1000:,.0f} kB)")
        if not done.files:
            print("nothing to draw yet: no trial has reported anything")
        if done.told:
            print(f"MLflow knows all of the sweep: {done.told}")
    if done.error:
        raise NetworkError(done.error)
    return 0


_VERBS = {"status": _status, "best": _best, "plot": _plot}
