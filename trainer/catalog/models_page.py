"""``python -m trainer.catalog.models_page``: the generated table of named models in docs/models.md, written anew."""

from __future__ import annotations

import sys
from pathlib import Path

from trainer.catalog.cards import named_cards
from trainer.catalog.tables import markdown
from trainer.core.atomic_files import atomic_write
from trainer.core.errors import ConfigError
from trainer.schema.conf_folders import Conf
from trainer.zoo.model_names import ModelNames

PAGE = Path(__file__).parents[2] / "docs" / "models.md"


def replaced(text: str, name: str, new: str) -> str:
    """``text`` with ``new`` between ``<!-- name:begin -->`` and ``<!-- name:end -->``.

    Raises:
        ConfigError: a mark is missing.
    """
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    head, opened, rest = text.partition(begin)
    _, closed, tail = rest.partition(end)
    if not opened or not closed:
        raise ConfigError(f"{PAGE} lacks {begin} ... {end}")
    return f"{head}{begin}\n{new.strip()}\n{end}{tail}"


def current(text: str) -> str:
    """The page's text with the table as it is now."""
    return replaced(text, "models", markdown(named_cards(ModelNames(Conf()))))


def main() -> int:
    atomic_write(PAGE, current(PAGE.read_text(encoding="utf-8")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
