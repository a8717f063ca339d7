"""SLURM's own commands, and what they report about a job."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from trainer.core.errors import NetworkError, ResourceError

# SLURM's states of a job that waits and of one that runs; all others are ends.
WAITING = {
    *("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT"),
}
RUNNING = {"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING"}
_TIMEOUT_SECONDS = 120  # a busy controller is slow


@dataclass(frozen=True)
class JobInfo:
    """What SLURM knows about a job.

    Attributes:
        state: SLURM's state, such as ``PENDING``.
        reason: SLURM's reason for waiting or for the end; None where there is none.
        exit_code: the exit code of the job's script; 128 plus the number of a signal that ended it.
        nodes: the names of its nodes.
        restarts: how often it was put back into the queue.
        since: when it was submitted, started or ended, depending on its state (Unix time).
    """

    state: str
    reason: str | None
    exit_code: int
    nodes: tuple[str, ...]
    restarts: int
    since: float | None

    @property
    def is_waiting(self) -> bool:
        """Whether it waits in the queue."""
        return self.state in WAITING

    @property
    def is_running(self) -> bool:
        """Whether it runs."""
        return self.state in RUNNING


def run_command(*argv: str, environment: Mapping[str, str] | None = None) -> str:
    """Run one of SLURM's commands. Returns its output.

    Args:
        argv: the command and its arguments.
        environment: its variables; None: those of this process.

    Raises:
        ResourceError: the command isn't installed here, or SLURM refuses.
        NetworkError: the controller doesn't answer.
    """
    try:
        done = subprocess.run(
            argv,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
    except FileNotFoundError:
        raise ResourceError(
            f"launcher=slurm needs SLURM's commands, and there is no {argv[0]} here: use a machine of the cluster "
            "from which jobs are submitted"
        ) from None
    except subprocess.TimeoutExpired:
        raise NetworkError(
            f"{argv[0]}: SLURM's controller hasn't answered for {_TIMEOUT_SECONDS} s"
        ) from None
    if done.returncode:
        message = _message(done.stderr) or f"exit code {done.returncode}"
        if _UNREACHABLE.search(message):
            raise NetworkError(f"{argv[0]}: SLURM's controller doesn't answer: {message}")
        raise ResourceError(f"{argv[0]}: {message}")
    return done.stdout


def job_info(job: str) -> JobInfo | None:
    """What SLURM knows about a job; None if it doesn't know it.

    The controller remembers a job until some minutes after its end; then the accounting is asked, where there is one.

    Raises:
        ResourceError: SLURM's commands aren't installed here.
        NetworkError: the controller doesn't answer.
    """
    environment = {**os.environ, "SLURM_TIME_FORMAT": "%s"}
    try:
        line = run_command("scontrol", "show", "job", "--oneliner", job, environment=environment)
        return _parse_scontrol(line)
    except ResourceError as error:
        if "Invalid job id" not in error.message:
            raise
    with suppress(ResourceError):  # many clusters have no accounting
        fields = "State,ExitCode,NodeList,End"
        table = run_command("sacct", "-n", "-X", "-P", "-j", job, "-o", fields, environment=environment)
        return _parse_sacct(table)
    return None


def partitions() -> list[str]:
    """The names of the cluster's partitions; empty if SLURM doesn't list them."""
    with suppress(ResourceError, NetworkError):
        return run_command("sinfo", "--noheader", "--format=%R").split()
    return []


def host_names(nodes: str) -> tuple[str, ...]:
    """The names in a node list such as ``gpu[01-03]``."""
    if not nodes or nodes in ("(null)", "None assigned"):
        return ()
    if "[" not in nodes:
        return tuple(nodes.split(","))
    with suppress(ResourceError, NetworkError):
        return tuple(run_command("scontrol", "show", "hostnames", nodes).split())
    return (nodes,)


def _parse_scontrol(line: str) -> JobInfo | None:
    def field(name: str) -> str:
        match = re.search(rf"(?:^|\s){name}=(\S*)", line)
        return match[1] if match else ""

    if not (state := field("JobState")):
        return None
    reason = field("Reason").replace("_", " ")
    since = field("SubmitTime" if state in WAITING else "StartTime" if state in RUNNING else "EndTime")
    return JobInfo(
        state=state,
        reason=None if reason in ("", "None", "(null)") else reason,
        exit_code=_exit_code(field("ExitCode")),
        nodes=host_names(field("NodeList")),
        restarts=int(field("Restarts") or 0),
        since=float(since) if since.isdigit() else None,
    )


def _parse_sacct(table: str) -> JobInfo | None:
    """The last line of ``State|ExitCode|NodeList|End``: a job that was put back has a line for each start."""
    if not (rows := table.split("\n")[:-1]):
        return None
    state, code, nodes, end = rows[-1].split("|")
    since = float(end) if end.isdigit() else None
    state = state.split(" ")[0]  # CANCELLED by 1000
    return JobInfo(state, None, _exit_code(code), host_names(nodes), len(rows) - 1, since)


def _exit_code(text: str) -> int:
    """The exit code of ``<code>:<signal>``."""
    code, _, signum = text.partition(":")
    return 128 + int(signum) if signum not in ("", "0") else int(code or 0)


def _message(output: str) -> str:
    lines = [_PREFIX.sub("", line).strip() for line in output.splitlines()]
    return "; ".join(dict.fromkeys(filter(None, lines)))


_PREFIX = re.compile(r"^\w+: (error|fatal): ")
_UNREACHABLE = re.compile(
    r"Unable to contact slurm controller|Connection refused|Socket timed out|establish_config_source", re.I
)
