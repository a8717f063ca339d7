"""Detectors that aren't made for real time pass all steps of the proof."""

from __future__ import annotations

import pytest

from scripts.bench.zoo_cases import Case, cases
from tests.catalog.proofs import CASES, SIBLINGS, Prover, check, part


@pytest.mark.slow
@pytest.mark.parametrize("case", part("detection"), ids=lambda case: case.model)
def test_model(case: Case, prover: Prover) -> None:
    check(case, prover.prove(case.model))


def test_every_model_is_in_a_part_that_is_run() -> None:
    parts = ("detection", "real-time", "semantic", "masks and poses")
    models = [case.model for name in parts for case in part(name)]
    assert sorted([*models, *SIBLINGS]) == sorted(case.model for case in cases())
    assert all(part(name) for name in parts)


def test_a_sibling_proves_the_family_of_what_is_too_large() -> None:
    families = {case.model: case.family for case in cases()}
    chosen = {case.model for case in CASES}
    for large, small in SIBLINGS.items():
        assert small in chosen and families[large] == families[small]
