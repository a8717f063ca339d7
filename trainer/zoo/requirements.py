"""Packages that some configs need beyond the usual ones, told from the configs' text: nothing heavy is imported."""

from __future__ import annotations

import ast
import functools
import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path

from trainer.config_tree.config_files import PACKAGES, config_path, configs_dir
from trainer.core.cli_text import program

# A type such as 'mmpretrain.ConvNeXt' or a base such as 'mmpretrain::resnet/...'.
_PREFIX = re.compile(r"^(mmpretrain|mmcls|mmdet|mmseg|mmpose|mmrotate|mmyolo)(\.|::)\w")
_RENAMED = {"mmcls": "mmpretrain"}
_BY_TYPE = {
    "BertModel": "transformers",
    "ByteTracker": "lap",
    "OCSORTTracker": "lap",
    "Detectron2Wrapper": "detectron2",
}
# Types that need a second package besides the one their prefix names.
_BESIDES = {"mmpretrain.TIMMBackbone": "timm", "TIMMBackbone": "timm"}
EXTRAS = {
    **{name: name for name in ("mmpretrain", "transformers", "fairscale", "lap")},
    **dict.fromkeys(PACKAGES, "openmmlab"),
}
"""The extra of this trainer that brings a package."""


@dataclass
class _Text:
    """What a config and its bases say: every text that isn't a docstring, and whether blocks are checkpointed."""

    words: set[str]
    checkpointed: bool


def needs(base: str) -> list[str]:
    """The packages that a config needs besides torch and its own package, sorted; may be empty.

    Raises:
        ConfigError: there is no such config.
    """
    return list(_needs(str(config_path(base)), base.partition("::")[0]))


def missing(base: str) -> list[str]:
    """Those of :func:`needs` that aren't installed."""
    return [name for name in needs(base) if not installed(name)]


def refusal(name: str, base: str) -> str | None:
    """One line that says what ``model=<name>`` lacks and how it is installed; None where nothing is missing."""
    lacking = missing(base)
    if not lacking:
        return None
    packages = " and ".join(lacking)
    return (
        f"model={name} needs {packages}, which {'is' if len(lacking) == 1 else 'are'} not installed: "
        f"{install_command(lacking)}"
    )


def install_command(packages: list[str]) -> str:
    """What to type to get them."""
    extras = list(dict.fromkeys(EXTRAS[name] for name in packages if name in EXTRAS))
    others = [name for name in packages if name not in EXTRAS]
    words = [f'"openmmlab-trainer[{",".join(extras)}]"'] if extras else []
    return f"{program('pip')} install {' '.join([*words, *others])}"


@functools.cache
def installed(package: str) -> bool:
    """Whether a package can be imported; it isn't."""
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):
        return False


@functools.cache
def _needs(path: str, own: str) -> tuple[str, ...]:
    text = _read(Path(path))
    found = {_BY_TYPE[word] for word in text.words & set(_BY_TYPE)}
    for word in text.words:
        if match := _PREFIX.match(word):
            found.add(_RENAMED.get(match[1], match[1]))
        if word in _BESIDES:
            found.add(_BESIDES[word])
    if text.checkpointed:
        found.add("fairscale")
    return tuple(sorted(found - {own}))


@functools.cache
def _read(path: Path) -> _Text:
    """A config's text with that of its bases."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return _Text(set(), False)  # what is wrong with it is told where it is loaded
    docstrings = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    words: set[str] = set()
    checkpointed = False
    bases: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            words.add(node.value)
        elif isinstance(node, ast.keyword) and node.arg == "num_cp" and isinstance(node.value, ast.Constant):
            checkpointed |= bool(node.value.value)
        elif isinstance(node, ast.Assign) and any(
            isinstance(t, ast.Name) and t.id == "_base_" for t in node.targets
        ):
            bases += [
                item.value
                for item in ast.walk(node.value)
                if isinstance(item, ast.Constant) and isinstance(item.value, str)
            ]
    for base in bases:
        inner = _base_path(path, base)
        if inner is not None and inner != path:
            text = _read(inner)
            words = words | text.words
            checkpointed |= text.checkpointed
    return _Text(words, checkpointed)


def _base_path(path: Path, base: str) -> Path | None:
    package, separator, relative = base.partition("::")
    if not separator:
        return path.parent / base
    folder = configs_dir(package) if package in PACKAGES else None
    return folder / relative if folder else None
