"""SLURM's own commands, and what they say about a job."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from trainer.core.errors import NetworkError, ResourceError

# What SLURM calls a job that waits and one that runs; all else has ended.
WAITING = {
    *("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT"),
}
RUNNING = {"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING"}
_SECONDS = 120  # a busy controller takes its time


@dataclass(frozen=True)
class About:
    """What SLURM knows about a job.

    Attributes:
        state: SLURM's word, ``PENDING``.
        reason: why it waits or ended, SLURM's word; None where there is none.
        exit_code: of the job's script; 128 and the signal's number where one ended it.
        restarts: how often it was put back into the queue.
        since: when it was submitted, started or ended, by its state (Unix time).
    """

    state: str
    reason: str | None
    exit_code: int
    nodes: tuple[str, ...]
    restarts: int
    since: float | None

    @property
    def waits(self) -> bool:
        return self.state in WAITING

    @property
    def runs(self) -> bool:
        return self.state in RUNNING


def ask(*words: str, environment: Mapping[str, str] | None = None) -> str:
    """Run one of SLURM's commands, with these variables or those there are. Returns what it prints.

    Raises:
        ResourceError: there is no such command here, or it refuses.
        NetworkError: the controller doesn't answer.
    """
    try:
        done = subprocess.run(
            words,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
    except FileNotFoundError:
        raise ResourceError(
            f"launcher=slurm needs SLURM's commands, and there is no {words[0]} here: use a machine of the cluster "
            "from which jobs are submitted"
        ) from None
    except subprocess.TimeoutExpired:
        raise NetworkError(f"{words[0]}: SLURM's controller hasn't answered for {_SECONDS} s") from None
    if done.returncode:
        said = _message(done.stderr) or f"exit code {done.returncode}"
        if _UNREACHABLE.search(said):
            raise NetworkError(f"{words[0]}: SLURM's controller doesn't answer: {said}")
        raise ResourceError(f"{words[0]}: {said}")
    return done.stdout


def about(job: str) -> About | None:
    """What SLURM knows about a job: the controller while it remembers it (some minutes after its end), then the
    accounting where there is one. None where neither knows it.

    Raises:
        ResourceError: SLURM's commands aren't here.
        NetworkError: the controller doesn't answer.
    """
    seconds = {**os.environ, "SLURM_TIME_FORMAT": "%s"}
    try:
        return _of_controller(ask("scontrol", "show", "job", "--oneliner", job, environment=seconds))
    except ResourceError as error:
        if "Invalid job id" not in error.message:
            raise
    with suppress(ResourceError):  # many clusters keep no accounts
        fields = "State,ExitCode,NodeList,End"
        return _of_accounts(ask("sacct", "-n", "-X", "-P", "-j", job, "-o", fields, environment=seconds))
    return None


def partitions() -> list[str]:
    """The cluster's partitions; none where SLURM doesn't say."""
    with suppress(ResourceError, NetworkError):
        return ask("sinfo", "--noheader", "--format=%R").split()
    return []


def hosts(nodes: str) -> tuple[str, ...]:
    """``gpu[01-03]`` as names."""
    if not nodes or nodes in ("(null)", "None assigned"):
        return ()
    if "[" not in nodes:
        return tuple(nodes.split(","))
    with suppress(ResourceError, NetworkError):
        return tuple(ask("scontrol", "show", "hostnames", nodes).split())
    return (nodes,)


def _of_controller(line: str) -> About | None:
    def field(name: str) -> str:
        found = re.search(rf"(?:^|\s){name}=(\S*)", line)
        return found[1] if found else ""

    if not (state := field("JobState")):
        return None
    reason = field("Reason").replace("_", " ")
    since = field("SubmitTime" if state in WAITING else "StartTime" if state in RUNNING else "EndTime")
    return About(
        state=state,
        reason=None if reason in ("", "None", "(null)") else reason,
        exit_code=_code(field("ExitCode")),
        nodes=hosts(field("NodeList")),
        restarts=int(field("Restarts") or 0),
        since=float(since) if since.isdigit() else None,
    )


def _of_accounts(table: str) -> About | None:
    """The last line of ``State|ExitCode|NodeList|End``: a job that was put back has one for each time."""
    if not (rows := table.split("\n")[:-1]):
        return None
    state, code, nodes, end = rows[-1].split("|")
    # CANCELLED by 1000
    since = float(end) if end.isdigit() else None
    return About(state.split(" ")[0], None, _code(code), hosts(nodes), len(rows) - 1, since)


def _code(text: str) -> int:
    """``1:0`` is an exit code and a signal."""
    code, _, signum = text.partition(":")
    return 128 + int(signum) if signum not in ("", "0") else int(code or 0)


def _message(said: str) -> str:
    lines = [_PREFIX.sub("", line).strip() for line in said.splitlines()]
    return "; ".join(dict.fromkeys(filter(None, lines)))


_PREFIX = re.compile(r"^\w+: (error|fatal): ")
_UNREACHABLE = re.compile(
    r"Unable to contact slurm controller|Connection refused|Socket timed out|establish_config_source", re.I
)
