"""The tables of docs/platform.md, written from the code: ``python -m trainer.platform.docs_tables`` rewrites them
in place.

They stand between ``<!-- variables -->`` and ``<!-- /variables -->``, and likewise ``settings`` and ``operations``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from trainer.core.atomic_files import atomic_write
from trainer.export.settings import from_export_config
from trainer.platform.settings.environment_variables import ALIASES, OPTIONS, SHARED_OPTIONS
from trainer.platform.settings.setting_keys import NOTHING, SettingKey
from trainer.platform.settings.settings_table import ADVANCED, BASIC, FORM, JOB, NESTED
from trainer.platform.settings.task_names import LONG, SPELLINGS

# The keys of an export's settings, each with a value that does something where any does.
EXPORT: dict[str, object] = {
    "opset_version": 17,
    "input_shape": [1, 3, 640, 640],
    "dynamic_axes": {"images": [0]},
    "dynamic": True,
    "batch_size": 8,
    "imgsz": 640,
    "embed_preprocessing": True,
    "simplify": False,
    "fp16": True,
    "int8": True,
    "quantization_type": "static",
    "calibration_dataset_size": 100,
    "confidence_threshold": 0.25,
    "iou_threshold": 0.45,
    "max_detections": 300,
    "workspace_size_gb": 4,
    "tolerance": 0.001,
    "validate_outputs": False,
    "num_samples": 10,
    "minimum_deployment_target": "iOS16",
    "pruning_amount": 0.3,
    "task_type": "detection",
}

PAGE = Path(__file__).resolve().parents[2] / "docs" / "platform.md"


def written(page: str) -> str:
    """The page with its tables as the code has them now."""
    for name, text in (("variables", variables()), ("settings", settings()), ("operations", operations())):
        begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        head, _, rest = page.partition(begin)
        _, found, tail = rest.partition(end)
        if not found:
            raise ValueError(f"the page has no {begin.strip()} ... {end}")
        page = f"{head}{begin}\n{text}\n{end}{tail}"
    return page


def variables() -> str:
    """The scripts' options with the variables that they stand for, and the tasks' spellings."""
    lines = ["| Script | Variable | Its other names | Option |", "|---|---|---|---|"]
    for kind, options in OPTIONS.items():
        for option, name in {**options, **_FOR_ALL}.items():
            others = ", ".join(f"`{other}`" for other in ALIASES[kind].get(name, ()))
            lines.append(f"| {kind}.py | `{name}` | {others} | `{option}` |")
    lines += ["", "| Task | Spellings, in any case, with `_` or `-` |", "|---|---|"]
    lines += [
        f"| {LONG[task]} | {', '.join(f'`{word}`' for word in words)} |" for task, words in SPELLINGS.items()
    ]
    return "\n".join(lines) + "\n"


def settings() -> str:
    """What every setting of a training job becomes."""
    parts = [
        "### What the backend sends: variables and flat keys\n\n" + _job(),
        "### The trainer's own: `basic`\n\n" + _plain(BASIC),
        "### The trainer's own: `advanced`\n\n" + _plain(ADVANCED),
        "### Flat keys of forms and of other trainers\n\n" + _plain(FORM),
        "### `advanced_config`, nested\n\nThe backend fills in every default, so that a default says nothing.\n\n"
        + _nested(),
    ]
    return "\n".join(parts)


def operations() -> str:
    """What every setting of the other jobs becomes."""
    from trainer.platform.jobs import evaluate_job, predict_job

    parts = [
        "### CONFIG of predict.py\n\n" + _plain(predict_job.SETTINGS),
        "### CONFIG of evaluate.py\n\n" + _plain(evaluate_job.SETTINGS),
        "### CONFIG, or EXPORT_CONFIG, of export.py\n\n" + _export(),
    ]
    return "\n".join(parts)


def main() -> int:
    """Rewrite docs/platform.md."""
    atomic_write(PAGE, written(PAGE.read_text(encoding="utf-8")))
    return 0


def _job() -> str:
    lines = ["| Key | Variable | Older | Takes | Becomes |", "|---|---|---|---|---|"]
    for key in JOB:
        names = ", ".join(f"`{name}`" for name in key.variables)
        old = f"`{key.legacy}`" if key.legacy else ""
        lines.append(f"| {_names(key)} | {names} | {old} | {_takes(key)} | {_becomes(key)} |")
    return "\n".join(lines) + "\n"


def _plain(table: Sequence[SettingKey]) -> str:
    lines = ["| Key | Takes | Becomes |", "|---|---|---|"]
    ignored: dict[str, list[str]] = {}
    for key in table:
        if key.to is None:
            ignored.setdefault(key.says, []).append(_names(key))
        else:
            lines.append(f"| {_names(key)} | {_takes(key)} | {_becomes(key)} |")
    lines += [f"| {', '.join(names)} | | ignored: {why} |" for why, names in ignored.items()]
    return "\n".join(lines) + "\n"


def _export() -> str:
    lines = ["| Key | For example | Becomes |", "|---|---|---|"]
    for name, value in EXPORT.items():
        overrides, notes = from_export_config({name: value})
        becomes = f"`{' '.join(overrides)}`" if overrides else notes[0].partition(" is ")[2]
        lines.append(f"| `{name}` | `{_literal(value)}` | {becomes} |")
    return "\n".join(lines) + "\n"


def _nested() -> str:
    lines = ["| Group | Key | Says nothing | Becomes |", "|---|---|---|---|"]
    for group, table in NESTED.items():
        for key in table:
            default = "" if key.default is NOTHING else f"`{_literal(key.default)}`"
            lines.append(f"| {group} | {_names(key)} | {default} | {_becomes(key)} |")
    return "\n".join(lines) + "\n"


def _names(key: SettingKey) -> str:
    return ", ".join(f"`{name}`" for name in (key.name, *key.aliases))


def _takes(key: SettingKey) -> str:
    return key.expected if key.to is not None else ""


def _becomes(key: SettingKey) -> str:
    text = key.meaning if key.to is not None else f"ignored: {key.says}"
    if key.constant is not NOTHING:
        text += f" (`{_literal(key.constant)}` beside `advanced_config`: nobody chose it)"
    if key.default is not NOTHING and key in (*JOB, *BASIC):
        text += f"; without it {_literal(key.default)}"
    return text


def _literal(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


_FOR_ALL = SHARED_OPTIONS | {"--config": "CONFIG", "--config-file": "CONFIG"}

if __name__ == "__main__":
    sys.exit(main())
