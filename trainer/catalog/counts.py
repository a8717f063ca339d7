"""Parameters and multiply-adds of the packages' configs, without torch: from a shipped file, or counted once.

``python -m trainer.catalog.count_models`` wrote ``counts.json``, with the versions it was counted for. With other
versions the requested configs are counted in a child process, and the cache keeps the result.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson

from trainer.config_tree.config_files import PACKAGES, list_configs, package_version
from trainer.core.atomic_files import atomic_write
from trainer.core.cache_folder import cache_dir
from trainer.core.errors import FrameworkError, TrainerError
from trainer.schema.conf_folders import Conf

SHIPPED = Path(__file__).with_name("counts.json")
COUNTED_WITH = ("mmdet", "mmseg", "mmpose", "mmcv", "mmengine")

Row = dict[str, Any]


def read_counts(bases: Iterable[str], say: Callable[[str], None] | None = None) -> dict[str, Row]:
    """Return the row of each base: ``params``, ``flops`` (multiply-adds) at ``size`` [width, height], or ``reason``.

    Args:
        bases: ``package::path.py`` each.
        say: called with a line before counting, which takes seconds.
    """
    bases = list(dict.fromkeys(bases))
    known = shipped() if is_current() else _cached()
    absent = [base for base in bases if base not in known]
    if absent:
        if say:
            say(f"counting the parameters of {len(absent)} models, once for the installed versions")
        try:
            known = {**known, **count(absent, flops=absent)}
            _keep(known)
        except TrainerError as error:  # torch isn't there, say; a list without these numbers is still a list
            if say:
                say(error.message)
    return {base: known[base] for base in bases if base in known}


def is_current() -> bool:
    """Whether the shipped file was counted with the installed versions."""
    return _file()["versions"] == versions()


def shipped() -> dict[str, Row]:
    """The rows of the shipped file."""
    return _file()["models"]


def versions() -> dict[str, str | None]:
    """The installed versions of what the counts depend on."""
    return {package: package_version(package) for package in COUNTED_WITH}


def counts_file_text(rows: dict[str, Row]) -> str:
    """Return the text of counts.json for the installed versions, one line a config."""
    lines = [f"    {json.dumps(base)}: {json.dumps(rows[base])}" for base in sorted(rows)]
    head = json.dumps({"versions": versions()}, indent=2).removesuffix("\n}")
    return head + ',\n  "models": {\n' + ",\n".join(lines) + "\n  }\n}\n"


def all_bases() -> list[str]:
    """The base of every installed config."""
    return [f"{package}::{config}.py" for package in PACKAGES for config in list_configs(package)]


def named_bases(conf: Conf | None = None) -> list[str]:
    """The bases of the named models."""
    conf = conf or Conf()
    return [str(conf.read("model", name).get("base")) for name in conf.groups.get("model", [])]


def count(bases: Iterable[str], flops: Iterable[str] = (), processes: int = 1) -> dict[str, Row]:
    """Count ``{params, flops, size}`` or find the ``{reason}`` of each base, in child processes.

    Args:
        bases: the configs.
        flops: those of them whose multiply-adds are counted too.
        processes: how many share the work.
    Raises:
        FrameworkError: a child died.
    """
    bases, with_flops = list(dict.fromkeys(bases)), set(flops)
    # Neighbours share their model section, which is then built once: contiguous parts.
    size = -(-len(bases) // processes) or 1
    parts = [bases[start : start + size] for start in range(0, len(bases), size)]
    with ThreadPoolExecutor(processes) as pool:
        found = pool.map(lambda part: dict(_child(part, with_flops)), parts)
        return {base: row for rows in found for base, row in rows.items()}


@functools.cache
def _file() -> dict[str, Any]:
    try:
        return dict(orjson.loads(SHIPPED.read_bytes()))
    except (OSError, ValueError):
        return {"versions": {}, "models": {}}


def _cached() -> dict[str, Row]:
    path = _path()
    try:
        return dict(orjson.loads(path.read_bytes())) if path else {}
    except (OSError, ValueError):
        return {}


def _keep(rows: dict[str, Row]) -> None:
    path = _path()
    if path:
        with contextlib.suppress(OSError):
            atomic_write(path, orjson.dumps({**_cached(), **rows}))


def _path() -> Path | None:
    key = hashlib.sha256(repr(versions()).encode()).hexdigest()[:16]
    try:
        return cache_dir() / "zoo" / f"counts-{key}.json"
    except OSError:
        return None


def _child(bases: list[str], flops: set[str]) -> Iterator[tuple[str, Row]]:
    order = json.dumps({"bases": bases, "flops": [base for base in bases if base in flops]})
    environment = {**os.environ, "NO_ALBUMENTATIONS_UPDATE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "trainer.catalog.build_worker"],
        input=order,
        capture_output=True,
        text=True,
        env=environment,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise FrameworkError(f"counting parameters failed: {last[0]}")
    for line in done.stdout.splitlines():
        base, row = json.loads(line)
        yield base, row
