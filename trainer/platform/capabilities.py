"""What the platform is told of this trainer: ``python -m trainer.platform.capabilities`` writes both files anew.

``capabilities.json`` says which models there are; ``config_schema.py`` which fields a form for a training job has.
Everything in them comes from ``conf/``, the packages' metafiles, the counts and the tables of settings.
"""

from __future__ import annotations

import json
import pprint
import sys
from pathlib import Path
from typing import Any

from trainer.catalog import cards
from trainer.config_tree.config_files import PACKAGES
from trainer.core.atomic_files import atomic_write
from trainer.core.installation import VERSION
from trainer.platform.settings.setting_keys import NOTHING, SettingKey
from trainer.platform.settings.settings_table import ADVANCED, BASIC, FORM
from trainer.platform.settings.task_names import LONG
from trainer.schema import METRICS, TASKS, Experiment, export_formats, formats
from trainer.schema.conf_folders import Conf
from trainer.schema.fields import fields_of
from trainer.zoo.model_names import ModelNames
from trainer.zoo.requirements import needs

ROOT = Path(__file__).resolve().parents[2]
FRAMEWORK = "openmm"
DESCRIPTION = "MMDetection, MMSegmentation and MMPose on MMEngine: detection, segmentation and pose"
_DISPLAY = {
    "detection": "Object detection",
    "instance_segmentation": "Instance segmentation",
    "semantic_segmentation": "Semantic segmentation",
    "pose": "Pose estimation",
}
_PACKAGES = ("torch", "onedl-mmengine", "onedl-mmcv", "onedl-mmdetection", "onedl-mmsegmentation", "mmpose")
_GROUPS = {
    "optimizer": "optimizer",
    "scheduler": "scheduler",
    "augmentation": "augmentation",
    "runtime": "optimization",
}
# Settings of the form whose override follows from a function, by name.
_GROUP_OF = {
    "optimizer": "optimizer",
    "lr_scheduler": "scheduler",
    "cos_lr": "scheduler",
    "val_interval": "validation",
    "hsv_h": "augmentation",
    "scale": "augmentation",
}
_TYPES = {"int": "int", "size": "int", "float": "float", "bool": "bool", "text": "string"}
_PRIMARY = ("epochs", "batch", "lr0")


def capabilities() -> dict[str, Any]:
    """The content of ``capabilities.json``, in the form that the platform's upload checks (contract, section 10)."""
    found = cards.named_cards(ModelNames(Conf()))
    return {
        "framework": FRAMEWORK,
        "display_name": "OpenMMLab",
        "description": DESCRIPTION,
        "version": VERSION,
        "models": [_model(card) for card in found],
        "task_types": [
            {
                "name": LONG[task],
                "display_name": _DISPLAY[task],
                "description": _metrics(task),
                "supported": True,
            }
            for task in TASKS
        ],
        "dataset_formats": [
            {"name": name, "display_name": name.upper(), "description": f"dataset={name}", "supported": True}
            for name in formats()
            if name != "auto"
        ],
        "export_formats": list(export_formats()),
        "requirements": _requirements(),
        "metric_candidates_by_task": {
            LONG[task]: [
                {"value": name, "label": name, "mode": "max", "description": f"{name}, 0 to 1"}
                for name in METRICS[task]
            ]
            for task in TASKS
        },
        "config_schema": {field["name"]: _entry(field) for field in fields()},
    }


def fields() -> list[dict[str, Any]]:
    """The fields of a training job's form; a default of None: as the model's authors chose."""
    told: dict[str, dict[str, Any]] = {}
    for keys, advanced in ((BASIC, False), (ADVANCED, True), (FORM, True)):
        for key in keys:
            if key.to is not None and key.name not in told and (key.choices or key.type in _TYPES):
                told[key.name] = _field(key, advanced)
    return list(told.values())


def schema() -> dict[str, Any]:
    """What ``get_config_schema()`` gives (contract, section 11)."""
    return {
        "framework": FRAMEWORK,
        "description": DESCRIPTION,
        "version": VERSION,
        "fields": fields(),
        "presets": {
            "easy": {"epochs": 12},
            "medium": {"epochs": 50, "lr_scheduler": "cosine", "warmup_epochs": 1.0},
            "advanced": {
                "epochs": 100,
                "lr_scheduler": "cosine",
                "warmup_epochs": 3.0,
                "amp": True,
                "ema": True,
            },
        },
    }


