"""LabelMe: a JSON file an image, its shapes drawn by hand.

Polygons, rectangles and circles (as 64 corners) are objects; those of one ``group_id`` and label are one object. A
point is a keypoint, named by its label, of the object that has its ``group_id``; without one, of the image's only
object. Lines are left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from trainer.data.annotation_document import is_background
from trainer.data.files import (
    Folder,
    absolute,
    image_size,
    inside,
    lacking_rule,
    parse_json,
    plausible_size,
)
from trainer.data.formats.class_lists import named_classes
from trainer.data.formats.data_format import (
    DataFormat,
    FormatPart,
    image_beside,
    new_records,
    opened,
    split_folders,
)
from trainer.data.formats.sniff import sniff
from trainer.data.keypoint_sets import keypoint_order, keypoint_set
from trainer.data.labels import read_annotation
from trainer.data.records import Category, ImageRecord, Problems, Records
from trainer.schema import Dataset

_JSON = frozenset({".json"})
_CIRCLE = 64
_CLASS_FILES = ("labels.txt", "classes.txt")
_DRAWN = {"polygon", "rectangle", "circle"}
_SKIPPED = {"line", "linestrip", "mask"}


class LabelmeFormat(DataFormat):
    """LabelMe: a JSON file for each image."""

    title = "LabelMe data set"
    layout = "a .json with shapes for each image"
    tasks = ("detection", "instance_segmentation", "semantic_segmentation", "pose")

    def matches(self, folder: Folder, task: str) -> str | None:
        """Return a JSON file with shapes, in the folder itself or one level below."""
        places = ["", *(name for name in folder.folders()[:20])]
        for place in places:
            for name in folder.some(_JSON, place, limit=3):
                if sniff(folder.root / name) == "labelme":
                    return name
        return None

    def read_records(
        self, parts: list[FormatPart], dataset: Dataset, task: str, problems: Problems
    ) -> Records:
        """Read all files with shapes. Folders named train, val and test give the split, else it is drawn."""
        folder = opened(dataset)
        records = new_records(folder, dataset, source=f"{folder.root.name}/*.json")
        drawn = list(_drawings(folder, problems))
        if not drawn:
            problems.error(f"no file with shapes in {folder.root}")
        splits = {place: split for split, place in split_folders(folder).items()}
        listed = [name for _, name in named_classes(folder, _CLASS_FILES, dataset.classes, problems)]
        names = [n for n in listed if not _nothing(n)]
        if not names:
            used = {o.label for d in drawn for o in d.objects if o.outlines or o.points}
            names = sorted(name for name in used if not _nothing(name))
        points = (
            keypoint_order({name for d in drawn for o in d.objects for name in o.points})
            if task == "pose"
            else []
        )
        records.categories = [Category(name, i) for i, name in enumerate(names)]
        if not names:
            problems.error("no shape is labelled in any file")
        labels = {name: i for i, name in enumerate(names)}
        for drawing in drawn:
            drawing.image.split = splits.get(drawing.file.split("/", 1)[0]) if "/" in drawing.file else None
            for thing in drawing.objects:
                _add(drawing, thing, labels, points, problems)
            records.images.append(drawing.image)
        if task == "pose" and points:
            try:
                records.keypoints = keypoint_set({"name": "object", "keypoints": points}, len(points))
            except ValueError as error:
                problems.error(f"{records.source}: {error}")
        return records


@dataclass
class _Object:
    label: str
    where: str
    outlines: list[list[float]] = field(default_factory=list)
    points: dict[str, tuple[float, float]] = field(default_factory=dict)


@dataclass
class _Drawing:
    file: str
    image: ImageRecord
    objects: list[_Object]


def _drawings(folder: Folder, problems: Problems) -> Iterator[_Drawing]:
    for file in folder.files(_JSON):
        lacking = folder.lacks(file)
        if lacking:
            problems.error(f"annotation files {lacking}", file)
            continue
        content = folder.read(file, problems)
        raw = parse_json(content, folder.root / file, problems) if content is not None else None
        if raw is None:
            continue
        if "shapes" not in raw:
            problems.note("JSON files without shapes were not read", file)
            continue
        image = _read_image(folder, file, raw, problems)
        if image is not None:
            yield _Drawing(file, image, _objects(raw, file, problems))


def _read_image(folder: Folder, file: str, raw: dict[str, Any], problems: Problems) -> ImageRecord | None:
    """The image that ``imagePath`` names, looked for beside the JSON file, then one with the file's own name."""
    below, _, own = file.rpartition("/")
    given = raw.get("imagePath")
    text = given.replace("\\", "/") if isinstance(given, str) else ""
    clean = inside(f"{below}/{text}" if below else text) if text and not absolute(text) else None
    if text and clean is None:
        problems.error("imagePath must be a path inside the data set's folder", f"{file}: {text[:120]!r}")
        return None
    stem = own.rpartition(".")[0]
    places = list(dict.fromkeys([below, below.replace("labels", "images"), "images"]))
    name = clean if clean and folder.named(clean) else image_beside(folder, stem, places)
    if name is None:
        problems.error(
            f"image files missing below {folder.root}", f"{clean or stem} of {file}", "image_missing"
        )
        return None
    lacking = folder.lacks(name)
    if lacking:
        problems.error(f"image files {lacking}", name, lacking_rule(lacking))
        return None
    size = raw.get("imageWidth"), raw.get("imageHeight")
    if not plausible_size(*size):
        read = image_size(folder.root / name)
        if read is None:
            problems.error("image files that can't be read", name, "image_unreadable")
            return None
        size = read
    return ImageRecord(
        original_id=name,
        name=name.removeprefix("images/"),
        root=folder.root,
        file_name=name,
        width=int(size[0]),  # type: ignore[arg-type]
        height=int(size[1]),  # type: ignore[arg-type]
    )


