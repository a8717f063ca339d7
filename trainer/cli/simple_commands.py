"""Commands that Hydra composes nothing for (``models``, ``replay``, ...): bare words and a few typed options.

Such a command's module has ``main(options) -> int``, whose ``options`` are of a dataclass made of
:func:`trainer.schema.typed_field`. The class's docstring is the command's help.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import textwrap
import typing
from collections.abc import Sequence
from typing import Any, TypeVar, cast

from trainer.core.errors import ConfigError, did_you_mean
from trainer.schema.fields import Field, fields_of

T = TypeVar("T")

SIMPLE_COMMANDS = ("cancel", "convert", "logs", "models", "replay", "reproduce", "resume", "status", "sweep")


def run_simple_command(command: str, words: Sequence[str]) -> int:
    """Run a plain command, or print its help.

    Raises:
        ConfigError: all that is wrong with the words.
    """
    module = importlib.import_module(f"trainer.commands.{command}")
    if {"-h", "--help"} & set(words):
        print(help_text(command, _options(command)))
        return 0
    return int(module.main(parse(command, _options(command), words)) or 0)


def parse(command: str, schema: type[T], words: Sequence[str]) -> T:
    """The options that were typed: ``key=value``, ``--flag`` for a bool, bare words, and whatever else is wanted.

    A leaf of kind ``words`` takes the bare words, one of kind ``rest`` every ``key=value`` that isn't an option.

    Raises:
        ConfigError: all that is wrong, at once.
    """
    known = fields_of(cast(type, schema))
    bare, rest = (_of_kind(known, kind) for kind in ("words", "rest"))
    options = {key: leaf for key, leaf in known.items() if key not in (bare, rest)}
    values: dict[str, Any] = {key: [] for key in (bare, rest) if key}
    mistakes: list[str] = []
    for word in words:
        flag = word.startswith("--") and "=" not in word
        key, equals, text = (word.lstrip("-") + ("=true" if flag else "")).partition("=")
        key = key.replace("-", "_") if word.startswith("--") else key
        if key in options and equals and (not flag or options[key].type is bool):
            value = read(options[key], text)
            complaint = options[key].complaint(value)
            if complaint:
                mistakes.append(f"{key}: {complaint}")
            values[key] = value
        elif rest and "=" in word and not word.startswith("--"):
            values[rest].append(word)
        elif bare and "=" not in word and not word.startswith("-"):
            values[bare].append(word)
        else:
            mistakes.append(_unknown(command, word, key, options))
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    return schema(**values)


def read(leaf: Field, text: str) -> Any:
    """A typed option's text as a value of its leaf's type; what doesn't fit stays text, for the complaint."""
    if leaf.optional and text.lower() in ("", "null", "none"):
        return None
    kind = str(leaf.type)
    if "bool" in kind and text.lower() in _BOOLS:
        return _BOOLS[text.lower()]
    for name, convert in (("int", int), ("float", float)):
        if name in kind:
            try:
                return convert(text)
            except ValueError:
                continue
    return [part for part in text.split(",") if part] if "list" in kind else text


def help_text(command: str, schema: type) -> str:
    """What the command does, and its options."""
    from trainer.cli.help import columns

    known = fields_of(schema)
    bare = _of_kind(known, "words")
    usage = f"usage: python -m trainer {command}" + (" [WORDS]" if bare else "") + " [key=value ...]"
    rows = {}
    for key, leaf in known.items():
        choices = leaf.choices
        doc = leaf.metadata.get("doc", "") + (f" ({', '.join(choices)})" if choices else "")
        kind = leaf.metadata.get("kind")
        name = "WORDS" if kind == "words" else "KEY=VALUE" if kind == "rest" else key
        rows[f"--{key}" if leaf.type is bool and kind is None else name] = doc
    about = textwrap.indent(inspect.getdoc(schema) or "", "  ")
    return f"{usage}\n\n{about}\n\noptions\n{columns(rows)}"


def option_names(command: str) -> list[str]:
    """The options of a command, for completion."""
    schema = _options(command)
    return [field.name for field in dataclasses.fields(schema) if field.metadata.get("kind") not in _TAKERS]


def _options(command: str) -> type:
    """The dataclass that a command's ``main`` takes."""
    module = importlib.import_module(f"trainer.commands.{command}")
    return cast(type, typing.get_type_hints(module.main)["options"])


def _of_kind(known: dict[str, Field], kind: str) -> str | None:
    return next((key for key, leaf in known.items() if leaf.metadata.get("kind") == kind), None)


def _unknown(command: str, word: str, key: str, options: dict[str, Field]) -> str:
    hint = did_you_mean(key, options) or f" Options: {', '.join(options)}."
    return f"{command}: {word!r} is no option of this command.{hint}"


_TAKERS = ("words", "rest")
_BOOLS = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}
