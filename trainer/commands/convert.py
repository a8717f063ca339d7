"""``python -m trainer convert source=... target=... to=...``: a data set in another format, without training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import orjson

from trainer.commands.notes import notes_to_stderr
from trainer.core import plugins
from trainer.core.errors import ConfigError
from trainer.schema import TASKS, AutoDataset, formats, typed_field

_PLUG_IN_FORMATS = [entry.name for entry in plugins.entry_points("trainer.formats") if entry.distribution]
TARGETS = ("coco", "yolo", "dice", *_PLUG_IN_FORMATS)
# ruff: noqa: RUF009  typed_field() makes a dataclass field


@dataclass
class ConvertOptions:
    """Write a data set in another format: images as hard links (copies where the disk has none), labels anew.

    to=coco writes annotations/{train,val,test}.json and images/ (for semantic segmentation index PNGs in masks/),
    to=yolo images/, labels/ and data.yaml, to=dice the task's annotation file and images/. Original ids are kept
    beside the new ones. A hard link is the same file: editing one changes both; copy=true makes copies.

        python -m trainer convert source=data/voc target=data/voc-coco to=coco
        python -m trainer convert source=data/people target=data/people-yolo to=yolo task=pose
    """

    source: str | None = typed_field(
        None, "the data set: a folder, an archive or s3://bucket/prefix", kind="path"
    )
    target: str | None = typed_field(None, "the new folder", kind="path")
    to: str = typed_field("coco", "the new format", choices=TARGETS)
    task: str = typed_field("detection", "which labels are read", choices=TASKS)
    format: str = typed_field("auto", "the source's format", choices=formats)
    classes: list[str] = typed_field([], "names of the classes where the source doesn't name them: a,b,c")
    background: str = typed_field(
        "auto",
        "semantic segmentation: pixels of no object are class 0 or 255",
        choices=("auto", "class", "ignore"),
    )
    train_annotations: str | None = typed_field(None, "coco, dice: the annotation file, relative to source")
    val_annotations: str | None = typed_field(None, "coco, dice: that of the validation split")
    train_images: str | None = typed_field(None, "coco: folder of the training images, relative to source")
    val_images: str | None = typed_field(None, "coco: folder of the validation images, relative to source")
    val_ratio: float = typed_field(
        0.2, "share of images validated on when the source names no split", gt=0, le=0.9
    )
    seed: int = typed_field(42, "seed of that draw", ge=0)
    follow_links: bool = typed_field(False, "read files behind links that lead out of the source")
    copy: bool = typed_field(False, "copy images instead of linking them")
    overwrite: bool = typed_field(False, "replace a target that this command wrote")
    json: bool = typed_field(False, "say what was done as JSON")


def main(options: ConvertOptions) -> int:
    """0 when the target is whole.

    Raises:
        ConfigError: source or target is missing, or the target is in the way.
        DatasetError: with every mistake found in the data set.
    """
    from trainer.data.convert.convert_dataset import as_json, convert

    missing = [key for key in ("source", "target") if not getattr(options, key)]
    if missing:
        raise ConfigError(
            f"convert: {' and '.join(missing)} is missing: "
            "python -m trainer convert source=<folder> target=<new folder> to=coco task=detection"
        )
    dataset = AutoDataset(
        format=options.format,
        path=options.source,
        train_annotations=options.train_annotations,
        val_annotations=options.val_annotations,
        train_images=options.train_images,
        val_images=options.val_images,
        classes=options.classes,
        background=options.background,
        follow_links=options.follow_links,
        val_ratio=options.val_ratio,
        seed=options.seed,
    )
    result = convert(
        dataset,
        options.task,
        options.to,
        Path(str(options.target)),
        overwrite=options.overwrite,
        link=not options.copy,
    )
    if options.json:
        print(orjson.dumps(as_json(result), option=orjson.OPT_INDENT_2).decode())
        return 0
    notes_to_stderr(result.notes)
    held = ", ".join(f"{n['images']} {s} ({n['annotations']} labels)" for s, n in result.splits.items())
    print(f"{result.target}: {result.to} for {result.task}, {len(result.classes)} classes; images: {held}")
    print(f"the images are {result.images} of those in {result.source}")
    return 0
