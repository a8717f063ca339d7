"""What every launcher must do. The tests of a launcher are a class that inherits :class:`LauncherContract`.

A plug-in's author inherits it too, from a checkout of this repository (docs/launch.md, "A launcher of your own").
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pytest

from trainer.launch import launcher_registry
from trainer.launch.job_status import JobStatus
from trainer.launch.job_store import LaunchedJob, all_jobs, find_job
from trainer.tracking.mlflow_state import mlflow_run_id

ROOT = Path(__file__).parents[2]
SECONDS = 240.0  # until something must have happened, on a machine that is busy with other things
NAME = "a b  'c' \"d\" $HOME `e` \\ é"  # what a shell, a script or a manifest could stumble over
VERBS = ("status", "logs", "cancel", "resume")  # of jobs that were launched
SECRET = "s3cr3t-Pa55word-of-the-tests"
SCENES = ("dataset=digits", "dataset.scenes=4", "dataset.val_scenes=2", "dataset.scene_size=64")
# So long that nobody waits for its end, with a checkpoint within seconds.
TRAINING = (
    *(
        "experiment=digits",
        "model=rtmdet-tiny",
        *SCENES[1:],
        "runtime.epochs=5000",
        "runtime.val_interval=5000",
    ),
    *("runtime.batch_size=2", "runtime.ema=false", "runtime.workers=0", "runtime.device=cpu"),
    *("tracking.plots=false", "tracking.samples_every=0", "tracking.log_checkpoint=false"),
)


@dataclass
class Site:
    """Where a launcher's jobs are started from.

    Attributes:
        output: the working folder and ``output_dir``.
        words: the overrides that choose the launcher.
        started: the jobs that were started; they are killed at the end.
        config_dirs: folders for ``--config-dir``, such as a plug-in's.
    """

    output: Path
    words: list[str]
    started: list[LaunchedJob] = field(default_factory=list)
    config_dirs: list[Path] = field(default_factory=list)

    def trainer(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command line to its end."""
        folders = [] if words[0] in VERBS else [f"--config-dir={folder}" for folder in self.config_dirs]
        path = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        return subprocess.run(
            [sys.executable, "-m", "trainer", *words, *folders, f"output_dir={self.output}"],
            cwd=self.output,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(dict.fromkeys([str(ROOT), *filter(None, path)])),
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )

    def start(self, *words: str) -> LaunchedJob:
        """Start something in the background; whoever started it has ended then."""
        done = self.trainer(*words, *self.words, "launch.detach=true")
        assert done.returncode == 0, done.stderr
        assert done.stderr.strip().endswith(f"resume {done.stdout.strip()}")
        self.started.append(find_job(self.output, done.stdout.strip()))
        return self.started[-1]

    def status(self, launched: LaunchedJob) -> JobStatus:
        return launcher_registry.launcher_of(launched).status(launched)

    def ended(self, launched: LaunchedJob) -> JobStatus:
        """Its status once it has ended."""
        until(lambda: self.status(launched).ended, lambda: self.said(launched))
        return self.status(launched)

    def said(self, launched: LaunchedJob) -> str:
        return "\n".join(launcher_registry.launcher_of(launched).logs(launched))


def until(true: Callable[[], object], why: Callable[[], object] = lambda: "") -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < deadline, why()
        time.sleep(0.2)


def events(run: Path, kind: str) -> list[dict[str, object]]:
    """The events of a kind that a run has so far."""
    path = run / "events.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [event for event in map(json.loads, lines) if event["type"] == kind]


