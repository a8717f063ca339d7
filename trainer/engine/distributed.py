"""Several processes that train together: who is who, what one tells the others, how they agree.

``torchrun`` and its like say so in the environment (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT). The
first process alone prepares data, makes the run directory and writes into it. Imports no torch by itself.
"""

from __future__ import annotations

import os
import pickle
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from trainer.errors import ConfigError, ResourceError, TrainerError, UnknownError

if TYPE_CHECKING:
    from trainer.config.schema import Experiment

T = TypeVar("T")
POLL_SECONDS = 0.1


class Ranks:
    """A training of one process: everybody is the first, everything is agreed on."""

    rank = 0
    size = 1

    @property
    def first(self) -> bool:
        return self.rank == 0

    def from_first(self, make: Callable[[], T]) -> T:
        """What ``make`` gives in the first process, in all of them.

        Raises:
            TrainerError: it failed there.
        """
        return make()

    def after_first(self, make: Callable[[], T]) -> T:
        """``make`` in every process, in the first one before the others: they find its files."""
        return make()

    def most(self, flag: int) -> int:
        """The largest of the processes' flags. All of them have to ask."""
        return flag

    def most_lately(self, flag: int) -> int:
        """As :meth:`most`, without waiting for the others: what they said when this was asked last."""
        return flag

    def gather(self, value: Any) -> list[Any]:
        """The values of all processes, in the first one; an empty list in the others."""
        return [value]

    def share(self, tensors: Iterable[Any]) -> None:
        """Give the tensors of all processes the first one's values."""

    def failed(self, error: TrainerError) -> None:
        """Tell the others why this process ends."""

    def failure(self) -> TrainerError | None:
        """Why another process ended, if one did."""
        return None

    def leave(self) -> None:
        """The end of a training that went well."""


class Together(Ranks):
    """One of several processes. Joining starts torch's process group.

    Args:
        gpu: whether each process trains on a GPU of its own.
    """

    def __init__(self, gpu: bool) -> None:
        import torch.distributed as dist

        self._dist = dist
        self._store, self.rank, self.size = next(iter(dist.rendezvous("env://")))
        local = int(os.environ.setdefault("LOCAL_RANK", str(self.rank)))
        if gpu:
            import torch

            torch.cuda.set_device(local)
        dist.init_process_group(
            "nccl" if gpu else "gloo", store=self._store, rank=self.rank, world_size=self.size
        )
        # Messages between processes mustn't get among the gradients' and never touch a GPU.
        self._side = dist.new_group(backend="gloo")
        self._count = 0
        self._asked: tuple[Any, Any] | None = None

    def from_first(self, make: Callable[[], T]) -> T:
        self._count += 1
        key = f"trainer/{self._count}"
        if self.first:
            try:
                value = make()
            except BaseException as error:
                text = (
                    error.message if isinstance(error, TrainerError) else f"{type(error).__name__}: {error}"
                )
                kind = type(error) if isinstance(error, TrainerError) else UnknownError
                self._store.set(key, pickle.dumps((None, (kind, text))))
                raise
            self._store.set(key, pickle.dumps((value, None)))
            return value
        while not self._store.check([key]):  # may take hours: the first one may be fetching data
            time.sleep(POLL_SECONDS)
        value, failure = pickle.loads(self._store.get(key))
        if failure is not None:
            raise failure[0](failure[1])
        return value

    def after_first(self, make: Callable[[], T]) -> T:
        made: list[T] = []
        self.from_first(lambda: made.append(make()))
        return made[0] if made else make()

    def most(self, flag: int) -> int:
        import torch

        found = torch.tensor([flag])
        self._dist.all_reduce(found, self._dist.ReduceOp.MAX, group=self._side)
        return int(found)

    def most_lately(self, flag: int) -> int:
        import torch

        found = self._answer()
        said = torch.tensor([flag])
        work = self._dist.all_reduce(said, self._dist.ReduceOp.MAX, group=self._side, async_op=True)
        self._asked = (work, said)
        return found

    def gather(self, value: Any) -> list[Any]:
        values: list[Any] | None = [None] * self.size if self.first else None
        self._dist.gather_object(value, values, dst=0, group=self._side)
        return values or []

    def share(self, tensors: Iterable[Any]) -> None:
        for tensor in tensors:
            # nccl moves what is on GPUs only
            self._dist.broadcast(tensor.data, src=0, group=None if tensor.is_cuda else self._side)

    def failed(self, error: TrainerError) -> None:
        with suppress(Exception):  # whoever keeps the store may be gone already
            told = pickle.dumps((time.time(), type(error), error.message))
            self._store.set(f"trainer/failed/{self.rank}", told)

    def failure(self) -> TrainerError | None:
        found = []
        try:
            for rank in range(self.size):
                key = f"trainer/failed/{rank}"
                if rank != self.rank and self._store.check([key]):
                    found.append((*pickle.loads(self._store.get(key)), rank))
        except Exception:
            return None
        if not found:
            return None
        _, kind, message, rank = min(found, key=lambda one: one[0])
        return kind(f"process {rank}: {message}")

    def leave(self) -> None:
        self._answer()
        self._dist.barrier(group=self._side)
        self._dist.destroy_process_group()

    def _answer(self) -> int:
        if self._asked is None:
            return 0
        work, said = self._asked
        self._asked = None
        work.wait()
        return int(said)


def join(exp: Experiment) -> Ranks:
    """The processes that the environment says train together; this one alone when it says nothing.

    Raises:
        ConfigError: the environment says it only half.
        ResourceError: the others can't be reached.
    """
    size = os.environ.get("WORLD_SIZE", "1")
    if not size.isdigit() or int(size) < 2:
        return Ranks()
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if missing:
        raise ConfigError(
            f"WORLD_SIZE={size} is set, but not {', '.join(missing)}; torchrun sets all of them"
        )
    from trainer.engine.fit import prepare_process

    prepare_process(exp)
    import torch

    try:
        return Together(torch.cuda.is_available())
    except (RuntimeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise ResourceError(
            f"the {size} processes of this training can't reach each other: {reason}"
        ) from error
