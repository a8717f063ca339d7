import pytest

from tests.mmconfig.bases import (
    DEFORMABLE,
    FASTER,
    HRNET,
    PSPNET,
    RTMDET,
    RTMO,
    RTMPOSE,
    SEGFORMER,
    TASK_OF,
    YOLOX,
    build,
)
from trainer.config_tree.traverse import loader_pipelines, of_type, traverse
from trainer.mmconfig.image_size import nominal_size


def sizes(cfg, loader, *types, key="scale"):
    return [
        step[key]
        for pipeline in loader_pipelines(cfg[loader])
        for step in of_type(pipeline, *types)
        if key in step
    ]


def test_detection_sizes_keep_their_relations_and_tuples():
    cfg = build(RTMDET, dataset__image_size=320)
    assert sizes(cfg, "train_dataloader", "CachedMosaic", key="img_scale") == [(320, 320)]
    assert sizes(cfg, "train_dataloader", "RandomResize") == [(640, 640)]  # RTMDet resizes to twice its input
    assert sizes(cfg, "train_dataloader", "RandomCrop", key="crop_size") == [(320, 320)]
    assert sizes(cfg, "val_dataloader", "Resize") == [(320, 320)]
    assert next(of_type(cfg["custom_hooks"], "PipelineSwitchHook"))["switch_pipeline"][2]["scale"] == (
        320,
        320,
    )


def test_long_and_short_edge_and_width_and_height():
    assert sizes(build(FASTER, dataset__image_size=[640, 384]), "val_dataloader", "Resize") == [(640, 384)]
    cfg = build(RTMDET, dataset__image_size=[640, 320])
    assert sizes(cfg, "train_dataloader", "RandomCrop", key="crop_size") == [
        (640, 320)
    ]  # (width, height), in mmdet


def test_a_fixed_batch_is_no_smaller_than_what_it_is_padded_from():
    base = "mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco.py"
    cfg = build(base, "instance_segmentation", dataset__image_size=[100, 70])
    width, height = sizes(cfg, "train_dataloader", "RandomCrop", key="crop_size")[0]
    padded = cfg["model"]["data_preprocessor"]["batch_augments"][0]["size"]
    assert padded == tuple(-side // 32 * -32 for side in (height, width))


def test_batch_augments_and_affine_borders():
    cfg = build(YOLOX, dataset__image_size=320)
    assert cfg["model"]["data_preprocessor"]["batch_augments"][0]["random_size_range"] == (256, 384)
    assert sizes(cfg, "train_dataloader", "RandomAffine", key="border") == [(-160, -160)]


def test_crop_ranges_stay_ranges():
    crops = sizes(
        build(DEFORMABLE, dataset__image_size=96), "train_dataloader", "RandomCrop", key="crop_size"
    )
    assert crops and all(low <= high for low, high in crops)


def test_segmentation_is_set_to_the_size():
    cfg = build(SEGFORMER, dataset__image_size=[320, 256])
    assert sizes(cfg, "train_dataloader", "RandomResize") == [(320, 256)]
    assert sizes(cfg, "train_dataloader", "RandomCrop", key="crop_size") == [(256, 320)]
    assert cfg["model"]["data_preprocessor"]["size"] == (256, 320)
    assert sizes(cfg, "val_dataloader", "Resize") == [(320, 256)]
    assert cfg["crop_size"] == (256, 320)
    slide = build("mmseg::vit/vit_vit-b16_mln_upernet_8xb2-80k_ade20k-512x512.py", "semantic_segmentation")
    assert nominal_size(slide, "semantic_segmentation") == (512, 512)


def test_pose_scales_codec_head_and_sigma_together():
    cfg = build(RTMPOSE, dataset__image_size=96)
    head = cfg["model"]["head"]
    assert head["input_size"] == (96, 96) and head["in_featuremap_size"] == (3, 3)
    assert head["decoder"]["sigma"] == (3.46, 3.47)
    encoder = next(of_type(cfg["train_dataloader"], "SimCCLabel"))
    assert encoder == head["decoder"]
    heat = build(HRNET, dataset__image_size=[384, 512])["model"]["head"]["decoder"]
    assert heat["heatmap_size"] == (96, 128) and heat["sigma"] == 4


def test_bottom_up_pose():
    cfg = build(RTMO, dataset__image_size=320)
    affine = next(of_type(cfg["train_dataloader"], "BottomupRandomAffine"))
    assert tuple(affine["input_size"]) == (320, 320)
    hook = next(hook for hook in cfg["custom_hooks"] if "new_train_pipeline" in hook)
    assert tuple(next(of_type(hook["new_train_pipeline"], "BottomupRandomAffine"))["input_size"]) == (
        320,
        320,
    )


@pytest.mark.parametrize("base", TASK_OF)
def test_no_size_of_the_base_is_left(base):
    task = TASK_OF[base]
    old = nominal_size(build(base), task)
    cfg = build(base, dataset__image_size=160)
    left = [
        path
        for path, value in traverse(
            {key: cfg[key] for key in ("model", "train_dataloader", "val_dataloader")}
        )
        if isinstance(value, (tuple, list)) and tuple(value) in (old, old[::-1])
    ]
    assert not left


def test_cityscapes_bases_test_at_the_size_asked_for():
    assert sizes(build(PSPNET, dataset__image_size=96), "val_dataloader", "Resize") == [(96, 96)]


def test_squares_that_only_training_crops_become_the_size_asked_for():
    """Large-scale jittering: tested at (1333, 800), trained on squares of 1024."""
    cfg = build("mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco.py", dataset__image_size=64)
    for name in ("RandomResize", "RandomCrop"):
        step = next(of_type(cfg["train_dataloader"], name))
        assert tuple(step.get("scale") or step["crop_size"]) == (64, 64), name
    assert sizes(cfg, "val_dataloader", "Resize") == [(64, 64)]
    assert tuple(cfg["model"]["data_preprocessor"]["batch_augments"][0]["size"]) == (64, 64)
