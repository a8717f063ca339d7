"""What a cluster says about a job, in words."""

from __future__ import annotations

from typing import Any

import pytest

from trainer.launch.k8s.job_conditions import read_status

WHEN = "2026-01-02T03:04:05Z"


def a_job(
    *conditions: str, reason: str = "because", spec: dict[str, Any] | None = None, **notes: str
) -> dict[str, Any]:
    found = [
        {"type": kind, "status": "True", "reason": reason, "message": "said", "lastTransitionTime": WHEN}
        for kind in conditions
    ]
    about = {f"openmmlab-trainer/{name}": value for name, value in notes.items()}
    return {
        "kind": "Job",
        "metadata": {"name": "one", "creationTimestamp": WHEN, "annotations": about},
        "spec": spec or {},
        "status": {"conditions": found},
    }


def a_pod(
    phase: str, index: str = "0", conditions: Any = (), memory: str = "8Gi", **state: Any
) -> dict[str, Any]:
    about = {"batch.kubernetes.io/job-completion-index": index}
    container = {"image": "a/b:1", "resources": {"limits": {"memory": memory}}}
    statuses = [{"state": state}] if state else []
    return {
        "metadata": {"name": f"one-{index}-abcde", "annotations": about},
        "spec": {"nodeName": f"node-{index}", "containers": [container]},
        "status": {"phase": phase, "conditions": list(conditions), "containerStatuses": statuses},
    }


def ended(code: int, index: str = "0", at: str = WHEN, **more: Any) -> dict[str, Any]:
    return a_pod(
        "Failed" if code else "Succeeded", index, terminated={"exitCode": code, "finishedAt": at, **more}
    )


RUNNING = {"running": {"startedAt": WHEN}}


def test_finished() -> None:
    status = read_status(a_job("Complete"), [ended(0)])
    assert (status.state, status.exit_code, status.attempts, status.nodes) == ("finished", 0, 1, ("node-0",))
    assert status.since == 1767323045.0


def test_running_and_queued() -> None:
    assert read_status(a_job(), []).state == "queued"
    assert read_status(a_job(), [a_pod("Pending")]).state == "queued"
    assert read_status(a_job(), [a_pod("Running", **RUNNING)]).state == "running"
    assert (
        read_status(a_job(spec={"suspend": True}), []).reason
        == "suspended: its queue or a person has to let it start"
    )


@pytest.mark.parametrize(
    ("pod", "words"),
    [
        (
            a_pod("Pending", waiting={"reason": "ImagePullBackOff", "message": "not found"}),
            "the image a/b:1 can't be fetched",
        ),
        (
            a_pod(
                "Pending", waiting={"reason": "CreateContainerConfigError", "message": 'secret "x" not found'}
            ),
            'secret "x" not found',
        ),
        (
            a_pod(
                "Pending",
                conditions=[
                    {
                        "type": "PodScheduled",
                        "status": "False",
                        "reason": "Unschedulable",
                        "message": "0/3 nodes",
                    }
                ],
            ),
            "no node for pod one-0-abcde (Unschedulable: 0/3 nodes)",
        ),
    ],
)
def test_why_it_waits(pod: dict[str, Any], words: str) -> None:
    status = read_status(a_job(), [pod])
    assert status.state == "queued" and words in (status.reason or "")


def test_why_it_failed() -> None:
    failed = a_job("Failed", reason="BackoffLimitExceeded")
    status = read_status(failed, [ended(1, message="a line\nDatasetError: no images\n")])
    assert (status.state, status.exit_code, status.reason) == ("failed", 1, "DatasetError: no images")
    status = read_status(failed, [ended(137, reason="OOMKilled")])
    assert status.exit_code == 137 and "its memory of 8Gi was full" in (status.reason or "")
    assert "time is over" in (
        read_status(a_job("Failed", reason="DeadlineExceeded"), [ended(143)]).reason or ""
    )
    assert read_status(failed, []).reason == "BackoffLimitExceeded: said"


def test_the_node_that_failed_first_says_why() -> None:
    pods = [
        ended(143, "0", "2026-01-02T03:04:01Z", message="stopped"),
        ended(1, "1", "2026-01-02T03:04:05Z", message="NetworkError: connection reset"),
        ended(1, "2", "2026-01-02T03:04:02Z", message="ResourceError: memory is full"),
    ]
    assert read_status(a_job("Failed"), pods).reason == "ResourceError: memory is full"


def test_a_restart_is_told() -> None:
    status = read_status(a_job(), [ended(1, message="NetworkError: gone")])
    assert (status.state, status.reason, status.attempts) == (
        "queued",
        "starting again: NetworkError: gone",
        1,
    )
    assert read_status(a_job(), [ended(1), a_pod("Running", **RUNNING)]).attempts == 2


def test_cancelled() -> None:
    job = a_job("Suspended", spec={"suspend": True}, cancelled=WHEN, attempts="2")
    saving = read_status(job, [ended(1), a_pod("Running", **RUNNING)])
    assert (saving.state, saving.reason, saving.attempts) == ("running", "saving before it ends", 2)
    status = read_status(job, [ended(1)])
    assert (status.state, status.exit_code, status.attempts) == ("cancelled", 143, 2)
    again = read_status(a_job(attempts="1"), [ended(1), a_pod("Running", **RUNNING)])
    assert (again.state, again.attempts) == ("running", 3)
