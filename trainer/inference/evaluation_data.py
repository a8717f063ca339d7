"""The data that a model is evaluated on: a split of its run's own data set, or of another one."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.config_tree.traverse import leaf_dataset
from trainer.core.errors import ConfigError, DatasetError
from trainer.data.bundle import DataBundle, Split
from trainer.inference.predictor_base import BasePredictor
from trainer.inference.samples import Sample, has_test, split_loader, split_samples
from trainer.mmconfig.dataset import evaluator as metric_of
from trainer.mmconfig.dataset import reading
from trainer.mmconfig.named_parts import with_named_metrics
from trainer.schema import Dataset

Cfg = dict[str, Any]
SCOPES = {
    "detection": "mmdet",
    "instance_segmentation": "mmdet",
    "semantic_segmentation": "mmseg",
    "pose": "mmpose",
}
AUTO = "auto"
_SHOWN = 5


@dataclass(frozen=True)
class Data:
    """A split, ready to be looked at.

    Attributes:
        loader: MMEngine's config of its data loader, with the checkpoint's own pipeline of validation.
        evaluator: MMEngine's config of its metric.
        dataset: the data set's name.
        own: whether it is the one that the model was trained on.
        notes: what the user should know about it.
    """

    loader: Cfg
    evaluator: Any
    dataset: str
    split: str
    own: bool = True
    notes: tuple[str, ...] = ()


def own_data(model: BasePredictor, split: str = "val") -> Data:
    """A split of the data set that the model was trained on; ``auto`` is test where there is one, else val.

    Raises:
        DatasetError: there is no such split, its files are gone, or it isn't known which data set that was.
    """
    config = config_of(model)
    if split == AUTO:
        split = "test" if has_test(config) else "val"
    loader = copy.deepcopy(split_loader(config, split))
    return Data(loader, _own_evaluator(config, split), model.dataset, split)


def own_samples(model: BasePredictor, split: str = "val") -> Iterator[Sample]:
    """The same as samples with ground truth; raises as :func:`own_data`."""
    return split_samples(config_of(model), split, model.task, model.classes)


def other_data(model: BasePredictor, dataset: Dataset, split: str = "val") -> Data:
    """A split of another data set (``auto``: test where there is one, else val), its classes matched with the model's
    by their names.

    Objects of classes that the model doesn't know don't count; a note says how many.

    Raises:
        DatasetError: the data set is not there or unsound, has no such split, or shares no class with the model.
        ConfigError: it is not said where it is.
    """
    from trainer.data.prepare import prepare

    if dataset.format != "digits" and not dataset.path:
        raise ConfigError(f"dataset.path is missing: dataset={dataset.format} needs the data set's folder.")
    bundle = prepare(dataset, model.task)
    if split == AUTO:
        split = "test" if "test" in bundle.splits else "val"
    if split not in bundle.splits:
        known = ", ".join(bundle.splits)
        raise DatasetError(f"split={split}: {bundle.name} has no such split, only {known}")
    chosen, notes = _as_the_model_has_it(model, bundle, bundle.splits[split])
    seen = dataclasses.replace(
        bundle, classes=model.classes, palette=tuple((c[0], c[1], c[2]) for c in model.palette)
    )
    try:
        config: Cfg = config_of(model)
    except DatasetError:  # an exported file far from its run
        config = {}
    loader = copy.deepcopy(config.get("val_dataloader") or _plain_loader())
    leaf = leaf_dataset(loader)
    for key in ("indices", "bbox_file", "filter_cfg"):
        leaf.pop(key, None)
    leaf.update(reading(model.task, bundle if model.task == "pose" else seen, chosen), test_mode=True)
    base = config.get("val_evaluator")
    evaluator = with_named_metrics(metric_of(model.task, chosen, base), base)
    return Data(loader, evaluator, bundle.name, split, False, (*bundle.notes, *notes))


def config_of(model: BasePredictor) -> Cfg:
    """The MMEngine config that a model was trained with; an exported file's is its run's.

    Raises:
        DatasetError: the file lies outside of its run.
    """
    config = getattr(model, "config", None)
    if config is not None:
        return config
    from trainer.checkpoints.checkpoint_modules import import_trusted
    from trainer.checkpoints.config_allowlist import check_config
    from trainer.checkpoints.safe_config_parser import parse_config

    file = model.found.run.dir / "mmengine.py" if model.found.run else None
    if file is None or not file.is_file():
        raise DatasetError(
            f"{model.found.path} lies outside of its run, so its data set isn't known; dataset=... names one"
        )
    parsed = parse_config(file.read_text(encoding="utf-8"))
    check_config(parsed, import_trusted(parsed, model.found))
    return parsed


def _own_evaluator(config: Cfg, split: str) -> Any:
    """The split's evaluator: validation's, with the split's annotations."""
    if split == "test":
        return copy.deepcopy(config["test_evaluator"])
    evaluators = copy.deepcopy(config["val_evaluator"])
    if split == "train":
        ann_file = leaf_dataset(split_loader(config, "train"))["ann_file"]
        for one in evaluators if isinstance(evaluators, list) else [evaluators]:
            if "ann_file" in one:
                one["ann_file"] = ann_file
    return evaluators


