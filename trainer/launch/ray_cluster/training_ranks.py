"""``python -m trainer.launch.ray_cluster.training_ranks <folder>``: train with several workers of a Ray cluster.

Runs as the Ray job itself. It holds a placement group, and has an actor in each bundle start the trainer as one process
of the training (RANK, WORLD_SIZE, MASTER_ADDR ... as torchrun sets them). It prints their output, ends all of them when
one fails, and starts again from the checkpoint, up to ``launcher.max_restarts`` times.
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
from trainer.launch.ray_cluster.job_request import placement_group_spec
from trainer.schema import RayConfig as Options

KILL_SECONDS = 10.0  # from the first failure until the other processes are killed
WAIT_SECONDS = 30.0  # between two messages while the placement group waits

Place = tuple[str, str, list[str], int]
"""Where a worker runs: its machine's id and address, the ids of its GPUs, and a free port."""


def main(folder: str) -> int:
    """Run the training of a job's folder. Returns its exit code."""
    import ray

    job: Job[Options] = Job.load(folder)
    ray.init(address="auto", log_to_driver=False, logging_level=40)
    # The first rank makes all ranks stop after the same iteration.
    signal.signal(signal.SIGTERM, lambda signum, frame: _forward_signal(job.folder, signum, frame))
    notes = JobNotes(job.folder)
    for attempt in range(job.options.max_restarts + 1):
        code = _train(job)
        if code == 0 or code in CANCELLED or notes.cancelled:
            break
        if attempt < job.options.max_restarts:
            print(f"a worker ended with exit code {code}; starting again", flush=True)
    return code


class Worker:
    """The actor that supervises one process of the training."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def place(self) -> Place:
        """Where this worker runs."""
        import socket

        import ray

        with socket.socket() as listener:
            listener.bind(("", 0))
            port = int(listener.getsockname()[1])
        gpus = [str(gpu) for gpu in ray.get_gpu_ids()]
        return ray.get_runtime_context().get_node_id(), ray.util.get_node_ip_address(), gpus, port

    def run(self, python: str, folder: str, variables: dict[str, str]) -> Iterator[str | int]:
        """Run the process. Yields its output line by line, and at last its exit code."""
        from trainer.core.processes import parent_death_command

        self._process = subprocess.Popen(
            [*parent_death_command(), python, "-m", "trainer.launch.job_main", folder],
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
        """Kill the process and its data loader processes."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)


def rank_variables(places: Sequence[Place]) -> list[dict[str, str]]:
    """The variables of each process, by rank.

    Args:
        places: where each rank runs; the ranks of one machine follow each other.
    """
    nodes = list(dict.fromkeys(place[0] for place in places))
    result = []
    for rank, (node, _, gpus, _) in enumerate(places):
        ranks_of_node = [index for index, place in enumerate(places) if place[0] == node]
        variables = {
            "RANK": rank,
            "WORLD_SIZE": len(places),
            "LOCAL_RANK": ranks_of_node.index(rank),
            "LOCAL_WORLD_SIZE": len(ranks_of_node),
            "GROUP_RANK": nodes.index(node),
            "MASTER_ADDR": places[0][1],
            "MASTER_PORT": places[0][3],
        }
        gpus_of_node = [gpu for index in ranks_of_node for gpu in places[index][2]]
        if len(gpus) == 1 and len(set(gpus_of_node)) == len(gpus_of_node):
            # NCCL reaches the GPU of another rank directly only if both ranks see both.
            variables["CUDA_VISIBLE_DEVICES"] = ",".join(gpus_of_node)
        elif gpus:
            variables["LOCAL_RANK"] = 0  # several GPUs or a share of one: those that Ray has made visible
        result.append({name: str(value) for name, value in variables.items()})
    return result


