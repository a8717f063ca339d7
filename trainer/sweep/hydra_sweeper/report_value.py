"""What a function reports while it runs, so that the sweep's pruner can stop it."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig


def report_value(value: float, step: int) -> None:
    """Report the objective after ``step`` steps.

    In a job of ``hydra/sweeper=openmmlab_trainer`` with a pruner, the value goes to the sweep's store. Anywhere else
    nothing happens, so that the function runs without a sweep too.

    Args:
        value: the objective so far.
        step: 1, 2, 3, ...; a step that was reported before is ignored.

    Raises:
        optuna.TrialPruned: the pruner stops this trial; let it leave the function.

    Example:
        >>> for epoch in range(1, 4):  # in the function that hydra.main decorates
        ...     report_value(1 / epoch, step=epoch)
    """
    if not HydraConfig.initialized():
        return
    hydra = HydraConfig.get()
    sweeper = hydra.sweeper
    number = sweeper.get("trial")
    if number is None or sweeper.get("pruner", "none") == "none":
        return
    from optuna import TrialPruned

    trial = _open_trial(sweeper.study_name, sweeper.storage, str(hydra.sweep.dir), number)
    if step in trial.study._storage.get_trial(trial._trial_id).intermediate_values:
        return
    trial.report(float(value), step)
    if trial.should_prune():
        raise TrialPruned(f"after step {step}, at {value:.6g}")


@functools.lru_cache(maxsize=1)
def _open_trial(study_name: str, storage: str | None, folder: str, number: int) -> Any:
    """The trial of this job. The launcher may run the job in any process, so that the store is opened here."""
    import optuna
    from omegaconf import OmegaConf

    from trainer.schema import Sweep
    from trainer.sweep.folder import SweepFolder
    from trainer.sweep.stores.optuna_storage import open_storage
    from trainer.sweep.stores.pruners import make_pruner

    options: Any = OmegaConf.to_container(HydraConfig.get().sweeper, resolve=True)
    pruner = make_pruner(Sweep(pruner=options["pruner"], pruner_options=options["pruner_options"]))
    study = optuna.load_study(
        study_name=study_name,
        storage=open_storage(storage, SweepFolder(Path(folder)).journal),
        sampler=optuna.samplers.RandomSampler(),  # draws nothing here
        pruner=pruner,
    )
    return optuna.trial.Trial(study, study.get_trials(deepcopy=False)[number]._trial_id)
