"""``python -m trainer.catalog.count_models``: build every installed config on ``meta`` and write counts.json.

Nothing is allocated or downloaded: a model costs a few hundredths of a second. Two processes share the work; each
answers with one JSON line a config. ``--check`` compares with the file instead of writing it.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence

from trainer.catalog import counts
from trainer.catalog.counts import Row, all_bases, count, named_bases
from trainer.config_tree.config_files import PACKAGES
from trainer.core.atomic_files import atomic_write


def main(argv: Sequence[str] | None = None) -> int:
    """Count, print a report, and write or compare the file; returns the exit code."""
    parser = argparse.ArgumentParser("python -m trainer.catalog.count_models", description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare with counts.json, write nothing")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("bases", nargs="*", help="package::path.py; all when none is given")
    args = parser.parse_args(argv)
    started = time.monotonic()
    rows = count(args.bases or all_bases(), flops=named_bases(), processes=args.processes)
    print(report(rows))
    print(f"{time.monotonic() - started:.0f} s", file=sys.stderr)
    if args.check:
        return 1 if differences(rows) else 0
    if not args.bases:
        atomic_write(counts.SHIPPED, counts.counts_file_text(rows))
    return 0


def report(rows: dict[str, Row]) -> str:
    """Return a text: how many configs of each package were built, and how often each reason kept one from it."""
    lines = []
    for package in PACKAGES:
        of_package = [row for base, row in rows.items() if base.startswith(f"{package}::")]
        lines.append(f"{package}: {sum('params' in row for row in of_package)} of {len(of_package)} built")
    built = sum("params" in row for row in rows.values())
    lines.append(f"all: {built} of {len(rows)}")
    reasons = Counter(row["reason"] for row in rows.values() if "reason" in row)
    lines += [f"{number:5d}  {reason}" for reason, number in reasons.most_common()]
    return "\n".join(lines)


def differences(rows: dict[str, Row]) -> dict[str, tuple[Row | None, Row]]:
    """Return each base whose row differs from the one in counts.json: (shipped, counted now)."""
    shipped = counts.shipped()
    return {base: (shipped.get(base), row) for base, row in rows.items() if shipped.get(base) != row}


if __name__ == "__main__":
    sys.exit(main())
