"""What settings become: every key of every table composes, defaults say nothing, what is unknown is told.

Of the contract's defects of earlier trainers (12.3), here: the batch size that was asked for is trained with (2.3).
Names of base configs are tested in tests/zoo, data formats and splits in tests/data, the rest of data, the number of
classes and restarts in test_entry.py, test_variables_data.py and test_restart.py; loss, epoch numbers, percent, rows
and the best checkpoint's address with the callbacks.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trainer.config.compose import compose
from trainer.platform import docs_tables
from trainer.platform.settings.coercion import override, written
from trainer.platform.settings.config_json import is_backend, read_settings, settle
from trainer.platform.settings.environment_variables import read
from trainer.platform.settings.setting_keys import NOTHING, JobFacts, Reader, SettingKey
from trainer.platform.settings.settings_table import ADVANCED, BASIC, FORM, JOB, NESTED
from trainer.schema.fields import value_at

TASKS = ("detection", "semantic_segmentation")
BACKEND = {
    "epochs": 12, "batch": 8, "learning_rate": 0.001, "imgsz": 640, "device": "0", "advanced_config": {},
    "primary_metric": "loss", "primary_metric_mode": "min",
}  # fmt: skip


def settings(config: dict[str, Any], task: str = "detection", **variables: str) -> Reader:
    """What CONFIG and variables become."""
    given = read("train", [], {**variables, "CONFIG": json.dumps(config)})
    content, source = given.config()
    reader = Reader(JobFacts(task, is_backend(content)))
    read_settings(given, content, source, reader)
    settle(reader, task)
    return reader


def composed(reader: Reader, task: str = "detection") -> Any:
    pairs = {key: value for key, value in reader.pairs.items() if key != "dataset.split_file"}
    words = [override(key, value) for key, value in pairs.items()]
    return compose("train", [f"task={task}", *words], runnable=False)[0]


def sample(key: SettingKey) -> Any:
    """A value of a key that does something."""
    if key.sample is not NOTHING:
        return key.sample
    if key.choices:
        return key.choices[0]
    number = key.high if key.high is not None and key.high <= 1 else (key.low or 0) + 1
    examples = {"int": int(number), "float": float(number), "bool": key.default is not True, "size": 96}
    return examples.get(key.type, "x")


def cases() -> Iterator[Any]:
    tables = {"basic": BASIC, "advanced": ADVANCED, "": (*JOB, *FORM)}
    for drawer, table in tables.items():
        for key in table:
            for name in (key.name, *key.aliases):
                content = {name: sample(key)}
                yield pytest.param({drawer: content} if drawer else content, key, id=f"{drawer}.{name}")
    for group, table in NESTED.items():
        for key in table:
            content = {key.name: sample(key)}
            inner = {group: content} if group else content
            yield pytest.param({"advanced_config": inner}, key, id=f"advanced_config.{group}.{key.name}")


@pytest.mark.parametrize(("config", "key"), cases())
def test_every_key_is_an_override_that_composes_or_is_told_as_ignored(
    config: dict[str, Any], key: SettingKey
) -> None:
    reader = settings(config)
    assert not reader.mistakes
    given = [row for row in reader.rows if "default" not in row.source]
    assert len(given) == 1 and given[0].outcome
    ours = {name for name, source in reader.sources.items() if "default" not in source}
    if key.to is None:
        assert not ours and key.says in given[0].outcome
    elif isinstance(key.to, str) and "ignored" not in given[0].outcome:
        assert key.to in ours
    if key.to is not None:
        composed(reader)


def test_own_interface() -> None:
    reader = settings({
        "basic": {"epochs": 12, "batch": 2, "lr0": 0.02, "optimizer": "SGD", "device": "0", "workers": 4},
        "advanced": {"lr_scheduler": "step", "warmup_epochs": 1, "warmup_ratio": 0.001, "mosaic": False, "mixup": False,
                     "amp": False, "sync_bn": False, "val_interval": 1, "checkpoint_interval": 1},
    })  # fmt: skip
    assert not reader.ignored and not reader.mistakes
    assert reader.pairs == {
        "runtime.epochs": 12, "runtime.batch_size": 2, "optimizer.lr": 0.02, "optimizer": "sgd",
        "runtime.device": "auto", "runtime.workers": 4, "scheduler": "step", "scheduler.warmup_epochs": 1.0,
        "scheduler.warmup_ratio": 0.001, "augmentation.mosaic": False, "augmentation.mixup": False,
        "runtime.amp": "off", "runtime.sync_bn": False, "runtime.val_interval": 1, "runtime.checkpoint_interval": 1,
    }  # fmt: skip
    exp = composed(reader)
    assert (exp.optimizer.name, exp.optimizer.lr, exp.scheduler.name) == ("sgd", 0.02, "step")


def test_the_batch_size_of_the_interface_is_trained_with() -> None:
    assert composed(settings(BACKEND)).runtime.batch_size == 8


def test_what_the_backend_writes_when_nobody_chose_says_nothing() -> None:
    reader = settings(BACKEND, LEARNING_RATE="0.001", IMGSZ="640", EPOCHS="12", BATCH_SIZE="8", DEVICE="cpu")
    assert reader.pairs == {"runtime.epochs": 12, "runtime.batch_size": 8, "runtime.device": "cpu"}
    chosen = settings({**BACKEND, "learning_rate": 0.005, "imgsz": 512, "primary_metric": "mAP50"})
    assert chosen.pairs["optimizer.lr"] == 0.005 and chosen.pairs["dataset.image_size"] == 512
    assert chosen.pairs["task.primary_metric"] == "mAP50"
    typed = {name: value for name, value in BACKEND.items() if name != "advanced_config"}
    assert settings(typed).pairs["optimizer.lr"] == 0.001  # written by a person


def nested() -> dict[str, Any]:
    """``advanced_config`` with every default, as the backend dumps it."""
    groups: dict[str, Any] = {}
    for group, table in NESTED.items():
        values = {key.name: key.default for key in table}
        groups.update({group: values} if group else values)
    return groups


def test_the_nested_form_with_every_default_says_nothing() -> None:
    reader = settings({**BACKEND, "advanced_config": nested()})
    assert not [row for row in reader.rows if "advanced_config" in row.source]
    assert "optimizer" not in reader.pairs and "dataset.image_size" not in reader.pairs


def test_what_differs_from_the_nested_defaults_counts() -> None:
    config = nested()
    config["optimizer"].update(type="sgd", learning_rate=0.01)
    config["scheduler"].update(type="cosine", eta_min=1e-4, warmup_epochs=2)
    config["augmentation"].update(random_rotation=True, rotation_degrees=30)
    config["validation"].update(early_stopping=True, early_stopping_patience=6, val_interval=2)
    config.update(mixed_precision=True, gradient_clip_value=5.0)
    reader = settings({**BACKEND, "advanced_config": config})
    assert not reader.mistakes
    exp = composed(reader)
    assert (exp.optimizer.name, exp.optimizer.lr) == ("sgd", 0.01)
    assert (exp.scheduler.name, exp.scheduler.min_ratio, exp.scheduler.warmup_epochs) == ("cosine", 0.01, 2.0)
    assert (exp.augmentation.rotation, exp.runtime.amp, exp.runtime.clip_grad) == (30.0, "bf16", 5.0)
    assert (exp.runtime.val_interval, exp.runtime.early_stopping) == (
        2,
        3,
    )  # six epochs are three validations


def test_variables_win_over_config_and_config_over_older_variables() -> None:
    pairs = settings(
        {"batch": 4}, EPOCHS="3", BATCH_SIZE="", CONFIG_BATCH="6", CONFIG_EPOCHS="9", CONFIG_LR0="0.5"
    ).pairs
    assert (pairs["runtime.epochs"], pairs["runtime.batch_size"], pairs["optimizer.lr"]) == (3, 4, 0.5)
    rows = settings({"epochs": 5}, EPOCHS="3").rows
    assert [row.outcome for row in rows if row.source == "CONFIG.epochs"] == [
        "EPOCHS counts for runtime.epochs"
    ]


def test_advanced_config_comes_from_its_variable_where_config_has_none() -> None:
    value = '{"mixed_precision": true}'
    assert settings({}, ADVANCED_CONFIG=value).pairs["runtime.amp"] == "bf16"
    assert "runtime.amp" not in settings({"advanced_config": {}}, ADVANCED_CONFIG=value).pairs


def test_null_and_empty_are_as_if_they_were_not_there() -> None:
    reader = settings(
        {"epochs": None, "optimizer": "", "basic": None, "advanced_config": {"optimizer": {"type": None}}}
    )
    assert reader.pairs == {"runtime.epochs": 12, "runtime.batch_size": 2} and not reader.mistakes


def test_an_unknown_key_is_told_with_the_nearest() -> None:
    reader = settings({"basic": {"epoch": 3}, "surprise": 1})
    assert not reader.mistakes
    assert any("CONFIG.basic.epoch" in line and "Did you mean 'epochs'" in line for line in reader.ignored)
    assert any("CONFIG.surprise=1: there is no such setting" in line for line in reader.ignored)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"basic": {"epochs": 0}}, "CONFIG.basic.epochs: expected a whole number from 1 to 500, got 0"),
        ({"basic": {"epochs": 501}}, "from 1 to 500, got 501"),
        ({"basic": {"batch": "many"}}, "CONFIG.basic.batch: expected a whole number from 1 to 128, got many"),
        ({"basic": {"lr0": 0}}, "expected a number from 0 to 1, not 0, got 0"),
        ({"basic": {"optimizer": "SDG"}}, "expected one of SGD, Adam, AdamW, got SDG. Did you mean 'SGD'"),
        ({"basic": {"workers": 33}}, "from 0 to 32"),
        ({"advanced": {"lr_scheduler": "cosin"}}, "Did you mean 'cosine'"),
        ({"advanced": {"mosaic": "maybe"}}, "CONFIG.advanced.mosaic: expected true or false, got maybe"),
        ({"advanced": {"val_interval": 1.5}}, "expected a whole number from 1 on, got 1.5"),
        ({"basic": [1]}, "CONFIG.basic: expected an object"),
        ({"advanced_config": "x"}, "CONFIG.advanced_config: expected an object, got x"),
        ({"batch": True}, "CONFIG.batch: expected a whole number from 1 to 512, got true"),
    ],
)
def test_wrong_types_and_ranges_are_mistakes(config: dict[str, Any], said: str) -> None:
    (mistake,) = settings(config).mistakes
    assert said in mistake


def test_what_a_task_or_an_optimizer_does_not_have_is_told_as_ignored() -> None:
    reader = settings({"basic": {"optimizer": "AdamW"}, "momentum": 0.9, "mosaic": 1.0, "lrf": 0.1}, "pose")
    assert {"optimizer.momentum", "augmentation.mosaic", "scheduler.min_ratio"}.isdisjoint(reader.pairs)
    assert len(reader.ignored) == 3
    assert value_at(composed(reader, "pose"), "optimizer.name") == "adamw"


@pytest.mark.parametrize("task", TASKS)
def test_a_metric_that_the_task_has_chooses_the_best(task: str) -> None:
    words = {"detection": "mAP50", "semantic_segmentation": "mDice"}
    assert settings({"primary_metric": words[task]}, task).pairs["task.primary_metric"] == words[task]
    other = settings({"primary_metric": "precision"}, task)
    assert "task.primary_metric" not in other.pairs and "the best checkpoint is chosen by" in other.ignored[0]


@pytest.mark.parametrize(
    "value",
    [
        "a b",
        "it's",
        "x\\",
        "\\'",
        "1e5",
        "007",
        "null",
        "True",
        "a,b",
        "[x]",
        "{x}",
        "k=v",
        "",
        "ü",
        "$x",
        "a:b",
        "-1",
    ],
)
def test_any_text_survives_hydra_s_grammar(value: str) -> None:
    exp = compose("train", [override("dataset.name", value), "dataset=digits"], runnable=False)[0]
    assert exp.dataset.name == value


def test_values_in_hydra_s_grammar() -> None:
    assert written([1, 0.5, "a b", True, None]) == "[1,0.5,'a b',true,null]"
    assert written({"a": {"b": "c"}}) == "{a:{b:c}}"


def test_the_page_has_the_tables_of_the_code() -> None:
    page = docs_tables.PAGE.read_text(encoding="utf-8")
    assert docs_tables.written(page) == page, "python -m trainer.platform.docs_tables writes it anew"
    assert Path(docs_tables.PAGE).name == "platform.md"


def test_any_of_the_trainer_s_own_keys() -> None:
    reader = settings({"overrides": ["runtime.clip_grad=5", "mm.model.backbone.depth=18"]})
    assert composed(reader).runtime.clip_grad == 5
    assert composed(reader).mm == {"model": {"backbone": {"depth": 18}}}


@pytest.mark.parametrize("value", [True, "true", "coco", False, "/models/a.pth", "s3://b/a.pth"])
def test_weights_to_start_from(value: Any) -> None:
    expected = {"True": "coco", "true": "coco", "False": "none"}.get(str(value), value)
    assert settings({"pretrained": value}).pairs["model.weights"] == expected
