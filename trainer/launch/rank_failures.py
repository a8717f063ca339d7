"""How the processes of a training ended, and which of them knows why."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.core.processes import ProcessIdentity, kill_tree
from trainer.launch.job_status import CANCELLED, JobNotes


@dataclass(frozen=True)
class RankEnding:
    """Why a training of several processes ended.

    Attributes:
        exit_code: the training's exit code.
        rank: the process that ended the training; None if none has reported anything.
        error: that process's error by kind and message, if it reported one.
    """

    exit_code: int
    rank: int | None = None
    error: dict[str, str] | None = None


def newest_attempts(folder: Path, since: float) -> dict[int, dict[str, Any]]:
    """The newest attempt of each process of this machine, by rank.

    Args:
        folder: the job's folder.
        since: leave out attempts that started before (Unix time).
    """
    attempts = {}
    for path in folder.glob("state.*.json"):
        if match := re.fullmatch(r"state\.(\d+)\.json", path.name):
            last = JobNotes(folder, int(match[1])).last
            if last and last["started"] >= since:
                attempts[int(match[1])] = last
    return dict(sorted(attempts.items()))


def find_ending(attempts: Mapping[int, dict[str, Any]], received: int | None) -> RankEnding:
    """Find out why a training ended. Processes that torchrun stops because another one failed look cancelled.

    Args:
        attempts: each process's newest attempt, by rank.
        received: the signal that somebody sent to stop the training, if any.
    """
    codes = {rank: attempt["exit_code"] for rank, attempt in attempts.items()}
    first = next(iter(codes), None)
    if received:
        code = codes.get(first) if first is not None else None
        return RankEnding(128 + received if code is None else code, first, _error(attempts, first))
    failed = [rank for rank, code in codes.items() if code and code not in CANCELLED]
    if not failed:
        # Somebody may have sent signals to the processes themselves; a process that was killed reports nothing.
        killed = not codes or None in codes.values()
        return RankEnding(1 if killed else next((code for code in codes.values() if code), 1))
    # The first process knows why another one failed; otherwise the one that ended first decides.
    rank = failed[0] if failed[0] == first else min(failed, key=lambda rank: attempts[rank]["ended"])
    return RankEnding(codes[rank], rank, _error(attempts, rank))


def kill_leftovers(attempts: Mapping[int, dict[str, Any]]) -> None:
    """Kill processes that outlived torchrun's agent."""
    for attempt in attempts.values():
        process = ProcessIdentity(attempt["pid"], attempt.get("process"))
        if attempt["ended"] is None and process.is_running():
            kill_tree(process.pid)


def _error(attempts: Mapping[int, dict[str, Any]], rank: int | None) -> dict[str, str] | None:
    return attempts[rank]["error"] if rank is not None else None
