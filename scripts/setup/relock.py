"""Write lock.txt and lock-dev.txt from a working environment: ``.venv/bin/python scripts/setup/relock.py``.

The lists hold the exact version of everything that the requirements reach. Installing them needs no
resolver; they were made with one Python and platform, and where a version does not exist for another,
the set-up leaves the choice to pip.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

HERE = Path(__file__).resolve().parent
HEADER = "# Written by relock.py from a working environment; change requirements*.txt, not this.\n"
# Installed by steps of their own, see main.py.
ELSEWHERE = {"onedl-mmcv", "mmpose", "xtcocotools", "opencv-python-headless"}


def read(path: Path) -> list[Requirement]:
    """The requirements of a list and of the lists it names with ``-r``."""
    found: list[Requirement] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        text = line.split("#")[0].strip()
        if text.startswith("-r "):
            found += read(path.parent / text[3:].strip())
        elif text:
            found.append(Requirement(text))
    return found


def closure(wanted: Iterable[Requirement]) -> dict[str, str]:
    """Name and installed version of everything ``wanted`` reaches in the running environment."""
    versions: dict[str, str] = {}
    queue, seen = list(wanted), set()
    while queue:
        one = queue.pop()
        name, extras = canonicalize_name(one.name), frozenset(one.extras)
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        try:
            found = distribution(name)
        except PackageNotFoundError:
            continue
        versions[name] = found.version.split("+")[0]
        for text in found.requires or []:
            need = Requirement(text)
            if need.marker is None or any(need.marker.evaluate({"extra": e}) for e in {"", *extras}):
                queue.append(need)
    return {name: versions[name] for name in sorted(versions) if name not in ELSEWHERE}


def write(path: Path, versions: dict[str, str]) -> None:
    path.write_text(
        HEADER + "".join(f"{name}=={version}\n" for name, version in versions.items()), encoding="utf-8"
    )
    print(f"{path.name}: {len(versions)} packages")


if __name__ == "__main__":
    runtime = closure([*read(HERE / "requirements.txt"), *read(HERE / "requirements-late.txt")])
    everything = closure(read(HERE / "requirements-dev.txt"))
    write(HERE / "lock.txt", runtime)
    write(HERE / "lock-dev.txt", {n: v for n, v in everything.items() if n not in runtime})
