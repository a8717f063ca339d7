"""Trials that a launcher starts, on Ray, SLURM, Kubernetes or by torchrun, and that go on without this driver.

Each is a job with a folder beside the sweep's logs of trials. What it does is read from its run directory as ever;
whether it still runs is asked by a thread, so that no engine holds up the driver's turn. A driver that comes after a
killed one finds the jobs again by their folders.
"""

from __future__ import annotations

import logging
import shlex
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from trainer.config.overrides import key_of
from trainer.core.cli_text import program
from trainer.core.errors import TrainerError
from trainer.core.secrets import mask_text, masked_words
from trainer.launch import file_signals, launcher_registry
from trainer.launch.job import Job, travelling
from trainer.launch.job_status import JobNotes, JobStatus
from trainer.launch.job_store import LaunchedJob, read_launched
from trainer.launch.launcher import Launcher
from trainer.launch.local import LOG
from trainer.launch.submit import SAID_HERE
from trainer.schema import LauncherConfig as Options
from trainer.schema import Sweep
from trainer.sweep.driver.slots import Slot, make_slots
from trainer.sweep.space import SweepPlan

logger = logging.getLogger("trainer")

# Told by the launcher and not by this machine: what a sweep has at a time where sweep.workers=auto.
WORKERS = 8
LOOK_SECONDS = 0.5  # between two looks into the jobs' folders
ASK_SECONDS = 5.0  # between two questions to the engine
AT_ONCE = 8  # jobs that are handed over at the same time
STOPPED = 128 + signal.SIGTERM


