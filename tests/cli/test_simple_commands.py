"""Bare words and typed options of the commands that Hydra composes nothing for."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from trainer.cli.command_line import split_command
from trainer.cli.simple_commands import help_text, parse
from trainer.core.errors import ConfigError
from trainer.schema import typed_field

# ruff: noqa: RUF009


@dataclass
class Options:
    """Look at things.

    And more of it.
    """

    words: list[str] = typed_field([], "what to look at", kind="words")
    rest: list[str] = typed_field([], "everything else", kind="rest")
    sort: str = typed_field("name", "by what", choices=("name", "size"))
    limit: int | None = typed_field(None, "how many", ge=1)
    keep_going: bool = typed_field(False, "whether to go on")


@dataclass
class Strict:
    """No words."""

    sort: str = typed_field("name", "by what", choices=("name", "size"))


def test_words_options_flags_and_the_rest() -> None:
    words = ["a", "sort=size", "optimizer.lr=1e-3", "b c", "limit=3", "--keep-going", "x=y=z"]
    expected = Options(["a", "b c"], ["optimizer.lr=1e-3", "x=y=z"], "size", 3, True)
    assert parse("look", Options, words) == expected
    assert parse("look", Options, []) == Options()
    assert parse("look", Options, ["limit=null", "keep_going=no"]) == Options()


def test_all_mistakes_at_once_with_what_was_meant() -> None:
    with pytest.raises(ConfigError) as caught:
        parse("look", Options, ["sort=sise", "limit=0", "--keep-goin"])
    assert "sort: expected one of name, size, got 'sise'. Did you mean 'size'?" in str(caught.value)
    assert "limit: expected an integer >= 1, got 0." in str(caught.value)
    assert "'--keep-goin' is no option of this command. Did you mean 'keep_going'?" in str(caught.value)
    with pytest.raises(ConfigError, match=r"'a' is no option.*Options: sort"):
        parse("look", Strict, ["a"])
    with pytest.raises(ConfigError, match=r"'srot=name' is no option.*Did you mean 'sort'"):
        parse("look", Strict, ["srot=name"])


def test_help_tells_each_option() -> None:
    text = help_text("look", Options)
    assert text.startswith("usage: python -m trainer look [WORDS] [key=value ...]")
    for words in ("And more of it.", "sort", "by what (name, size)", "--keep_going", "KEY=VALUE"):
        assert words in text


def test_words_of_a_plain_command_are_its_own() -> None:
    assert split_command(["models", "rtmdet", "task=pose", "--json"]) == (
        "models",
        ["rtmdet", "task=pose", "--json"],
    )
