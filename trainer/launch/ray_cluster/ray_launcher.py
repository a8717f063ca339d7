"""``ray:<id>``: a job of a Ray cluster, through Ray's own job server; nothing of Ray runs in this process.

One worker is the job's own process, which holds the worker's cores and GPUs. Several are started by a driver
(:mod:`trainer.launch.ray_cluster.training_ranks`). The cluster's machines see the working folder and ``output_dir`` where they are here.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
import re
import secrets
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from trainer.core.atomic_files import atomic_write
from trainer.core.errors import ConfigError, NetworkError, ResourceError
from trainer.core.secrets import mask_text, masked
from trainer.launch import LAUNCHED, file_signals
from trainer.launch.dry_run import DryRun, DryRunPart
from trainer.launch.handle import Handle
from trainer.launch.job import Job
from trainer.launch.job_status import JobNotes, JobStatus
from trainer.launch.job_store import LaunchedJob, record_job
from trainer.launch.launcher import Launcher, prepared
from trainer.launch.local import background_environment
from trainer.launch.ray_cluster.nodes import Node, fitting
from trainer.schema import LauncherConfig as Options

logger = logging.getLogger("trainer")

T = TypeVar("T")
_RUNNING = ("PENDING", "RUNNING")
# Ray's own way with a job's files: they are copied; here they are shared, or nobody finds the run.
_SHARED = ("working_dir", "py_modules")


class RayCluster(Launcher):
    """Jobs of a Ray cluster."""

    scheme = "ray"

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._client: Any = None

    def plan(self, job: Job) -> DryRun:
        request = self.request(job, "<id>")
        return DryRun.of(
            job,
            [
                DryRunPart(f"the job for Ray's job server ({self.options.address})", _text(request)),
                *([DryRunPart("its workers", _text(workers(self.options)))] if several(self.options) else []),
            ],
        )

    def submit(self, job: Job) -> LaunchedJob:
        self._look_at_room()
        id = f"{re.sub(r'[^A-Za-z0-9_.-]+', '-', job.id)}-{secrets.token_hex(3)}"
        prepared(job)
        file_signals.empty(job.folder)
        request = self.request(job, id)
        self._asked(lambda client: client.submit_job(submission_id=id, **request))
        return record_job(job, Handle(self.scheme, id), address=self.options.address)

    def request(self, job: Job, id: str) -> dict[str, Any]:
        """What Ray's job server is asked for, besides the id. No word and no variable of the job is in it."""
        options = self.options
        if wrong := [key for key in _SHARED if key in options.runtime_env]:
            raise ConfigError(
                f"launcher.runtime_env.{wrong[0]}: Ray would run a copy; the cluster's machines share the working "
                "folder and output_dir instead (docs/launch-ray.md)."
            )
        given = {str(name): str(value) for name, value in options.runtime_env.get("env_vars", {}).items()}
        cores = {} if several(options) else {"TRAINER_CORES": str(max(1, math.floor(options.num_cpus)))}
        variables = {
            **_pythonpath(),
            **cores,
            LAUNCHED: f"{self.scheme}:{id}",
            "RAY_JOB_STOP_WAIT_TIME_S": str(options.stop_seconds),
            **given,
        }
        held = {} if several(options) else _entrypoint(worker(options))
        return {
            "entrypoint": _command(job, id, "ray_cluster.training_ranks" if several(options) else "job_main"),
            "runtime_env": {**options.runtime_env, "env_vars": variables},
            "metadata": {"title": job.title},
            **held,
        }

    def status(self, launched: LaunchedJob) -> JobStatus:
        info = self._info(launched)
        found = JobNotes(launched.folder).status(
            info is not None and info.status in _RUNNING, launched.run_dir
        )
        if info is None or found.state not in ("lost", "queued"):
            return found
        code = info.driver_exit_code
        if info.status == "PENDING" and _withdrawn(launched.folder, launched.handle.name).exists():
            state, reason, code = "cancelled", None, 143
        elif info.status in _RUNNING:
            state, reason, code = "queued" if info.status == "PENDING" else "running", info.message, None
        elif info.status == "STOPPED":
            state, reason, code = "cancelled", None, 143
        elif code is None:  # the machine has gone, or Ray never found room
            state, reason = "lost", _last_line(info.message)
        else:  # it ended before the trainer began, or another rank did
            state, reason = "failed" if code else "finished", _last_line(info.message) if code else None
        return _with(found, state, code, reason)

    def logs(self, launched: LaunchedJob, follow: bool = False) -> Iterator[str]:
        id = launched.handle.name
        if follow:
            yield from self._followed(id)
        else:
            yield from str(self._asked(lambda client: client.get_job_logs(id))).splitlines()

    def cancel(self, launched: LaunchedJob, now: bool = False) -> None:
        info = self._info(launched)
        if info is None or info.status not in _RUNNING:
            return
        notes = JobNotes(launched.folder)
        notes.cancel()
        started = bool(notes.last) and notes.last["ended"] is None
        if started:
            # Ray would tell data workers too, and kill all of them soon after.
            file_signals.post_signal(launched.folder, signal.SIGKILL if now else signal.SIGTERM)
        else:
            # Ray can't stop what waits for room; should room come, it ends by itself.
            atomic_write(_withdrawn(launched.folder, launched.handle.name), "")
        if now or not started:
            self._asked(lambda client: client.stop_job(launched.handle.name))

    def room(self) -> int:
        """How many trainings like this one the cluster has room for when nothing else runs there; at least one."""
        places = fitting(self.nodes(), worker(self.options))
        return max(1, places // (self.options.nodes * ranks(self.options)))

    def nodes(self) -> list[Node]:
        """The cluster's living machines with what they have in all."""

        def ask(client: Any) -> list[Node]:
            from ray.util.state import list_nodes

            found = list_nodes(
                address=client.get_address(), detail=True, limit=10_000, raise_on_missing_output=False
            )
            return [
                Node(one.node_ip, dict(one.resources_total or {})) for one in found if one.state == "ALIVE"
            ]

        return self._asked(ask)

    def _look_at_room(self) -> None:
        """Say what will keep the job waiting; a cluster may grow, so it is no error."""
        nodes = self.nodes()
        wanted = worker(self.options)
        if fitting(nodes, wanted) == 0:
            biggest = ", ".join(f"{node.text} ({node.name})" for node in nodes[:5])
            logger.warning(
                "no machine of the Ray cluster has %s for a worker; the job waits until one joins. There are: %s",
                ", ".join(f"{amount:g} {name}" for name, amount in wanted.items()),
                biggest or "none",
            )
        elif not self.options.num_gpus and (gpus := sum(node.resources.get("GPU", 0) for node in nodes)):
            logger.warning("the Ray cluster has %g GPUs and none is asked for: launcher.num_gpus=1", gpus)

    def _info(self, launched: LaunchedJob) -> Any:
        """What Ray says of a job; None where it doesn't know it any more, as after a restart of the cluster."""
        try:
            return self._asked(lambda client: client.get_job_info(launched.handle.name))
        except _Unknown:
            return None

    def _followed(self, id: str) -> Iterator[str]:
        """Lines as they come."""
        loop, rest = asyncio.new_event_loop(), ""
        try:
            chunks = self._asked(lambda client: client.tail_job_logs(id))
            while True:
                try:
                    text = self._asked(lambda client: loop.run_until_complete(anext(chunks)))
                except StopAsyncIteration:
                    break
                *whole, rest = (rest + text).split("\n")
                yield from whole
            if rest:
                yield rest
        finally:
            loop.run_until_complete(chunks.aclose())
            loop.close()

    def _asked(self, question: Callable[[Any], T]) -> T:
        """The cluster's answer.

        Raises:
            NetworkError: none answers at the address.
            ResourceError: it refuses.
        """
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            if self._client is None:
                self._client = _client(self.options.address)
            return question(self._client)
        except (ConnectionError, OSError) as error:
            raise NetworkError(
                f"no Ray cluster answers at launcher.address={self.options.address} ({_last_line(str(error))}). Its "
                "dashboard must run (ray start --head --include-dashboard=true, pip install 'ray[default]')."
            ) from None
        except RuntimeError as error:
            if "does not exist" in str(error) or "status code 404" in str(error):
                raise _Unknown(f"the Ray cluster at {self.options.address} doesn't know that job") from None
            raise ResourceError(f"Ray refuses: {_last_line(str(error))}") from None


class _Unknown(ResourceError):
    """A job that the cluster has never heard of, or has forgotten."""


def ranks(options: Options) -> int:
    """Workers of a training on each node."""
    return 1 if options.nproc == "auto" else int(options.nproc)


def several(options: Options) -> bool:
    """Whether a driver is needed: for several workers, and to begin again those that fail."""
    return ranks(options) * options.nodes > 1 or options.max_restarts > 0


def worker(options: Options) -> dict[str, float]:
    """What each worker holds, by Ray's names."""
    found = {"CPU": options.num_cpus, "GPU": options.num_gpus}
    if options.memory_gb:
        found["memory"] = options.memory_gb * 1e9
    found |= {str(name): float(amount) for name, amount in options.resources.items()}
    return {name: amount for name, amount in found.items() if amount}


def workers(options: Options) -> dict[str, Any]:
    """The placement group that a training of several workers is given."""
    strategy = options.placement
    if strategy == "auto":
        strategy = "PACK" if options.nodes == 1 else "SPREAD"
    return {"bundles": [worker(options)] * (ranks(options) * options.nodes), "strategy": strategy}


def _entrypoint(held: dict[str, float]) -> dict[str, Any]:
    own = {name: amount for name, amount in held.items() if name not in ("CPU", "GPU", "memory")}
    return {
        "entrypoint_num_cpus": held["CPU"],
        **({"entrypoint_num_gpus": held["GPU"]} if "GPU" in held else {}),
        **({"entrypoint_memory": int(held["memory"])} if "memory" in held else {}),
        **({"entrypoint_resources": own} if own else {}),
    }


def _withdrawn(folder: Path, id: str) -> Path:
    """A file that says that a job is not to begin any more."""
    return folder / f"withdrawn.{id}"


def _command(job: Job, id: str, module: str) -> str:
    """A line of the shell: where the job's folder isn't seen, or Python isn't there, it says so."""
    python = shlex.quote(job.options.remote_python or sys.executable)
    folder, cwd = shlex.quote(str(job.folder)), shlex.quote(str(job.cwd))
    blind = shlex.quote(
        f"ResourceError: this machine doesn't see {job.folder}: the machines of a Ray cluster share the working folder "
        "and output_dir"
    )
    without = shlex.quote(
        f"ResourceError: this machine has no {python}: launcher.remote_python says where it is"
    )
    return (
        f"test -r {folder}/job.json && cd {cwd} || {{ echo {blind}; exit 1; }}; "
        f"test -e {shlex.quote(str(_withdrawn(job.folder, id)))} && exit 143; "
        f"command -v {python} >/dev/null || {{ echo {without}; exit 1; }}; "
        f"exec {python} -m trainer.launch.{module} {folder}"
    )


def _pythonpath() -> dict[str, str]:
    """Where a checkout of this trainer is, for a Python that hasn't got it installed."""
    found = background_environment({}).get("PYTHONPATH")
    return {"PYTHONPATH": found} if found else {}


def _client(address: str) -> Any:
    from ray.job_submission import JobSubmissionClient

    return JobSubmissionClient(None if address == "auto" else address)


def _with(status: JobStatus, state: str, code: int | None, reason: str | None) -> JobStatus:
    from dataclasses import replace

    return replace(status, state=state, exit_code=code, reason=mask_text(reason) if reason else None)


def _last_line(text: str | None) -> str | None:
    lines = [line.strip() for line in (text or "").splitlines() if line.strip()]
    return lines[-1][:500] if lines else None


def _text(content: Any) -> str:
    return json.dumps(masked(content), indent=1, ensure_ascii=False)
