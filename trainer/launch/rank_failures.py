"""How the processes of a training ended, and which of them says why."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.core.processes import is_same_process, kill_tree
from trainer.launch.job_status import CANCELLED, JobNotes


@dataclass(frozen=True)
class RankEnding:
    """Why a training of several processes ended.

    Attributes:
        rank: the process whose end decided; None where none has noted anything.
        error: its kind and message, where it said them.
    """

    exit_code: int
    rank: int | None = None
    error: dict[str, str] | None = None


def newest(folder: Path, since: float) -> dict[int, dict[str, Any]]:
    """What each process of this machine noted of its newest attempt that began after ``since`` (Unix time)."""
    found = {}
    for path in folder.glob("state.*.json"):
        if number := re.fullmatch(r"state\.(\d+)\.json", path.name):
            last = JobNotes(folder, int(number[1])).last
            if last and last["started"] >= since:
                found[int(number[1])] = last
    return dict(sorted(found.items()))


def ending(attempts: Mapping[int, dict[str, Any]], asked: int | None) -> RankEnding:
    """Why it ended. Processes that were told to stop because another failed end as if they were cancelled.

    Args:
        attempts: each process's newest attempt.
        asked: the signal that somebody sent, if one did.
    """
    codes = {rank: one["exit_code"] for rank, one in attempts.items()}
    first = next(iter(codes), None)
    if asked:
        own = codes.get(first) if first is not None else None
        return RankEnding(128 + asked if own is None else own, first, _error(attempts, first))
    failed = [rank for rank, code in codes.items() if code and code not in CANCELLED]
    if not failed:
        # Signals may have come to the processes themselves; one that was killed says nothing.
        killed = not codes or None in codes.values()
        return RankEnding(1 if killed else next((code for code in codes.values() if code), 1))
    # The first process knows why another one failed; otherwise it was who ended first.
    rank = failed[0] if failed[0] == first else min(failed, key=lambda one: attempts[one]["ended"])
    return RankEnding(codes[rank], rank, _error(attempts, rank))


def end_leftovers(attempts: Mapping[int, dict[str, Any]]) -> None:
    """Kill processes that outlived torchrun's agent."""
    for one in attempts.values():
        if one["ended"] is None and is_same_process(one["pid"], one.get("process")):
            kill_tree(one["pid"])


def _error(attempts: Mapping[int, dict[str, Any]], rank: int | None) -> dict[str, str] | None:
    return attempts[rank]["error"] if rank is not None else None
