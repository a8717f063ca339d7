"""``python -m trainer.launch.ray_cluster.training_ranks <folder>``: one training over several workers of a Ray cluster.

Runs as the Ray job itself. Holds a placement group, has an actor in each of its bundles start the trainer as one of
the training's processes (RANK, WORLD_SIZE, MASTER_ADDR ... as torchrun sets them), prints what they say, ends all of
them when one fails, and begins again, from the checkpoint, ``launcher.max_restarts`` times.
"""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

from trainer.launch import file_signals
from trainer.launch.job import Job
from trainer.launch.job_status import CANCELLED, JobNotes
from trainer.launch.ray_cluster.ray_launcher import workers

FAREWELL_SECONDS = 10.0  # for the others, once one has failed
WAIT_SECONDS = 30.0  # between two words on what is waited for


def main(folder: str) -> int:
    """Run the training of a job's folder. Returns its exit code."""
    import ray

    job = Job.load(folder)
    ray.init(address="auto", log_to_driver=False, logging_level=40)
    # The first rank tells the others by itself, after the same iteration.
    signal.signal(signal.SIGTERM, lambda signum, frame: _pass_on(job.folder, signum, frame))
    notes = JobNotes(job.folder)
    for attempt in range(job.options.max_restarts + 1):
        code = _train(job)
        if code == 0 or code in CANCELLED or notes.cancelled:
            break
        if attempt < job.options.max_restarts:
            print(f"a worker ended with exit code {code}; starting again", flush=True)
    return code


class Worker:
    """One of the training's processes, kept by an actor."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def where(self) -> tuple[str, str, list[str], int]:
        """Its machine's id and address, the ids of its GPUs, and a free port there."""
        import socket

        import ray

        with socket.socket() as found:
            found.bind(("", 0))
            port = int(found.getsockname()[1])
        gpus = [str(one) for one in ray.get_gpu_ids()]
        return ray.get_runtime_context().get_node_id(), ray.util.get_node_ip_address(), gpus, port

    def run(self, python: str, folder: str, variables: dict[str, str]) -> Iterator[str | int]:
        """What it says, line by line, and at last its exit code."""
        from trainer.core.processes import stop_with_parent

        self._process = subprocess.Popen(
            [*stop_with_parent(), python, "-m", "trainer.launch.job_main", folder],
            env={**os.environ, **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            text=True,
            errors="replace",
        )
        assert self._process.stdout is not None
        yield from (line.rstrip("\n") for line in self._process.stdout)
        yield self._process.wait()

    def kill(self) -> None:
        """End it at once, with its data workers."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)


def variables(places: Sequence[tuple[str, str, list[str], int]]) -> list[dict[str, str]]:
    """What each process is told, in the order of the ranks.

    Args:
        places: of each rank, as :meth:`Worker.where` has it; those of one machine follow each other.
    """
    nodes = list(dict.fromkeys(place[0] for place in places))
    found = []
    for rank, (node, _, gpus, _) in enumerate(places):
        beside = [index for index, place in enumerate(places) if place[0] == node]
        told = {
            "RANK": rank,
            "WORLD_SIZE": len(places),
            "LOCAL_RANK": beside.index(rank),
            "LOCAL_WORLD_SIZE": len(beside),
            "GROUP_RANK": nodes.index(node),
            "MASTER_ADDR": places[0][1],
            "MASTER_PORT": places[0][3],
        }
        shared = [gpu for index in beside for gpu in places[index][2]]
        if len(gpus) == 1 and len(set(shared)) == len(shared):
            told["CUDA_VISIBLE_DEVICES"] = ",".join(shared)  # NCCL reaches a neighbour's directly only so
        elif gpus:
            told["LOCAL_RANK"] = 0  # its own ones, which Ray has chosen, or a share of one
        found.append({name: str(value) for name, value in told.items()})
    return found


def _train(job: Job) -> int:
    """One attempt; the exit code of the first process that failed, else 0."""
    import ray
    from ray.util import placement_group, remove_placement_group

    asked = workers(job.options)
    group = placement_group(asked["bundles"], strategy=asked["strategy"])
    try:
        _wait(group.ready(), len(asked["bundles"]))
        actors = [_actor(group, index, bundle) for index, bundle in enumerate(asked["bundles"])]
        found = sorted(
            zip(ray.get([actor.where.remote() for actor in actors]), actors, strict=True),
            key=lambda pair: pair[0][0],
        )
        return _follow(job, [actor for _, actor in found], variables([place for place, _ in found]))
    except ray.exceptions.RayError as error:
        print(f"ResourceError: Ray: {str(error).strip().splitlines()[-1]}", flush=True)
        return 1
    finally:
        remove_placement_group(group)


def _follow(job: Job, actors: Sequence[Any], told: Sequence[dict[str, str]]) -> int:
    """Print what the processes say until all have ended; end the others when one fails."""
    python, cores = job.options.remote_python or sys.executable, str(max(1, int(job.options.num_cpus)))
    said: queue.Queue[tuple[int, str | int]] = queue.Queue()
    for rank, actor in enumerate(actors):
        lines = actor.run.remote(python, str(job.folder), {"TRAINER_CORES": cores, **told[rank]})
        threading.Thread(target=_listen, args=(rank, lines, said), daemon=True).start()
    ended: dict[int, int] = {}
    failed, deadline = 0, float("inf")
    while len(ended) < len(actors):
        if time.monotonic() > deadline:
            deadline = float("inf")
            for actor in actors:
                actor.kill.remote()
        try:
            rank, word = said.get(timeout=0.5)
        except queue.Empty:
            continue
        if isinstance(word, str):
            print(word if rank == 0 else f"[rank {rank}] {word}", flush=True)
            continue
        ended[rank] = word
        if word and not failed:
            failed, deadline = word, time.monotonic() + FAREWELL_SECONDS
            if word not in CANCELLED:
                print(f"rank {rank} ended with exit code {word}; the others end too", flush=True)
    return failed if failed >= 0 else 128 - failed


def _listen(rank: int, lines: Any, said: queue.Queue[tuple[int, str | int]]) -> None:
    """Take the lines of a process, and its exit code; 1 where its worker has gone."""
    import ray

    last: str | int = 1
    try:
        for one in lines:
            last = ray.get(one)
            said.put((rank, last))
    except ray.exceptions.RayError as error:
        said.put((rank, f"ResourceError: its worker has gone: {str(error).strip().splitlines()[0]}"))
        last = ""
    if isinstance(last, str):
        said.put((rank, 1))


def _actor(group: Any, index: int, bundle: dict[str, float]) -> Any:
    import ray
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    own = {name: amount for name, amount in bundle.items() if name not in ("CPU", "GPU", "memory")}
    made = ray.remote(Worker).options(
        num_cpus=bundle["CPU"],
        num_gpus=bundle.get("GPU", 0),
        memory=bundle.get("memory"),
        resources=own or None,
        max_concurrency=2,  # to be killed while it is listened to
        scheduling_strategy=PlacementGroupSchedulingStrategy(group, index),
    )
    return made.remote()


def _wait(ready: Any, count: int) -> None:
    """Wait for the placement group's room."""
    import ray

    while not ray.wait([ready], timeout=WAIT_SECONDS)[0]:
        print(f"waiting for room for {count} workers", flush=True)
    ray.get(ready)


def _pass_on(folder: Path, signum: int, frame: FrameType | None) -> None:
    if JobNotes(folder).last.get("ended", 0) is not None:
        raise SystemExit(128 + signum)  # nothing runs: it still waits
    file_signals.post_signal(folder, signum)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
