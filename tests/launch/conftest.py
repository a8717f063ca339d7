"""What several launchers' tests need."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.launch.kube_server import KubeServer, serving


@pytest.fixture
def server(tmp_path: Path) -> Iterator[KubeServer]:
    with serving(tmp_path / "cluster") as made:
        yield made
