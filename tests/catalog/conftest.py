"""Shared by the proofs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.catalog.proofs import Prover, proving


@pytest.fixture(scope="module")
def prover(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prover]:
    """One process for all models of a file."""
    with proving(tmp_path_factory.mktemp("zoo")) as prover:
        yield prover