def files() -> dict[Path, str]:
    """Both files, as they are to be written."""
    text = pprint.pformat(schema(), width=100, sort_dicts=False)
    module = (
        '"""Fields of a training job\'s form. Written by ``python -m trainer.platform.capabilities``; '
        'change the tables there."""\n\n'
        f"SCHEMA = {text}\n\n\n"
        "def get_config_schema():\n"
        '    """The framework, its fields and its presets; the platform\'s upload script reads this."""\n'
        "    return SCHEMA\n"
    )
    return {
        ROOT / "capabilities.json": json.dumps(capabilities(), indent=2, ensure_ascii=False) + "\n",
        ROOT / "config_schema.py": module,
    }


def main() -> int:
    """Write both files."""
    for path, text in files().items():
        print(atomic_write(path, text))
    return 0


def _model(card: cards.Card) -> dict[str, Any]:
    wanted = [package for package in needs(card.base) if package not in PACKAGES]
    head = (ROOT / "conf" / "model" / f"{card.name}.yaml").read_text(encoding="utf-8").splitlines()[0]
    words = head.lstrip("# ").partition(": python -m trainer")[0]
    figures = [
        f"{figure.metric} {figure} on {figure.dataset}"
        for task in card.tasks
        if (figure := card.figure(task))
    ]
    told: dict[str, Any] = {
        "model_name": card.name,
        "display_name": words,
        "description": f"{words}. {'; '.join(figures) or 'No figure is published'}.",
        "task_types": [LONG[task] for task in card.tasks],
        "supported": not wanted,
        "parameters": {
            "params_m": None if card.params is None else round(card.params / 1e6, 1),
            "flops_g": None if card.flops is None else round(card.flops / 1e9, 1),
        },
        "config_file": card.base.partition("::")[2],
        "pretrained": card.weights,
    }
    if wanted:
        told["validation_error"] = f"needs {', '.join(wanted)}, which set-up doesn't install"
    return told


def _metrics(task: str) -> str:
    return f"Metrics: {', '.join(METRICS[task])}"


def _requirements() -> dict[str, str]:
    """What set-up installs, by its lock file."""
    folder = ROOT / "scripts" / "setup"
    lines = "\n".join(path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.txt"))).splitlines()
    pins = dict(line.partition(";")[0].strip().split("==") for line in lines if line.count("==") == 1)
    pins |= _mmcv()
    return {"python": ">=3.10", **{name: pins[name] for name in _PACKAGES if name in pins}}


def _mmcv() -> dict[str, str]:
    """mmcv is compiled by a step of its own; its version stands in the extra that names it."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    _, _, rest = text.partition('"onedl-mmcv==')
    return {"onedl-mmcv": rest.partition('"')[0]}


def _field(key: SettingKey, advanced: bool) -> dict[str, Any]:
    group = _GROUP_OF.get(key.name) or (
        _GROUPS.get(key.to.partition(".")[0], "basic") if isinstance(key.to, str) else "optimization"
    )
    told: dict[str, Any] = {
        "name": key.name,
        "type": "select" if key.choices else _TYPES[key.type],
        "default": None if key.default is NOTHING else key.default,
        "description": _meaning(key),
        "group": group if advanced else "basic",
        "required": False,
        "advanced": advanced,
    }
    limits = {"min": key.low, "max": key.high, "options": list(key.choices) or None}
    told |= {name: limit for name, limit in limits.items() if limit is not None}
    return told | ({"primary": True} if key.name in _PRIMARY else {})


def _meaning(key: SettingKey) -> str:
    """In words: what the leaf that it sets is for, or what the table says."""
    known = fields_of(Experiment).get(key.to) if isinstance(key.to, str) and "." in key.to else None
    return str(known.metadata["doc"]) if known else key.meaning.replace("`", "")


def _entry(field: dict[str, Any]) -> dict[str, Any]:
    kept = ("type", "default", "min", "max", "options", "description")
    return {name: field[name] for name in kept if name in field}


if __name__ == "__main__":
    sys.exit(main())
