"""``launch.detach=true`` on this machine."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import ClassVar

import pytest

from tests.launch.contract import SCENES, LauncherContract, Site
from trainer.core.errors import ResourceError
from trainer.launch.job_store import LaunchedJob
from trainer.launch.local import Local


class TestLocal(LauncherContract):
    words: ClassVar[list[str]] = ["launcher=local"]
    tracking: ClassVar[str] = "mlflow"

    def test_stays_with_it_and_gives_its_exit_code(self, site: Site) -> None:
        """Stayed with, it is a command like any other: only in the background is it launched."""
        failed = site.start("check", "dataset=coco", "dataset.path=missing")
        status = site.ended(failed)
        assert (status.state, status.exit_code) == ("failed", 1)
        assert "DatasetError" in (status.reason or "") and "missing" in (status.reason or "")
        assert "DatasetError: " in site.said(failed)

    def test_killed_is_lost(self, site: Site) -> None:
        launched = site.start("check", *SCENES[:1], "dataset.scenes=5")
        os.kill(int(launched.handle.name), signal.SIGKILL)
        status = site.ended(launched)
        assert (status.state, status.exit_code) == ("lost", None)
        assert "resume" in (status.reason or "")

    def test_cancelled_before_it_begins(self, site: Site) -> None:
        launched = site.start("check", *SCENES[:1], "dataset.scenes=6")
        site.trainer("cancel", str(launched.handle), "--now", "--wait")
        status = site.status(launched)
        assert (status.state, status.exit_code) == ("cancelled", 143)


def test_number_of_another_process_now(checked_facts: LaunchedJob) -> None:
    assert not Local(checked_facts.job.options)._is_running(checked_facts)


def test_other_machine_is_named(checked_facts: LaunchedJob) -> None:
    elsewhere = LaunchedJob(
        checked_facts.handle, checked_facts.folder, {**checked_facts.facts, "host": "node7"}
    )
    with pytest.raises(ResourceError, match="a process of node7; ask there"):
        Local(elsewhere.job.options).status(elsewhere)


@pytest.fixture
def checked_facts(tmp_path: Path) -> LaunchedJob:
    """A record of this very process's number, as it was before the machine was started again."""
    from trainer.launch.handle import Handle
    from trainer.launch.job import Job
    from trainer.launch.job_store import record_job

    job = Job("one", ("check",), tmp_path, tmp_path / ".launched" / "one", "check")
    job.save()
    return record_job(job, Handle("local", str(os.getpid())), started="another/1")