class LauncherTrials:
    """Starts trials through a launcher, and follows them.

    Args:
        options: the launcher's.
        launcher: another one than the options name.
    """

    def __init__(self, options: Options, launcher: Launcher | None = None) -> None:
        self.options = replace(options, dry_run=False)
        self.launcher = launcher or launcher_registry.make_launcher(self.options)
        self._children: list[LauncherChild] = []
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="launch")
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="launched", daemon=True)

    def run(
        self, words: Sequence[str], env: Mapping[str, str], log: Path, cwd: Path | None = None
    ) -> LauncherChild:
        job = self.job(words, env, log, cwd)
        log.parent.mkdir(parents=True, exist_ok=True)
        with suppress(OSError):
            (job.folder / LOG).unlink()  # what earlier attempts said is in the trial's log
        child = LauncherChild(self.launcher, job.folder, log, self._pool)
        child.submit(job)
        return self._follow(child)

    def job(self, words: Sequence[str], env: Mapping[str, str], log: Path, cwd: Path | None = None) -> Job:
        """The job of a trial. ``log`` names it."""
        return Job(
            id=f"{log.parent.parent.name}-{log.stem}",
            argv=tuple(words),
            cwd=cwd or Path.cwd(),
            folder=folder_of(log),
            title=f"trial {log.stem} of {log.parent.parent.name}",
            environment={**travelling(words, self.options.env), **env},
            options=self.options,
        )

    def find(self, log: Path) -> LauncherChild | None:
        """The job of a trial that another driver has begun, if it still waits or runs."""
        launched = read_launched(folder_of(log))
        if launched is None:
            return None
        try:
            launcher = launcher_registry.launcher_of(launched)
            if launcher.status(launched).ended:
                return None
        except TrainerError as error:  # else the run's lock keeps two from training it
            logger.warning("%s: whether it still runs can't be told: %s", launched.handle, error.message)
            return None
        child = LauncherChild(launcher, launched.folder, log, self._pool)
        child.launched = launched
        return self._follow(child)

    def close(self) -> None:
        self._over.set()
        self._pool.shutdown(wait=True)

    def _follow(self, child: LauncherChild) -> LauncherChild:
        self._children.append(child)
        if not self._thread.is_alive():
            self._thread.start()
        return child

    def _look(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            for child in list(self._children):
                if self._over.is_set():
                    return
                try:
                    child.look()
                except Exception:  # an engine's surprise costs one look, not the sweep
                    logger.warning("%s: no answer", child.identity, exc_info=True)
                if child.poll() is not None:
                    self._children.remove(child)


class LauncherChild:
    """A trial that a launcher has started."""

    here = False

    def __init__(self, launcher: Launcher, folder: Path, log: Path, pool: ThreadPoolExecutor) -> None:
        self.launcher, self.folder, self.log = launcher, folder, log
        self.launched: LaunchedJob | None = None
        self.reason: str | None = None
        self._pool = pool
        self._submitted: Future[None] | None = None
        self._code: int | None = None
        self._asked = 0.0
        self._unreached = False

    @property
    def identity(self) -> str | None:
        """Its handle, once it has one."""
        return str(self.launched.handle) if self.launched else None

    def poll(self) -> int | None:
        """Its exit code; None while it waits or runs, as far as is known."""
        return self._code

    def signal(self, signum: int) -> None:
        """Have it told, soon; nothing happens where it has ended."""
        self._pool.submit(self._tell, signum)

    def submit(self, job: Job) -> None:
        """Hand it over, soon."""
        self._submitted = self._pool.submit(self._submit, job)

    def look(self) -> None:
        """Find out whether it has ended. Asks the engine when the job says so itself, and now and then."""
        if self.launched is None or self._code is not None:
            return
        now = time.monotonic()
        over = JobNotes(self.folder).last.get("ended") is not None
        if not over and now - self._asked < ASK_SECONDS:
            return
        self._asked = now
        try:
            status = self.launcher.status(self.launched)
        except TrainerError as error:
            if not self._unreached:
                logger.warning("%s: %s", self.identity, error.message)
            self._unreached = True
            return
        self._unreached = False
        if status.ended:
            self._end(status)

    def _submit(self, job: Job) -> None:
        try:
            self.launched = self.launcher.submit(job)
        except Exception as error:
            message = error.message if isinstance(error, TrainerError) else f"{type(error).__name__}: {error}"
            self._write(f"it couldn't be launched: {mask_text(message)}\n")
            self._code = 1

    def _tell(self, signum: int) -> None:
        if self._submitted is not None:
            self._submitted.result()
        if self.launched is None or self._code is not None:
            return
        try:
            if signum in (signal.SIGTERM, signal.SIGKILL):
                self.launcher.cancel(self.launched, now=signum == signal.SIGKILL)
            else:
                file_signals.post_signal(self.folder, signum)
        except (TrainerError, OSError) as error:
            logger.warning("%s can't be told to stop: %s", self.identity, error)

    def _end(self, status: JobStatus) -> None:
        assert self.launched is not None
        with suppress(TrainerError, OSError):
            self._write("".join(f"{mask_text(line)}\n" for line in self.launcher.logs(self.launched)))
        code = {"finished": 0, "lost": STOPPED, "cancelled": STOPPED}.get(status.state, status.exit_code or 1)
        if status.state == "lost":
            self.reason = status.reason
        self._code = code

    def _write(self, text: str) -> None:
        with self.log.open("a", encoding="utf-8") as log:
            log.write(text)


def trial_options(options: Options, sweep: Sweep) -> Options:
    """The launcher's options for one trial: of Ray's GPUs as many as ``sweep.gpus_per_trial`` says."""
    gpus = {"num_gpus": options.num_gpus * sweep.gpus_per_trial} if options.name == "ray" else {}
    return replace(options, dry_run=False, **gpus)


def elsewhere_slots(options: Options, sweep: Sweep) -> list[Slot]:
    """As many slots as trials are started at once; cores and GPUs are the affair of where they run."""
    count = int(sweep.workers) if sweep.workers != "auto" else _room(trial_options(options, sweep))
    cores = max(1, int(options.num_cpus)) if options.name == "ray" else None
    return [Slot(number, cores, sweep.threads) for number in range(count)]


def show(plan: SweepPlan, command: str, dirs: Sequence[str]) -> None:
    """Print what would be submitted for a sweep's first combination, for ``launcher.dry_run=true``."""
    options = trial_options(plan.config.launcher, plan.sweep)
    values = next(iter(plan.space.combinations(())), {})
    flags = [word for path in dirs for word in ("--config-dir", path)]
    typed = [word for word in plan.space.words(values) if key_of(word) not in SAID_HERE]
    words = [command, *flags, *typed, "id=<sweep>-0", "resume=auto"]
    if options.name == "local":
        at_once = len(make_slots(plan.sweep, plan.config.runtime.device))
        print(f"# {plan.n_trials} trials on this machine, {at_once} at once; the first:")
        print(f"{program()} {shlex.join(masked_words(words))}")
        return
    launch = LauncherTrials(options)
    log = Path(plan.config.output_dir).absolute() / "sweeps" / "<sweep>" / "trials" / "0.log"
    print(f"# {plan.n_trials} trials; the first:")
    print(launch.launcher.plan(launch.job(words, {}, log)).text)
    launch.close()


def _room(options: Options) -> int:
    launcher = launcher_registry.make_launcher(options)
    asked = getattr(launcher, "room", None)
    return int(asked()) if asked else WORKERS


def folder_of(log: Path) -> Path:
    """The folder of a trial's job."""
    return log.with_suffix(".job")
