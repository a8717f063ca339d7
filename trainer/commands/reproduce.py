"""``python -m trainer reproduce <run>``: the same training again, and what is not as it was."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.config.compose import compose
from trainer.config.overrides import key_of, last_of_each
from trainer.config.run_directory import saved_config
from trainer.config.saved_overrides import folders_of, refuse_masked, saved_overrides
from trainer.core.errors import ConfigError
from trainer.core.secrets import masked
from trainer.core.yaml_io import dump_yaml, load_yaml, parse_yaml
from trainer.runs.provenance import differences, provenance
from trainer.runs.run import Run
from trainer.schema import Experiment, typed_field
from trainer.schema.conf_folders import conf_with_dirs

# ruff: noqa: RUF009  typed_field() makes a dataclass field

# What may differ without making it another training.
_ELSEWHERE = ("output_dir",)
_TITLES = {
    "config": "configuration",
    "data": "data",
    "versions": "versions",
    "git": "code",
    "hardware": "hardware",
}
Differences = dict[str, dict[str, list[Any]]]


@dataclass
class ReproduceOptions:
    """Train a run again from what it was made of: the same configuration, data and seed, as a new run.

    Says first what is not as it was: keys of the configuration (since conf/ has changed, or as typed now), the
    data, package versions, the code's commit, the hardware. With none of these different, training on a CPU
    gives the same weights, bit for bit. Any key=value changes that key.

    python -m trainer reproduce latest
    python -m trainer reproduce rtmdet-tiny-20261123 check=true        compare only; exit code 1 when something differs
    python -m trainer reproduce runs/digits-detection/<id> runtime.seed=1
    """

    words: list[str] = typed_field(
        [], "the run: its id or the beginning of it, its folder, or latest", kind="words"
    )
    output_dir: str | None = typed_field(
        None, "where runs are looked up and the new one goes; None: runs, and beside the old one", kind="path"
    )
    check: bool = typed_field(False, "compare only; the exit code is 0 when all is the same, 1 when not")
    json: bool = typed_field(False, "print what differs as JSON")
    overrides: list[str] = typed_field([], "keys that are to be different", kind="rest")


def main(options: ReproduceOptions) -> int:
    """Compare, say what differs, train.

    Raises:
        TrainerError: no such run, its configuration doesn't compose any more, or training failed.
    """
    if len(options.words) != 1:
        raise ConfigError("reproduce takes one run: python -m trainer reproduce <run id, folder or latest>.")
    run = Run.find(options.output_dir or Experiment().output_dir, options.words[0])
    exp, words = composed(run, options.overrides, Path(options.output_dir or run.dir.parents[1]))
    found = compared(run, exp)
    asked = {key_of(word) for word in options.overrides}
    if options.json:
        same = not any(found.values())
        print(json.dumps(masked({"run": run.id, "same": same, "differences": found}), indent=2, default=str))
    else:
        _print(run, found, asked)
    if options.check:
        return int(any(found.values()))
    from trainer.commands.train import train

    result = train(exp, words, reproduces=run.id)
    if not options.json:
        _print_outcome(run, result)
    return int(result.exit_code)


def composed(run: Run, overrides: Sequence[str], output: Path) -> tuple[Experiment, list[str]]:
    """The run's configuration composed anew, for another run below ``output``, and the overrides that give it."""
    before = saved_overrides(run.dir / "overrides.yaml")
    words = [word for word in last_of_each([*before, *overrides]) if key_of(word) not in _ELSEWHERE]
    refuse_masked([word for word in words if word not in overrides], run.id)
    words.append(f"output_dir={quoted(output)}")
    exp, _ = compose("train", words, conf=conf_with_dirs(folders_of(run)))
    return exp, words


def compared(run: Run, exp: Experiment) -> Differences:
    """What is not as it was for ``run``: by area, ``{key: [then, now]}``. Prepares the data."""
    from trainer.data.prepare import prepare

    facts, now = run.facts, provenance()
    fingerprint = prepare(exp.dataset, exp.task.name).fingerprint
    # Both as YAML reads them back.
    config = differences(load_yaml(run.dir / "config.yaml"), parse_yaml(dump_yaml(saved_config(exp))))
    return {
        "config": {key: pair for key, pair in config.items() if key not in _ELSEWHERE},
        "data": differences({"fingerprint": facts.get("fingerprint")}, {"fingerprint": fingerprint}),
        "versions": differences(facts.get("versions") or {}, now["versions"]),
        "git": {
            key: pair
            for name in ("git", "trainer_git")
            for key, pair in differences(_code(facts.get(name)), _code(now[name]), name).items()
        },
        "hardware": differences(facts.get("hardware") or {}, now["hardware"]),
    }


def quoted(path: Path) -> str:
    """A path as a value in Hydra's grammar."""
    text = str(path).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{text}'"


def _code(checkout: dict[str, Any] | None) -> dict[str, Any]:
    """What of a checkout decides what runs; its place and branch don't."""
    return {key: (checkout or {}).get(key) for key in ("commit", "changes")}


def _print(run: Run, found: Differences, asked: set[str]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    if not any(found.values()):
        console.print(f"{run.id}: same configuration, data, versions, code and hardware")
        return
    table = Table(title=f"not as it was for {run.id}", title_justify="left")
    for column in ("", "what", "then", "now"):
        table.add_column(column, overflow="fold")
    for area, pairs in found.items():
        for place, (key, (then, now)) in enumerate(masked(pairs).items()):
            name = f"{key} (as typed)" if area == "config" and key in asked else key
            table.add_row("" if place else _TITLES[area], name, _short(then), _short(now))
    console.print(table)


def _print_outcome(run: Run, result: dict[str, Any]) -> None:
    """One line: the primary metric then and now."""
    try:
        before = json.loads((run.dir / "result.json").read_bytes())["primary_metric"]
    except (OSError, ValueError, KeyError):
        return
    now = result["primary_metric"]
    if before["name"] != now["name"] or before["value"] is None or now["value"] is None:
        return
    same = (
        "the same as" if before["value"] == now["value"] else f"{now['value'] - before['value']:+.2g} against"
    )
    print(f"{now['name']} {now['value']:.4f}: {same} {run.id} ({before['value']:.4f})")


def _short(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    text = str(value)
    return f"{text[:12]}…" if len(text) >= 40 and text.isalnum() else text
