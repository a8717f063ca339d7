"""Lists of classes that lie beside masks and XML files, in the forms in use."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import orjson

from trainer.data.files import Folder, decode
from trainer.data.records import Problems


def named_classes(
    folder: Folder, files: Sequence[str], given: Sequence[str], problems: Problems
) -> list[tuple[int, str]]:
    """(value, name) of each class: ``given`` (``dataset.classes``), else the first of ``files`` that is there.

    A text file has a name a line, its value the line's number from 0; ``name:r,g,b::`` (CVAT's labelmap) counts the
    same way, ``7 road`` brings its own value. A JSON file maps values to names or is a list of names.
    """
    if given:
        return list(enumerate(given))
    for file in files:
        if folder.has(file):
            found = _json(folder, file, problems) if file.endswith(".json") else _text(folder, file, problems)
            for i, what in enumerate(("value", "name")):
                for value, count in Counter(pair[i] for pair in found).items():
                    if count > 1:
                        problems.error(f"{file}: two classes have the same {what}", repr(value))
            return found
    return []


def text_lines(folder: Folder, file: str, problems: Problems) -> list[str]:
    """The lines of a list that say something; none when there is no such file."""
    if not folder.has(file):
        return []
    content = folder.read(file, problems)
    text = decode(content, file, problems) if content is not None else None
    return [line.strip() for line in (text or "").splitlines() if line.strip()]


def _text(folder: Folder, file: str, problems: Problems) -> list[tuple[int, str]]:
    lines = [line for line in text_lines(folder, file, problems) if not line.startswith("#")]
    found = []
    numbered = bool(lines) and all(_numbered(line) for line in lines)
    for i, line in enumerate(lines):
        if numbered:
            value, name = line.replace(":", " ").replace(",", " ").split(None, 1)
            found.append((int(value), name.strip()))
        else:
            found.append((i, line.split(":", 1)[0].strip() or line))
    return found


def _numbered(line: str) -> bool:
    words = line.replace(":", " ").replace(",", " ").split(None, 1)
    return len(words) == 2 and words[0].isascii() and words[0].isdigit() and len(words[0]) < 6


def _json(folder: Folder, file: str, problems: Problems) -> list[tuple[int, str]]:
    content = folder.read(file, problems)
    try:
        raw = orjson.loads(content or b"")
    except orjson.JSONDecodeError as error:
        problems.error(
            f"{file} is not JSON: {error.msg.split(':')[0]}, line {error.lineno} column {error.colno}"
        )
        return []
    if isinstance(raw, list):
        raw = {str(i): name for i, name in enumerate(raw)}
    if isinstance(raw, dict) and all(isinstance(value, int) for value in raw.values()):
        raw = {str(value): name for name, value in raw.items()}
    if not isinstance(raw, dict) or not all(
        key.isascii() and key.isdigit() and len(key) < 6 and isinstance(name, str)
        for key, name in raw.items()
    ):
        problems.error(f"{file} must map values to names, or be a list of names")
        return []
    return sorted((int(key), name.strip()) for key, name in raw.items())
