"""Augmentation choices: what they put in the pipelines, and that the libraries' transforms run on real scenes."""

from __future__ import annotations

import functools

import pytest

from tests.mmconfig.bases import RTMDET, RTMPOSE, SEGFORMER, TASK_OF, YOLOX, build, make_experiment
from trainer.config_tree.traverse import leaf_dataset, loader_pipelines, of_type, type_name
from trainer.core.errors import ConfigError
from trainer.mmconfig.build_config import build_config
from trainer.schema import Dataset

CHOICES = {
    "default": {},
    "none": {"name": "none"},
    "light": {"name": "light", "flip": 0.5, "hsv": True},
    "mosaic": {"name": "mosaic", "mosaic": True, "mixup": False, "hsv": True, "flip": 0.5},
    "mosaic_mixup": {"name": "mosaic_mixup", "mosaic": True, "mixup": True, "hsv": True, "flip": 0.5},
    "strong": {
        "name": "strong",
        "hsv": True,
        "flip": 0.5,
        "rotation": 10.0,
        "scaling": [0.5, 1.5],
        "crop": True,
    },
}


def steps(cfg):
    return [type_name(step) for pipeline in loader_pipelines(cfg["train_dataloader"]) for step in pipeline]


def augmented(base, choice="default", **leaves):
    named = {f"augmentation__{key}": value for key, value in {**CHOICES[choice], **leaves}.items()}
    return build(base, runtime__epochs=30, dataset__image_size=96, **named)


def test_none_is_load_resize_pad_pack():
    assert steps(augmented(RTMDET, "none")) == [
        "LoadImageFromFile",
        "LoadAnnotations",
        "Resize",
        "Pad",
        "PackDetInputs",
    ]


def test_mosaic_is_closed_for_the_last_epochs():
    cfg = augmented(YOLOX, "mosaic_mixup")
    assert "CachedMosaic" in steps(cfg) and "CachedMixUp" in steps(cfg)
    hooks = [type_name(hook) for hook in cfg["custom_hooks"]]
    assert "YOLOXModeSwitchHook" not in hooks  # it switches a wrapper data set that is gone
    switch = next(of_type(cfg["custom_hooks"], "PipelineSwitchHook"))
    assert switch["switch_epoch"] == 28
    assert not {"CachedMosaic", "CachedMixUp"} & {type_name(step) for step in switch["switch_pipeline"]}
    closed = augmented(YOLOX, "mosaic", close_mosaic_epochs=10)
    assert next(of_type(closed["custom_hooks"], "PipelineSwitchHook"))["switch_epoch"] == 20


def test_switches_edit_the_model_s_own():
    plain = steps(augmented(RTMDET))
    assert "CachedMosaic" in plain and "YOLOXHSVRandomAug" in plain
    edited = augmented(RTMDET, mosaic=False, hsv=False, flip=0.0)
    assert not {"CachedMosaic", "CachedMixUp", "YOLOXHSVRandomAug"} & set(steps(edited))
    assert next(of_type(edited["train_dataloader"], "RandomFlip"))["prob"] == 0.0
    assert next(of_type(edited["train_dataloader"], "RandomResize"))["scale"] == (
        96,
        96,
    )  # not mosaic's doubled one
    assert not {"Mosaic", "RandomAffine", "MixUp"} & set(steps(augmented(YOLOX, mosaic=False)))


def test_rotation_and_scaling():
    cfg = augmented(RTMDET, rotation=15.0, scaling=[0.8, 1.2])
    assert next(of_type(cfg["train_dataloader"], "Rotate"))["max_mag"] == 15.0
    assert next(of_type(cfg["train_dataloader"], "RandomResize"))["ratio_range"] == (0.8, 1.2)
    pose = next(of_type(augmented(RTMPOSE, rotation=15.0)["train_dataloader"], "RandomBBoxTransform"))
    assert pose["rotate_factor"] == 15.0
    assert "RandomRotate" in steps(augmented(SEGFORMER, "strong"))


def test_what_can_not_be_is_refused():
    for base, choice, leaves in ((RTMPOSE, "mosaic", {}), (SEGFORMER, "default", {"mosaic": True})):
        with pytest.raises(ConfigError, match="augmentation"):
            augmented(base, choice, **leaves)


def test_a_fixed_flip_probability_means_none_at_all():
    assert "RandomFlip" not in steps(augmented(RTMPOSE, "none"))


def possible():
    for base, task in TASK_OF.items():
        boxes = task in ("detection", "instance_segmentation")
        yield from ((base, choice) for choice in CHOICES if boxes or not choice.startswith("mosaic"))


@pytest.mark.slow
@pytest.mark.parametrize(("base", "choice"), possible())
def test_pipelines_run_on_real_scenes(base, choice, scenes):
    task = TASK_OF[base]
    named = {f"augmentation__{key}": value for key, value in CHOICES[choice].items()}
    exp = make_experiment(base, task, dataset__image_size=96, runtime__epochs=3, **named)
    cfg = build_config(exp, scenes(task)).config()
    from mmengine.registry import DATASETS, init_default_scope

    init_default_scope(cfg.default_scope)
    data = cfg.train_dataloader.dataset
    dataset = DATASETS.build(data)
    for index in range(6):
        item = dataset[index % len(dataset)]
        assert item["inputs"].shape[0] == 3 and item["data_samples"] is not None
    assert leaf_dataset(cfg.val_dataloader)["type"]
    assert DATASETS.build(cfg.val_dataloader.dataset)[0]["inputs"].ndim == 3


@pytest.fixture(scope="module")
def scenes():
    """Prepared digits for a task, few of them, prepared once."""
    from trainer.data.prepare import prepare
    from trainer.engine import compat

    compat.apply()
    import mmdet.utils
    import mmpose.utils
    import mmseg.utils

    for package in (mmdet, mmseg, mmpose):
        package.utils.register_all_modules(init_default_scope=False)
    return functools.cache(lambda task: prepare(Dataset(name="digits", scenes=12, val_scenes=4), task))
