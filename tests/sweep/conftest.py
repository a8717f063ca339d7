"""Drivers for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.sweep.drivers import Drivers


@pytest.fixture(scope="session")
def drivers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drivers]:
    """Starts drivers of sweeps whose trials are cheap; see drivers.py."""
    nursery = Drivers(tmp_path_factory.mktemp("drivers"))
    yield nursery
    nursery.close()
