"""The laws of docs/architecture.md that can be read off the sources."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from importlinter.api import read_configuration

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "trainer"
HEAVY = {"torch", "mmengine", "mmcv", "mmdet", "mmseg", "mmpose", "mmpretrain", "mlflow"}
# The only two places that start the command line once more, each in a process of its own.
RE_ENTRIES = {
    "trainer.launch.job_main -> trainer.cli.command_line",
    "trainer.sweep.driver.fork_server -> trainer.cli.command_line",
}


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    names = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        if "runtimes" not in path.parts:  # copied into packages, imported by nobody here
            names[".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")] = path
    return names


def contract() -> dict[str, object]:
    (only,) = read_configuration(str(ROOT / "pyproject.toml"))["contracts_options"]
    return dict(only)


def layers() -> list[list[str]]:
    """The rooms, top to bottom; those that stand beside each other are in one list."""
    listed = contract()["layers"]
    assert isinstance(listed, list)
    return [[room.strip(" ()") for room in line.split("|")] for line in listed]


def below(room: str) -> list[str]:
    """The rooms of the layers below a room's."""
    order = layers()
    place = next(index for index, line in enumerate(order) if room in line)
    return [one for line in order[place + 1 :] for one in line]


def test_a_layer_imports_only_what_lies_below_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports; raise SystemExit(lint_imports())"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_the_exceptions_are_the_two_re_entries() -> None:
    ignored = contract()["ignore_imports"]
    assert isinstance(ignored, list) and set(ignored) == RE_ENTRIES


def test_every_room_has_a_layer() -> None:
    rooms = {path.name for path in PACKAGE.iterdir() if path.is_dir() and (path / "__init__.py").exists()}
    assert rooms == {room for line in layers() for room in line}


def imports(name: str, path: Path, known: set[str]) -> Iterator[str]:
    """What a module imports of the package, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module in known:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in known else str(node.module)


def test_modules_import_each_other_one_way() -> None:
    """Inside a room, too: no module reaches itself through others, but by the two re-entries."""
    found = modules()
    arrows = {name: set(imports(name, path, set(found))) - {name} for name, path in found.items()}
    for text in RE_ENTRIES:
        source, _, target = text.partition(" -> ")
        assert target in arrows[source]
        arrows[source].discard(target)
    while leaves := [name for name, targets in arrows.items() if not targets & arrows.keys()]:
        for name in leaves:
            del arrows[name]
    assert sorted(arrows) == []


@pytest.mark.parametrize("room", ["engine"])
def test_nothing_below_the_engine_loads_torch(room: str) -> None:
    rooms = below(room)
    names = [
        name
        for name in modules()
        if name.split(".")[1:2]
        and name.split(".")[1] in rooms
        and not name.endswith(("__main__", "parent_death_signal"))
    ]
    assert len(names) > 150
    code = (
        "import importlib, json, sys\n"
        "loaded = {}\n"
        "for name in json.loads(sys.argv[1]):\n"
        "    importlib.import_module(name)\n"
        f"    loaded[name] = sorted({HEAVY!r} & set(sys.modules))\n"
        "    if loaded[name]: break\n"
        "print(json.dumps({name: heavy for name, heavy in loaded.items() if heavy}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(names)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {}


def places(pattern: str) -> set[str]:
    """The files of the package that hold a pattern."""
    return {
        path.relative_to(PACKAGE).as_posix()
        for path in modules().values()
        if re.search(pattern, path.read_text(encoding="utf-8"), re.MULTILINE)
    }


def test_only_one_file_gives_files_their_names() -> None:
    assert places(r"\bos\.(replace|rename)\(|\.rename\(|\bshutil\.move\(") == {"core/atomic_files.py"}


def test_only_one_file_reaches_into_hydra() -> None:
    assert places(r"^\s*(from|import) hydra\._internal") == {"config/hydra_loader.py"}


def test_no_file_is_longer_than_500_lines() -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split()
    long = {name: len((ROOT / name).read_text().splitlines()) for name in tracked if (ROOT / name).exists()}
    assert {name: lines for name, lines in long.items() if lines > 500} == {}
