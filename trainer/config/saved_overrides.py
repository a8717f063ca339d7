"""What was typed for a run, used again: by ``resume=<run>`` and by ``reproduce``."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.config.overrides import key_of, last_of_each
from trainer.core.errors import ConfigError
from trainer.core.secrets import has_mask
from trainer.core.yaml_io import Loader
from trainer.schema import Experiment

# Not a run's own name: these say which run is gone on with.
OF_THE_COMMAND = ("resume", "id")
SWITCHES = ("true", "false", "auto", "", "null")


@dataclass(frozen=True)
class SavedOverrides:
    """A run's command line: overrides and the folders given by ``--config-dir``."""

    overrides: list[str]
    config_dirs: list[str]


def named_run(command: str, overrides: Sequence[str]) -> str | None:
    """The run that ``resume=<run>`` names, None where nothing is taken over from one."""
    typed = [text.partition("=")[2].strip("'\"") for text in overrides if text.startswith("resume=")]
    if command not in ("train", "show") or not typed or typed[-1].lower() in SWITCHES:
        return None
    return typed[-1]


def with_saved(reference: str, overrides: Sequence[str], config_dirs: Sequence[str] = ()) -> SavedOverrides:
    """What was typed for a run, then what is typed now; of a key that both give, only the latter.

    Args:
        reference: the run's folder, id, unique beginning of it, or ``latest``.
        overrides: what is typed now.
        config_dirs: the folders typed now; where there are any, they take the place of the run's.

    Raises:
        ConfigError: no such run; a secret that wasn't saved is needed again.
    """
    output = [text.partition("=")[2] for text in overrides if text.startswith("output_dir=")]
    run = importlib.import_module("trainer.runs.run").Run
    found = run.find(output[-1] if output else Experiment().output_dir, reference)
    before = saved_overrides(Path(found.dir) / "overrides.yaml")
    words = last_of_each([*before, *overrides])
    if "id" in map(key_of, overrides):
        raise ConfigError(f"resume={reference} and id= both name a run; give one of them.")
    refuse_masked([word for word in words if word not in overrides], found.id)
    return SavedOverrides(words, list(config_dirs) or folders_of(found))


def saved_overrides(path: Path) -> list[str]:
    """The overrides in a run's ``overrides.yaml``, a list of ``key=value``."""
    import yaml

    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader)
    except FileNotFoundError:
        raise ConfigError(f"{path} is missing, so nobody knows how that run was configured.") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} can't be read: {' '.join(str(error).split())}") from None
    if content is None:
        return []
    if not isinstance(content, list) or not all(isinstance(item, str) for item in content):
        raise ConfigError(f"{path} holds no list of key=value.")
    return [word for word in content if key_of(word) not in OF_THE_COMMAND]


def refuse_masked(words: Sequence[str], run: str) -> None:
    """Raise ConfigError for saved overrides that lack their secret."""
    keys = [key_of(word) for word in words if has_mask(word)]
    if keys:
        examples = " ".join(f"{key}=..." for key in keys)
        raise ConfigError(
            f"run {run} was saved without the secret in {' and '.join(keys)}: give it again ({examples}). "
            f"Written as '{keys[0]}=${{oc.env:NAME}}' it is read from the environment each time."
        )


def folders_of(run: Any) -> list[str]:
    """The folders that a run was given by ``--config-dir``.

    Raises:
        ConfigError: one isn't there any more.
    """
    folders = [str(folder) for folder in run.facts.get("config_dirs") or []]
    for folder in folders:
        if not Path(folder).is_dir():
            raise ConfigError(
                f"run {run.id} was started with --config-dir {folder}, which isn't there any more; "
                "give --config-dir with its new place."
            )
    return folders
