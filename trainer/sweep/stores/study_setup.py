"""The store of a sweep: which one, where, and whether what is in it is the same sweep."""

from __future__ import annotations

import platform
import time
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from trainer.config.overrides import key_of
from trainer.core.errors import ConfigError
from trainer.core.installation import VERSION
from trainer.core.locks import LockHeld, locked
from trainer.core.secrets import mask_text, masked_words
from trainer.sweep.folder import OF_THE_CALL, SweepFolder, generations, newest, sweep_name
from trainer.sweep.space import SweepPlan
from trainer.sweep.stores.plain_journal import JournalGridStore
from trainer.sweep.stores.trial_store import TrialStore

# What may differ between machines that share a sweep, besides what is of a single call.
OF_THE_MACHINE = ("dataset.path", "runtime.device", "runtime.workers", "tracking", "launcher", "sweep")


@dataclass(frozen=True)
class OpenedStudy:
    """A sweep's folder and store.

    Attributes:
        grid: every combination in order, for a sweep that tries all of them; None where a sampler chooses.
        shared: whether drivers may use the store that don't share the folder.
    """

    folder: SweepFolder
    store: TrialStore
    grid: list[dict[str, Any]] | None
    shared: bool
    new: bool


def open_study(
    plan: SweepPlan, words: Sequence[str], stem: str, driver: str, dirs: Sequence[str] = ()
) -> OpenedStudy:
    """Find the sweep that these words mean, or begin it.

    Args:
        stem: what a sweep without ``sweep.study`` is called, before the digits.
        driver: this driver's name.
        dirs: ``--config-dir`` folders.

    Raises:
        ConfigError: a sweep of that name searches another space, or its storage can't be used.
        StoreDown: the storage doesn't answer.
    """
    sweep, output = plan.sweep, Path(plan.config.output_dir).absolute()
    name = sweep_name(plan.command, words, stem, sweep.study)
    storage: Any = None
    # Two drivers that begin the same sweep at once: one makes it, the other finds it.
    with _alone(output / "sweeps" / f".{name}.lock"):
        if sweep.storage is not None:
            from trainer.sweep.stores.optuna_storage import open_storage, study_names

            storage = open_storage(sweep.storage, output / "unused")
            names = study_names(storage)
        else:
            names = generations(output)
        found = newest(name, names, sweep.fresh)
        while found not in names and _has_runs(output, found):
            names.append(found)  # a folder that was deleted, whose runs are still there: they are others
            found = newest(name, names, True)
        folder = SweepFolder(output / "sweeps" / found)
        description = describe_sweep(plan, words, found, output, dirs)
        remedy = "sweep.fresh=true starts a new one beside it, sweep.study=<another name> gives this one its own name."
        return open_in_folder(
            plan, folder, description, driver, storage, epochs=plan.config.runtime.epochs, remedy=remedy
        )


def open_in_folder(
    plan: SweepPlan,
    folder: SweepFolder,
    description: dict[str, Any],
    driver: str,
    storage: Any = None,
    *,
    epochs: int | None = None,
    remedy: str,
) -> OpenedStudy:
    """Open the store of a sweep whose folder and name are known, or create it.

    Args:
        description: what :func:`describe_sweep` returned; its ``id`` is the study's name.
        driver: this driver's name.
        storage: an open Optuna storage; None: a journal in the folder.
        epochs: the length of a full trial, for the pruner's defaults.
        remedy: the last sentence of the error for a sweep of that name that searches something else.

    Raises:
        ConfigError: a sweep of that name searches another space.
        StoreDown: the storage doesn't answer.
    """
    store: TrialStore
    if is_plain(plan):
        store = JournalGridStore(folder.plain_journal)
    else:
        store = _make_optuna_store(plan, folder, str(description["id"]), storage, driver, epochs)
    earlier = store.about()
    if earlier:
        _check_same_sweep(str(description["id"]), earlier, description, remedy)
        description["created"] = earlier.get("created", description["created"])
    else:
        store.describe(description)
    folder.describe(description)
    grid = list(plan.space.grid()) if plan.sweep.sampler == "grid" else None
    return OpenedStudy(folder, store, grid, plan.sweep.storage is not None, not earlier)


def is_plain(plan: SweepPlan) -> bool:
    """Whether the sweep is a plain grid, for which Optuna isn't needed."""
    return plan.sweep.sampler == "grid" and plan.sweep.pruner == "none" and plan.sweep.storage is None


