"""Records -> a prepared folder: COCO files, index PNGs, and ``bundle.json`` to find it again without reading the data.

```
annotations/{train,val,test}.json   COCO; categories 1..n, annotations 1..n, original ids under original_id
masks/<split>/<file_name>.png       semantic segmentation only: class indices
lists/<split>.txt                   semantic segmentation only: file names, one a line
bundle.json  inputs.json            what prepare returns; the image and mask files it stands on
```
"""

from __future__ import annotations

import colorsys
import hashlib
import itertools
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import orjson

from trainer.core.atomic_files import atomic_file, atomic_write
from trainer.data.bundle import DataBundle, Keypoints, Split
from trainer.data.fingerprint import fingerprint
from trainer.data.records import Annotation, Category, ImageRecord, Problems, Records
from trainer.data.semantic_maps import MapPlan, index_map, plan

_BATCH = 10_000  # entries made at once when a list is written
Color = tuple[int, int, int]


def write_folder(
    folder: Path,
    name: str,
    task: str,
    records: Records,
    splits: dict[str, list[ImageRecord]],
    problems: Problems,
) -> None:
    """Fill ``folder`` for ``task``; mistakes found in masks go to ``problems``, which the caller raises."""
    how = plan(records, problems) if task == "semantic_segmentation" else None
    classes = how.classes if how else tuple(category.name for category in records.categories)
    digests: dict[str, str] = {}
    described = {}
    for split, images in splits.items():
        root = _common_root(images)
        count = sum(len(image.annotations) for image in images)
        if how:
            count += sum(image.mask is not None for image in images)
            digests |= _write_maps(folder, split, root, images, how, problems)
        content = coco_lists(images, root, classes, task, records.keypoints)
        write_lists(folder / "annotations" / f"{split}.json", content)
        described[split] = {"image_root": str(root), "num_images": len(images), "num_annotations": count}
    bundle = {
        "name": name,
        "task": task,
        "root": str(records.root),
        "classes": classes,
        "palette": palette(records.categories, background=bool(how and how.first)),
        "splits": described,
        "fingerprint": fingerprint(classes, records.keypoints, splits, digests),
        "keypoints": records.keypoints,
        "notes": problems.notes,
    }
    atomic_write(folder / "inputs.json", orjson.dumps(_inputs(splits)))
    atomic_write(folder / "bundle.json", orjson.dumps(bundle, option=orjson.OPT_INDENT_2))


def read_folder(folder: Path) -> DataBundle:
    """The bundle that :func:`write_folder` described."""
    raw = orjson.loads((folder / "bundle.json").read_bytes())
    semantic = raw["task"] == "semantic_segmentation"
    splits = {
        name: Split(
            name=name,
            image_root=Path(split["image_root"]),
            ann_file=folder / "annotations" / f"{name}.json",
            num_images=split["num_images"],
            num_annotations=split["num_annotations"],
            seg_map_root=folder / "masks" / name if semantic else None,
            list_file=folder / "lists" / f"{name}.txt" if semantic else None,
        )
        for name, split in raw["splits"].items()
    }
    points = raw["keypoints"]
    return DataBundle(
        name=raw["name"],
        task=raw["task"],
        root=Path(raw["root"]),
        classes=tuple(raw["classes"]),
        palette=tuple((r, g, b) for r, g, b in raw["palette"]),
        splits=splits,
        fingerprint=raw["fingerprint"],
        keypoints=points
        and Keypoints(
            names=tuple(points["names"]),
            skeleton=tuple((a, b) for a, b in points["skeleton"]),
            flip_pairs=tuple((a, b) for a, b in points["flip_pairs"]),
            sigmas=tuple(points["sigmas"]),
        ),
        notes=tuple(raw["notes"]),
    )


def up_to_date(folder: Path) -> bool:
    """Whether all images and masks are as they were when ``folder`` was written."""
    for root, files in orjson.loads((folder / "inputs.json").read_bytes()).items():
        for name, *state in files:
            if _state(os.path.join(root, name)) != state:
                return False
    return True


def write_map(image: ImageRecord, target: Path, how: MapPlan, problems: Problems) -> np.ndarray | None:
    """One image's index PNG; its pixels, or None after noting the mistake."""
    indices = index_map(image, how, problems)
    if indices is not None:
        target.parent.mkdir(parents=True, exist_ok=True)
        # Not synced one by one: the folder counts only once it is renamed.
        target.write_bytes(cv2.imencode(".png", indices)[1].tobytes())
    return indices


def palette(categories: list[Category], *, background: bool) -> list[Color]:
    """A colour a class: the data set's own, else hues as far apart as the golden ratio puts them."""
    colors = [category.color or _hue(i) for i, category in enumerate(categories)]
    return [(0, 0, 0), *colors] if background else colors


