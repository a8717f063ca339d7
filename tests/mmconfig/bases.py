"""Bundles and experiments without files: the bridge only reads what they say."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from trainer.data.bundle import DataBundle, Keypoints, Split
from trainer.mmconfig.build_config import build_config
from trainer.schema import Experiment

DIGITS = tuple("0123456789")
POINTS = Keypoints(
    ("top", "right", "bottom", "left"), ((0, 1), (1, 2), (2, 3), (3, 0)), ((1, 3),), (0.05,) * 4
)
# Where a bundle may be added to; the files it names are only named.
WRITABLE = Path(tempfile.mkdtemp(prefix="bundle-"))
METRICS = {"semantic_segmentation": "mIoU"}


def make_bundle(task: str, images: int = 1200) -> DataBundle:
    root = WRITABLE

    def split(name: str, count: int) -> Split:
        return Split(
            name, root / "images", root / f"{name}.json", count, count, root / "masks", root / f"{name}.txt"
        )

    classes = {"pose": ("digit",), "semantic_segmentation": ("background", *DIGITS)}.get(task, DIGITS)
    palette = tuple((index, 0, 0) for index in range(len(classes)))
    splits = {"train": split("train", images), "val": split("val", 200)}
    return DataBundle("digits", task, root, classes, palette, splits, "f", POINTS if task == "pose" else None)


def make_experiment(base: str, task: str = "detection", **leaves: object) -> Experiment:
    """An experiment on a base, with leaves as ``group__key=value``."""
    exp = Experiment()
    exp.model.base, exp.task.name = base, task
    exp.task.primary_metric = METRICS.get(task, "mAP50-95")
    for name, value in leaves.items():
        group, _, key = name.partition("__")
        if key:
            setattr(getattr(exp, group), key, value)
        else:
            setattr(exp, group, value)
    return exp


def build(base: str, task: str | None = None, images: int = 1200, **leaves: object) -> dict[str, Any]:
    """Bridge a base with the digits bundle and give the final config."""
    task = task or TASK_OF[base]
    return build_config(make_experiment(base, task, **leaves), make_bundle(task, images), Path("/run")).cfg


RTMDET = "mmdet::rtmdet/rtmdet_s_8xb32-300e_coco.py"
YOLOX = "mmdet::yolox/yolox_s_8xb8-300e_coco.py"
FASTER = "mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py"
MASK = "mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py"
CASCADE = "mmdet::cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco.py"
DEFORMABLE = "mmdet::deformable_detr/deformable-detr_r50_16xb2-50e_coco.py"
MASK2FORMER = "mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco.py"
SEGFORMER = "mmseg::segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512.py"
PSPNET = "mmseg::pspnet/pspnet_r50-d8_4xb2-40k_cityscapes-512x1024.py"
RTMPOSE = "mmpose::body_2d_keypoint/rtmpose/coco/rtmpose-t_8xb256-420e_coco-256x192.py"
HRNET = "mmpose::body_2d_keypoint/topdown_heatmap/coco/td-hm_hrnet-w32_8xb64-210e_coco-256x192.py"
RTMO = "mmpose::body_2d_keypoint/rtmo/coco/rtmo-s_8xb32-600e_coco-640x640.py"
TASK_OF = {
    RTMDET: "detection", YOLOX: "detection", FASTER: "detection", MASK: "instance_segmentation",
    CASCADE: "instance_segmentation", DEFORMABLE: "detection", MASK2FORMER: "instance_segmentation",
    SEGFORMER: "semantic_segmentation", PSPNET: "semantic_segmentation", RTMPOSE: "pose", HRNET: "pose", RTMO: "pose",
}  # fmt: skip
