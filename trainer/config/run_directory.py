"""Which run directory a training works in, and how its configuration is kept there."""

from __future__ import annotations

from typing import Any

from trainer.config.env_references import origin
from trainer.config.overrides import key_of
from trainer.config.saved_overrides import OF_THE_COMMAND
from trainer.core.atomic_files import atomic_write
from trainer.core.secrets import masked, masked_words
from trainer.runs.run import Run
from trainer.schema import Experiment


def experiment_name(exp: Experiment) -> str:
    """The folder and the tracker's experiment: what is trained for what, so that its runs compare."""
    return exp.name or f"{exp.dataset.name}-{exp.task.name}"


def open_run(exp: Experiment) -> Run:
    """The run that ``resume`` and ``id`` name, or a new one.

    Raises:
        ConfigError: there is no such run, or one where there should be none.
    """
    if isinstance(exp.resume, str) and exp.resume != "auto":
        return Run.find(exp.output_dir, exp.resume)
    name = experiment_name(exp)
    if exp.resume:
        run = Run.named(exp.output_dir, name, exp.id) if exp.id else Run.newest(exp.output_dir, name)
        if run is not None and run.exists:
            return run
    return Run.create(exp.output_dir, name, exp.model.name, exp.id)


def saved_config(exp: Experiment) -> dict[str, Any]:
    """What ``config.yaml`` says of an experiment: plain values, secrets masked."""
    config = {key: value for key, value in origin(exp).written.items() if key not in OF_THE_COMMAND}
    return dict(masked(config))


def write_configuration(run: Run, exp: Experiment, overrides: list[str]) -> None:
    """``config.yaml`` (what was composed) and ``overrides.yaml`` (what was typed), secrets masked.

    Those of the attempt before are kept under its number where they differ.
    """
    import yaml

    typed = [word for word in overrides if key_of(word) not in OF_THE_COMMAND]
    files = {
        "config.yaml": yaml.safe_dump(saved_config(exp), sort_keys=False, allow_unicode=True),
        "overrides.yaml": yaml.safe_dump(masked_words(typed), allow_unicode=True),
    }
    attempts = len(run.facts.get("attempts", []))
    for name, text in files.items():
        path, kept = run.dir / name, run.earlier(name, attempts)
        if attempts and path.is_file() and not kept.exists() and path.read_text(encoding="utf-8") != text:
            atomic_write(kept, path.read_bytes())
        atomic_write(path, text)
    run.update(config_dirs=list(origin(exp).config_dirs), launcher=exp.launcher.name)