def _hue(index: int) -> Color:
    red, green, blue = colorsys.hsv_to_rgb(index * 0.618034 % 1, 0.75 if index % 2 else 0.95, 0.95)
    return round(red * 255), round(green * 255), round(blue * 255)


def _common_root(images: list[ImageRecord]) -> Path:
    roots = {image.root for image in images}
    return roots.pop() if len(roots) == 1 else Path(os.path.commonpath(roots))


def _file_name(image: ImageRecord, root: Path) -> str:
    if image.root == root:
        return image.file_name
    return (image.root / image.file_name).relative_to(root).as_posix()


def coco_lists(
    images: list[ImageRecord], root: Path, classes: tuple[str, ...], task: str, points: Keypoints | None
) -> dict[str, Iterable[dict[str, Any]]]:
    """Images, annotations numbered from 1, and categories 1..n; image ids stay where they are unique integers.

    The first two are made one by one while they are iterated over, which can be done once.
    """
    ids = [image.original_id for image in images]
    # Kept where they can be: predictions are compared with the data set's own numbers.
    if not all(type(i) is int for i in ids) or len(set(ids)) != len(ids):
        ids = list(range(1, len(images) + 1))
    categories: list[dict[str, Any]] = [{"id": i, "name": name} for i, name in enumerate(classes, 1)]
    if points:
        for category in categories:
            category["keypoints"] = points.names
            category["skeleton"] = [(a + 1, b + 1) for a, b in points.skeleton]
            category["sigmas"] = points.sigmas
            category["flip_idx"] = points.flip_idx
    image_entries = (
        {
            "id": number,
            "file_name": _file_name(image, root),
            "width": image.width,
            "height": image.height,
            "original_id": image.original_id,
            "original_file_name": image.name,
        }
        for number, image in zip(ids, images, strict=True)
    )
    labelled = zip(ids, images, strict=True) if task != "semantic_segmentation" else ()
    annotations = ((number, annotation) for number, image in labelled for annotation in image.annotations)
    annotation_entries = (
        _annotation_entry(annotation, i, number) for i, (number, annotation) in enumerate(annotations, 1)
    )
    return {"images": image_entries, "annotations": annotation_entries, "categories": categories}


def write_lists(path: Path, content: dict[str, Iterable[dict[str, Any]]]) -> dict[str, int]:
    """Write a JSON object of lists without holding them; the length of each."""
    lengths = {}
    with atomic_file(path) as file:
        for i, (name, entries) in enumerate(content.items()):
            file.write((b"," if i else b"{") + orjson.dumps(name) + b":[")
            left, lengths[name] = iter(entries), 0
            while some := list(itertools.islice(left, _BATCH)):
                file.write((b"," if lengths[name] else b"") + orjson.dumps(some)[1:-1])
                lengths[name] += len(some)
            file.write(b"]")
        file.write(b"}")
    return lengths


def _annotation_entry(annotation: Annotation, number: int, image: int) -> dict[str, Any]:
    entry = {
        "id": number,
        "image_id": image,
        "category_id": annotation.label + 1,
        "bbox": annotation.bbox,
        "area": annotation.area,
        "iscrowd": annotation.iscrowd,
        "original_id": annotation.original_id,
    }
    if annotation.segmentation:
        entry["segmentation"] = annotation.segmentation
    if annotation.keypoints:
        entry["keypoints"] = annotation.keypoints
        entry["num_keypoints"] = sum(visible > 0 for visible in annotation.keypoints[2::3])
    return entry


def _write_maps(
    folder: Path, split: str, root: Path, images: list[ImageRecord], how: MapPlan, problems: Problems
) -> dict[str, str]:
    """The index PNGs and the list of one split; digests of those that come from the data set's own masks."""
    digests: dict[str, str] = {}
    names = []
    for image in images:
        name = _file_name(image, root)
        indices = write_map(image, folder / "masks" / split / f"{name}.png", how, problems)
        if indices is None:
            continue
        names.append(name)
        if image.mask is not None:
            digests[f"{split}/{image.file_name}"] = hashlib.sha256(indices.tobytes()).hexdigest()
    atomic_write(folder / "lists" / f"{split}.txt", "".join(f"{name}\n" for name in names))
    return digests


def _inputs(splits: dict[str, list[ImageRecord]]) -> dict[str, list[list[Any]]]:
    """Size and time of each image and mask, by folder."""
    files: dict[str, list[list[Any]]] = {}
    for images in splits.values():
        for image in images:
            paths = [(str(image.root), image.file_name)]
            if image.mask is not None:
                paths.append((str(image.mask.parent), image.mask.name))
            for root, name in paths:
                files.setdefault(root, []).append([name, *(_state(os.path.join(root, name)) or ())])
    return files


def _state(path: str) -> list[int] | None:
    try:
        stat = os.stat(path)
    except OSError:
        return None
    return [stat.st_size, stat.st_mtime_ns]
