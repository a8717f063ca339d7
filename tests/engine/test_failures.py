"""What a failed training says of where it failed."""

from __future__ import annotations

from trainer.core.errors import ConfigError
from trainer.engine.failures import TRACEBACK, as_trainer_error, traceback_of


def fail(depth: int) -> None:
    if depth:
        fail(depth - 1)
    raise ValueError("deep down")


def test_an_unexpected_error_says_where_it_happened_the_innermost_part_for_sure():
    try:
        fail(3)
    except ValueError as error:
        found = traceback_of(as_trainer_error(error))
    assert "in fail" in found
    assert found.endswith("ValueError: deep down\n")
    try:
        raise ValueError("x" * 2 * TRACEBACK)
    except ValueError as error:
        assert len(traceback_of(as_trainer_error(error))) == TRACEBACK


def test_a_mistake_that_was_recognised_needs_no_traceback():
    assert traceback_of(ConfigError("callback.url is missing")) is None
