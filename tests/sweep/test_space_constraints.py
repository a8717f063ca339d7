"""Constraints are read by a parser of a few lines, never as Python."""

from __future__ import annotations

import pytest

from trainer.core.errors import ConfigError
from trainer.sweep.space.constraints import read_constraint

FIGURES = {
    "parameters": 8e6,
    "mAP50-95": 0.4,
    "a": 2,
    "b": 3.0,
    "opt": "sgd",
    "yes": True,
    "runtime.batch_size": 16,
}


@pytest.mark.parametrize(
    ("text", "violation"),
    [
        ("parameters <= 10e6", -2e6),
        ("params<=1e6", 7e6),
        ("mAP50-95 >= 0.5", pytest.approx(0.1)),
        ("a * b < 6", 5e-324),
        ("a * b <= 6", 0),
        ("a + b * 2 == 8", 0),
        ("(a + b) * 2 > 8", -2),
        ("a - b - 1 >= -2", 0),
        ("2 ** 3 ** 2 == 512", 0),
        ("-a ** 2 == -4", 0),
        ("a / b <= .5", pytest.approx(1 / 6)),
        ("runtime.batch_size <= 8", 8),
        ("a / (b - 3) <= 1", None),
        ("missing <= 1", None),
        ("opt <= 1", None),
        ("(a - 3) ** 0.5 <= 1", None),
        ("10 ** 400 <= 1", None),
    ],
)
def test_violations(text: str, violation: float | None) -> None:
    assert read_constraint(text).violation(FIGURES) == violation


@pytest.mark.parametrize(
    "text",
    [
        *("", "a", "a <= b <= c", "a <", "<= 1", "a ? b", "a <= (b", "a <= b)", "a b <= 1", "a <= 1 2"),
        *(
            "__import__('os') <= 1",
            "a[0] <= 1",
            "f(x) <= 1",
            "a <= 'x'",
            "a = 1",
            "a <= lambda: 1",
            "a and b <= 1",
        ),
    ],
)
def test_everything_else_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        read_constraint(text)


def test_names_and_values_that_are_settled() -> None:
    constraint = read_constraint("params * dataset.image_size <= mAP50-95")
    assert constraint.names == {"parameters", "dataset.image_size", "mAP50-95"}
    bound = constraint.bound({"dataset.image_size": 2.0})
    assert bound.names == {"parameters", "mAP50-95"}
    assert bound.violation(FIGURES) == pytest.approx(16e6 - 0.4)
