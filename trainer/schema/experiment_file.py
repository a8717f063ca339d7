"""``experiment=<a file>``: a recipe that lies anywhere, such as a sweep's ``best.yaml``.

Within Hydra such a file is a choice of the group like any other, named by its whole path with ``/`` escaped, so that
``- digits`` in its defaults list means what it means in ``conf/experiment/``.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote, unquote

from trainer.core.errors import ConfigError

GROUP = "experiment"
_SLASH = "%2F"


def choice_of(word: str) -> str | None:
    """The choice that a typed path means; None for a word that is no path.

    Raises:
        ConfigError: there is no such file.
    """
    if "/" not in word and not word.endswith((".yaml", ".yml")):
        return None
    path = Path(word).expanduser().absolute()
    if not path.is_file():
        raise ConfigError(f"there is no file {word}.")
    return quote(str(path.resolve()), safe="").replace("~", "%7E")


def path_of(choice: str) -> Path | None:
    """The file of a choice that :func:`choice_of` made; None for any other."""
    name = choice.removesuffix(".yaml")
    if _SLASH not in name:
        return None
    path = Path(unquote(name))
    return path if path.suffix else path.with_suffix(".yaml")
