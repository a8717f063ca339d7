"""Names of models, and the installed packages' configs as choices."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from trainer.config.config_sources import ZooSource
from trainer.config_tree.config_files import PACKAGES, config_path, list_configs
from trainer.core.errors import ConfigError
from trainer.schema import TASKS
from trainer.schema.conf_folders import Conf
from trainer.zoo.config_tasks import refusal, tasks_of
from trainer.zoo.model_names import ModelNames, squash

CONTRACT = {
    "faster-rcnn-r50": "faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py",
    "mask-rcnn-r50": "mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py",
    "cascade-mask-rcnn-r50": "cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco.py",
    "retinanet-r50": "retinanet/retinanet_r50_fpn_1x_coco.py",
    "fcos-r50": "fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py",
    "yolox-s": "yolox/yolox_s_8xb8-300e_coco.py",
    "yolox-m": "yolox/yolox_m_8xb8-300e_coco.py",
    "rtmdet-s": "rtmdet/rtmdet_s_8xb32-300e_coco.py",
    "rtmdet-m": "rtmdet/rtmdet_m_8xb32-300e_coco.py",
}

# What users were told they find, name by name.
ISSUED = {
    "detection": """faster-rcnn-r50 faster-rcnn-r101 retinanet-r50 fcos-r50 yolox-tiny yolox-s yolox-m yolox-l yolox-x
        rtmdet-tiny rtmdet-s rtmdet-m rtmdet-l rtmdet-x cascade-rcnn-r50 atss-r50 tood-r50 gfl-r50 deformable-detr-r50
        dino-r50 conditional-detr-r50 centernet-r18 ssd300""",
    "instance_segmentation": """mask-rcnn-r50 cascade-mask-rcnn-r50 rtmdet-ins-tiny rtmdet-ins-s rtmdet-ins-m solov2-r50
        mask2former-r50""",
    "semantic_segmentation": """fcn-r50 deeplabv3plus-r50 deeplabv3plus-r101 pspnet-r50 upernet-r50 segformer-b0
        segformer-b2 segformer-b5 ocrnet-hr18 bisenetv2 ddrnet-23-slim pidnet-s segnext-t mask2former-r50""",
    "pose": """rtmpose-t rtmpose-s rtmpose-m rtmpose-l hrnet-w32 hrnet-w48 simplebaseline-r50 vitpose-s vitpose-b rtmo-s
        dekr-w32 yoloxpose-s""",
}
# The platform's own names, as its capability files write them.
PLATFORM = {
    "detection": """faster-rcnn_r50_fpn faster-rcnn_r101_fpn retinanet_r50_fpn atss_r50_fpn cascade-rcnn_r50_fpn
        detr_r50 dino-4scale_r50 dino-5scale_swin-l fcos_r50_fpn centernet_r18 rtmdet_tiny rtmdet_s rtmdet_m
        rtmdet_l""",
    "semantic_segmentation": """fcn_r50-d8 deeplabv3plus_r50-d8 deeplabv3plus_r101-d8 pspnet_r50-d8 upernet_r50
        segformer_mit-b0 segformer_mit-b2 segformer_mit-b5 mask2former_r50 mask2former_swin-l swin-tiny_upernet
        swin-base_upernet bisenetv2 ddrnet_23-slim""",
}


@pytest.fixture(scope="module")
def models() -> ModelNames:
    return ModelNames(Conf())


def test_every_named_model_starts_from_an_installed_config(models: ModelNames) -> None:
    assert len(models.named) >= 60
    for model in models.named:
        path = config_path(models.conf.read("model", model.name)["base"])
        assert path.is_file()


@pytest.mark.parametrize(("name", "base"), CONTRACT.items())
def test_the_promised_models(models: ModelNames, name: str, base: str) -> None:
    assert models.conf.read("model", name)["base"] == f"mmdet::{base}"


@pytest.mark.parametrize("names", [ISSUED, PLATFORM], ids=["issued", "platform"])
def test_every_name_that_users_were_told_is_a_model_for_its_task(
    models: ModelNames, names: dict[str, str]
) -> None:
    for task, words in names.items():
        for word in words.split():
            name = models.resolve(word, task)
            assert "/" not in name, "a named model, not the packages' config of that name"
            assert models.tasks(name)[0] == task, word


def test_named_tasks_agree_with_what_was_published(models: ModelNames) -> None:
    for model in models.named:
        package, _, relative = models.conf.read("model", model.name)["base"].partition("::")
        inferred = tasks_of(package, relative.removesuffix(".py"))
        assert set(model.tasks) <= set(inferred), model
        assert model.tasks[0] == inferred[0], model


def test_names_are_one_whatever_their_case_and_separators(models: ModelNames) -> None:
    for model in models.named:
        for name in (
            model.name,
            model.name.upper(),
            model.name.replace("-", "_"),
            model.name.replace("-", ""),
        ):
            assert models.resolve(name) == model.name
        for alias in model.aliases:
            task = model.tasks[0]
            assert models.resolve(alias, task) == model.name


def test_no_two_models_share_a_name_for_one_task(models: ModelNames) -> None:
    keys = Counter((key, task) for model in models.named for key in model.keys for task in model.tasks)
    assert [key for key, count in keys.items() if count > 1] == []


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("faster-rcnn_r50_fpn", "faster-rcnn-r50"),
        ("deeplabv3plus_r50-d8", "deeplabv3plus-r50"),
        ("segformer_mit-b0", "segformer-b0"),
        ("dino-4scale_r50", "dino-r50"),
    ],
)
def test_the_platforms_longer_names(models: ModelNames, alias: str, name: str) -> None:
    assert models.resolve(alias) == name


def test_an_unknown_name_gets_the_nearest(models: ModelNames) -> None:
    with pytest.raises(ConfigError, match="'rtmdet-s'"):
        models.resolve("rtmdet-ss")
    with pytest.raises(ConfigError, match="there is no model 'zzzzzz'"):
        models.resolve("zzzzzz")


@pytest.mark.parametrize(
    "word",
    [
        "mmdet/rtmdet/rtmdet_s_8xb32-300e_coco",
        "mmdet/rtmdet/rtmdet_s_8xb32-300e_coco.py",
        "mmdet::rtmdet/rtmdet_s_8xb32-300e_coco.py",
        "rtmdet_s_8xb32-300e_coco",
    ],
)
def test_any_config_by_its_path_or_its_own_name(models: ModelNames, word: str) -> None:
    assert models.resolve(word) == "mmdet/rtmdet/rtmdet_s_8xb32-300e_coco"
    assert models.tasks(models.resolve(word)) == ["detection"]


@pytest.mark.parametrize("package", PACKAGES)
def test_all_configs_of_a_package_are_listed_once(package: str) -> None:
    names = list_configs(package)
    assert len(names) == len(set(names)) > 300
    assert all(config_path(f"{package}::{name}").is_file() for name in names)
    assert not any("_base_" in name or name.endswith(".py") for name in names)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_config_is_a_choice_or_says_in_one_line_what_else_it_is_for(package: str) -> None:
    source = ZooSource(provider="zoo", path="zoo://")
    chosen = 0
    for config in list_configs(package):
        reason = refusal(package, config)
        if reason is None:
            content = source.load_config(f"model/{package}/{config}").config
            assert config_path(content.base).stem == content.name
            assert content.tasks and set(content.tasks) <= set(TASKS)
            chosen += 1
            continue
        assert reason.startswith(f"model={package}/{config}: this config ") and "\n" not in reason
        with pytest.raises(ConfigError) as caught:
            source.load_config(f"model/{package}/{config}")
        assert caught.value.message == reason
    assert chosen / len(list_configs(package)) > 0.87


@pytest.mark.parametrize(
    ("config", "what"),
    [
        ("mmdet/panoptic_fpn/panoptic-fpn_r50_fpn_1x_coco", "panoptic segmentation"),
        ("mmdet/maskformer/maskformer_r50_ms-16xb1-75e_coco", "panoptic segmentation"),
        ("mmdet/mask2former_vis/mask2former_r50_8xb2-8e_youtubevis2019", "video instance segmentation"),
        ("mmdet/strongsort/yolox_x_8xb4-80e_crowdhuman-mot20train_test-mot20test", "tracking in videos"),
        ("mmdet/reid/reid_r50_8xb32-6e_mot17train80_test-mot17val20", "re-identification"),
        ("mmdet/clrnet/clrnet", "lane detection"),
        ("mmseg/vpd/vpd_sd_4xb8-25k_nyu-512x512", "depth estimation"),
        (
            "mmpose/hand_3d_keypoint/internet/interhand3d/internet_res50_4xb16-20e_interhand3d-256x256",
            "3D keypoints",
        ),
    ],
)
def test_a_config_for_something_else_says_for_what(config: str, what: str) -> None:
    package, _, relative = config.partition("/")
    assert f"this config is for {what}; this trainer's tasks are detection, " in str(
        refusal(package, relative)
    )


def test_a_config_of_settings_is_no_model() -> None:
    assert str(refusal("mmdet", "retinanet/retinanet_tta")).endswith("is no model of its own.")


@pytest.mark.parametrize(
    ("config", "tasks"),
    [
        ("mmdet/dino/dino-4scale_r50_8xb2-24e_coco", ["detection"]),
        ("mmdet/mm_grounding_dino/lvis/grounding_dino_swin-t_finetune_16xb4_1x_lvis_866_337", ["detection"]),
        ("mmdet/mask_rcnn/mask-rcnn_r50_fpn_1x_coco", ["instance_segmentation", "detection"]),
        ("mmdet/rtmdet/rtmdet-ins_s_8xb32-300e_coco", ["instance_segmentation", "detection"]),
        ("mmdet/yolox/yolox_s_8xb8-300e_coco", ["detection"]),
        ("mmdet/panoptic_fpn/panoptic-fpn_r50_fpn_1x_coco", []),
        ("mmdet/qdtrack/qdtrack_faster-rcnn_r50_fpn_8xb2-4e_mot17halftrain_test-mot17halfval", []),
        ("mmdet/mask_rcnn/mask-rcnn_x101-32x8d_fpn_ms-poly-3x_coco", ["instance_segmentation", "detection"]),
        ("mmdet/rpn/rpn_r50_fpn_1x_coco", []),
        ("mmdet/cascade_rpn/cascade-rpn_faster-rcnn_r50-caffe_fpn_1x_coco", ["detection"]),
        ("mmdet/cityscapes/mask-rcnn_r50_fpn_1x_cityscapes", ["instance_segmentation", "detection"]),
        ("mmdet/swin/retinanet_swin-t-p4-w7_fpn_1x_coco", ["detection"]),
        ("mmdet/rtmdet/classification/cspnext-s_8xb256-rsb-a1-600e_in1k", []),
        ("mmseg/unet/unet-s5-d16_fcn_4xb4-40k_drive-64x64", ["semantic_segmentation"]),
        ("mmpose/face_2d_keypoint/rtmpose/wflw/rtmpose-m_8xb64-60e_wflw-256x256", ["pose"]),
        ("mmpose/hand_3d_keypoint/internet/interhand3d/internet_res50_4xb16-20e_interhand3d-256x256", []),
    ],
)
def test_tasks_come_from_folder_and_metafile(config: str, tasks: list[str]) -> None:
    package, _, relative = config.partition("/")
    assert tasks_of(package, relative) == tasks


@pytest.mark.parametrize(
    ("base", "expected"),
    [
        ("mmdet/rtmdet/x.py", "expected package::path"),
        ("torch::x.py", "mmdet, mmseg, mmpose"),
        ("mmdet::rtmdet/rtmdet_s_8xb32-300e_cocoo.py", "Did you mean 'rtmdet/rtmdet_s_8xb32-300e_coco'"),
    ],
)
def test_a_base_that_is_not_there(base: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config_path(base)
    assert expected in caught.value.message


def test_a_package_that_is_not_installed(monkeypatch: pytest.MonkeyPatch, models: ModelNames) -> None:
    monkeypatch.setattr("trainer.config_tree.config_files.configs_dir", lambda package: None)
    list_configs.cache_clear()
    try:
        with pytest.raises(ConfigError, match="mmseg is not installed"):
            config_path("mmseg::fcn/x.py")
        with pytest.raises(ConfigError, match="mmseg is not installed"):
            models.resolve("mmseg/fcn/x")
    finally:
        list_configs.cache_clear()


def test_squash_forgets_what_does_not_count() -> None:
    assert squash("RTMDet_S") == squash("rtmdet-s") == squash("rtmdets")
    assert Path(str(config_path("mmdet::rtmdet/rtmdet_s_8xb32-300e_coco"))).suffix == ".py"