def _train(job: Job[Options]) -> int:
    """One attempt. Returns the exit code of the first process that failed, else 0."""
    import ray
    from ray.util import placement_group, remove_placement_group

    spec = placement_group_spec(job.options)
    group = placement_group(spec["bundles"], strategy=spec["strategy"])
    try:
        _wait_for_group(group.ready(), len(spec["bundles"]))
        actors = [_start_actor(group, index, bundle) for index, bundle in enumerate(spec["bundles"])]
        placed = sorted(
            zip(ray.get([actor.place.remote() for actor in actors]), actors, strict=True),
            key=lambda pair: pair[0][0],
        )
        variables = rank_variables([place for place, _ in placed])
        return _supervise(job, [actor for _, actor in placed], variables)
    except ray.exceptions.RayError as error:
        print(f"ResourceError: Ray: {str(error).strip().splitlines()[-1]}", flush=True)
        return 1
    finally:
        remove_placement_group(group)


def _supervise(job: Job[Options], actors: Sequence[Any], variables: Sequence[dict[str, str]]) -> int:
    """Print the processes' output until all have ended; kill the others when one has failed."""
    python, cores = job.options.remote_python or sys.executable, str(max(1, int(job.options.num_cpus)))
    output: queue.Queue[tuple[int, str | int]] = queue.Queue()
    for rank, actor in enumerate(actors):
        lines = actor.run.remote(python, str(job.folder), {"TRAINER_CORES": cores, **variables[rank]})
        threading.Thread(target=_read_output, args=(rank, lines, output), daemon=True).start()
    exit_codes: dict[int, int] = {}
    failed, deadline = 0, float("inf")
    while len(exit_codes) < len(actors):
        if time.monotonic() > deadline:
            deadline = float("inf")
            for actor in actors:
                actor.kill.remote()
        try:
            rank, line = output.get(timeout=0.5)
        except queue.Empty:
            continue
        if isinstance(line, str):
            print(line if rank == 0 else f"[rank {rank}] {line}", flush=True)
            continue
        exit_codes[rank] = line
        if line and not failed:
            failed, deadline = line, time.monotonic() + KILL_SECONDS
            if line not in CANCELLED:
                print(f"rank {rank} ended with exit code {line}; the others end too", flush=True)
    return failed if failed >= 0 else 128 - failed


def _read_output(rank: int, lines: Any, output: queue.Queue[tuple[int, str | int]]) -> None:
    """Put a process's lines and its exit code into the queue; 1 if its worker was lost."""
    import ray

    last: str | int = 1
    try:
        for reference in lines:
            last = ray.get(reference)
            output.put((rank, last))
    except ray.exceptions.RayError as error:
        output.put((rank, f"ResourceError: its worker was lost: {str(error).strip().splitlines()[0]}"))
        last = ""
    if isinstance(last, str):
        output.put((rank, 1))


def _start_actor(group: Any, index: int, bundle: dict[str, float]) -> Any:
    import ray
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    custom = {name: amount for name, amount in bundle.items() if name not in ("CPU", "GPU", "memory")}
    actor_class = ray.remote(Worker).options(
        num_cpus=bundle["CPU"],
        num_gpus=bundle.get("GPU", 0),
        memory=bundle.get("memory"),
        resources=custom or None,
        max_concurrency=2,  # so that kill() can be called while run() yields
        scheduling_strategy=PlacementGroupSchedulingStrategy(group, index),
    )
    return actor_class.remote()


def _wait_for_group(ready: Any, count: int) -> None:
    """Wait until the placement group has its resources."""
    import ray

    while not ray.wait([ready], timeout=WAIT_SECONDS)[0]:
        print(f"waiting for the resources of {count} workers", flush=True)
    ray.get(ready)


def _forward_signal(folder: Path, signum: int, frame: FrameType | None) -> None:
    if JobNotes(folder).last.get("ended", 0) is not None:
        raise SystemExit(128 + signum)  # no process runs: the placement group still waits
    file_signals.post_signal(folder, signum)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
