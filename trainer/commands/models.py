"""``python -m trainer models``: find a model, see what it promises, bring its weights. Imports no torch."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass

from trainer.catalog import cards
from trainer.core.errors import ConfigError
from trainer.schema import TASKS, typed_field
from trainer.schema.conf_folders import Conf
from trainer.zoo.model_names import ModelNames

# ruff: noqa: RUF009  typed_field() makes a dataclass field


@dataclass
class ModelsOptions:
    """Find models by any part of their names, see one's card, or bring weights into the cache.

    Without words it lists the named models; with words, or --all, also every config of the installed packages.

        python -m trainer models task=pose sort=map
        python -m trainer models dino swin
        python -m trainer models show rtmdet-s
        python -m trainer models fetch rtmdet-s segformer-b0
    """

    words: list[str] = typed_field([], "parts of a name, or: show NAME, or: fetch NAME|URL ...", kind="words")
    task: str | None = typed_field(None, "only models for this task", choices=TASKS)
    sort: str = typed_field("task", "the order; map: best published figure first", choices=cards.SORTS)
    all: bool = typed_field(False, "also every config of the installed packages")
    json: bool = typed_field(False, "for machines")
    to: str | None = typed_field(None, "fetch: another folder than the cache's", kind="path")


def main(options: ModelsOptions) -> int:
    """List, show or fetch; the exit code.

    Raises:
        ConfigError: no such model, with the nearest.
        NetworkError, CheckpointError, ResourceError: weights that don't come.
    """
    verb, names = (options.words[0], options.words[1:]) if options.words else ("", [])
    models = ModelNames(Conf())
    if verb == "show":
        return _show(models, names, options)
    if verb == "fetch":
        return _fetch(models, names, options)
    found = cards.find_cards(models, options.words, options.task, options.sort, options.all, _say)
    if options.json:
        print(json.dumps([card.to_json() for card in found], indent=2))
        return 0
    from trainer.catalog.tables import listing

    listing(found)
    return 0


def _show(models: ModelNames, names: list[str], options: ModelsOptions) -> int:
    if not names:
        raise ConfigError("models show: name a model: python -m trainer models show rtmdet-s")
    from trainer.catalog.base_defaults import facts

    shown = [cards.find_card(models, name, _say) for name in names]
    known = [facts(card.base, card.task) for card in shown]
    if options.json:
        content = [{**card.to_json(), "options": values} for card, values in zip(shown, known, strict=True)]
        print(json.dumps(content[0] if len(content) == 1 else content, indent=2))
        return 0
    from trainer.catalog.tables import show

    for card, values in zip(shown, known, strict=True):
        show(card, values)
    return 0


def _fetch(models: ModelNames, names: list[str], options: ModelsOptions) -> int:
    if not names:
        raise ConfigError("models fetch: name models or URLs: python -m trainer models fetch rtmdet-s")
    # All names first: a mistake in the last shouldn't show after gigabytes.
    sources = [name if "://" in name else cards.find_card(models, name).base for name in names]
    from trainer.checkpoints import fetch_weights

    files = [fetch_weights(source, options.to) for source in sources]
    if options.json:
        print(json.dumps([str(file) for file in files], indent=2))
    else:
        for name, file in zip(names, files, strict=True):
            print(f"{name}  {file}")
    return 0


def _say(text: str) -> None:
    print(text, file=sys.stderr)
