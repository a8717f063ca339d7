"""Images of any form get a size that the network's strides divide."""

import pytest

from tests.mmconfig.bases import RTMDET, SEGFORMER, YOLOX, build
from trainer.config_tree.traverse import all_pipelines, of_type

PIDNET = "mmseg::pidnet/pidnet-s_2xb6-120k_1024x1024-cityscapes.py"
DDRNET = "mmseg::ddrnet/ddrnet_23-slim_in1k-pre_2xb6-120k_cityscapes-1024x1024.py"


def _pads(cfg):
    return {step["size"] for pipeline in all_pipelines(cfg) for step in of_type(pipeline, "Pad")}


@pytest.mark.parametrize(
    ("size", "padded", "divisor"),
    [
        (320, (320, 320), None),
        ([160, 96], (160, 96), 32),
        ([100, 70], (128, 96), 32),
        (100, (128, 128), None),
    ],
)
def test_a_detector_without_padded_batches(size, padded, divisor):
    cfg = build(RTMDET, dataset__image_size=size)
    assert _pads(cfg) == {padded}
    assert cfg["model"]["data_preprocessor"].get("pad_size_divisor") == divisor


def test_own_augmentation_is_padded_too():
    cfg = build(RTMDET, dataset__image_size=[100, 70], augmentation__name="light")
    assert _pads(cfg) == {(128, 96)}
    # SSD takes any size, and its largest stride is its whole input.
    ssd = build("mmdet::ssd/ssd300_coco.py", "detection", dataset__image_size=200, augmentation__name="light")
    assert _pads(ssd) == {(200, 200)}


def test_a_detector_with_padded_batches_stays():
    assert build(YOLOX, dataset__image_size=[100, 70])["model"]["data_preprocessor"]["pad_size_divisor"] == 32


@pytest.mark.parametrize("base", [PIDNET, DDRNET])
def test_segmentation_that_halves_sizes_three_times(base):
    given = build(base, "semantic_segmentation", dataset__image_size=[100, 72])["model"]["data_preprocessor"]
    assert given["size"] == (72, 104) and given["test_cfg"] == {"size_divisor": 8}
    given = build(base, "semantic_segmentation")["model"]["data_preprocessor"]
    assert given["size"] == (1024, 1024) and given["test_cfg"] == {"size_divisor": 8}
    assert "test_cfg" not in build(SEGFORMER)["model"]["data_preprocessor"]
