"""``launcher=ray``: a job of a Ray cluster, through Ray's own job server; nothing of Ray runs in this process.

A training of one worker is the Ray job's own process, which holds the worker's cores and GPUs. Several workers are
started by a driver (:mod:`trainer.launch.ray_cluster.training_ranks`). The cluster's machines see the working folder
and ``output_dir`` under the same paths as this machine.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import secrets
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, TypeVar

from trainer.core.atomic_files import atomic_write
from trainer.core.errors import NetworkError, ResourceError
from trainer.core.secrets import mask_text, masked
from trainer.launch import file_signals
from trainer.launch.dry_run import DryRun, DryRunPart
from trainer.launch.handle import Handle
from trainer.launch.job import Job
from trainer.launch.job_status import CANCELLED, JobNotes, JobStatus
from trainer.launch.job_store import LaunchedJob, record_job
from trainer.launch.launcher import Launcher, prepare_submission
from trainer.launch.ray_cluster.job_request import (
    cancel_mark,
    job_request,
    needs_driver,
    placement_group_spec,
    worker_resources,
    workers_per_node,
)
from trainer.launch.ray_cluster.nodes import Node, count_fitting
from trainer.schema import RayConfig as Options

logger = logging.getLogger("trainer")

T = TypeVar("T")
_ACTIVE = ("PENDING", "RUNNING")


class RayCluster(Launcher[Options]):
    """Jobs of a Ray cluster; a handle is ``ray:<id>``."""

    requires = ("ray", "ray")
    scheme = "ray"
    handle_pattern = r"[\w.-]+"

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._client: Any = None

    def plan(self, job: Job[Options]) -> DryRun:
        """The request to Ray's job server, and the placement group where there are several workers."""
        title = f"the job for Ray's job server ({self.options.address})"
        parts = [DryRunPart(title, _masked_json(self.request(job, "<id>")))]
        if needs_driver(self.options):
            parts.append(DryRunPart("its workers", _masked_json(placement_group_spec(self.options))))
        return DryRun.of(job, parts)

    def submit(self, job: Job[Options]) -> LaunchedJob:
        """Submit a job to Ray's job server."""
        self._warn_about_resources()
        id = f"{re.sub(r'[^A-Za-z0-9_.-]+', '-', job.id)}-{secrets.token_hex(3)}"
        prepare_submission(job)
        file_signals.discard_signals(job.folder)
        request = self.request(job, id)
        self._ask(lambda client: client.submit_job(submission_id=id, **request))
        return record_job(job, Handle(self.scheme, id), address=self.options.address)

    def request(self, job: Job[Options], id: str) -> dict[str, Any]:
        """The arguments of Ray's ``submit_job``, except for the id."""
        return job_request(job, id)

    def status(self, launched: LaunchedJob) -> JobStatus:
        """The job's own report, and Ray's where the job has reported nothing."""
        info = self._job_info(launched)
        is_active = info is not None and info.status in _ACTIVE
        reported = JobNotes(launched.folder).status(is_active, launched.run_dir)
        if info is None or reported.state not in ("lost", "queued"):
            return reported
        code = info.driver_exit_code
        is_cancelled = cancel_mark(launched.folder, launched.handle.name).exists()
        if info.status == "STOPPED" or (info.status == "PENDING" and is_cancelled):
            state, reason, code = "cancelled", None, CANCELLED[1]
        elif is_active:
            state, reason, code = "queued" if info.status == "PENDING" else "running", info.message, None
        elif code is None:  # its machine was lost, or Ray never had the resources
            state, reason = "lost", _last_line(info.message)
        else:  # it ended before the trainer started, or another rank did
            state, reason = "failed" if code else "finished", _last_line(info.message) if code else None
        return replace(reported, state=state, exit_code=code, reason=mask_text(reason) if reason else None)

    def logs(self, launched: LaunchedJob, follow: bool = False) -> Iterator[str]:
        """The output of the Ray job."""
        id = launched.handle.name
        if follow:
            yield from self._follow_logs(id)
        else:
            yield from str(self._ask(lambda client: client.get_job_logs(id))).splitlines()

    def cancel(self, launched: LaunchedJob, now: bool = False) -> None:
        """Send the job SIGTERM or SIGKILL through its folder. Ray's own stop reaches data loader processes too."""
        info = self._job_info(launched)
        if info is None or info.status not in _ACTIVE:
            return
        notes = JobNotes(launched.folder)
        notes.cancel()
        has_started = bool(notes.last) and notes.last["ended"] is None
        if has_started:
            file_signals.post_signal(launched.folder, signal.SIGKILL if now else signal.SIGTERM)
        else:
            atomic_write(cancel_mark(launched.folder, launched.handle.name), "")
        if now or not has_started:
            self._ask(lambda client: client.stop_job(launched.handle.name))

    def room(self) -> int:
        """How many trainings like this one fit on the cluster when nothing else runs there; at least 1."""
        workers = count_fitting(self.nodes(), worker_resources(self.options))
        return max(1, workers // (self.options.nodes * workers_per_node(self.options)))

    def nodes(self) -> list[Node]:
        """The cluster's machines that are alive, with all their resources."""

        def ask(client: Any) -> list[Node]:
            from ray.util.state import list_nodes

            states = list_nodes(
                address=client.get_address(), detail=True, limit=10_000, raise_on_missing_output=False
            )
            return [
                Node(state.node_ip, dict(state.resources_total or {}))
                for state in states
                if state.state == "ALIVE"
            ]

        return self._ask(ask)

    def _warn_about_resources(self) -> None:
        """Warn if no machine has enough for a worker. That is no error, since a cluster may grow."""
        nodes = self.nodes()
        worker = worker_resources(self.options)
        if count_fitting(nodes, worker) == 0:
            machines = ", ".join(f"{node.text} ({node.name})" for node in nodes[:5])
            logger.warning(
                "no machine of the Ray cluster has %s for a worker; the job waits until one joins. Machines: %s",
                ", ".join(f"{amount:g} {name}" for name, amount in worker.items()),
                machines or "none",
            )
        elif not self.options.num_gpus and (gpus := sum(node.resources.get("GPU", 0) for node in nodes)):
            logger.warning("the Ray cluster has %g GPUs and the job takes none: launcher.num_gpus=1", gpus)

    def _job_info(self, launched: LaunchedJob) -> Any:
        """What Ray knows about a job; None if it doesn't know it any more, as after a restart of the cluster."""
        try:
            return self._ask(lambda client: client.get_job_info(launched.handle.name))
        except _UnknownJob:
            return None

    def _follow_logs(self, id: str) -> Iterator[str]:
        """The lines of a job's output as they come, until it has ended."""
        loop, rest = asyncio.new_event_loop(), ""
        try:
            chunks = self._ask(lambda client: client.tail_job_logs(id))
            while True:
                try:
                    text = self._ask(lambda client: loop.run_until_complete(anext(chunks)))
                except StopAsyncIteration:
                    break
                *whole, rest = (rest + text).split("\n")
                yield from whole
            if rest:
                yield rest
        finally:
            loop.run_until_complete(chunks.aclose())
            loop.close()

    def _ask(self, question: Callable[[Any], T]) -> T:
        """The answer of the cluster's job server.

        Args:
            question: called with Ray's client.

        Raises:
            NetworkError: no cluster answers at the address.
            ResourceError: the cluster refuses.
        """
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            if self._client is None:
                self._client = _connect(self.options.address)
            return question(self._client)
        except (ConnectionError, OSError) as error:
            raise NetworkError(
                f"no Ray cluster answers at launcher.address={self.options.address} ({_last_line(str(error))}). Its "
                "dashboard must run (ray start --head --include-dashboard=true, pip install 'ray[default]')."
            ) from None
        except RuntimeError as error:
            if "does not exist" in str(error) or "status code 404" in str(error):
                raise _UnknownJob(
                    f"the Ray cluster at {self.options.address} doesn't know that job"
                ) from None
            raise ResourceError(f"Ray refuses: {_last_line(str(error))}") from None


class _UnknownJob(ResourceError):
    """The cluster doesn't know a job, or has forgotten it."""


def _connect(address: str) -> Any:
    from ray.job_submission import JobSubmissionClient

    return JobSubmissionClient(None if address == "auto" else address)


def _last_line(text: str | None) -> str | None:
    lines = [line.strip() for line in (text or "").splitlines() if line.strip()]
    return lines[-1][:500] if lines else None


def _masked_json(content: Any) -> str:
    return json.dumps(masked(content), indent=1, ensure_ascii=False)
