"""What a sweep has found, read from its folder and its store without the command that runs it.

The store is asked where it can be; otherwise (another machine's database that doesn't answer, a password that isn't
here) it is the view ``trials.jsonl``, as of the last trial that ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainer.core.errors import ConfigError, did_you_mean
from trainer.core.secrets import has_mask
from trainer.sweep.folder import SweepFolder, generations
from trainer.sweep.objectives import Objective
from trainer.sweep.report.trial_rows import rows
from trainer.sweep.stores.trial_store import COMPLETE, FAIL, PRUNED, RUNNING, StoreDown, TrialRecord

Row = dict[str, Any]
SWEEPS = "sweeps"


@dataclass(frozen=True)
class SweepResults:
    """A sweep as it is now.

    Attributes:
        about: what ``sweep.json`` says.
        rows: one for each trial; see :func:`trainer.sweep.report.trial_rows.rows`.
        note: why the rows may be older than the store; None where they are the store's.
    """

    folder: SweepFolder
    about: dict[str, Any]
    objectives: tuple[Objective, ...]
    rows: list[Row]
    note: str | None = None
    keys: dict[str, str] = field(default_factory=dict)  # parameter's name -> key

    @property
    def best(self) -> list[Row]:
        """The best trial, or those of the Pareto front, in order of the first objective."""
        first = self.objectives[0]
        sign = -1.0 if first.mode == "max" else 1.0
        return sorted(
            (row for row in self.rows if row["best"]), key=lambda row: sign * row["values"][first.name]
        )

    @property
    def counted(self) -> int:
        """Trials that have ended and count, of ``n_trials``."""
        return sum(_counts(row) for row in self.rows)

    @property
    def n_trials(self) -> int:
        return int(self.about.get("n_trials") or len(self.rows))

    @property
    def over(self) -> bool:
        """Whether all trials that were asked for have ended."""
        return self.counted >= self.n_trials and not any(row["state"] == RUNNING for row in self.rows)

    @property
    def has_recipe(self) -> bool:
        """Whether its trials are trainings of ours, which a recipe repeats; False for another application's."""
        return bool(self.about.get("command", "train") == "train")

    def searched(self, row: Row) -> dict[str, Any]:
        """A trial's values by key."""
        return {self.keys.get(name, name): value for name, value in row["params"].items()}


def find_sweep(ref: str | None, output_dir: str | Path) -> SweepFolder:
    """The sweep that ``ref`` names: its folder, a file in it, its name or the beginning of one; None: the newest.

    Raises:
        ConfigError: no sweep, or more than one, has that name.
    """
    names = [name for name in generations(output_dir) if _is_sweep(Path(output_dir, SWEEPS, name))]
    if ref is None:
        if not names:
            raise ConfigError(f"there are no sweeps in {Path(output_dir) / SWEEPS}. {_EXAMPLE}")
        newest = max(names, key=lambda name: _changed(Path(output_dir, SWEEPS, name)))
        return SweepFolder(Path(output_dir, SWEEPS, newest).absolute())
    path = Path(ref).expanduser()
    for folder in (path, path.parent):
        if _is_sweep(folder):
            return SweepFolder(folder.absolute())
    found = [name for name in names if name == ref] or [name for name in names if name.startswith(ref)]
    if len(found) == 1:
        return SweepFolder(Path(output_dir, SWEEPS, found[0]).absolute())
    if found:
        raise ConfigError(f"{ref!r} could be any of {', '.join(sorted(found)[:5])}; write more of the name")
    hint = did_you_mean(ref, names) or (f" There are: {', '.join(sorted(names)[:10])}." if names else "")
    raise ConfigError(f"no sweep {ref!r} in {Path(output_dir) / SWEEPS}.{hint}")


def read_results(folder: SweepFolder, storage: str | None = None) -> SweepResults:
    """Read a sweep.

    Args:
        storage: the URL of its storage, where the folder says it without its password.

    Raises:
        ConfigError: the folder is no sweep's, or ``storage`` doesn't have it.
    """
    about = folder.about()
    if not about.get("objectives"):
        raise ConfigError(f"{folder.dir} is no sweep's folder: {folder.description.name} is missing in it")
    objectives = tuple(Objective(one["name"], one["mode"]) for one in about["objectives"])
    keys = {one["name"]: one["key"] for one in (about.get("space") or {}).get("parameters", [])}
    note = None
    try:
        found = rows(
            _records(folder, str(about.get("id") or folder.id), storage or str(about.get("store"))),
            objectives,
        )
    except (StoreDown, ConfigError, ImportError) as error:
        if storage is not None:
            raise
        note = f"as of the last trial that ended: {error}"
        found = [_numbered(row) for row in folder.read_trials()]
    return SweepResults(folder, about, objectives, found, note, keys)


def text(value: Any) -> str:
    """A searched value as it is typed: ``true``, ``null``, 0.001."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def _records(folder: SweepFolder, name: str, store: str) -> Sequence[TrialRecord]:
    if store == folder.plain_journal.name:
        from trainer.sweep.stores.plain_journal import JournalGridStore

        return JournalGridStore(folder.plain_journal).trials()
    if has_mask(store):
        raise ConfigError(f"{store} was saved without its password; give storage=<URL>")
    from trainer.sweep.stores.optuna_storage import open_storage, reaching, study_names
    from trainer.sweep.stores.optuna_store import read_study

    if store == folder.journal.name and not folder.journal.is_file():
        raise StoreDown(f"{folder.journal} isn't there")
    storage = open_storage(None if store == folder.journal.name else store, folder.journal)
    if name not in study_names(storage):
        raise ConfigError(f"sweep {name} isn't in {store}")
    with reaching():
        return read_study(storage, name)


def _counts(row: Row) -> bool:
    """As :attr:`trainer.sweep.stores.trial_store.TrialRecord.finished` has it."""
    return row["state"] in (COMPLETE, PRUNED, "infeasible") and row["state"] != FAIL


def _numbered(row: Row) -> Row:
    """A row as it was before JSON made texts of its epochs."""
    return {**row, "reported": {int(epoch): value for epoch, value in (row.get("reported") or {}).items()}}


def _is_sweep(folder: Path) -> bool:
    return (folder / "sweep.json").is_file()


def _changed(folder: Path) -> float:
    return max(
        (file.stat().st_mtime for file in folder.iterdir() if file.suffix in (".log", ".jsonl", ".json")),
        default=0.0,
    )


_EXAMPLE = "python -m trainer -m sweep=lr_schedule experiment=digits makes one."
