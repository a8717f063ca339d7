"""capabilities.json and config_schema.py: current, and as the platform's upload scripts want them."""

from __future__ import annotations

import importlib.util
import json
from typing import Any

import pytest

from trainer.catalog.cards import promises
from trainer.platform.capabilities import ROOT, files
from trainer.platform.settings.settings_table import ADVANCED, BASIC, FORM
from trainer.platform.settings.task_names import task_of


@pytest.fixture(scope="module")
def capabilities() -> dict[str, Any]:
    return json.loads((ROOT / "capabilities.json").read_bytes())


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    spec = importlib.util.spec_from_file_location("config_schema", ROOT / "config_schema.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config_schema()


def test_the_files_are_what_the_code_says() -> None:
    for path, text in files().items():
        assert path.read_text(encoding="utf-8") == text, "run python -m trainer.platform.capabilities"


def test_the_upload_s_required_fields(capabilities: dict[str, Any]) -> None:
    for name in (
        "framework",
        "display_name",
        "description",
        "version",
        "models",
        "task_types",
        "dataset_formats",
    ):
        assert capabilities[name], name
    for model in capabilities["models"]:
        for name in ("model_name", "display_name", "task_types", "description"):
            assert model[name], (model["model_name"], name)
        assert isinstance(model["supported"], bool)
    for one in (*capabilities["task_types"], *capabilities["dataset_formats"]):
        assert set(one) == {"name", "display_name", "description", "supported"}


def test_the_platform_can_start_what_is_offered(capabilities: dict[str, Any]) -> None:
    """A model's first task is what the platform sends as TASK_TYPE."""
    names = [model["model_name"] for model in capabilities["models"]]
    assert len(names) == len(set(names)) and set(names) == {
        path.stem for path in (ROOT / "conf/model").glob("*.yaml")
    }
    assert set(promises()["models"]) <= set(names)
    for model in capabilities["models"]:
        assert [task_of(task) for task in model["task_types"]]
    unsupported = {model["model_name"] for model in capabilities["models"] if not model["supported"]}
    assert unsupported == {"vitpose-s", "vitpose-b"}  # mmpretrain, which set-up doesn't install
    assert set(capabilities["requirements"]) == {
        *("python", "torch", "mmpose"),
        *("onedl-mmengine", "onedl-mmcv", "onedl-mmdetection", "onedl-mmsegmentation"),
    }


def test_the_form(schema: dict[str, Any]) -> None:
    assert set(schema) == {"framework", "description", "version", "fields", "presets"}
    assert set(schema["presets"]) == {"easy", "medium", "advanced"}
    taken = {key.name for key in (*BASIC, *ADVANCED, *FORM) if key.to is not None}
    names = [field["name"] for field in schema["fields"]]
    assert len(names) == len(set(names)) and set(names) <= taken
    for field in schema["fields"]:
        assert {"name", "type", "default", "description", "group", "required", "advanced"} <= set(field)
        assert field["type"] in ("int", "float", "bool", "select", "string") and field["description"]
        assert field["group"] in (
            "optimizer",
            "scheduler",
            "augmentation",
            "optimization",
            "validation",
            "basic",
        )
        assert (field["type"] == "select") == ("options" in field)
    for preset in schema["presets"].values():
        assert set(preset) <= set(names)


def test_the_promised_settings_are_in_the_form(schema: dict[str, Any]) -> None:
    limits = {field["name"]: (field.get("min"), field.get("max")) for field in schema["fields"]}
    assert limits["epochs"] == (1, 500) and limits["batch"] == (1, 128) and limits["workers"] == (0, 32)
    promised = (
        "lr_scheduler warmup_epochs warmup_ratio mosaic mixup amp sync_bn val_interval checkpoint_interval"
    )
    assert {"lr0", "optimizer", "device", *promised.split()} <= set(limits)


def test_nothing_of_this_machine_is_in_them() -> None:
    for path in files():
        assert str(ROOT) not in path.read_text()
