"""What a job says, over restarts, cut connections and the time before its first pod."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from trainer.launch.k8s.api import Api, Object
from trainer.launch.k8s.job_conditions import ended, first_pods

_PAUSE = 0.5  # seconds between two looks for a pod


def follow(api: Api, label: str, container: str, going: Callable[[], bool]) -> Iterator[str]:
    """The lines of the first node's pods, one after the other, while ``going()`` says that there may be more."""
    through: set[str] = set()
    last: dict[str, str] = {}  # of each pod, when it said what came last
    while True:
        going_on = going()  # asked first: nothing is missed after the end
        new = [one for one in first_pods(api.pods(label)) if one["metadata"]["uid"] not in through]
        if not new:
            if not going_on:
                return
            time.sleep(_PAUSE)
            continue
        pod, uid = new[0], new[0]["metadata"]["uid"]
        was_over = ended(pod)
        for stamp, line in api.log(pod["metadata"]["name"], container, follow=not was_over):
            # A connection that was cut is made anew, from the beginning: time stamps tell what was said already.
            if stamp > last.get(uid, ""):
                last[uid] = stamp
                yield line
        if was_over or not going_on:
            through.add(uid)
        else:
            time.sleep(_PAUSE)


def so_far(api: Api, pods: list[Object], container: str) -> Iterator[str]:
    """What the first node's newest pod has said."""
    for pod in first_pods(pods)[-1:]:
        for _, line in api.log(pod["metadata"]["name"], container, follow=False):
            yield line
