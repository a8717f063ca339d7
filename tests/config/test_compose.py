"""What a command line composes to."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest

from trainer.config.compose import compose
from trainer.core.errors import ConfigError
from trainer.core.yaml_io import load_yaml
from trainer.schema import COMMANDS, Evaluate, Experiment
from trainer.schema.conf_folders import Conf, conf_dir


def train(*overrides: str, **more: object) -> Experiment:
    config, _ = compose("train", list(overrides), **more)  # type: ignore[arg-type]
    assert isinstance(config, Experiment)
    return config


def test_the_defaults() -> None:
    config = train()
    assert (config.task.name, config.model.name, config.dataset.name) == (
        "detection",
        "rtmdet-tiny",
        "digits",
    )
    assert (config.dataset.image_size, config.optimizer.name, config.mm) == (96, "default", {})


def test_leaves_have_the_types_of_the_schema() -> None:
    config = train("optimizer=sgd", "optimizer.lr=1", "runtime.compile=true", "dataset.image_size=[128,96]")
    assert (config.optimizer.lr, type(config.optimizer.lr)) == (1.0, float)
    assert config.runtime.compile is True
    assert config.dataset.image_size == [128, 96]


@pytest.mark.parametrize(
    ("typed", "task", "model"),
    [
        (["model=segformer-b0"], "semantic_segmentation", "segformer-b0"),
        (["model=mask-rcnn-r50"], "instance_segmentation", "mask-rcnn-r50"),
        (["model=mask-rcnn-r50", "task=detection"], "detection", "mask-rcnn-r50"),
        (["task=pose"], "pose", "rtmpose-t"),
        (["experiment=digits_pose"], "pose", "rtmpose-t"),
        (["experiment=digits_pose", "model=hrnet-w32"], "pose", "hrnet-w32"),
        (["experiment=digits_pose", "model=fcn-r50"], "semantic_segmentation", "fcn-r50"),
        (["experiment=digits_pose", "task=detection"], "detection", "rtmdet-tiny"),
        (
            ["task=semantic_segmentation", "model=mask2former_r50"],
            "semantic_segmentation",
            "mask2former-semantic-r50",
        ),
        (["model=mask2former_r50"], "instance_segmentation", "mask2former-r50"),
        (["model=mmseg/fcn/fcn_r50-d8_4xb2-40k_cityscapes-512x1024"], "semantic_segmentation", None),
    ],
)
def test_task_and_model_follow_each_other(typed: list[str], task: str, model: str | None) -> None:
    config = train(*typed)
    assert config.task.name == task
    assert model in (None, config.model.name)


def test_what_is_typed_wins_over_an_experiment_and_that_over_the_groups() -> None:
    recipe = train("experiment=digits")
    assert (recipe.optimizer.name, recipe.scheduler.warmup_iters) == ("adamw", 50)
    typed = train("experiment=digits", "optimizer=sgd", "scheduler.warmup_iters=7")
    assert (typed.optimizer.name, typed.optimizer.momentum, typed.scheduler.warmup_iters) == ("sgd", 0.9, 7)
    assert train("experiment=digits", "debug=one_batch").runtime.epochs == 1


def test_mm_takes_any_key_without_a_plus() -> None:
    config = train(
        "mm.train_pipeline.RandomFlip.prob=0.3",
        "mm.model.bbox_head.loss_cls.beta=2.5",
        "mm.custom_hooks.EMAHook.momentum=1e-4",
        "mm.a=[1,two,{three: null}]",
        "++mm.b.c='x y'",
        "mm.param_scheduler.0.begin=5",
        "mm.lr=${optimizer.lr}",
        "optimizer.lr=0.25",
    )
    assert config.mm == {
        "train_pipeline": {"RandomFlip": {"prob": 0.3}},
        "model": {"bbox_head": {"loss_cls": {"beta": 2.5}}},
        "custom_hooks": {"EMAHook": {"momentum": 1e-4}},
        "a": [1, "two", {"three": None}],
        "b": {"c": "x y"},
        "param_scheduler": {"0": {"begin": 5}} if "0" in config.mm["param_scheduler"] else {0: {"begin": 5}},
        "lr": 0.25,
    }


@pytest.mark.parametrize("name", ["RTMDet_S", "rtmdet_s", "rtmdet-s", "rtmdetS", "rtmdet_s_8xb32-300e_coco"])
def test_one_model_under_its_names(name: str) -> None:
    assert train(f"model={name}").model.base == "mmdet::rtmdet/rtmdet_s_8xb32-300e_coco.py"


def test_only_one_form_of_warm_up_is_left() -> None:
    config = train("scheduler=cosine", "scheduler.warmup_epochs=0.5")
    assert (config.scheduler.warmup_epochs, config.scheduler.warmup_iters) == (0.5, None)


def test_other_commands_have_their_own_keys() -> None:
    config, tree = compose("evaluate", ["checkpoint=latest", "split=test"])
    assert (type(config), config.checkpoint, config.split) == (Evaluate, "latest", "test")
    assert "model" not in tree


@pytest.mark.parametrize("command", COMMANDS)
def test_no_plain_key_has_the_name_of_a_group(command: str) -> None:
    # key=value would choose from the group then.
    plain = {one.name for one in fields(COMMANDS[command]) if not is_dataclass(one.default_factory)}
    assert not plain & set(Conf().groups)


def test_a_folder_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    text = "# @package _global_\ndefaults:\n  - digits\n  - override /model: yolox-tiny\n"
    text += "runtime:\n  epochs: 77\n"
    (tmp_path / "experiment" / "mine.yaml").write_text(text)
    config = train("experiment=mine", conf=Conf([conf_dir(), tmp_path]))
    assert (config.model.name, config.runtime.epochs, config.optimizer.name) == ("yolox-tiny", 77, "adamw")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("name: sgd\nlr: abc\n", "optimizer.lr"),
        ("name: sgd\nlrr: 1\n", "Did you mean 'optimizer.lr'"),
        ("name: sgd\nlr: -1\n", "optimizer.lr=-1.0: expected a number > 0"),
        ("name: sgd\nlr: 1\nlr: 2\n", "given twice"),
        ("name: [\n", "no valid YAML"),
        ("name: sgd\nlr: ${nowhere}\n", "nowhere"),
    ],
)
def test_mistakes_in_files_name_the_key(tmp_path: Path, content: str, expected: str) -> None:
    (tmp_path / "optimizer").mkdir()
    (tmp_path / "optimizer" / "mine.yaml").write_text(content)
    with pytest.raises(ConfigError, match=".") as caught:
        train("optimizer=mine", conf=Conf([conf_dir(), tmp_path]))
    assert expected in caught.value.message


def test_every_model_file_is_named_after_its_model() -> None:
    for path in (conf_dir() / "model").glob("*.yaml"):
        assert load_yaml(path)["name"] == path.stem


def test_each_tasks_default_model_can_do_it() -> None:
    for path in (conf_dir() / "task").glob("*.yaml"):
        content = load_yaml(path)
        assert (
            content["name"] in load_yaml(conf_dir() / "model" / f"{content['default_model']}.yaml")["tasks"]
        )


def test_conf_lies_in_the_package_of_a_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tmp_path / "site-packages" / "trainer" / "config" / "paths.py"
    for folder in (module.parent, module.parent.parent / "conf"):
        folder.mkdir(parents=True)
    monkeypatch.setattr("trainer.schema.conf_folders.__file__", str(module))
    with pytest.raises(ConfigError, match="configuration files are missing"):
        conf_dir()
    (module.parent.parent / "conf" / "train.yaml").touch()
    assert conf_dir() == module.parent.parent / "conf"
