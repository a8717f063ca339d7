"""``-m``: every combination of the typed values, each job in a process of its own, one after the other.

A second Runner in one process clashes with the first, and a killed job must not take the others with it.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trainer.config.check import check, listed
from trainer.config.compose import compose, reason
from trainer.config.paths import Conf
from trainer.config.typed import key_of
from trainer.errors import ConfigError
from trainer.run import environment
from trainer.secrets import masked_words
from trainer.storage import atomic_write


@dataclass
class Job:
    """One combination and what became of it. ``exit_code`` is None while it hasn't run."""

    overrides: list[str]
    varied: list[str]
    exit_code: int | None = None
    seconds: float = 0.0
    run_dir: str | None = None
    status: str = "not started"
    metric: str | None = None
    value: float | None = None

    @property
    def failed(self) -> bool:
        return self.exit_code not in (None, 0)


def run_grid(
    command: str,
    overrides: Sequence[str],
    conf: Conf,
    *,
    dirs: Sequence[str] = (),
    program: Sequence[str] = (sys.executable, "-m", "trainer"),
) -> int:
    """Run all jobs and print their table; 0 when each succeeded, else 1 (130 after Ctrl-C).

    Every job is checked before the first one starts. ``program`` is what a job's command line begins with.
    """
    checked = check(command, overrides, conf, multirun=True)
    checked.raise_mistakes()
    combinations = expand(overrides)
    configs = _composed(command, combinations, conf)
    varied = {typed.key for typed in checked.overrides if typed.is_sweep}
    jobs = [Job(words, [word for word in words if key_of(word) in varied]) for words in combinations]
    limit = max(
        (config.sweep.max_failures for config in configs if hasattr(config, "sweep")), default=len(jobs)
    )
    flags = [word for folder in dirs for word in ("--config-dir", folder)]
    sweep = f"sweep-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    stopped = False
    for number, (job, config) in enumerate(zip(jobs, configs, strict=True), 1):
        print(f"[{number}/{len(jobs)}] {' '.join(masked_words(job.varied)) or 'as typed'}", flush=True)
        told = environment({"parent": sweep, "trial": str(number), "label": label(job.varied)})
        try:
            _run(job, [*program, command, *flags, *job.overrides], Path(config.output_dir), told)
        except KeyboardInterrupt:
            stopped = True
            break
        failures = sum(job.failed for job in jobs)
        if failures >= limit and number < len(jobs):
            print(
                f"{failures} jobs failed (sweep.max_failures={limit}); the others are not started.",
                file=sys.stderr,
            )
            break
    output = Path(configs[0].output_dir)
    report = atomic_write(
        output / "sweeps" / f"{sweep}.json",
        json.dumps([_report(job) for job in jobs], indent=2, ensure_ascii=False) + "\n",
    )
    _print_table(jobs, output, report)
    if stopped:
        return 130
    return int(any(job.exit_code != 0 for job in jobs))


def expand(overrides: Sequence[str]) -> list[list[str]]:
    """The command lines of all jobs, by Hydra's sweeper: ``a=1,2``, ``a=choice(x,y)``, ``a=range(1,4)``."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parsed = OverridesParser.create().parse_overrides(list(overrides))
    try:
        batches = BasicSweeper.split_arguments(parsed, max_batch_size=None)
    except HydraException as error:
        raise ConfigError(reason(error)) from None
    return [list(job) for batch in batches for job in batch]


def _composed(command: str, combinations: Sequence[Sequence[str]], conf: Conf) -> list[Any]:
    configs, mistakes = [], []
    for words in combinations:
        try:
            configs.append(compose(command, words, conf=conf)[0])
        except ConfigError as error:
            mistakes.append(error.message)
    if mistakes:
        raise ConfigError(listed(mistakes))
    return configs


def label(varied: Sequence[str]) -> str:
    """What sets a job apart, short enough for a table: ``lr=0.002, seed=1``. The model is named anyway."""
    words = [word.partition("=") for word in masked_words(list(varied)) if key_of(word) != "model"]
    return ", ".join(f"{key_of(key).rpartition('.')[2]}={value}" for key, _, value in words)


def _report(job: Job) -> dict[str, Any]:
    words = {"overrides": masked_words(job.overrides), "varied": masked_words(job.varied)}
    return {**asdict(job), **words}


def _run(job: Job, command: Sequence[str], output: Path, variables: dict[str, str]) -> None:
    """Run a job to its end and note how it ended. Ctrl-C reaches the job too; its end is waited for."""
    started = time.time()
    process = subprocess.Popen(command, env={**os.environ, **variables})
    try:
        interrupted = False
        while True:
            try:
                job.exit_code = process.wait()
                break
            except KeyboardInterrupt:
                interrupted = True
    finally:
        job.seconds = round(time.time() - started, 1)
        if process.poll() is None:
            process.terminate()
        run = find_run(output, process.pid, started)
        _note_result(job, run)
    if interrupted:
        job.status = "cancelled" if job.failed else job.status
        raise KeyboardInterrupt


def find_run(output: Path, pid: int, since: float) -> Path | None:
    """The run directory whose ``run.json`` names an attempt of that process, not started before ``since``."""
    for path in output.glob("*/*/run.json"):
        try:
            if path.stat().st_mtime < since - 1:
                continue
            facts = json.loads(path.read_bytes())
            attempts = facts.get("attempts", [])
            if facts.get("host", socket.gethostname()) != socket.gethostname():
                continue
            if any(item.get("pid") == pid and item.get("started", since) >= since - 1 for item in attempts):
                return path.parent
        except (OSError, ValueError, AttributeError):
            continue
    return None


def _note_result(job: Job, run: Path | None) -> None:
    job.status = "finished" if job.exit_code == 0 else "failed"
    if run is None:
        return
    job.run_dir = str(run)
    try:
        result = json.loads((run / "result.json").read_bytes())
    except (OSError, ValueError):
        return
    job.status = str(result.get("status") or job.status)
    primary = result.get("primary_metric") or {}
    job.metric, job.value = primary.get("name"), primary.get("value")


def _print_table(jobs: Sequence[Job], output: Path, report: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{len(jobs)} jobs", title_justify="left")
    names = {job.metric for job in jobs if job.metric}
    for column in (
        "#",
        "overrides",
        "status",
        names.pop() if len(names) == 1 else "metric",
        "s",
        f"run in {output}",
    ):
        table.add_column(column, overflow="fold")
    for number, job in enumerate(jobs, 1):
        value = "" if job.value is None else f"{job.value:.4f}"
        seconds = "" if job.exit_code is None else f"{job.seconds:.0f}"
        table.add_row(
            str(number),
            " ".join(masked_words(job.varied)),
            job.status,
            value,
            seconds,
            _below(job.run_dir, output),
        )
    console = Console()
    console.print(table)
    console.print(f"sweep: {report}", soft_wrap=True, highlight=False)


def _below(run_dir: str | None, output: Path) -> str:
    path, root = Path(run_dir or "").absolute(), output.absolute()
    return "" if run_dir is None else str(path.relative_to(root) if path.is_relative_to(root) else path)
