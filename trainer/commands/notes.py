"""What several commands say and do alike."""

from __future__ import annotations

import sys
from collections.abc import Iterable


def notes_to_stderr(notes: Iterable[str]) -> None:
    """Decisions the user should know of, one a line, away from what is piped on."""
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
