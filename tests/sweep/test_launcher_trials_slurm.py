"""A sweep's trials as jobs of a real SLURM."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.launch.slurm_cluster import INSTEAD, Cluster, cluster_or_skip
from tests.sweep.drivers import Drivers, wait_for
from tests.sweep.test_killed_drivers import check
from tests.sweep.test_launcher_trials import jobs
from tests.sweep.test_main import runs, training

WORDS = ("launcher=slurm", INSTEAD, "runtime.seed=0,1,2,3", "sweep.workers=4")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with ExitStack() as stack:
        yield cluster_or_skip(stack)


def test_jobs_are_put_back_and_found_again(drivers: Drivers, tmp_path: Path, cluster: Cluster) -> None:
    """An operator puts one back, the driver is killed; the next one finds all of them, and none counts twice."""
    gate, around = tmp_path / "gate", cluster.environment
    first = drivers.start(tmp_path, *WORDS, **around, TOY_GATE=str(gate))
    wait_for(lambda: len(training(tmp_path)) == 4, first)
    handles = [one["handle"] for one in jobs(tmp_path)]
    assert len(set(handles)) == 4 and all(handle.startswith("slurm:") for handle in handles)
    cluster.run("scontrol", "requeue", handles[0].partition(":")[2])
    first.kill()
    first.wait()
    second = drivers.start(tmp_path, *WORDS, **around, TOY_GATE=str(gate))
    wait_for(lambda: second.output.count("still runs as slurm:") == 4, second)
    gate.touch()
    assert second.wait() == 0, second.output
    check(tmp_path, 4)
    assert Counter(len(run["attempts"]) for run in runs(tmp_path)) == {1: 3, 2: 1}


def test_a_stopped_sweep_cancels_its_jobs(drivers: Drivers, tmp_path: Path, cluster: Cluster) -> None:
    around = cluster.environment
    driver = drivers.start(tmp_path, *WORDS, **around, TOY_GATE=str(tmp_path / "gate"))
    wait_for(lambda: len(training(tmp_path)) == 4, driver)
    driver.kill(15)
    assert driver.wait() == 143, driver.output
    assert Counter(run["attempts"][-1]["status"] for run in runs(tmp_path)) == {"cancelled": 4}
    cluster.until(lambda: not cluster.run("squeue", "-h").strip(), "jobs that nobody wants")
