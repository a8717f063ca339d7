"""Commands and paths as the user can type them where they are."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path


def program(module: str = "trainer") -> str:
    """``python -m trainer``, with this environment's Python by its path where it isn't activated."""
    found = shutil.which("python")
    activated = found is not None and Path(found).parent == Path(sys.executable).parent
    return f"{'python' if activated else short(Path(sys.executable))} -m {module}"


def short(path: Path) -> str:
    """``path`` relative to the current folder where that is inside it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
