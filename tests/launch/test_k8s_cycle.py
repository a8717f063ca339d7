"""Cancelling, resuming, restarting and following, with pods that do nothing but what a trainer does with signals."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.launch.contract import until
from tests.launch.kube_server import KubeServer
from trainer.core.errors import ResourceError
from trainer.launch.job import Job
from trainer.launch.job_store import LaunchedJob
from trainer.launch.k8s import Kubernetes
from trainer.schema import LauncherConfig

# What stands for the image's Python: it goes on until it is told to stop, and saves then.
TRAINS = "#!/bin/sh\ntrap 'echo saved; exit 143' TERM\necho begun\nwhile :; do sleep 0.1; done\n"
FAILS = "#!/bin/sh\necho begun\necho 'DatasetError: no images' >&2\nexit 1\n"
DEAF = "#!/bin/sh\ntrap '' TERM\necho begun\nwhile :; do sleep 0.1; done\n"

Submit = Callable[..., tuple[Kubernetes, LaunchedJob]]


@pytest.fixture
def submit(server: KubeServer, tmp_path: Path) -> Submit:
    kubeconfig = str(server.kubeconfig(tmp_path / "kubeconfig"))

    def submit(script: str, **options: Any) -> tuple[Kubernetes, LaunchedJob]:
        python = tmp_path / "python"
        python.write_text(script)
        python.chmod(0o755)
        given = {
            "name": "kubernetes",
            "image": "a/b:1",
            "kubeconfig": kubeconfig,
            "python": str(python),
            **options,
        }
        folder = tmp_path / "runs/.launched/one"
        launcher = Kubernetes(LauncherConfig(**given))
        return launcher, launcher.submit(
            Job("one", ("train",), tmp_path, folder, "train", options=launcher.options)
        )

    return submit


def said(launcher: Kubernetes, launched: LaunchedJob) -> list[str]:
    return list(launcher.logs(launched))


@pytest.mark.parametrize("kind", ["job", "pytorchjob"])
def test_cancelled_it_saves_and_the_same_job_goes_on(server: KubeServer, submit: Submit, kind: str) -> None:
    launcher, launched = submit(TRAINS, kind=kind)
    plural = f"{kind}s"
    until(lambda: said(launcher, launched) == ["begun"])
    assert launcher.status(launched).state == "running"
    with pytest.raises(ResourceError, match="is running"):
        launcher.resume(launched)
    before = server.cluster.store.get(plural, "team", "one")
    lines: list[str] = []
    following = threading.Thread(
        target=lambda: lines.extend(launcher.logs(launched, follow=True)), daemon=True
    )
    following.start()
    until(lambda: lines == ["begun"])
    launcher.cancel(launched)
    until(lambda: launcher.status(launched).ended)
    status = launcher.status(launched)
    assert (status.state, status.exit_code, status.attempts) == ("cancelled", 143, 1)
    following.join(60)
    assert lines == ["begun", "saved"]
    assert not server.cluster.store.all("pods", "team")  # nothing is held

    assert launcher.resume(launched).handle == launched.handle
    until(lambda: said(launcher, launched) == ["begun"])
    status = launcher.status(launched)
    assert (status.state, status.attempts) == ("running", 2)
    after = server.cluster.store.get(plural, "team", "one")
    assert before and after and before["metadata"]["uid"] == after["metadata"]["uid"]
    launcher.cancel(launched)
    until(lambda: launcher.status(launched).ended)
    assert launcher.status(launched).attempts == 2


def test_it_fails_and_another_job_takes_its_place(server: KubeServer, submit: Submit) -> None:
    launcher, launched = submit(FAILS)
    until(lambda: launcher.status(launched).ended)
    status = launcher.status(launched)
    assert (status.state, status.exit_code, status.reason) == ("failed", 1, "DatasetError: no images")
    before = server.cluster.store.get("jobs", "team", "one")
    launcher.resume(launched)
    until(lambda: launcher.status(launched).ended and launcher.status(launched).attempts == 2)
    after = server.cluster.store.get("jobs", "team", "one")
    assert before and after and before["metadata"]["uid"] != after["metadata"]["uid"]
    secret = server.cluster.store.get("secrets", "team", "one")
    assert secret and secret["metadata"]["ownerReferences"][0]["uid"] == after["metadata"]["uid"]


def test_submitted_once_more(submit: Submit) -> None:
    """As a sweep does with a trial: one that runs is left alone, one that has ended makes room."""
    launcher, launched = submit(TRAINS)
    with pytest.raises(ResourceError, match="there is a job k8s:team/one already, and it hasn't ended"):
        submit(FAILS)
    launcher.cancel(launched)
    until(lambda: launcher.status(launched).ended)
    launcher, launched = submit(FAILS)
    until(lambda: launcher.status(launched).state == "failed")


def test_it_is_started_again_as_often_as_may_be(submit: Submit) -> None:
    launcher, launched = submit(FAILS, max_restarts=2)
    lines = list(launcher.logs(launched, follow=True))
    assert lines.count("begun") == 3
    status = launcher.status(launched)
    assert (status.state, status.attempts) == ("failed", 3)


def test_a_mistake_in_the_configuration_is_not_tried_again(submit: Submit) -> None:
    launcher, launched = submit("#!/bin/sh\necho 'ConfigError: no'\nexit 2\n", max_restarts=5)
    until(lambda: launcher.status(launched).ended)
    status = launcher.status(launched)
    assert (status.exit_code, status.attempts, status.reason) == (2, 1, "ConfigError: no")


def test_its_time_is_over(submit: Submit) -> None:
    launcher, launched = submit(TRAINS, time_minutes=0.01)
    until(lambda: launcher.status(launched).ended)
    status = launcher.status(launched)
    assert status.state == "failed" and "time is over" in (status.reason or "")


def test_cancelled_now_nothing_is_waited_for(submit: Submit) -> None:
    launcher, launched = submit(DEAF)
    until(lambda: said(launcher, launched) == ["begun"])
    launcher.cancel(launched, now=True)
    until(lambda: launcher.status(launched).ended)
    assert launcher.status(launched).state == "cancelled"


def test_the_second_pod_speaks_when_it_fails(submit: Submit) -> None:
    """Pods of several nodes: the first one's words are the job's, and whose failure came first is told."""
    script = (
        "#!/bin/sh\ntrap 'exit 143' TERM\necho node $PET_NODE_RANK\n"
        'if [ "$PET_NODE_RANK" = 1 ]; then echo "ResourceError: memory is full"; exit 1; fi\n'
        "while :; do sleep 0.1; done\n"
    )
    launcher, launched = submit(script, nodes=2)
    until(lambda: launcher.status(launched).ended)
    status = launcher.status(launched)
    assert (status.exit_code, status.reason) == (1, "ResourceError: memory is full")
