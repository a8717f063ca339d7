"""launcher=kubernetes against a fake API server that runs the pods."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from tests.launch.contract import SCENES, TRAINING, LauncherContract, Site, events, until
from tests.launch.kube_server import KubeServer, serving
from trainer.launch.job_store import LaunchedJob

WORDS = ["launcher=kubernetes", "launcher.image=registry.example/trainer-openmm:1"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubeServer]:
    with serving(tmp_path_factory.mktemp("cluster")) as made:
        yield made


class TestKubernetes(LauncherContract):
    words: ClassVar[list[str]] = WORDS
    tracking: ClassVar[str] = "mlflow"

    @pytest.fixture(scope="class")
    def surroundings(
        self, server: KubeServer, tmp_path_factory: pytest.TempPathFactory
    ) -> Iterator[dict[str, str]]:
        yield {"KUBECONFIG": str(server.kubeconfig(tmp_path_factory.mktemp("me") / "config"))}

    @pytest.fixture(scope="class", autouse=True)
    def claim(self, server: KubeServer, site: Site) -> None:
        """The runs' folder is a claim, mounted in the pods at the same path."""
        server.cluster.machine.claims["runs"] = site.output
        site.words.append(f"launcher.pvc=[runs:{site.output}]")

    def test_what_was_applied_is_what_the_dry_run_says(self, site: Site, server: KubeServer) -> None:
        """But for what the cluster adds, and the secrets."""
        import yaml

        words = ("check", *SCENES, *self.words, "launcher.priority_class=low")
        done = site.trainer(*words, "launch.detach=true")
        assert done.returncode == 0, done.stderr
        handle = done.stdout.strip()
        namespace, name = handle.removeprefix("k8s:").split("/")
        from trainer.launch import launcher_registry
        from trainer.launch.job_store import find_job

        launched = find_job(site.output, handle)
        site.started.append(launched)
        planned = list(yaml.safe_load_all(launcher_registry.launcher_of(launched).plan(launched.job).text))
        job = server.cluster.store.get("jobs", namespace, name)
        secret = server.cluster.store.get("secrets", namespace, name)
        assert job is not None and secret is not None
        assert [one["kind"] for one in planned] == ["Secret", "Job"]
        assert job["spec"] == planned[1]["spec"]
        assert secret["metadata"]["ownerReferences"][0]["uid"] == job["metadata"]["uid"]
        site.ended(launched)

    @pytest.fixture(autouse=True)
    def cluster_of_the_class(self, server: KubeServer) -> None:
        self.server = server

    def disturb(self, site: Site, launched: LaunchedJob, run: Path) -> int:
        """A node is drained: no failure that counts, and the same run continues in another pod."""
        trained, before = len(events(run, "train")), len(events(run, "cancelled"))
        until(lambda: len(events(run, "train")) > trained, lambda: site.said(launched))
        namespace, _, name = launched.handle.name.partition("/")
        pods = self.server.cluster.store.all("pods", namespace, {"openmmlab-trainer/job": name})
        self.server.cluster.evict(("pods", namespace, pods[0]["metadata"]["name"]))
        until(lambda: len(events(run, "resumed")) == 2, lambda: site.said(launched))
        assert events(run, "cancelled")[before]["saved"] == "checkpoints/last.pth"
        assert site.status(launched).state == "running"
        return 0  # the evicted pod is deleted, and its start not counted


@pytest.mark.slow
def test_two_nodes_train_together(
    server: KubeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two pods with torchrun's agents: one run, two processes, and the trainer's own exit code."""
    monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig(tmp_path / "config")))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    site = Site(tmp_path / "out", [*WORDS, "launcher.nodes=2", f"launcher.port={port}"])
    site.output.mkdir()
    words = [word for word in TRAINING if not word.startswith("runtime.epochs=")]
    launched = site.start(
        *words, "runtime.epochs=1", "runtime.val_interval=1", "tracking=none", "name=two", "id=a"
    )
    status = site.ended(launched)
    assert (status.state, status.exit_code, len(status.nodes)) == ("finished", 0, 1), site.said(launched)
    run = site.output / "two" / "a"
    assert json.loads((run / "result.json").read_text())["status"] == "finished"
    assert [path.name for path in run.parent.iterdir() if path.is_dir()] == ["a"]
    assert events(run, "run_started")[0]["batch"]["processes"] == 2  # type: ignore[index]
