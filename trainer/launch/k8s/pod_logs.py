"""The output of a job, over restarts, broken connections and the time before its first pod."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from trainer.launch.k8s.api import Api, Object
from trainer.launch.k8s.job_conditions import first_pods, has_ended

_POLL_SECONDS = 0.5


def follow_output(api: Api, label: str, container: str, may_continue: Callable[[], bool]) -> Iterator[str]:
    """The output of the first node's pods, one after the other.

    Args:
        api: the cluster.
        label: the label of the job's pods, ``name=value``.
        container: the name of the trainer's container.
        may_continue: whether there may be more output.
    """
    finished: set[str] = set()  # uids of pods whose whole output was read
    newest_stamp: dict[str, str] = {}  # uid -> the time stamp of the last line
    while True:
        is_running = may_continue()  # before reading, so that nothing is missed at the end
        pods = [pod for pod in first_pods(api.pods(label)) if pod["metadata"]["uid"] not in finished]
        if not pods:
            if not is_running:
                return
            time.sleep(_POLL_SECONDS)
            continue
        pod, uid = pods[0], pods[0]["metadata"]["uid"]
        had_ended = has_ended(pod)
        for stamp, line in api.log(pod["metadata"]["name"], container, follow=not had_ended):
            # After a broken connection the log starts over; the time stamps tell which lines were read before.
            if stamp > newest_stamp.get(uid, ""):
                newest_stamp[uid] = stamp
                yield line
        if had_ended or not is_running:
            finished.add(uid)
        else:
            time.sleep(_POLL_SECONDS)


def current_output(api: Api, pods: list[Object], container: str) -> Iterator[str]:
    """The output of the first node's newest pod so far."""
    for pod in first_pods(pods)[-1:]:
        for _, line in api.log(pod["metadata"]["name"], container, follow=False):
            yield line