def command_lines() -> str:
    """The command line of every process of this machine."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"))
        except OSError:
            continue
    return "\n".join(found)


class LauncherContract:
    """Inherited by ``Test<Launcher>``; only ``words`` has to be said."""

    words: ClassVar[list[str]]
    # MLflow's own processes cost ten seconds of computing; what they are told hangs on no launcher.
    tracking: ClassVar[str] = "none"

    @pytest.fixture(scope="class")
    def surroundings(self) -> Iterator[dict[str, str]]:
        """Variables that lead to the engine, there while the class's tests run."""
        yield {}

    @pytest.fixture(scope="class")
    def site(self, surroundings: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
        made = Site(tmp_path_factory.mktemp("site with a blank"), list(self.words))
        with pytest.MonkeyPatch.context() as patch:
            for name, value in {
                **surroundings,
                "AWS_SECRET_ACCESS_KEY": SECRET,
                "OMP_NUM_THREADS": "1",
            }.items():
                patch.setenv(name, value)
            yield made
            for launched in made.started:
                launcher_registry.launcher_of(launched).cancel(launched, now=True)

    @pytest.fixture(scope="class")
    def checked(self, site: Site) -> LaunchedJob:
        """A command that ended well, with a word that is hard to pass on."""
        quoted = NAME.replace("'", "\\'")  # Hydra's backslash escapes a quote alone
        launched = site.start("check", *SCENES, f"name='{quoted}'")
        site.ended(launched)
        return launched

    def test_runs_and_reports(self, site: Site, checked: LaunchedJob) -> None:
        status = site.status(checked)
        assert (status.state, status.exit_code, status.attempts) == ("finished", 0, 1), site.said(checked)
        assert status.nodes and status.reason is None

    def test_logs(self, site: Site, checked: LaunchedJob) -> None:
        assert "no mistake; training can start" in site.trainer("logs", str(checked.handle)).stdout
        assert site.trainer("logs", "latest", "lines=1").stdout.count("\n") == 1

    def test_words_arrive_unchanged(self, site: Site, checked: LaunchedJob) -> None:
        assert (site.output / NAME / "data_report.json").is_file()

    def test_stays_with_it_and_gives_its_exit_code(self, site: Site) -> None:
        done = site.trainer("check", "dataset=coco", "dataset.path=missing", *self.stays())
        assert done.returncode == 1, done.stdout + done.stderr
        assert "DatasetError: " in done.stdout + done.stderr
        newest = all_jobs(site.output)[-1]
        status = site.status(newest)
        assert (status.state, status.exit_code) == ("failed", 1)
        assert "DatasetError" in (status.reason or "") and "missing" in (status.reason or "")

    def stays(self) -> list[str]:
        """The words that start it and stay with it."""
        return list(self.words)

    def test_dry_run_is_what_is_submitted_and_submits_nothing(self, site: Site) -> None:
        """That it is the same is looked at below, where something is submitted."""
        before = sorted(site.output.rglob("*"))
        words = (*SCENES, *self.words, f"tracking.uri=http://user:{SECRET}@localhost:9", "launch.detach=true")
        done = site.trainer("check", *words, "launcher.dry_run=true")
        assert done.returncode == 0, done.stderr
        assert "job.json" in done.stdout and SECRET not in done.stdout
        assert sorted(site.output.rglob("*")) == before

    @pytest.mark.slow
    def test_cancel_saves_and_resume_goes_on(self, site: Site) -> None:
        words = (*TRAINING, f"tracking={self.tracking}", "id=one", "name=long")
        secret = f"tracking.uri=http://user:{SECRET}@localhost:9"
        words = (*words, secret) if self.tracking == "none" else words
        planned = site.trainer(*words, *site.words, "launcher.dry_run=true")
        assert planned.returncode == 0 and SECRET not in planned.stdout, planned.stderr
        launched = site.start(*words)
        launcher = launcher_registry.launcher_of(launched)
        assert planned.stdout.strip() == launcher.plan(launched.job).text.strip()
        run = site.output / "long" / "one"
        assert launched.run_dir == run
        until(lambda: events(run, "train"), lambda: site.said(launched))
        assert SECRET not in command_lines()
        assert site.status(launched).state == "running"
        refused = site.trainer("resume", str(launched.handle))
        assert refused.returncode == 1 and "is running" in refused.stderr
        told = site.trainer("cancel", "latest", "--wait")
        assert f"{launched.handle} is cancelled" in told.stdout, told.stdout + told.stderr
        status = site.status(launched)
        assert (status.state, status.exit_code, status.run_id) == ("cancelled", 143, "one"), site.said(
            launched
        )
        saved = events(run, "cancelled")[0]["saved"]
        assert saved == "checkpoints/last.pth" and (run / str(saved)).is_file()
        assert SECRET not in site.said(launched)
        self.look_at_run(run)

        again = site.trainer("resume", str(launched.handle))
        assert again.returncode == 0, again.stderr
        resumed = find_job(site.output, again.stdout.strip())
        site.started.append(resumed)
        assert resumed.run_dir == run
        until(lambda: events(run, "resumed"), lambda: site.said(resumed))
        restarts = self.disturb(site, resumed, run)
        launcher.cancel(resumed)
        assert site.ended(resumed).attempts == 2 + restarts
        assert len([path for path in run.parent.iterdir() if path.is_dir()]) == 1
        self.look_at_run(run)

    def disturb(self, site: Site, launched: LaunchedJob, run: Path) -> int:
        """What else happens to a resumed training before it is cancelled; returns the restarts in its status."""
        return 0

    def look_at_run(self, run: Path) -> None:
        """A run that was cancelled, and once more after it was resumed: MLflow knows it as one."""
        if self.tracking != "mlflow":
            return
        found, kept = mlflow_run_id(run), run.parent / "mlflow-run"
        if not kept.exists():
            assert found
            kept.write_text(found)
        assert found == kept.read_text()

    def test_an_unknown_handle_is_one_clear_error(self, site: Site) -> None:
        scheme = _scheme(self.words)
        for verb in ("status", "logs", "cancel", "resume"):
            done = site.trainer(verb, f"{scheme}:{_nobody(scheme)}")
            assert (done.returncode, done.stdout) == (2, "")
            assert f"nothing was launched as {scheme}:" in done.stderr
            assert done.stderr.count("\n") == 1


def _scheme(words: list[str]) -> str:
    name = next((word.partition("=")[2] for word in words if word.startswith("launcher=")), "local")
    return {"kubernetes": "k8s", "torchrun": "local"}.get(name, name)


def _nobody(scheme: str) -> str:
    return "nowhere/nobody" if scheme == "k8s" else "999999999"
