"""``launcher=slurm`` against a real SLURM of this machine alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar

import pytest

from tests.launch.contract import (
    ROOT,
    SCENES,
    SECRET,
    TRAINING,
    LauncherContract,
    Site,
    events,
    until,
)
from tests.launch.slurm_cluster import INSTEAD, Cluster, cluster_or_skip
from trainer.launch.job_status import JobNotes
from trainer.launch.job_store import LaunchedJob, find_job
from trainer.tracking.mlflow_state import mlflow_run_id


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with ExitStack() as stack:
        yield cluster_or_skip(stack)


class TestSlurm(LauncherContract):
    words: ClassVar[list[str]] = ["launcher=slurm"]

    @pytest.fixture(scope="class")
    def surroundings(self, cluster: Cluster) -> Iterator[dict[str, str]]:
        yield cluster.environment

    def test_what_its_processes_see(self, site: Site) -> None:
        """The GPUs that it asked for, and no secret: that is in the job's file alone."""
        setup = "launcher.setup=['echo devices: $CUDA_VISIBLE_DEVICES','env']"
        launched = site.start("check", *SCENES, "launcher.gpus=2", setup)
        assert site.ended(launched).state == "finished", site.said(launched)
        said = site.said(launched)
        assert "devices: 0,1" in said and "SLURM_JOB_ID=" in said
        assert SECRET not in said
        assert (launched.folder / "job.json").stat().st_mode & 0o077 == 0

    def test_why_it_waits(self, site: Site) -> None:
        launched = site.start("check", *SCENES, "launcher.sbatch={begin: now+1hour}")
        until(lambda: (site.status(launched).reason or "").startswith("waiting: BeginTime"))
        assert (site.status(launched).state, site.status(launched).attempts) == ("queued", 0)
        assert "waiting: BeginTime (not before" in site.trainer("status", str(launched.handle)).stdout
        site.trainer("cancel", str(launched.handle))
        status = site.ended(launched)
        assert (status.state, status.exit_code, status.attempts) == ("cancelled", 143, 0)

    def test_starts_again_after_a_failure(self, site: Site, cluster: Cluster) -> None:
        launched = site.start("check", "dataset=coco", "dataset.path=missing", "launcher.max_restarts=1")
        status = site.ended(launched)
        assert (status.state, status.exit_code, status.attempts) == ("failed", 1, 2), site.said(launched)
        assert site.said(launched).count("back into the queue: it failed (exit code 1), restart 1 of 1") == 1

    def test_refused(self, site: Site) -> None:
        done = site.trainer("check", *SCENES, *self.words, "launcher.partition=man", "launch.detach=true")
        assert done.returncode == 2
        assert "launcher.partition=man: " in done.stderr and "Did you mean 'main'?" in done.stderr

    def test_forgotten_by_the_controller(self, site: Site, checked: LaunchedJob, cluster: Cluster) -> None:
        """Minutes after a job's end, without accounts: what it noted itself is all there is."""
        known = LaunchedJob(checked.handle, checked.folder, checked.facts)
        gone = LaunchedJob(type(known.handle)("slurm", "999999"), known.folder, known.facts)
        assert site.status(gone).state == "finished"

    def test_put_back_goes_on_with_the_run(
        self, site: Site, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An operator puts the job back; then its time is nearly over; then somebody cancels it."""
        for name, value in (("TOY_EPOCHS", "1000000"), ("TOY_SECONDS", "0.2")):
            monkeypatch.setenv(name, value)
        toy = "launcher.env=[TOY_EPOCHS,TOY_SECONDS]"
        launched = site.start(*SCENES, "id=toy", INSTEAD, toy)
        run, job = site.output / "toy" / "toy", launched.handle.name
        for resumed, put_back in enumerate((("scontrol", "requeue"), ("scancel", "--signal=USR2"))):
            before = len(events(run, "train"))
            until(lambda n=before: len(events(run, "train")) > n, lambda: site.said(launched))
            cluster.run(*put_back, job)
            until(lambda n=resumed: len(events(run, "resumed")) > n, lambda: site.said(launched))
        assert site.said(launched).count("back into the queue: its time was over") == 1
        assert site.status(launched).state == "running"
        assert site.trainer("cancel", str(launched.handle), "--wait").returncode == 0
        status = site.status(launched)
        assert (status.state, status.exit_code, status.attempts) == ("cancelled", 143, 3)
        assert [one["exit_code"] for one in JobNotes(launched.folder).attempts] == [143] * 3

    def test_two_nodes_train_together_and_go_on(self, site: Site, cluster: Cluster) -> None:
        """One run directory and one MLflow run for two processes and two times in the queue."""
        words = (*TRAINING, "tracking=mlflow", "id=two", "name=together", "runtime.batch_size=1")
        launched = site.start(*words, "launcher.nodes=2")
        run, job = site.output / "together" / "two", launched.handle.name
        until(lambda: events(run, "train") and mlflow_run_id(run), lambda: site.said(launched))
        assert site.status(launched).nodes == ("one", "two")
        tracked, seen = mlflow_run_id(run), len(events(run, "train"))

        cluster.run("scancel", "--signal=USR2", job)
        until(lambda: events(run, "resumed"), lambda: site.said(launched))
        assert "back into the queue: its time was over" in site.said(launched)
        until(lambda: len(events(run, "train")) > seen, lambda: site.said(launched))
        assert (site.status(launched).state, site.status(launched).attempts) == ("running", 2)
        assert site.trainer("cancel", "two", "--wait").returncode == 0
        assert site.status(launched).exit_code == 143
        assert [event["saved"] for event in events(run, "cancelled")] == ["checkpoints/last.pth"] * 2
        assert [path.name for path in run.parent.iterdir() if path.is_dir()] == ["two"]
        assert json.loads((run / "result.json").read_text())["mlflow_run_id"] == tracked
        assert find_job(site.output, "two").handle == launched.handle

    @pytest.mark.slow
    def test_its_time_is_nearly_over(self, site: Site) -> None:
        """SLURM itself says so, some seconds after the start, and it costs nothing but waiting."""
        times = ("launcher.time_minutes=1", "launcher.signal_delay_s=10")
        launched = site.start("check", *SCENES, *times, INSTEAD)
        until(lambda: "back into the queue: its time was over" in site.said(launched))
        until(lambda: site.said(launched).count("waiting") == 2, lambda: site.said(launched))
        assert site.said(launched).count("saved") == 1
        assert site.status(launched).state == "running"
        site.trainer("cancel", str(launched.handle), "--wait")
        assert site.status(launched).state == "cancelled"


def test_without_its_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line that says what is missing; what would be submitted is shown nevertheless."""
    monkeypatch.setenv("PATH", str(tmp_path))
    site = Site(tmp_path, [])
    done = site.trainer("check", *SCENES, "launcher=slurm")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "there is no sbatch here" in done.stderr
    planned = site.trainer("check", *SCENES, "launcher=slurm", "launcher.dry_run=true")
    assert planned.returncode == 0 and "\nsrun " in planned.stdout
    assert str(ROOT) not in planned.stdout or "trainer.launch.slurm.rank_main" in planned.stdout
