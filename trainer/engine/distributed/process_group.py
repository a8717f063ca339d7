"""One of several processes that train together, over torch.distributed."""

from __future__ import annotations

import os
import pickle
import socket
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from trainer.core.errors import ResourceError, TrainerError, UnknownError
from trainer.core.processes import started_at
from trainer.engine.distributed.ranks import FirstRankFailed, RankEnd, Ranks

T = TypeVar("T")
POLL_SECONDS = 0.1
# A process that has ended is looked for no more often than this while nothing says that one has.
LOOK_SECONDS = 1.0
# How long the first process may write at its end, seen from another machine, where its end isn't seen.
WRITING_SECONDS = 600.0
# How long it stays for the others to have heard that it is done.
HEARD_SECONDS = 2.0


class ProcessGroup(Ranks):
    """Joining starts torch's process group.

    Args:
        gpu: whether each process trains on a GPU of its own.
    """

    def __init__(self, gpu: bool) -> None:
        store, self.rank, self.size = next(iter(dist.rendezvous("env://")))
        self._store = dist.PrefixStore(_attempt(self.size), store)
        local = int(os.environ.setdefault("LOCAL_RANK", str(self.rank)))
        if gpu:
            torch.cuda.set_device(local)
        dist.init_process_group(
            "nccl" if gpu else "gloo", store=self._store, rank=self.rank, world_size=self.size
        )
        # Messages between processes mustn't get among the gradients' and never touch a GPU.
        self._side = dist.new_group(backend="gloo")
        self._places: list[Any] = [None] * self.size
        dist.all_gather_object(self._places, _place(), group=self._side)
        # A connection of its own: endings are looked for on another thread than the training's.
        self._ends: Any = self._store.clone()
        self._end: RankEnd | None = None
        self._heard = False
        self._count = 0
        self._asked: tuple[Any, Any] | None = None

    # --- agreeing -------------------------------------------------------------------------------------------

    def from_first(self, make: Callable[[], T]) -> T:
        self._count += 1
        key = f"trainer/{self._count}"
        if self.first:
            try:
                value = make()
            except BaseException as error:
                known = (
                    error
                    if isinstance(error, TrainerError)
                    else UnknownError(f"{type(error).__name__}: {error}")
                )
                self._store.set(key, pickle.dumps((None, (type(known), known.message))))
                raise
            self._store.set(key, pickle.dumps((value, None)))
            return value
        value, failure = pickle.loads(self._from_first(key))
        if failure is not None:
            raise FirstRankFailed(failure[0](failure[1]))
        return value

    def after_first(self, make: Callable[[], T]) -> T:
        made: list[T] = []
        self.from_first(lambda: made.append(make()))
        return made[0] if made else make()

    def most(self, flag: int) -> int:
        found = torch.tensor([flag])
        dist.all_reduce(found, dist.ReduceOp.MAX, group=self._side)
        return int(found)

    def most_lately(self, flag: int) -> int:
        found = self._answer()
        said = torch.tensor([flag])
        work = dist.all_reduce(said, dist.ReduceOp.MAX, group=self._side, async_op=True)
        self._asked = (work, said)
        return found

    def mean(self, values: dict[str, float]) -> dict[str, float]:
        several = self.gather(values)
        # By name: a process whose images have nothing to find may have fewer losses.
        return {
            name: sum(found) / len(found)
            for name in dict.fromkeys(name for one in several for name in one)
            if (found := [one[name] for one in several if name in one])
        } or values

    def gather(self, value: Any) -> list[Any]:
        values: list[Any] | None = [None] * self.size if self.first else None
        dist.gather_object(value, values, dst=0, group=self._side)
        return values or []

    def share(self, tensors: Iterable[Any]) -> None:
        for tensor in tensors:
            # nccl moves what is on GPUs only
            dist.broadcast(tensor.data, src=0, group=None if tensor.is_cuda else self._side)

    # --- ending ---------------------------------------------------------------------------------------------

    def failed(self, error: TrainerError, trace: str | None = None) -> None:
        self._say((type(error), error.message), None, trace)

    def stopped(self, signum: int) -> None:
        self._say(None, signum, None)

    def other_end(self, seconds: float = 0.0) -> RankEnd | None:
        until = time.monotonic() + seconds
        while True:
            if (end := self._told() or self._lost()) is not None or time.monotonic() >= until:
                return end
            time.sleep(POLL_SECONDS)

    def done(self) -> None:
        with suppress(Exception):
            self._ends.set("trainer/done", b"")
            # The store is mostly this process's own: torch prints pages where others find it gone.
            until = time.monotonic() + HEARD_SECONDS
            while self._ends.add("trainer/heard", 0) < self.size - 1 - len(self._gone()):
                if time.monotonic() > until:
                    return
                time.sleep(POLL_SECONDS)

    def wait_for_first(self) -> None:
        until = time.monotonic() + WRITING_SECONDS
        with suppress(Exception):  # the store is the first one's, and gone with it
            while not (done := self._ends.check(["trainer/done"])) and not self._is_lost(0):
                if time.monotonic() > until:
                    return
                time.sleep(POLL_SECONDS)
            if done and not self._heard:
                self._heard = True
                self._ends.add("trainer/heard", 1)

    def leave(self) -> None:
        self._answer()
        dist.barrier(group=self._side)
        dist.destroy_process_group()

    # --- how ------------------------------------------------------------------------------------------------

    def _from_first(self, key: str) -> bytes:
        look = time.monotonic() + LOOK_SECONDS
        try:
            while not self._store.check([key]):  # may take hours: the first one may be fetching data
                if time.monotonic() > look:
                    look += LOOK_SECONDS
                    end = self._told()
                    if end is not None and end.rank == 0 and end.error is not None:
                        raise FirstRankFailed(end.error)
                    if self._is_lost(0):
                        raise self._loss(0)
                time.sleep(POLL_SECONDS)
            return bytes(self._store.get(key))
        except RuntimeError as error:  # the store is mostly the first one's own
            raise self._loss(0) from error

    def _answer(self) -> int:
        if self._asked is None:
            return 0
        work, said = self._asked
        self._asked = None
        work.wait()
        return int(said)

    def _say(self, error: Any, signum: int | None, trace: str | None) -> None:
        with suppress(Exception):  # whoever keeps the store may be gone already
            told = pickle.dumps((time.time(), error, signum, trace))
            self._store.set(f"trainer/ended/{self.rank}", told)
            self._store.set("trainer/ended", b"")

    def _told(self) -> RankEnd | None:
        if self._end is not None:
            return self._end
        found = []
        try:
            if self._ends is None or not self._ends.check(["trainer/ended"]):
                return None
            for rank in range(self.size):
                key = f"trainer/ended/{rank}"
                if rank != self.rank and self._ends.check([key]):
                    found.append((*pickle.loads(self._ends.get(key)), rank))
        except Exception:
            self._ends = None  # gone with the first process; torch complains of each further try
            return None
        if not found:
            return None
        _, error, signum, trace, rank = min(found, key=lambda one: one[0])
        told = error and error[0](f"process {rank}: {error[1]}")
        self._end = RankEnd(rank, told, signum, trace)
        return self._end

    def _lost(self) -> RankEnd | None:
        gone = self._gone()
        return RankEnd(gone[0], self._loss(gone[0]), lost=True) if gone else None

    def _gone(self) -> list[int]:
        return [rank for rank in range(self.size) if rank != self.rank and self._is_lost(rank)]

    def _loss(self, rank: int) -> ResourceError:
        host, _, pid = self._places[rank]
        return ResourceError(
            f"process {rank} (pid {pid} on {host}) ended without a word, as one does that is killed: mostly for lack "
            "of memory, and the system's log says so then"
        )

    def _is_lost(self, rank: int) -> bool:
        """Whether a process of this machine has ended; those of other machines are never seen."""
        *machine, pid = self._places[rank]
        if machine != list(_place()[:2]):
            return False
        return started_at(pid) is None


def _attempt(size: int) -> str:
    """What sets this start's messages apart: torchrun's agent keeps one store over all its restarts, where gloo
    would find the addresses of processes that have ended."""
    return f"trainer/start/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}/{size}"


def _place() -> tuple[str, str, int]:
    """This machine, its space of process ids, and this process."""
    try:
        space = os.readlink("/proc/self/ns/pid")
    except OSError:
        space = ""
    return socket.gethostname(), space, os.getpid()
