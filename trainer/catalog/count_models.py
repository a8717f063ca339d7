"""``python -m trainer.catalog.count_models``: build every config of the installed packages on ``meta`` and write counts.json.

Nothing is allocated or downloaded: a model costs a few hundredths of a second. Two processes share the work; what
each worker says is one JSON line a config. ``--check`` compares with the file instead of writing it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from trainer.catalog import counts
from trainer.config_tree.config_files import PACKAGES, configs
from trainer.core.atomic_files import atomic_write
from trainer.core.errors import FrameworkError
from trainer.schema.conf_folders import Conf

Row = dict[str, Any]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m trainer.catalog.count_models", description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare with counts.json, write nothing")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("bases", nargs="*", help="package::path.py; all when none is given")
    args = parser.parse_args(argv)
    started = time.monotonic()
    rows = count(args.bases or everything(), flops=named_bases(), processes=args.processes)
    print(report(rows))
    print(f"{time.monotonic() - started:.0f} s", file=sys.stderr)
    if args.check:
        return 1 if differences(rows) else 0
    if not args.bases:
        atomic_write(counts.SHIPPED, counts.as_text(rows))
    return 0


def everything() -> list[str]:
    """The base of every installed config."""
    return [f"{package}::{config}.py" for package in PACKAGES for config in configs(package)]


def named_bases(conf: Conf | None = None) -> list[str]:
    """The bases of the named models."""
    conf = conf or Conf()
    return [str(conf.read("model", name).get("base")) for name in conf.groups.get("model", [])]


def count(bases: Iterable[str], flops: Iterable[str] = (), processes: int = 1) -> dict[str, Row]:
    """``{params, flops, size}`` or ``{reason}`` of each base, counted in child processes.

    Args:
        bases: the configs.
        flops: those of them whose multiply-adds are counted too.
        processes: how many share the work.
    Raises:
        FrameworkError: a child died.
    """
    bases, wanted = list(dict.fromkeys(bases)), set(flops)
    # Neighbours share their model section, which is then built once: contiguous parts.
    size = -(-len(bases) // processes) or 1
    parts = [bases[start : start + size] for start in range(0, len(bases), size)]
    with ThreadPoolExecutor(processes) as pool:
        found = pool.map(lambda part: dict(_child(part, wanted)), parts)
        return {base: row for rows in found for base, row in rows.items()}


def report(rows: dict[str, Row]) -> str:
    """How many were built, package by package, and the reasons of the others, counted."""
    lines = []
    for package in PACKAGES:
        own = [row for base, row in rows.items() if base.startswith(f"{package}::")]
        lines.append(f"{package}: {sum('params' in row for row in own)} of {len(own)} built")
    built = sum("params" in row for row in rows.values())
    lines.append(f"all: {built} of {len(rows)}")
    reasons = Counter(row["reason"] for row in rows.values() if "reason" in row)
    lines += [f"{number:5d}  {reason}" for reason, number in reasons.most_common()]
    return "\n".join(lines)


def differences(rows: dict[str, Row]) -> dict[str, tuple[Row | None, Row]]:
    """Each base that was counted now and isn't the same in counts.json: (there, now)."""
    shipped = counts.shipped()
    return {base: (shipped.get(base), row) for base, row in rows.items() if shipped.get(base) != row}


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


if __name__ == "__main__":
    sys.exit(main())