def _objects(raw: dict[str, Any], file: str, problems: Problems) -> list[_Object]:
    """Shapes put together by ``group_id``; loose points go to the image's only object."""
    shapes = raw["shapes"]
    if not isinstance(shapes, list):
        problems.error("shapes must be a list", file)
        return []
    objects: list[_Object] = []
    groups: dict[tuple[str, str], _Object] = {}
    points: list[tuple[str | None, str, tuple[float, float], str]] = []
    for number, shape in enumerate(shapes, 1):
        where = f"{file}, shape {number}"
        corners = _corners(shape, where, problems)
        if corners is None:
            continue
        label, kind = str(shape["label"]).strip(), shape.get("shape_type") or "polygon"
        group = None if shape.get("group_id") is None else str(shape["group_id"])
        if kind in ("point", "points"):
            names = [label] if len(corners) == 1 else [f"{label}_{i}" for i in range(len(corners))]
            points += [(group, name, corner, where) for name, corner in zip(names, corners, strict=True)]
            continue
        outline = _outline(kind, corners, where, problems)
        if outline is None:
            continue
        thing = groups.get((group, label)) if group is not None else None
        if thing is None:
            thing = _Object(label, where)
            objects.append(thing)
            if group is not None:
                groups[group, label] = thing
        thing.outlines.append(outline)
    for group, name, corner, where in points:
        owner = _owner(group, objects, groups, where)
        if owner is None:
            problems.error("points without a group_id in an image that has not just one object", where)
        elif name in owner.points:
            problems.error("points that an object has twice", f"{where}: {name!r}")
        else:
            owner.points[name] = corner
    return objects


def _owner(
    group: str | None, objects: list[_Object], groups: dict[tuple[str, str], _Object], where: str
) -> _Object | None:
    """The object a point belongs to; a group of nothing but points is an object of class ``object``."""
    if group is None:
        return objects[0] if len(objects) == 1 else None
    owner = next((thing for (number, _), thing in groups.items() if number == group), None)
    if owner is None:
        owner = groups[group, "object"] = _Object("object", where)
        objects.append(owner)
    return owner


def _corners(shape: Any, where: str, problems: Problems) -> list[tuple[float, float]] | None:
    if not isinstance(shape, dict) or not isinstance(shape.get("label"), str) or not shape["label"].strip():
        problems.error("shapes must be objects with a label", where, "annotation_invalid")
        return None
    points = shape.get("points")
    good = isinstance(points, list) and all(
        isinstance(p, list)
        and len(p) == 2
        and all(isinstance(n, (int, float)) and not isinstance(n, bool) and abs(n) < 1e9 for n in p)
        for p in points
    )
    if not good or not points:
        problems.error("points of a shape must be pairs of numbers", where, "annotation_invalid")
        return None
    return [(float(x), float(y)) for x, y in points]


def _outline(
    kind: Any, corners: list[tuple[float, float]], where: str, problems: Problems
) -> list[float] | None:
    if kind in _SKIPPED:
        problems.note(f"shapes of type {kind} left out", where)
    elif not isinstance(kind, str) or kind not in _DRAWN:
        problems.error(
            f"shape_type must be one of {', '.join(sorted(_DRAWN))}, point",
            f"{where}: {str(kind)[:40]!r}",
            "annotation_invalid",
        )
    elif kind == "polygon":
        if len(corners) >= 3:
            return [n for corner in corners for n in corner]
        problems.note(
            "polygons with fewer than three points, or half a point, dropped", where, "polygon_short"
        )
    elif len(corners) < 2:
        problems.error(f"a {kind} needs two points", where, "annotation_invalid")
    elif kind == "rectangle":
        (a, b), (c, d) = corners[0], corners[2 if len(corners) == 4 else 1]
        return [a, b, c, b, c, d, a, d]
    else:
        (x, y), (edge_x, edge_y) = corners[:2]
        radius = math.hypot(edge_x - x, edge_y - y)
        turns = [2 * math.pi * i / _CIRCLE for i in range(_CIRCLE)]
        return [n for turn in turns for n in (x + radius * math.cos(turn), y + radius * math.sin(turn))]
    return None


def _add(
    drawing: _Drawing, thing: _Object, labels: dict[str, int], points: list[str], problems: Problems
) -> None:
    label = labels.get(thing.label)
    if label is None:
        if not _nothing(thing.label):
            example = f"{thing.where}: {thing.label[:40]!r}"
            problems.error("annotations of a class that is not declared", example, "category_unknown")
        return
    raw: dict[str, Any] = {"id": len(drawing.image.annotations) + 1, "segmentation": thing.outlines or None}
    if points and thing.points:
        raw["keypoints"] = [
            n for name in points for n in ((*thing.points[name], 2) if name in thing.points else (0, 0, 0))
        ]
    annotation = read_annotation(raw, label, drawing.image, thing.where, problems)
    if annotation is not None:
        drawing.image.annotations.append(annotation)


def _nothing(name: str) -> bool:
    return is_background(name) or name.strip().lower() in ("__ignore__", "_ignore_")
