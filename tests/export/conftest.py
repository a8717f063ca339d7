"""The heavier models' graphs are compared on request: they take a quarter of an hour of one core."""

from __future__ import annotations

import os

import pytest

SWITCH = "TRAINER_TEST_GRAPHS"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.environ.get(SWITCH):
        return
    for item in items:
        if item.path.name.startswith("test_graph_") and item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.skip(reason=f"a heavier graph: {SWITCH}=1 scripts/test tests/export"))
