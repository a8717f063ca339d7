"""Models for instance segmentation and pose pass all steps of the proof."""

from __future__ import annotations

import pytest

from scripts.bench.zoo_cases import Case
from tests.catalog.proofs import Prover, check, part


@pytest.mark.slow
@pytest.mark.parametrize("case", part("masks and poses"), ids=lambda case: case.model)
def test_model(case: Case, prover: Prover) -> None:
    check(case, prover.prove(case.model))
