"""``launcher=ray`` on a real cluster of this machine: the launchers' contract, several workers, a sweep."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray", reason="Ray isn't installed (extra ray)")

from tests.launch.contract import SCENES, LauncherContract, Site, until
from tests.launch.ray_local import LocalRay
from tests.sweep.conftest import drivers  # noqa: F401  a fixture
from tests.sweep.drivers import Drivers, wait_for
from tests.sweep.test_killed_drivers import check
from tests.sweep.test_main import rows, runs, training
from trainer.core.errors import NetworkError
from trainer.launch.handle import Handle
from trainer.launch.job_store import LaunchedJob
from trainer.launch.ray_cluster.ray_launcher import RayCluster
from trainer.schema import LauncherConfig

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the cluster is started as on Linux"),
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalRay]:
    made = LocalRay(cpus=2)
    yield made
    made.stop()


class TestRay(LauncherContract):
    words = ["launcher=ray"]

    @pytest.fixture(scope="class")
    def surroundings(self, cluster: LocalRay) -> Iterator[dict[str, str]]:
        yield {"RAY_ADDRESS": cluster.address}

    def test_what_ray_knows_has_no_secret_and_no_word(self, site: Site, checked: LaunchedJob) -> None:
        known = repr(_client().get_job_info(checked.handle.name))
        assert "trainer.launch.job_main" in known and "dataset" not in known and "s3cr3t" not in known

    def test_two_workers(self, site: Site) -> None:
        launched = site.start("check", *SCENES, "launcher.nproc=2", "name=two")
        failed = site.start(
            "check", "dataset=coco", "dataset.path=missing", "launcher.nproc=2"
        )  # it waits for cores
        assert site.ended(launched).state == "finished", site.said(launched)
        assert "no mistake; training can start" in site.said(launched)
        status = site.ended(failed)
        assert (status.state, status.exit_code) == ("failed", 1), site.said(failed)
        assert "rank 0 ended with exit code 1; the others end too" in site.said(failed)

    def test_cancelled_before_it_begins(self, site: Site) -> None:
        waiting = site.start(
            "check", *SCENES, "launcher.num_cpus=2", "launcher.resources.moon=1", "name=never"
        )
        assert site.status(waiting).state == "queued"
        done = site.trainer("cancel", str(waiting.handle))
        assert done.returncode == 0, done.stderr
        until(lambda: site.status(waiting).ended, lambda: site.said(waiting))
        assert site.status(waiting).state == "cancelled"
        assert not (site.output / "never").exists()


def test_trials_of_a_sweep_hold_the_clusters_cores(
    cluster: LocalRay,
    drivers: Drivers,  # noqa: F811
    tmp_path: Path,
) -> None:
    """Two at a time on two cores, through a driver that is killed; nothing runs twice."""
    gate = tmp_path / "gate"
    words = [
        "launcher=ray",
        f"launcher.address={cluster.address}",
        "runtime.seed=0,1,2",
        "sweep.workers=auto",
    ]
    toy = {"TOY_RAY": "1", "TOY_GATE": str(gate)}
    words.append("launcher.env=[TOY_GATE]")
    first = drivers.start(tmp_path, *words, **toy)
    wait_for(lambda: len(training(tmp_path)) == 2, first)
    first.kill()
    first.wait()
    second = drivers.start(tmp_path, *words, **toy)
    wait_for(lambda: second.output.count("still runs as ray:") == 2, second)
    gate.touch()
    assert second.wait() == 0, second.output
    check(tmp_path, 3)
    assert all(len(run["attempts"]) == 1 for run in runs(tmp_path))
    assert len(rows(tmp_path)) == 3


def test_a_cluster_that_is_not_there() -> None:
    nowhere = RayCluster(LauncherConfig(name="ray", address="http://127.0.0.1:9"))
    with pytest.raises(NetworkError, match="no Ray cluster answers at launcher.address=http://127.0.0.1:9"):
        nowhere.status(LaunchedJob(Handle("ray", "one"), Path("nowhere"), {}))


def _client() -> Any:
    from ray.job_submission import JobSubmissionClient

    return JobSubmissionClient()
