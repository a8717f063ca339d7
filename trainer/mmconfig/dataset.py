"""A prepared data set in place of the base's: loaders, annotation files, class names, evaluators, per family."""

from __future__ import annotations

import copy
from typing import Any

from trainer.config_tree.traverse import (
    Cfg,
    all_pipelines,
    dicts,
    leaf_dataset,
    loader_pipelines,
    of_type,
    type_name,
    wrappers,
)
from trainer.core.atomic_files import atomic_write
from trainer.core.errors import ConfigError
from trainer.data.bundle import DataBundle, Keypoints, Split

# Wrappers that are part of a model's recipe stay; those that only shape the base's own data set go with it.
_KEPT_WRAPPERS = ("MultiImageMixDataset",)
_KEPT_KEYS = (
    "pipeline",
    "filter_cfg",
    "backend_args",
    "data_mode",
    "serialize_data",
    "lazy_init",
    "max_refetch",
)
_POSE_SCORING = ("score_mode", "keypoint_score_thr", "nms_mode", "nms_thr")
_UPPER_BODY = ("nose", "eye", "ear", "shoulder", "elbow", "wrist", "hand", "neck", "head", "finger", "thumb")
_LOWER_BODY = ("hip", "knee", "ankle", "foot", "toe", "heel")


def set_data(cfg: Cfg, task: str, bundle: DataBundle) -> None:
    """Point the three loaders at the bundle and the evaluators at its annotations.

    Raises:
        ConfigError: the base reads something else than one image with boxes, masks, a segmentation map or keypoints.
    """
    _refuse_other_data(cfg, task)
    train = cfg["train_dataloader"]
    _use_split(train, task, bundle, bundle.train)
    for name in ("val", "test"):
        split = bundle.splits.get(name, bundle.val)
        loader = cfg.get(f"{name}_dataloader") or copy.deepcopy(cfg.get("val_dataloader"))
        if not loader:
            raise ConfigError(f"model.base: this config has no {name}_dataloader to take the pipeline from")
        _use_split(loader, task, bundle, split)
        leaf_dataset(loader)["test_mode"] = True
        cfg[f"{name}_dataloader"] = loader
        cfg[f"{name}_evaluator"] = evaluator(task, split, cfg.get(f"{name}_evaluator"))
        if not cfg.get(f"{name}_cfg"):
            cfg[f"{name}_cfg"] = {"type": f"{name.capitalize()}Loop"}
    _adapt_pipelines(cfg, task)
    if task == "pose":
        _pose_details(cfg, bundle)
    for key in ("data_root", "dataset_type", "classes", "metainfo", "num_classes"):
        cfg.pop(key, None)


def evaluator(task: str, split: Split, base: Any = None) -> Cfg:
    """The metric of a task on a split, by the names in ``trainer/engine/metrics``.

    Args:
        base: the base's evaluator; how a pose model's answers are scored (its NMS, its score) is part of the model.
    """
    if task == "semantic_segmentation":
        return {"type": "SegMetrics"}
    kinds = {"detection": "BoxMetrics", "instance_segmentation": "MaskMetrics", "pose": "PoseMetrics"}
    scoring: Cfg = {}
    if task == "pose":
        metric = next((item for item in dicts(base) if type_name(item).endswith("CocoMetric")), {})
        scoring = {key: metric[key] for key in _POSE_SCORING if key in metric}
    return {"type": kinds[task], "ann_file": str(split.ann_file), **scoring}


def pose_metainfo(name: str, points: Keypoints) -> Cfg:
    """MMPose's description of a keypoint set (``parse_pose_metainfo``)."""
    swap = dict(points.flip_pairs) | {right: left for left, right in points.flip_pairs}
    info = {
        index: {
            "name": point,
            "id": index,
            "color": _colour(index),
            "type": _body_part(point),
            "swap": points.names[swap[index]] if index in swap else "",
        }
        for index, point in enumerate(points.names)
    }
    links = {
        index: {"link": (points.names[a], points.names[b]), "id": index, "color": _colour(a)}
        for index, (a, b) in enumerate(points.skeleton)
    }
    return {
        "dataset_name": name,
        "keypoint_info": info,
        "skeleton_info": links,
        "joint_weights": [1.0] * len(points.names),
        "sigmas": list(points.sigmas),
    }


def _use_split(loader: Cfg, task: str, bundle: DataBundle, split: Split) -> None:
    outer = wrappers(loader)
    leaf = copy.deepcopy(leaf_dataset(loader))
    for (
        wrapper
    ) in outer:  # mmpose's CombinedDataset holds the real pipeline, its parts only convert keypoints
        if type_name(wrapper) == "CombinedDataset" and wrapper.get("pipeline"):
            leaf["pipeline"] = wrapper["pipeline"]
    dataset = {key: leaf[key] for key in _KEPT_KEYS if key in leaf}
    dataset.update(reading(task, bundle, split))
    for wrapper in reversed(outer):
        if type_name(wrapper) in _KEPT_WRAPPERS:
            dataset = {**wrapper, "dataset": dataset}
    loader["dataset"] = dataset


