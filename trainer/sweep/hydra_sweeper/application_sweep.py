"""The loop of another Hydra application's sweep: take trials, launch them, report what they return."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import CompactHydraException
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, open_dict

from trainer.core.atomic_files import atomic_write
from trainer.core.errors import TrainerError
from trainer.core.secrets import masked_words
from trainer.core.yaml_io import dump_yaml
from trainer.sweep.driver.lease import LeaseOwner
from trainer.sweep.driver.trial_allocation import TrialAllocation
from trainer.sweep.driver.trial_start import label
from trainer.sweep.hydra_sweeper.application_plan import ApplicationPlan, plan_application
from trainer.sweep.report.trial_rows import best, rows
from trainer.sweep.space.combinations import FEW, samples
from trainer.sweep.space.render import render
from trainer.sweep.stores import trial_store as states
from trainer.sweep.stores.study_setup import describe_sweep, open_in_folder
from trainer.sweep.stores.trial_store import TrialGone, TrialRecord

logger = logging.getLogger("trainer.hydra_sweeper")

RESULTS = "optimization_results.yaml"  # as hydra-optuna-sweeper calls it
WAIT_SECONDS = 1.0  # between two looks at trials of other drivers


def sweep_application(
    overrides: Sequence[str],
    options: Mapping[str, Any],
    config: DictConfig,
    context: HydraContext,
    launcher: Launcher,
) -> None:
    """Run a sweep to its end, or resume it.

    Args:
        overrides: the task's overrides, sweeps included.
        options: ``hydra.sweeper``.
        config: the application's configuration. ``hydra.sweep.dir`` in it is set to the sweep's folder.
        launcher: runs the trials.

    Raises:
        CompactHydraException: a mistake in the options or the space, or a store that doesn't answer.
        Exception: that of the first trial that failed, where more than ``max_failure_rate`` of a batch did.
    """
    try:
        application = plan_application(overrides, options, config, context.config_loader)
        with open_dict(config):
            config.hydra.sweep.dir = str(application.folder.dir)
        ApplicationSweep(application, overrides, config, context, launcher).run()
    except TrainerError as error:
        raise CompactHydraException(error.message) from error


class ApplicationSweep:
    """One driver of a sweep; the same command elsewhere is another one."""

    def __init__(
        self,
        application: ApplicationPlan,
        overrides: Sequence[str],
        config: DictConfig,
        context: HydraContext,
        launcher: Launcher,
    ) -> None:
        self.application, self.plan, self.folder = application, application.plan, application.folder
        self.config, self.context, self.launcher = config, context, launcher
        self.owner = LeaseOwner()
        self._check_compositions()
        storage = None
        if self.plan.sweep.storage is not None:
            from trainer.sweep.stores.optuna_storage import open_storage

            storage = open_storage(self.plan.sweep.storage, self.folder.journal)
        study = open_in_folder(
            self.plan, self.folder,
            describe_sweep(self.plan, overrides, application.name, Path(self.folder.dir)),
            self.owner.name, storage,
            remedy="hydra.sweeper.study_name=<another name> gives this one its own name.",
        )  # fmt: skip
        self.store, self.allocation = study.store, TrialAllocation(self.plan, study, self.owner)
        self.failures = 0

    def run(self) -> None:
        """Work until every trial has ended."""
        plan = self.plan
        logger.info("sweep %s: %d trials, %s", self.folder.dir, plan.n_trials, plan.sweep.sampler)
        try:
            self.allocation.look()
            if self.allocation.counted:
                logger.info("%d of them have ended already", self.allocation.counted)
            while True:
                if batch := self._take_batch():
                    self._run_batch(batch)
                elif self.allocation.going_on:
                    time.sleep(WAIT_SECONDS)  # trials of other drivers: should one die, its trials are ours
                    self.allocation.look()
                else:
                    break
            self._write_results()
        finally:
            self.store.close()
        self._log_best()

    def _take_batch(self) -> list[TrialRecord]:
        batch: list[TrialRecord] = []
        while len(batch) < self.application.n_jobs:
            taken = {record.number for record in batch}
            record = self.allocation.take_over(taken, logger.info) or self._ask(len(batch))
            if record is None:
                break
            launches = _launches(record) + 1
            if launches > self.application.retries + 1:
                self._fail(record, f"its process ended {launches - 1} times while it ran")
                continue
            varied = masked_words(self.plan.space.varied(record.params))
            notes = {"launches": launches, "label": label(varied), "words": varied}
            with suppress(TrialGone):
                self.store.note(record.number, notes)
                batch.append(replace(record, notes={**record.notes, **notes}))
        return batch

    def _ask(self, pending: int) -> TrialRecord | None:
        """A new trial. One that failed in this call uses up its place; the next call may try again."""
        if self.allocation.grid is None:
            self.allocation.look()
            if self.allocation.counted + pending + self.failures >= self.plan.n_trials:
                return None
        return self.allocation.ask()

    def _run_batch(self, batch: Sequence[TrialRecord]) -> None:
        jobs = [self._job_overrides(record) for record in batch]
        try:
            with self._leases_renewed(batch):
                returns = self.launcher.launch(jobs, initial_job_idx=batch[0].number)
        except BaseException:
            for record in batch:  # whoever resumes the sweep takes them at once
                with suppress(TrialGone):
                    self.store.note(record.number, {"lease": None, "launches": _launches(record) - 1})
            raise
        pairs = zip(batch, returns, strict=True)
        failed = [result for record, result in pairs if not self._report(record, result)]
        self.failures += len(failed)
        self._write_results()
        if len(failed) / len(batch) > self.application.max_failure_rate:
            returned = failed[0].return_value  # raises the job's own error, where it had one
            raise CompactHydraException(_complaint(returned, len(self.plan.objectives)))

    def _job_overrides(self, record: TrialRecord) -> list[str]:
        """A trial's overrides, with what its job must know of the sweep. Its folder is the one of its number."""
        subdir = OmegaConf.to_container(self.config.hydra.sweep, resolve=False)["subdir"]  # type: ignore[call-overload, index]
        own = {"hydra.sweep.dir": str(self.folder.dir), "hydra.sweeper.study_name": self.application.name}
        if subdir == "${hydra.job.num}":
            own["hydra.sweep.subdir"] = str(record.number)
        words = [f"{key}={render(value)}" for key, value in own.items()]
        return [*self.application.overrides(record.params), *words, f"hydra.sweeper.trial={record.number}"]

    def _report(self, record: TrialRecord, result: JobReturn) -> bool:
        """Report how a trial ended; False when it failed."""
        value, number = result._return_value, record.number
        if result.status != JobStatus.COMPLETED:
            if type(value).__name__ == "TrialPruned":
                self.store.finish(number, states.PRUNED)
                logger.info("trial %d pruned: %s", number, value)
                return True
            self._fail(record, f"{type(value).__name__}: {value}")
            return False
        if complaint := _complaint(value, len(self.plan.objectives)):
            self._fail(record, complaint)
            return False
        values = [float(figure) for figure in (value if len(self.plan.objectives) > 1 else [value])]
        self.store.finish(number, states.COMPLETE, values)
        logger.info("trial %d complete: %s", number, ", ".join(f"{figure:.6g}" for figure in values))
        return True

    def _fail(self, record: TrialRecord, error: str) -> None:
        logger.warning("trial %d failed: %s", record.number, error)
        with suppress(TrialGone):
            self.store.note(record.number, {"error": error})
        self.store.finish(record.number, states.FAIL)

    @contextmanager
    def _leases_renewed(self, batch: Sequence[TrialRecord]) -> Iterator[None]:
        """Renew the leases of running trials from a thread while the launcher is busy."""
        ended = threading.Event()

        def renew() -> None:
            while not ended.wait(self.plan.sweep.lease_seconds / 3):
                for record in batch:
                    with suppress(
                        TrialGone, TrainerError
                    ):  # the store may be away; the next turn tries again
                        self.store.note(record.number, {"lease": self.owner.lease()})

        thread = threading.Thread(target=renew, name="leases", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _check_compositions(self) -> None:
        """Compose some trials before the first one: a choice or key that isn't there is found now."""
        loader, space = self.context.config_loader, self.plan.space
        groups = {
            parameter.key: () for parameter in space.searched if loader.get_group_options(parameter.key)
        }
        for values in islice(samples(space, groups), FEW):
            loader.load_sweep_config(self.config, self.application.overrides(values))

    def _best(self) -> list[TrialRecord]:
        return best(self.allocation.records, self.plan.objectives)

    def _write_results(self) -> None:
        """``trials.jsonl`` and ``optimization_results.yaml``."""
        self.allocation.look()
        self.folder.write_trials(rows(self.allocation.records, self.plan.objectives))
        if not (leaders := self._best()):
            return
        results: dict[str, Any] = {"name": "openmmlab_trainer"}
        if len(self.plan.objectives) == 1:
            results |= {"best_params": leaders[0].params, "best_value": (leaders[0].values or (math.nan,))[0]}
            results |= {"best_trial": leaders[0].number}
        else:
            results["solutions"] = [
                {"params": record.params, "values": list(record.values or ()), "trial": record.number}
                for record in leaders
            ]
        atomic_write(self.folder.dir / RESULTS, dump_yaml(results))

    def _log_best(self) -> None:
        for record in self._best():
            values = ", ".join(f"{value:.6g}" for value in record.values or ())
            varied = " ".join(self.plan.space.varied(record.params))
            logger.info("best: trial %d, %s: %s", record.number, values, varied)
        logger.info("results: %s", self.folder.dir / RESULTS)


def _launches(record: TrialRecord) -> int:
    """How often the trial was given to a launcher without an end."""
    return int(record.notes.get("launches") or 0)


def _complaint(value: Any, count: int) -> str | None:
    """Why a returned value is no objective; None where it is."""
    figures = value if count > 1 else [value]
    expected = "a finite number" if count == 1 else f"{count} finite numbers"
    try:
        if len(figures) == count and all(math.isfinite(float(figure)) for figure in figures):
            return None
    except (TypeError, ValueError):
        pass
    return f"the function returned {value!r}; expected {expected}"
