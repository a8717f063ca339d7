"""What a trial is started with: its words, its variables, its log."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from trainer.config.overrides import key_of
from trainer.core.secrets import masked_words
from trainer.runs.run import run_environment
from trainer.sweep.driver.running_trial import RunningTrial
from trainer.sweep.driver.slots import Slot, make_slots
from trainer.sweep.driver.trial_process import Child, ColdLauncher, TrialLauncher
from trainer.sweep.folder import SweepFolder
from trainer.sweep.space import SweepPlan
from trainer.sweep.stores.trial_store import TrialRecord

PROGRAM = (sys.executable, "-m", "trainer")
# Models of a task come from these; one from elsewhere is imported by its trial.
_PACKAGES = {
    "detection": ("mmdet",),
    "instance_segmentation": ("mmdet",),
    "semantic_segmentation": ("mmseg", "mmdet"),
    "pose": ("mmpose", "mmdet"),
}


class TrialStarter:
    """Makes trials of records, and starts their processes."""

    def __init__(
        self, plan: SweepPlan, folder: SweepFolder, launch: TrialLauncher, dirs: Sequence[str] = ()
    ) -> None:
        self.plan, self.folder, self.launch = plan, folder, launch
        self._flags = [word for path in dirs for word in ("--config-dir", path)]
        self._output = Path(plan.config.output_dir).absolute()
        task, objectives = plan.config.task, plan.objectives
        own = next((one for one in objectives if one.name == task.primary_metric), None)
        single = objectives[0] if len(objectives) == 1 else own
        self._mode: str = single.mode if single else task.mode
        self._metric = single.name if single and plan.sweep.objectives else None

    def trial(self, record: TrialRecord, slot: Slot) -> RunningTrial:
        """A record with what belongs to it; not started yet."""
        return RunningTrial(
            record=record,
            words=self.plan.space.words(record.params),
            label=label(self.plan.space.varied(record.params)),
            run_id=self.folder.run_id(record.number),
            output_dir=self._output,
            log=self.folder.trial_log(record.number),
            metric=self._metric,
            mode=self._mode,
            slot=slot,
            lost=int(record.notes.get("lost") or 0),
        )

    def start(self, trial: RunningTrial) -> None:
        """Start its process: the run of its number, from its checkpoint where there is one."""
        trial.prepare()
        words = [*trial.words, f"id={trial.run_id}", "resume=auto"]
        told = run_environment({"parent": self.folder.id, "trial": str(trial.number), "label": trial.label})
        variables = {**told, **trial.slot.environment}
        trial.begun(self.launch.run([self.plan.command, *self._flags, *words], variables, trial.log))

    def find(self, trial: RunningTrial) -> Child | None:
        """The process of a trial that was begun by another driver and goes on without it."""
        return self.launch.find(trial.log)

    def notes(self, trial: RunningTrial) -> dict[str, Any]:
        """What is written beside a trial that was started."""
        return {
            "words": masked_words(self.plan.space.varied(trial.record.params)),
            "label": trial.label,
            "run_id": trial.run_id,
            "lost": trial.lost,
            "marks": trial.seen.marks,
        }


def make_launch(plan: SweepPlan, folder: SweepFolder, program: Sequence[str] | None) -> TrialLauncher:
    """What starts the trials: a warm pool for this trainer where that can be, else a program each.

    ``sweep.warm=auto`` is cold for two trials: importing twice is what a pool and its first trial do as well.
    """
    if plan.config.launcher.name != "local":
        from trainer.sweep.driver.launcher_trials import LauncherTrials, trial_options

        return LauncherTrials(trial_options(plan.config.launcher, plan.sweep))
    warm = plan.sweep.warm if plan.sweep.warm != "auto" else plan.n_trials > 2
    if program is not None or not warm:
        return ColdLauncher(program or PROGRAM)
    from trainer.sweep.driver.fork_client import ForkClient

    return ForkClient(_PACKAGES[plan.config.task.name], log=folder.dir / "trials" / "pool.log")


def slots_of(plan: SweepPlan) -> list[Slot]:
    """Room for the sweep's trials: of this machine, or of where a launcher starts them."""
    launcher = plan.config.launcher
    if launcher.name == "local" or (launcher.name == "torchrun" and launcher.nodes == 1):
        return make_slots(plan.sweep, plan.config.runtime.device)
    from trainer.sweep.driver.launcher_trials import elsewhere_slots

    return elsewhere_slots(launcher, plan.sweep)


def label(varied: Sequence[str]) -> str:
    """What sets a trial apart, short enough for a table: ``lr=0.002, seed=1``. The model is named anyway."""
    words = [word.partition("=") for word in masked_words(list(varied)) if key_of(word) != "model"]
    return ", ".join(f"{key_of(key).rpartition('.')[2]}={_short(value)}" for key, _, value in words)


def _short(value: str) -> str:
    with suppress(ValueError):
        if "." in value or "e" in value:
            return f"{float(value):.4g}"
    return value
