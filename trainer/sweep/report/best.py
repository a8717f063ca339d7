"""``best.yaml``: the best trial as a recipe, ``python -m trainer experiment=<sweep>/best.yaml``."""

from __future__ import annotations

import dataclasses
import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trainer.config.compose import compose
from trainer.config.overrides import TypedOverride, parse_override
from trainer.config.saved_overrides import OF_THE_COMMAND
from trainer.core.atomic_files import atomic_write
from trainer.core.cli_text import short
from trainer.core.errors import ConfigError
from trainer.core.secrets import has_mask
from trainer.core.yaml_io import dump_yaml
from trainer.schema import Experiment
from trainer.schema.conf_folders import Conf, conf_with_dirs
from trainer.sweep.report.results import Row, SweepResults

logger = logging.getLogger("trainer")

BEST, PARETO, DEBUG = "best.yaml", "pareto", "debug"
# Where a run goes and who is told isn't what it is.
_ELSEWHERE = ("output_dir", "sweep", "tracking", "callback", "launcher", *OF_THE_COMMAND)


def write_best(results: SweepResults) -> list[Path]:
    """Write ``best.yaml``, and with several objectives ``pareto/<trial>.yaml`` for each trial of the front.

    Files of trials that are no longer on the front are removed.

    Returns:
        The files, ``best.yaml`` first; none while no trial is complete.
    """
    chosen = best_row(results)
    if chosen is None or not results.has_recipe:
        return []
    folder = results.folder.dir
    targets = {folder / BEST: chosen}
    if len(results.objectives) > 1:
        targets |= {folder / PARETO / f"{row['number']}.yaml": row for row in results.best}
    for old in (folder / PARETO).glob("*.yaml"):
        if old not in targets:
            old.unlink()
    return [atomic_write(path, recipe(results, row, path)) for path, row in targets.items()]


def best_row(results: SweepResults) -> Row | None:
    """The best trial; of a Pareto front its knee, the trial nearest to the best of every objective, each scaled to
    the front's extent."""
    front = results.best
    if len(front) < 2:
        return front[0] if front else None
    distances = [0.0] * len(front)
    for objective in results.objectives:
        values = [row["values"][objective.name] for row in front]
        ideal, extent = (max if objective.mode == "max" else min)(values), max(values) - min(values)
        for place, value in enumerate(values):
            distances[place] += ((value - ideal) / extent) ** 2 if extent else 0.0
    return front[min(range(len(front)), key=distances.__getitem__)]


def recipe(results: SweepResults, row: Row, path: Path) -> str:
    """The text of a recipe that composes to what the trial was trained with.

    Args:
        path: where it will be, for the command in its first lines.
    """
    words = [*results.about.get("fixed", []), *(row["words"] or [])]
    lost = [word.partition("=")[0] for word in words if has_mask(word)]
    kept = [word for word in words if not has_mask(word) and not _elsewhere(word)]
    conf = conf_with_dirs(list(results.about.get("config_dirs") or []))
    config, _ = compose("train", kept, conf=conf, runnable=False)
    chosen, content = _split(kept, config, conf)
    for key, value in _missed(config, chosen, content, conf).items():
        _put(content, key, value)
    return "\n".join([*_header(results, row, path, lost), dump_yaml({"defaults": chosen, **content})])


def command(results: SweepResults, path: Path) -> str:
    """What is typed to train a recipe of this sweep."""
    dirs = [f"--config-dir {short(Path(folder))}" for folder in results.about.get("config_dirs") or []]
    return " ".join(["python -m trainer", *dirs, f"experiment={short(path)}"])


def _header(results: SweepResults, row: Row, path: Path, lost: Sequence[str]) -> list[str]:
    values = ", ".join(f"{name} {value:.6g}" for name, value in row["values"].items())
    which = "The best" if path.name == BEST else "On the Pareto front"
    if path.name == BEST and len(results.objectives) > 1:
        which = f"The knee of the Pareto front ({len(results.best)} trials, each in {PARETO}/)"
    lines = [
        "# @package _global_",
        f"# {which} of sweep {results.folder.id}, trial {row['number']} (of {results.n_trials}): {values}",
        f"# {command(results, path)}",
    ]
    return lines + ([f"# Secrets are not saved; type {', '.join(lost)} again."] if lost else [])


def _split(words: Sequence[str], config: Experiment, conf: Conf) -> tuple[list[Any], dict[str, Any]]:
    """A recipe's defaults list, and its keys, for words that compose to ``config``."""
    chosen: dict[str, str] = {"task": config.task.name}
    content: dict[str, Any] = {}
    base: list[Any] = []
    for typed in map(parse_override, words):
        if typed.key == DEBUG:
            continue  # composed after recipes, which can't choose one: what it says is missed, and put in
        if typed.key in conf.groups:
            chosen[typed.key] = _choice(typed)
        else:
            _put(content, typed.key, typed.value)
    if (experiment := chosen.pop("experiment", None)) is not None:
        base = [experiment]
    elif "model" not in chosen:
        chosen["model"] = config.model.name
    return [*base, *({f"override /{group}": choice} for group, choice in chosen.items())], content


def _choice(typed: TypedOverride) -> str:
    from trainer.schema.experiment_file import GROUP, choice_of

    word = str(typed.value)
    return (choice_of(word) or word) if typed.key == GROUP else word


def _missed(wanted: Experiment, chosen: list[Any], content: dict[str, Any], conf: Conf) -> dict[str, Any]:
    """What the trial's words gave and the recipe wouldn't: a key that is typed may change others with it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, BEST)
        path.write_text(
            "# @package _global_\n" + dump_yaml({"defaults": chosen, **content}), encoding="utf-8"
        )
        try:
            found, _ = compose("train", [f"experiment='{path}'"], conf=conf, runnable=False)
        except ConfigError as error:
            logger.warning("%s may not be what the trial was: %s", BEST, error.message)
            return {}
    is_, should = _flat(dataclasses.asdict(found)), _flat(dataclasses.asdict(wanted))
    return {
        key: value for key, value in should.items() if is_.get(key, _flat) != value and not _elsewhere(key)
    }


def _elsewhere(word: str) -> bool:
    head = word.partition("=")[0].lstrip("+~").partition(".")[0]
    return head in _ELSEWHERE


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            found |= _flat(value, f"{name}.")
        else:
            found[name] = value
    return found


def _put(content: dict[str, Any], key: str, value: Any) -> None:
    *heads, last = key.split(".")
    for head in heads:
        content = content.setdefault(head, {})
    content[last] = value