def _plain_loader() -> Cfg:
    return {
        "batch_size": 8,
        "num_workers": 0,
        "sampler": {"type": "DefaultSampler", "shuffle": False},
        "dataset": {"pipeline": []},
    }


def _as_the_model_has_it(
    model: BasePredictor, bundle: DataBundle, split: Split
) -> tuple[Split, tuple[str, ...]]:
    """The split with the model's labels, and what to say of it."""
    if model.task == "pose":
        names = bundle.keypoints.names if bundle.keypoints else ()
        if tuple(names) != tuple(model.keypoints):
            raise DatasetError(
                f"{bundle.name} has the keypoints {_some(names)}, the model {_some(model.keypoints)}; "
                "they have to be the same, in the same order"
            )
        return split, ()
    if bundle.classes == model.classes:
        return split, ()
    if not set(bundle.classes) & set(model.classes):
        raise DatasetError(
            f"{bundle.name} has the classes {_some(bundle.classes)}, the model {_some(model.classes)}; "
            "none of them is the same"
        )
    key = hashlib.sha256(repr((bundle.fingerprint, model.classes, str(split.ann_file))).encode())
    if model.task == "semantic_segmentation":
        return _relabelled_maps(model, bundle, split, key.hexdigest()[:24])
    return _relabelled(model, bundle, split, key.hexdigest()[:24])


def _relabelled(
    model: BasePredictor, bundle: DataBundle, split: Split, key: str
) -> tuple[Split, tuple[str, ...]]:
    from trainer.core.cache_folder import build_folder, cache_dir

    content = json.loads(split.ann_file.read_bytes())
    names = {category["id"]: category["name"] for category in content["categories"]}
    ids = {name: index + 1 for index, name in enumerate(model.classes)}
    kept = [
        {**one, "category_id": ids[names[one["category_id"]]]}
        for one in content["annotations"]
        if names[one["category_id"]] in ids
    ]
    lost = len(content["annotations"]) - len(kept)
    content["annotations"] = kept
    content["categories"] = [{"id": number, "name": name} for name, number in ids.items()]

    def fill(folder: Path) -> None:
        (folder / "annotations.json").write_text(json.dumps(content), encoding="utf-8")

    folder = build_folder(cache_dir() / "evaluation" / key, fill)
    split = dataclasses.replace(split, ann_file=folder / "annotations.json", num_annotations=len(kept))
    return split, _notes(model, bundle, f"{lost} objects")


def _relabelled_maps(
    model: BasePredictor, bundle: DataBundle, split: Split, key: str
) -> tuple[Split, tuple[str, ...]]:
    import cv2
    import numpy as np

    from trainer.core.cache_folder import build_folder, cache_dir

    assert split.list_file is not None and split.seg_map_root is not None
    table = np.full(256, 255, np.uint8)
    for index, name in enumerate(bundle.classes):
        if name in model.classes:
            table[index] = model.classes.index(name)
    names = [line.strip() for line in split.list_file.read_text().split("\n") if line.strip()]
    root = split.seg_map_root

    def fill(folder: Path) -> None:
        for name in names:
            labels = cv2.imread(str(root / f"{name}.png"), cv2.IMREAD_UNCHANGED)
            if labels is None:
                raise DatasetError(f"{root / name}.png can't be read as an image")
            target = folder / f"{name}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(cv2.imencode(".png", table[labels])[1].tobytes())

    folder = build_folder(cache_dir() / "evaluation" / key, fill)
    return dataclasses.replace(split, seg_map_root=folder), _notes(model, bundle, "their pixels")


def _notes(model: BasePredictor, bundle: DataBundle, lost: str) -> tuple[str, ...]:
    unknown = [name for name in bundle.classes if name not in model.classes]
    if not unknown:
        return ()
    return (f"{bundle.name}: the model doesn't know {_some(unknown)}; {lost} don't count",)


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return f"{shown} and {len(names) - _SHOWN} more" if len(names) > _SHOWN else shown or "none"
