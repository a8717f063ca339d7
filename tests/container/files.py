"""Dockerfiles and .dockerignore as Docker reads them, as far as this repository uses them."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Stage:
    """``FROM base AS name`` and what follows: (instruction, its words as written)."""

    base: str
    name: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    def all(self, instruction: str) -> list[str]:
        return [words for name, words in self.steps if name == instruction]

    def last(self, instruction: str) -> str | None:
        found = self.all(instruction)
        return found[-1] if found else None

    def pairs(self, instruction: str) -> dict[str, str]:
        """``NAME=value`` of all ENV, LABEL or ARG instructions."""
        words = [word for text in self.all(instruction) for word in shlex.split(text)]
        return {name: value for name, _, value in (word.partition("=") for word in words)}

    def copied(self) -> list[str]:
        """What is copied out of the context, not out of another stage."""
        lines = [shlex.split(words) for words in self.all("COPY") if "--from=" not in words]
        return [source for line in lines for source in line[:-1]]


def dockerfile(path: Path = ROOT / "Dockerfile") -> tuple[dict[str, str], list[Stage]]:
    """The arguments before the first stage, with their defaults, and the stages."""
    arguments: dict[str, str] = {}
    stages: list[Stage] = []
    for line in _lines(path.read_text(encoding="utf-8")):
        instruction, _, words = line.partition(" ")
        words = words.strip()
        if instruction == "FROM":
            base, _, name = words.partition(" AS ")
            stages.append(Stage(base.strip(), name.strip()))
        elif stages:
            stages[-1].steps.append((instruction, words))
        else:
            assert instruction == "ARG", line
            name, _, default = words.partition("=")
            arguments[name] = default
    return arguments, stages


def command(words: str | None) -> list[str]:
    """The words of an ENTRYPOINT or CMD; its JSON form alone is without a shell that swallows signals."""
    assert words is not None
    return list(json.loads(words))


def context(root: Path, folders: Sequence[str] | None = None) -> Iterator[str]:
    """Paths of the files that a build of ``root`` would send, by its .dockerignore."""
    text = (root / ".dockerignore").read_text(encoding="utf-8")
    rules = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    patterns = [(_expression(rule.lstrip("!")), rule.startswith("!")) for rule in rules]
    for path in sorted(root.rglob("*") if folders is None else (p for f in folders for p in root.glob(f))):
        name = path.relative_to(root).as_posix()
        if path.is_file() and not _ignored(name, patterns):
            yield name


def _ignored(name: str, patterns: list[tuple[re.Pattern[str], bool]]) -> bool:
    ignored = False
    whole = [name, *(parent.as_posix() for parent in PurePosixPath(name).parents if parent.as_posix() != ".")]
    for pattern, kept in patterns:
        if any(
            pattern.fullmatch(one) for one in whole
        ):  # a folder's rule is its files' rule; the last one counts
            ignored = not kept
    return ignored


def _expression(pattern: str) -> re.Pattern[str]:
    parts = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    text = re.sub(r"\*\*/|\*\*|\*|\?|[^*?]+", lambda m: parts.get(m[0], re.escape(m[0])), pattern.strip("/"))
    return re.compile(text)


def _lines(text: str) -> Iterator[str]:
    """Instructions, each on one line, comments left out (also those between continued lines)."""
    kept = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    yield from re.sub(r"\\\n\s*", " ", "\n".join(kept)).splitlines()
