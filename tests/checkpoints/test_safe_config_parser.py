"""A checkpoint's config text is read, never run."""

import math

import pytest

from trainer.checkpoints.safe_config_parser import parse_config
from trainer.core.errors import CheckpointError
from trainer.engine.config_text import config_text


def test_what_config_text_writes_comes_back():
    config = {
        "model": {"type": "A", "scale": (96, 64), "one": (1,), "nested": [{"deep": [(1, 2), [3.5, -1e-5]]}]},
        "inf": float("inf"),
        "low": -float("inf"),
        "none": None,
        "flags": [True, False],
        "ids": {0: "a", -1: "b", "not a name": {"class": 1}},
        "data": b"\x00",
        "text": 'it\'s "quoted"\nand long ' * 9,
    }
    assert parse_config(config_text(config)) == config
    assert math.isnan(parse_config("x = float('nan')")["x"])


@pytest.mark.parametrize(
    "text",
    [
        "import os\nx = 1",
        "x = __import__('os').system('true')",
        "x = [y for y in (1,)]",
        "x = (lambda: 1)()",
        "x = open('/etc/passwd')",
        "x = dict(**{'a': 1})",
        "x = dict([(1, 2)])",
        "x = float(open)",
        "x = f'{1}'",
        "x = 9 ** 9 ** 9",
        "x.y = 1",
        "x = y = 1",
        "_base_ = ['./a.py']\nfrom a import b",
        "x = eval",
        "x = {**{}}",
        "x = (",
        "x = " + "[" * 5000 + "]" * 5000,
        "exec('1')",
    ],
)
def test_anything_else_is_refused(text):
    with pytest.raises(CheckpointError):
        parse_config(text)


def test_the_refusal_names_the_line():
    with pytest.raises(CheckpointError, match="line 2 is .*system"):
        parse_config("a = 1\nb = dict(c=os.system('true'))")
