"""What the classes (or keypoints) of a checkpoint are called: as it says itself, else as its data set's are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trainer.config_tree.base_config import load_base
from trainer.config_tree.traverse import leaf_dataset
from trainer.core.errors import ConfigError, fold


def names_in(meta: Mapping[str, Any], pose: bool) -> list[str] | None:
    """The names that a file's ``meta`` gives, in label order; None when it gives none."""
    dataset = meta.get("dataset_meta")
    places = [dataset if isinstance(dataset, Mapping) else {}, meta]
    if pose:
        for place in places:
            points = place.get("keypoint_id2name")
            if isinstance(points, Mapping) and points:
                return [str(points[index]) for index in sorted(points)]
        return None
    ours = meta.get("trainer")
    if isinstance(ours, Mapping):
        places.insert(0, ours)
    for place in places:
        for key in ("classes", "CLASSES"):
            names = _listed(place.get(key))
            if names:
                return names
    return None


def names_of_base(base: str, pose: bool) -> list[str] | None:
    """The names of the data set that a base config was published for; None when its package doesn't list them."""
    try:
        cfg = load_base(base)
    except ConfigError:
        return None
    known = metainfo_of(cfg)
    return _keypoints(known) if pose else _listed(known.get("classes"))


def metainfo_of(cfg: Mapping[str, Any]) -> Mapping[str, Any]:
    """What is known of the data set that a base config trains on: ``classes`` and ``palette``, or for pose what
    MMPose's ``parse_pose_metainfo`` takes; empty when its package doesn't say."""
    dataset = leaf_dataset(cfg.get("train_dataloader") or {})
    own = dataset.get("metainfo") or {}
    known = _metainfo(str(dataset.get("type", "")), cfg.get("default_scope"))
    if isinstance(own.get("from_file"), str):
        return {"from_file": own["from_file"]}
    return {**known, **own}


def rows(theirs: Sequence[str] | None, ours: Sequence[str]) -> list[int | None]:
    """For each of our names the place of the same one among theirs, whatever its case; None where there is none."""
    places = {fold(name): index for index, name in reversed(list(enumerate(theirs or ())))}
    return [places.get(fold(name)) for name in ours]


def _listed(value: Any) -> list[str] | None:
    if isinstance(value, (list, tuple)) and value and all(isinstance(name, str) for name in value):
        return list(value)
    return [value] if isinstance(value, str) and value else None


def _metainfo(kind: str, scope: str | None) -> Mapping[str, Any]:
    from mmengine.registry import DATASETS

    try:
        found = DATASETS.get(kind if "." in kind or not scope else f"{scope}.{kind}")
    except Exception:  # a package that can't be imported here
        return {}
    return getattr(found, "METAINFO", None) or {}


def _keypoints(metainfo: Mapping[str, Any]) -> list[str] | None:
    try:
        from mmpose.datasets.datasets.utils import parse_pose_metainfo

        points = parse_pose_metainfo(dict(metainfo))["keypoint_id2name"]
        return [str(points[index]) for index in sorted(points)]
    except Exception:  # a data set that isn't described this way
        return None
