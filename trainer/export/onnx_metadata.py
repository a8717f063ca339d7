"""What an ONNX file says of itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainer.core.atomic_files import atomic_write


def set_metadata(path: Path, content: Mapping[str, Any]) -> None:
    """Make ``content`` the file's metadata; what isn't text as JSON."""
    import onnx

    proto = onnx.load(path)
    del proto.metadata_props[:]
    for key, value in content.items():
        entry = proto.metadata_props.add()
        entry.key = key
        entry.value = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    atomic_write(path, proto.SerializeToString(deterministic=True))
