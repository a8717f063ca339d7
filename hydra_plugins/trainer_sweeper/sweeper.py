"""The sweeper and its configuration, as Hydra finds them.

Hydra imports this module at the start of every application, so it imports nothing but Hydra; the work is in
:mod:`trainer.sweep.hydra_sweeper`, which is imported when a sweep starts. Annotations are real types: Hydra's scan
executes the module before it is in ``sys.modules``, and dataclasses can't resolve texts then.
"""

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


@dataclass
class TrainerSweeperConfig:
    """``hydra.sweeper``.

    Attributes:
        sampler: grid, tpe, random, cmaes, gp, nsgaii, nsgaiii, qmc or auto.
        sampler_options: arguments of Optuna's sampler.
        pruner: none, median, hyperband, successive_halving, patient, threshold or percentile.
        pruner_options: arguments of Optuna's pruner.
        direction: minimize or maximize; a list of these for several objectives.
        n_trials: trials in all, complete or pruned, over all calls; None: every combination of a grid, else 20.
        n_jobs: trials that are given to the launcher together.
        max_failure_rate: share of a batch that may fail before the sweep ends with the first failure.
        params: search space: key to choice(..), range(..), interval(..); the command line wins.
        storage: URL of an Optuna storage; None: a journal file in the sweep's folder.
        study_name: name of the sweep; None: from the application's name and the overrides.
        seed: seed of the sampler.
        retries: how often a trial that was running when its process ended is started again.
        lease_seconds: after so long without a sign of life a trial of another machine is taken over.
        trial: set by the sweeper for each job: the trial's number.
    """

    _target_: str = "hydra_plugins.trainer_sweeper.sweeper.TrainerSweeper"
    sampler: str = "tpe"
    sampler_options: dict[str, Any] = field(default_factory=dict)
    pruner: str = "none"
    pruner_options: dict[str, Any] = field(default_factory=dict)
    direction: Any = "minimize"
    n_trials: int | None = None
    n_jobs: int = 1
    max_failure_rate: float = 0.0
    params: dict[str, Any] = field(default_factory=dict)
    storage: str | None = None
    study_name: str | None = None
    seed: int = 0
    retries: int = 3
    lease_seconds: float = 60.0
    trial: int | None = None


class TrainerSweeper(Sweeper):
    """Samples trials, gives them to Hydra's launcher and keeps their results in a store that survives a kill."""

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.config: DictConfig | None = None
        self.hydra_context: HydraContext | None = None
        self.launcher: Launcher | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what :meth:`sweep` needs; called by Hydra."""
        self.config, self.hydra_context = config, hydra_context
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Run the sweep that the overrides describe, or resume it."""
        from trainer.sweep.hydra_sweeper.application_sweep import sweep_application

        assert self.config is not None and self.hydra_context is not None and self.launcher is not None
        sweep_application(arguments, self.options, self.config, self.hydra_context, self.launcher)


ConfigStore.instance().store(
    group="hydra/sweeper", name="openmmlab_trainer", node=TrainerSweeperConfig, provider="openmmlab_trainer"
)
