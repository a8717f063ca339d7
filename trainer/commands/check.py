"""``python -m trainer check dataset=... dataset.path=...``: look at a data set as training would, and report on it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import orjson

from trainer.commands.notes import notes_to_stderr
from trainer.config.run_directory import experiment_name
from trainer.core.atomic_files import atomic_write
from trainer.core.cli_text import short
from trainer.data.dataset_report import FILE, describe_dataset
from trainer.data.load_records import find_source, read_records
from trainer.data.prepare import prepare_source
from trainer.schema import Experiment

_WORDS = {"error": "error", "warning": "warning", "fix": "fixed", "note": "note"}


def main(exp: Experiment, overrides: list[str]) -> int:
    """Check, write ``data_report.json`` and ``.png`` into the experiment's folder, and prepare the data for training.

    Raises:
        DatasetError: with every mistake; the report is written before, as far as there is something to report.
    """
    source = find_source(exp.dataset, exp.task.name)
    if source.note:
        notes_to_stderr([source.note])
    loaded = read_records(source)
    content = describe_dataset(source.name, source.task, loaded)
    for line in _told(content):
        print(line)
    folder = Path(exp.output_dir) / experiment_name(exp)
    report = atomic_write(folder / FILE, orjson.dumps(content, default=str))
    written = [report]
    if any(split["images"] for split in content["splits"].values()):
        from trainer.plots.data_report import PICTURE, draw_data_report

        if draw_data_report(report, folder / PICTURE):
            written.insert(0, folder / PICTURE)
    print("report: " + ", ".join(short(path) for path in written))
    sys.stdout.flush()
    loaded.problems.raise_any(source.name)
    bundle = prepare_source(source, loaded)  # finds what only the pixels of masks say
    print(f"no mistake; training can start. fingerprint {bundle.fingerprint[:16]}")
    return 0


def _told(content: dict[str, Any]) -> list[str]:
    """The numbers of each split, and all that was found but mistakes, which the error lists."""
    lines = [
        f"{content['data_set']}: {content['task']}, {len(content['classes'])} classes, {content['root']}"
    ]
    for name, split in content["splits"].items():
        bare = split["images_without_labels"]
        lines.append(
            f"  {name:5} {split['images']} images, {split['objects']} objects"
            + (f", {bare} images without labels" if bare else "")
        )
    for finding in content["findings"]:
        if finding["level"] != "error":
            more = ", ..." if finding["count"] > len(finding["examples"]) else ""
            examples = (
                f" ({finding['count']}): {', '.join(finding['examples'])}{more}" if finding["count"] else ""
            )
            lines.append(f"{_WORDS[finding['level']]}: {finding['text']}{examples}")
    return lines