def reading(task: str, bundle: DataBundle, split: Split) -> Cfg:
    """The keys that say what is read; every path is absolute, so ``data_root`` is empty."""
    images = f"{split.image_root}/"
    if task == "semantic_segmentation":
        return {
            "type": "BaseSegDataset",
            "data_root": "",
            "ann_file": str(split.list_file),
            "data_prefix": {"img_path": images, "seg_map_path": f"{split.seg_map_root}/"},
            "img_suffix": "",  # the list names whole files; their maps are called <file_name>.png
            "seg_map_suffix": ".png",
            "reduce_zero_label": False,
            "metainfo": {"classes": bundle.classes, "palette": [list(colour) for colour in bundle.palette]},
        }
    common = {
        "type": "CocoDataset",
        "data_root": "",
        "ann_file": str(split.ann_file),
        "data_prefix": {"img": images},
    }
    if task == "pose":
        if bundle.keypoints is None:
            raise ConfigError(f"dataset={bundle.name} has no keypoints, so it can't be used for task=pose")
        return {**common, "metainfo": pose_metainfo(bundle.name, bundle.keypoints)}
    return {**common, "metainfo": {"classes": bundle.classes, "palette": list(bundle.palette)}}


def _adapt_pipelines(cfg: Cfg, task: str) -> None:
    """Take out what a base's pipelines know of their own data set's labels."""
    for pipeline in all_pipelines(cfg):
        for step in list(pipeline):
            kind = type_name(step)
            if kind == "LoadAnnotations" and task == "semantic_segmentation":
                step.pop("reduce_zero_label", None)
            elif kind == "LoadAnnotations" and task in ("detection", "instance_segmentation"):
                step["with_bbox"] = True
                if task == "instance_segmentation":
                    step["with_mask"] = True
                elif "with_mask" in step:
                    step["with_mask"] = False
                step.pop("with_seg", None)
            elif kind == "KeypointConverter" or (kind == "RandomHalfBody" and not _has_both_halves(cfg)):
                pipeline.remove(step)
    if task == "semantic_segmentation":
        cfg["model"].pop("reduce_zero_label", None)


def _pose_details(cfg: Cfg, bundle: DataBundle) -> None:
    for name in ("val_dataloader", "test_dataloader"):
        leaf_dataset(cfg[name]).pop("bbox_file", None)
    # Losses and assigners of bottom-up heads take the keypoint set from a file, and from nothing else; those that
    # name none take COCO's, and so does the calculator that an assigner makes when the config says none.
    head = cfg["model"].get("head")
    for assigner in of_type(head, "SimOTAAssigner"):
        if assigner.get("dynamic_k_indicator") == "oks":
            assigner.setdefault("oks_calculator", {"type": "PoseOKS"})
    for node in of_type(cfg["model"], "PoseOKS", "OKSLoss"):
        metainfo = leaf_dataset(cfg["train_dataloader"])["metainfo"]
        file = bundle.train.ann_file.with_name("keypoints.py")
        node["metainfo"] = str(atomic_write(file, f"dataset_info = {metainfo!r}\n"))


def _has_both_halves(cfg: Cfg) -> bool:
    info = (leaf_dataset(cfg["train_dataloader"]).get("metainfo") or {}).get("keypoint_info") or {}
    return {"upper", "lower"} <= {point["type"] for point in info.values()}


def _refuse_other_data(cfg: Cfg, task: str) -> None:
    loader = cfg.get("train_dataloader")
    if not isinstance(loader, dict) or not leaf_dataset(loader):
        raise ConfigError(
            "model.base: this config has no single training data set (video, multi-branch or test only)"
        )
    kinds = {type_name(step) for pipeline in loader_pipelines(loader) for step in pipeline}
    expected = {
        "detection": "PackDetInputs",
        "instance_segmentation": "PackDetInputs",
        "semantic_segmentation": "PackSegInputs",
        "pose": "PackPoseInputs",
    }[task]
    foreign = {"LoadPanopticAnnotations", "LoadDepthAnnotation", "MultiBranch", "LoadProposals"} & kinds
    if expected not in kinds or foreign:
        what = ", ".join(sorted(foreign)) or "another kind of input"
        raise ConfigError(
            f"model.base: this config reads {what}; task={task} needs a pipeline that ends in {expected}"
        )


def _body_part(name: str) -> str:
    lowered = name.lower()
    if any(part in lowered for part in _LOWER_BODY):
        return "lower"
    return "upper" if any(part in lowered for part in _UPPER_BODY) else ""


def _colour(index: int) -> list[int]:
    palette = ([51, 153, 255], [0, 255, 0], [255, 128, 0], [255, 51, 153], [153, 51, 255], [0, 204, 204])
    return list(palette[index % len(palette)])
