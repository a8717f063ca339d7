"""What is said where a cluster refuses, waits, or isn't there; over a real connection."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.launch.contract import until
from tests.launch.kube_server import KubeServer
from trainer.core.errors import ConfigError, NetworkError, ResourceError, TrainerError
from trainer.launch.job import Job
from trainer.launch.job_store import LaunchedJob
from trainer.launch.k8s import Kubernetes
from trainer.launch.k8s.api import Api
from trainer.launch.k8s.kubeconfig import namespace_of
from trainer.schema import LauncherConfig

Submit = Callable[..., tuple[Kubernetes, LaunchedJob]]


@pytest.fixture
def job(server: KubeServer, tmp_path: Path) -> Callable[..., Job]:
    """A job whose pods, should they start, end at once."""
    kubeconfig = server.kubeconfig(tmp_path / "kubeconfig")

    def make(**options: Any) -> Job:
        given = {"name": "kubernetes", "image": "a/b:1", "kubeconfig": str(kubeconfig), **options}
        return Job(
            "one",
            ("models",),
            tmp_path,
            tmp_path / "runs/.launched/one",
            "models",
            options=LauncherConfig(**given),
        )

    return make


@pytest.fixture
def submit(job: Callable[..., Job]) -> Submit:
    def submit(**options: Any) -> tuple[Kubernetes, LaunchedJob]:
        one = job(**options)
        launcher = Kubernetes(one.options)
        return launcher, launcher.submit(one)

    return submit


@pytest.mark.parametrize(
    ("refusal", "error", "words"),
    [
        ((401, "Unauthorized"), ResourceError, "doesn't accept this user's credentials"),
        ((403, 'jobs is forbidden: User "me" cannot create'), ResourceError, "rbac.yaml lists the rights"),
        ((403, "exceeded quota: gpus"), ResourceError, "exceeded quota: gpus"),
        ((404, 'namespaces "team" not found'), ResourceError, 'namespaces "team" not found'),
        ((409, 'jobs "one" already exists'), ResourceError, "already exists"),
        ((422, "spec.template: Invalid value"), ConfigError, "spec.template: Invalid value"),
        ((500, "etcd is on fire"), NetworkError, "answers 500: etcd is on fire"),
        ((429, "too many requests"), NetworkError, "answers 429"),
    ],
)
def test_refused_it_leaves_nothing_behind(
    server: KubeServer, submit: Submit, refusal: tuple[int, str], error: type[TrainerError], words: str
) -> None:
    server.refuse["POST jobs"] = refusal
    with pytest.raises(error, match="Job team/one can't be created") as told:
        submit()
    assert words in told.value.message and "\n" not in told.value.message
    assert server.cluster.store.objects == {}


def test_a_token_that_is_not_known(server: KubeServer, job: Callable[..., Job], tmp_path: Path) -> None:
    other = job(kubeconfig=str(server.kubeconfig(tmp_path / "other", token="old")))
    with pytest.raises(ResourceError, match=r"\(401\); log in to it again") as told:
        Kubernetes(other.options).submit(other)
    assert "old" not in told.value.message.replace(str(tmp_path), "")


def test_no_such_kind(server: KubeServer, submit: Submit) -> None:
    server.kinds.discard("pytorchjobs")
    with pytest.raises(ResourceError, match="no such kind of objects; is its operator installed"):
        submit(kind="pytorchjob")


def test_what_the_schema_refuses(submit: Submit) -> None:
    with pytest.raises(ConfigError, match="is invalid"):
        submit(ttl_seconds="soon")


def test_unreachable(server: KubeServer, submit: Submit, tmp_path: Path) -> None:
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        server.url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(NetworkError, match=r"doesn't answer \(.*refused.*\)") as told:
            submit(kubeconfig=str(server.kubeconfig(tmp_path / "down")))
    assert "\n" not in told.value.message


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kubeconfig": "/nowhere/config"}, "launcher.kubeconfig=<file> or KUBECONFIG"),
        ({"context": "fak"}, "has no context 'fak'. Did you mean 'fake'?"),
    ],
)
def test_no_kubeconfig_or_context(submit: Submit, options: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError) as told:
        submit(**options)
    assert words in told.value.message


def test_a_kubeconfig_that_is_none(submit: Submit, tmp_path: Path) -> None:
    (tmp_path / "broken").write_text("- a\n- b: [\n")
    with pytest.raises(ConfigError, match="broken"):
        submit(kubeconfig=str(tmp_path / "broken"))


def test_the_namespace_is_the_contexts(job: Callable[..., Job]) -> None:
    assert namespace_of(job().options) == "team"
    assert namespace_of(job(namespace="mine").options) == "mine"
    assert namespace_of(job(kubeconfig="/nowhere").options) == "default"


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        ("ImagePullBackOff", "the image a/b:1 can't be fetched"),
        ("Unschedulable", "Insufficient nvidia.com/gpu"),
    ],
)
def test_why_it_waits_and_how_it_goes(server: KubeServer, submit: Submit, trouble: str, words: str) -> None:
    server.cluster.trouble = trouble
    launcher, launched = submit()
    until(lambda: words in (launcher.status(launched).reason or ""))
    assert launcher.status(launched).state == "queued"
    launcher.cancel(launched)
    until(lambda: launcher.status(launched).ended)
    assert launcher.status(launched).state == "cancelled"


def test_out_of_memory(server: KubeServer, submit: Submit) -> None:
    server.cluster.trouble = "OOMKilled"
    launcher, launched = submit(memory_gb=1)
    until(lambda: launcher.status(launched).ended)
    status = launcher.status(launched)
    assert (status.state, status.exit_code) == ("failed", 137)
    assert "its memory of 1Gi was full" in (status.reason or "")


def test_what_the_cluster_warns_of(server: KubeServer, submit: Submit) -> None:
    """A quota that is full shows nowhere but in the events."""
    server.cluster.trouble = "Nothing"
    launcher, launched = submit()
    event = {"metadata": {"name": "e"}, "reason": "FailedCreate", "lastTimestamp": "2026-01-02T03:04:05Z"}
    event |= {"involvedObject": {"name": "one"}, "type": "Warning", "message": "exceeded quota: gpus"}
    server.cluster.store.create("events", "team", event)
    until(lambda: launcher.status(launched).reason == "FailedCreate: exceeded quota: gpus")


def test_a_job_that_is_gone(server: KubeServer, submit: Submit) -> None:
    server.cluster.trouble = "Unschedulable"
    launcher, launched = submit()
    server.cluster.delete(("jobs", "team", "one"))
    until(lambda: launcher.status(launched).ended)
    status = launcher.status(launched)
    assert status.state == "lost" and "the cluster has deleted the job" in (status.reason or "")
    until(lambda: not server.cluster.store.objects)  # the Secret went with it
    assert launcher.resume(launched).handle == launched.handle


def test_its_end_is_remembered(server: KubeServer, submit: Submit) -> None:
    launcher, launched = submit()
    until(lambda: launcher.status(launched).ended)
    status = launcher.status(launched)
    assert (status.state, status.exit_code) == ("finished", 0)
    server.cluster.delete(("jobs", "team", "one"))
    until(lambda: not server.cluster.store.objects)
    assert launcher.status(launched) == status


def test_who_stays_outlasts_an_outage(server: KubeServer, submit: Submit) -> None:
    server.cluster.trouble = "Unschedulable"
    _, launched = submit()
    api = Api(launched.job.options)
    server.refuse["GET"] = (503, "restarting")
    with pytest.raises(NetworkError, match="503"):
        api.get("Job", "one")
    api.retry_seconds = 60.0
    import threading

    threading.Timer(0.5, server.refuse.clear).start()
    assert api.get("Job", "one") is not None