def _make_optuna_store(
    plan: SweepPlan, folder: SweepFolder, name: str, storage: Any, driver: str, epochs: int | None
) -> TrialStore:
    try:
        import optuna

        from trainer.sweep.stores.optuna_storage import open_storage
        from trainer.sweep.stores.optuna_store import OptunaStore
    except ImportError as error:
        raise ConfigError(
            f"sweep={plan.sweep.name} needs Optuna ({error}): pip install 'optuna>=5'. "
            "A plain grid of values goes without."
        ) from None
    from trainer.sweep.stores.pruners import make_pruner
    from trainer.sweep.stores.samplers import make_sampler

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = storage or open_storage(None, folder.journal)
    pruner = make_pruner(plan.sweep, epochs=epochs)

    def build(sampler: Any) -> OptunaStore:
        return OptunaStore(storage, name, plan.objectives, plan.space, sampler, plan.sweep.sampler, pruner)

    if plan.sweep.sampler == "grid":
        return build(optuna.samplers.RandomSampler(seed=plan.sweep.seed))  # never asked
    store = build(None)
    # One that goes on must not draw again what has been drawn.
    salt = zlib.crc32(driver.encode()) if store.about() else 0
    store.study.sampler = make_sampler(plan.sweep, plan.space, objectives=len(plan.objectives), salt=salt)
    return store


def describe_sweep(
    plan: SweepPlan, words: Sequence[str], name: str, output: Path, dirs: Sequence[str] = ()
) -> dict[str, Any]:
    """What ``sweep.json`` and the study say of the sweep, secrets masked."""
    sweep = plan.sweep
    return {
        "format": 1,
        "id": name,
        "command": plan.command,
        "words": masked_words(list(words)),
        "config_dirs": [str(Path(path).absolute()) for path in dirs],
        "fixed": masked_words(list(plan.space.fixed)),
        "space": plan.space.describe(),
        "objectives": [{"name": objective.name, "mode": objective.mode} for objective in plan.objectives],
        "sampler": sweep.sampler,
        "pruner": sweep.pruner,
        "seed": sweep.seed,
        "n_trials": plan.n_trials,
        "store": "journal.jsonl" if is_plain(plan) else mask_text(sweep.storage or "journal.log"),
        "output_dir": str(output),
        "created": time.time(),
        "versions": _versions(),
    }


def _check_same_sweep(name: str, before: Mapping[str, Any], now: Mapping[str, Any], remedy: str) -> None:
    """Raise ConfigError where a sweep of that name has searched something else: its trials don't compare."""
    changed = []
    if (was := before.get("objectives")) != (given := now["objectives"]):
        changed.append(f"objectives were {_shown(was)}, are {_shown(given)}")
    searched = {told["name"]: told for told in (before.get("space") or {}).get("parameters", [])}
    searching = {told["name"]: told for told in now["space"]["parameters"]}
    for key in [*searched, *(key for key in searching if key not in searched)]:
        if searched.get(key) != searching.get(key):
            changed.append(f"{key} was {_shown(searched.get(key))}, is {_shown(searching.get(key))}")
    constraints = (before.get("space") or {}).get("constraints", [])
    if constraints != now["space"]["constraints"]:
        changed.append(f"constraints were {constraints}, are {now['space']['constraints']}")
    if before.get("command") != now["command"]:
        changed.append(f"the command was {before.get('command')}, is {now['command']}")
    was, given = _compared(before.get("fixed") or []), _compared(now["fixed"])
    for key in [*was, *(key for key in given if key not in was)]:
        if was.get(key) != given.get(key):
            changed.append(f"{was.get(key, f'{key} as it comes')} is now {given.get(key, 'not typed')}")
    if changed:
        raise ConfigError(f"sweep {name} is another one: {'; '.join(changed)}. {remedy}")


def _compared(fixed: Sequence[str]) -> dict[str, str]:
    keys = (*OF_THE_CALL, *OF_THE_MACHINE)
    return {
        key_of(word): word
        for word in fixed
        if not any(key_of(word) == key or key_of(word).startswith(f"{key}.") for key in keys)
    }


def _shown(told: Any) -> str:
    if told is None:
        return "not searched"
    if isinstance(told, list):
        return ", ".join(f"{item['name']}:{item['mode']}" for item in told)
    if told.get("choices") is not None:
        return "choice(" + ", ".join(word.partition("=")[2] for word in told["choices"]) + ")"
    step = "" if told.get("step") is None else f" in steps of {told['step']:g}"
    return f"{told['low']:g} to {told['high']:g}{step}{' (log)' if told.get('log') else ''}"


def _has_runs(output: Path, name: str) -> bool:
    return any(path.name.removeprefix(f"{name}-").isdigit() for path in output.glob(f"*/{name}-*"))


def _alone(path: Path) -> Any:
    """A lock, or nothing where another process has held it for long: then two may begin, at worst."""
    from contextlib import ExitStack

    stack = ExitStack()
    with suppress(LockHeld):
        stack.enter_context(locked(path, 60.0))
    return stack


def _versions() -> dict[str, str]:
    found = {"trainer": VERSION, "python": platform.python_version()}
    with suppress(PackageNotFoundError):
        found["optuna"] = version("optuna")
    return found
