"""A published model of the zoo as one that predicts: its config, its classes, its weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainer.checkpoints.pretrained import PublishedModel
from trainer.config_tree.traverse import Cfg, dicts, leaf_dataset, type_name
from trainer.core.errors import CheckpointError

# What of a base config is about the model; the rest is about training it.
_KEPT = ("model", "default_scope", "custom_imports", "train_dataloader", "val_dataloader", "val_evaluator")


def describe_pretrained(path: Path, published: PublishedModel) -> tuple[Cfg, dict[str, Any], dict[str, Any]]:
    """(config, about, dataset_meta) of a published model, as a checkpoint of this trainer has them.

    Args:
        path: its weights; what they say of their classes counts before what the base's data set is known for.

    Raises:
        CheckpointError: unreadable, or it isn't known which classes (or keypoints) the model has.
    """
    from mmengine.utils import import_modules_from_strings

    from trainer.config_tree.base_config import load_base
    from trainer.engine.weights.class_names import metainfo_of, names_in
    from trainer.mmconfig.padding import set_padding

    base = load_base(published.base)
    import_modules_from_strings(**base.get("custom_imports", {"imports": []}))
    config = {key: base[key] for key in _KEPT if key in base}
    for node in dicts(config["model"]):
        if node.get("init_cfg"):  # the weights are the whole model's
            node["init_cfg"] = None
    set_padding(config, published.task)
    kind = type_name(leaf_dataset(base["train_dataloader"]))
    about: dict[str, Any] = {
        "task": published.task,
        "model": published.model,
        "dataset": kind.rpartition(".")[2].removesuffix("Dataset").lower(),
    }
    known = metainfo_of(base)
    if published.task == "pose":
        return config, {**about, "classes": ["person"], "palette": []}, _pose(known, published.model)
    meta = open_checkpoint(path).meta
    names = names_in(meta, pose=False) or list(known.get("classes") or ())
    if not names:
        raise CheckpointError(f"it isn't known which classes {published.model} has")
    palette = [list(colour) for colour in known.get("palette") or ()]
    about |= {"classes": names, "palette": palette if len(palette) == len(names) else []}
    return config, about, {"classes": tuple(names), "palette": about["palette"]}


def fill_pretrained(model: Any, path: Path, published: PublishedModel, config: Cfg) -> None:
    """Load published weights into ``model``: all of it, or nothing. Older layouts are understood.

    Raises:
        CheckpointError: unreadable, or parts of the model are missing or have another shape.
    """
    from trainer.engine.weights.loading_report import some
    from trainer.engine.weights.match import MatchTarget, match_weights

    meta = model.dataset_meta
    names = _points(meta) if published.task == "pose" else list(meta["classes"])
    goal = MatchTarget(config, published.task, names, published.base, published.model)
    report = match_weights(model, open_checkpoint(path), goal)
    if report.loaded < report.total:
        parts = [*report.fresh, *(one.name for one in report.anew)]
        raise CheckpointError(f"{path} isn't all of {published.model}: it lacks {some(parts)}")


def open_checkpoint(path: Path) -> Any:
    """The content of a file of published weights: tensors and plain values. Raises CheckpointError."""
    from trainer.engine.weights.layout import open_checkpoint as opened
    from trainer.engine.weights.safe_reader import read

    return opened(read(path), path)


def _pose(known: Mapping[str, Any], name: str) -> dict[str, Any]:
    """MMPose's facts about a data set's keypoints: names, skeleton, pairs, sigmas."""
    from mmpose.datasets.datasets.utils import parse_pose_metainfo

    facts: dict[str, Any] = parse_pose_metainfo(dict(known)) if known else {}
    if not facts.get("keypoint_id2name"):
        raise CheckpointError(f"it isn't known which keypoints {name} has")
    return facts


def _points(facts: Mapping[str, Any]) -> list[str]:
    names = facts["keypoint_id2name"]
    return [str(names[index]) for index in sorted(names)]
