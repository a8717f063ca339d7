"""``resume=<run>``: the run's own overrides, before those typed now."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path

from trainer.config.schema import Experiment
from trainer.config.typed import last_of_each
from trainer.config.yamls import Loader
from trainer.errors import ConfigError


def with_saved(reference: str, overrides: Sequence[str]) -> list[str]:
    """What was typed for a run, then ``overrides``; of a key that both give, only the latter.

    Args:
        reference: the run's folder, id, unique beginning of it, or ``latest``.
        overrides: what is typed now.
    """
    output = [text.partition("=")[2] for text in overrides if text.startswith("output_dir=")]
    run = importlib.import_module("trainer.run").Run
    folder = run.find(output[-1] if output else Experiment().output_dir, reference).dir
    return last_of_each([*saved(Path(folder) / "overrides.yaml"), *overrides])


def saved(path: Path) -> list[str]:
    """The overrides in a run's ``overrides.yaml``, a list of ``key=value``."""
    import yaml

    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader)
    except FileNotFoundError:
        raise ConfigError(
            f"resume: {path} is missing, so nobody knows how that run was configured."
        ) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"resume: {path} can't be read: {' '.join(str(error).split())}") from None
    if content is None:
        return []
    if not isinstance(content, list) or not all(isinstance(item, str) for item in content):
        raise ConfigError(f"resume: {path} holds no list of key=value.")
    return content
