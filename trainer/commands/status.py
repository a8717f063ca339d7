"""``python -m trainer status [handle]``: how what was launched is doing."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

from trainer.core.cli_text import program, short
from trainer.core.errors import ConfigError, TrainerError
from trainer.launch import launcher_registry
from trainer.launch.job_store import LaunchedJob, all_jobs, find_job
from trainer.schema import typed_field

# ruff: noqa: RUF009  typed_field() makes a dataclass field


@dataclass
class StatusOptions:
    """How a launched job is doing; without a name, all that was launched from here.

    A job is named by its handle, its run's id or the beginning of one; latest is the newest.

        python -m trainer status
        python -m trainer status slurm:4711
        python -m trainer status latest --json
    """

    job: list[str] = typed_field([], "the job: its handle, its run's id, or latest", kind="words")
    output_dir: str = typed_field("runs", "the output_dir that it was launched with", kind="path")
    limit: int = typed_field(20, "how many are listed, the newest", ge=1)
    json: bool = typed_field(False, "for machines")


def main(options: StatusOptions) -> int:
    """0, however the job is doing.

    Raises:
        ConfigError: there is no such job.
        ResourceError: its launcher's engine can't be asked.
    """
    if len(options.job) > 1:
        raise ConfigError(f"status takes one job or none, got {' '.join(options.job)}")
    if options.job:
        launched = find_job(options.output_dir, options.job[0])
        facts = _facts(launched)
        print(json.dumps(facts, indent=2) if options.json else _told(launched, facts))
        return 0
    known = all_jobs(options.output_dir)[-options.limit :]
    rows = [_asked(launched) for launched in known]
    if options.json:
        print(json.dumps(rows, indent=2))
    elif rows:
        _print_table(rows)
    else:
        print(
            f"nothing was launched with output_dir={options.output_dir}: {program()} ... launch.detach=true"
        )
    return 0


def _facts(launched: LaunchedJob) -> dict[str, Any]:
    status = launcher_registry.launcher_of(launched).status(launched)
    about = {key: launched.facts.get(key) for key in ("launcher", "title", "submitted")}
    return {"handle": str(launched.handle), **about, **status.as_dict()}


def _asked(launched: LaunchedJob) -> dict[str, Any]:
    """A row of the list; one engine that doesn't answer doesn't hide the others' jobs."""
    try:
        return _facts(launched)
    except TrainerError as error:
        about = {key: launched.facts.get(key) for key in ("launcher", "title", "submitted", "run_id")}
        return {"handle": str(launched.handle), **about, "state": "unknown", "reason": error.message}


def _told(launched: LaunchedJob, facts: dict[str, Any]) -> str:
    """One job, a line a fact."""
    code = facts["exit_code"]
    since = f" since {_clock(facts['since'])}" if facts["since"] else ""
    lines = {
        "job": f"{facts['handle']}, {facts['title']}",
        "state": facts["state"] + (f", exit code {code}" if code is not None else "") + since,
        "reason": facts["reason"],
        "run": facts["run_dir"] and short(launched.run_dir or launched.folder),
        "attempts": facts["attempts"] if facts["attempts"] > 1 else None,
        "nodes": ", ".join(facts["nodes"]),
    }
    return "\n".join(f"{name:9}{value}" for name, value in lines.items() if value)


def _print_table(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("handle", "state", "since", "what", "run"):
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(
            row["handle"],
            row["state"],
            _clock(row.get("since") or row["submitted"]),
            row["title"],
            row.get("run_id") or "",
        )
    Console(highlight=False).print(table)


def _clock(seconds: float | None) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds)) if seconds else ""
