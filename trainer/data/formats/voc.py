"""The Pascal VOC format: an XML file an image; ``ImageSets`` name the splits, ``SegmentationClass`` holds index PNGs.

Boxes count pixels from 1 and include the last one: xmin 1, xmax 500 is the whole of 500 px. ``difficult`` objects are
kept as crowd regions: they teach nothing, and finding them is neither right nor wrong.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any
from xml.etree.ElementTree import Element

from trainer.data.annotation_document import is_background
from trainer.data.files import Folder, image_size, inside, lacking_rule, plausible_size
from trainer.data.formats.class_lists import named_classes, text_lines
from trainer.data.formats.data_format import (
    DataFormat,
    FormatPart,
    image_beside,
    new_records,
    opened,
    split_folders,
)
from trainer.data.formats.voc_masks import instances
from trainer.data.formats.xml import parse_xml
from trainer.data.labels import read_annotation
from trainer.data.records import Category, ImageRecord, Problems, Records
from trainer.schema import Dataset

CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
_XML = frozenset({".xml"})
_PNG = frozenset({".png"})
_IMAGE_PLACES = ("JPEGImages", "images", "Images", "")
_CLASS_FILES = ("labelmap.txt", "class_names.txt", "classes.txt", "labels.txt")


class VocFormat(DataFormat):
    """Pascal VOC: an XML file for each image, or index PNGs in ``SegmentationClass``."""

    title = "Pascal VOC data set"
    layout = (
        "Annotations/*.xml with JPEGImages/, or .xml files beside images; for masks SegmentationClass/*.png"
    )
    tasks = ("detection", "instance_segmentation", "semantic_segmentation")

    def matches(self, folder: Folder, task: str) -> str | None:
        """Return an annotation file; for segmentation, a mask."""
        base = _base(folder)
        if base is None:
            return None
        if task.endswith("segmentation"):
            wanted = [
                "SegmentationClass",
                *(["SegmentationObject"] if task == "instance_segmentation" else []),
            ]
            masks = [folder.some(_PNG, _below(base, name)) for name in wanted]
            return masks[0][0] if all(masks) else None
        found = folder.some(_XML, _annotations(folder, base))
        return found[0] if found else None

    def read_records(
        self, parts: list[FormatPart], dataset: Dataset, task: str, problems: Problems
    ) -> Records:
        """Read the images that ``ImageSets`` list, else all that have an annotation."""
        folder = opened(dataset)
        base = _base(folder) or ""
        records = new_records(folder, dataset, source=base or folder.root.name)
        masks = _stems(folder, _PNG, _below(base, "SegmentationClass"))
        files = masks if task.endswith("segmentation") else _stems(folder, _XML, _annotations(folder, base))
        splits = _splits(folder, base, task, problems)
        listed = (
            {stem: split for stem, split in splits.items() if stem in files}
            if splits
            else dict.fromkeys(files)
        )
        _remark(files, splits, problems)
        found: list[tuple[ImageRecord, list[dict[str, Any]]]] = []
        for stem, split in listed.items():
            if task.endswith("segmentation"):
                image = _read_image(folder, base, stem, None, None, problems)
                if image is not None:
                    image.mask = folder.root / masks[stem]
                    _checked_mask(folder, masks[stem], problems)
                    image.split = split
                    found.append((image, []))
                continue
            entry = _annotated(folder, base, stem, files[stem], problems)
            if entry is not None:
                entry[0].split = split
                found.append(entry)
        if task.endswith("segmentation"):
            records.images = [image for image, _ in found]
            records.categories = _mask_categories(folder, base, dataset, problems)
            if task == "instance_segmentation":
                instances(records, folder, _below(base, "SegmentationObject"), problems)
            return records
        _label(records, found, _names(folder, base, dataset, problems), problems)
        return records


def _base(folder: Folder) -> str | None:
    """The folder in which ``Annotations`` (or loose XML files) are: itself, or ``VOCdevkit/VOC2012``."""
    inner = [f"VOCdevkit/{name}" for name in folder.folders("VOCdevkit")] if folder.has("VOCdevkit") else []
    inner += [name for name in folder.folders() if name.upper().startswith("VOC20")]
    for base in ["", *inner]:
        for name in ("Annotations", "SegmentationClass"):
            if folder.has(_below(base, name)):
                return base
    return "" if folder.some(_XML, _annotations(folder, "")) else None


def _annotations(folder: Folder, base: str) -> str:
    for name in ("Annotations", "annotations"):
        if folder.has(_below(base, name)):
            return _below(base, name)
    return base


def _below(base: str, name: str) -> str:
    return f"{base}/{name}" if base else name


def _stems(folder: Folder, suffixes: frozenset[str], below: str) -> dict[str, str]:
    """Names by what is left of them without folder and suffix."""
    files = folder.files(suffixes, below)
    return {name[len(below) + 1 if below else 0 :].rpartition(".")[0]: name for name in files}


def _splits(folder: Folder, base: str, task: str, problems: Problems) -> dict[str, str | None]:
    """Stem -> split by ``ImageSets``, else by folders named train, valid, test; empty when neither is there.

    ``trainval`` alone leaves the split open (None).
    """
    sets = ["Segmentation", "Main"] if task.endswith("segmentation") else ["Main", "Layout", "Segmentation"]
    for place in [*(f"ImageSets/{name}" for name in sets), "ImageSets"]:
        below = _below(base, place)
        found: dict[str, str | None] = {}
        for split, file in (("test", "test"), ("val", "val"), ("train", "train")):
            for stem in text_lines(folder, f"{below}/{file}.txt", problems):
                found[stem.split()[0]] = split
        for stem in text_lines(folder, f"{below}/trainval.txt", problems):
            found.setdefault(stem.split()[0], None if "train" not in found.values() else "train")
        if found:
            return found
    inner = split_folders(folder, base)
    if not inner or folder.has(_below(base, "Annotations")):
        return {}
    found = {}
    for split, place in inner.items():
        for name in folder.files(_XML, place):
            found[name[len(base) + 1 if base else 0 :].rpartition(".")[0]] = split
    return found


def _remark(files: dict[str, str], splits: dict[str, str | None], problems: Problems) -> None:
    if not files:
        problems.error("no annotation file was found")
    elif splits:
        for stem in splits:
            if stem not in files:
                problems.error("images that ImageSets list without an annotation", stem)
        for stem in files:
            if stem not in splits:
                problems.note("annotations that ImageSets don't list were left out", stem)


def _annotated(
    folder: Folder, base: str, stem: str, file: str, problems: Problems
) -> tuple[ImageRecord, list[dict[str, Any]]] | None:
    content = folder.read(file, problems)
    root = parse_xml(content, file, problems) if content is not None else None
    if root is None:
        return None
    image = _read_image(folder, base, stem, _text(root, "filename"), root.find("size"), problems)
    return (image, list(_objects(root, file, problems))) if image is not None else None


def _objects(root: Element, file: str, problems: Problems) -> Iterator[dict[str, Any]]:
    for number, element in enumerate(root.iter("object"), 1):
        where = f"{file}, object {number}"
        name, box = _text(element, "name"), element.find("bndbox")
        corners = (
            [_number(_text(box, key)) for key in ("xmin", "ymin", "xmax", "ymax")] if box is not None else []
        )
        if not name:
            problems.error("objects without a name", where, "annotation_invalid")
        elif not corners or any(corner is None for corner in corners):
            problems.error("objects whose bndbox is not four numbers", where, "annotation_invalid")
        else:
            left, top, right, bottom = (float(corner) for corner in corners if corner is not None)
            yield {
                "id": number,
                "name": name,
                "bbox": [left - 1, top - 1, right - left + 1, bottom - top + 1],
                "iscrowd": int(_text(element, "difficult") == "1"),
                "where": where,
            }


def _read_image(
    folder: Folder, base: str, stem: str, filename: str | None, size: Element | None, problems: Problems
) -> ImageRecord | None:
    clean = inside(filename) if filename else None
    if filename and clean is None:
        problems.error("filename must be a path inside the data set's folder", f"{stem}: {filename[:120]!r}")
        return None
    places = [_below(base, place) if place else base for place in _IMAGE_PLACES]
    near = stem.rpartition("/")[0]  # of XML files in sub-folders, whose images lie in equal ones
    nearby = [f"{place}/{near}".strip("/") for place in places] if near else []
    name = _there(folder, clean, [*places, *nearby]) if clean else None
    name = name or image_beside(folder, stem, places)
    if name is None:
        problems.error(f"image files missing below {folder.root}", clean or stem, "image_missing")
        return None
    lacking = folder.lacks(name)
    if lacking:
        problems.error(f"image files {lacking}", name, lacking_rule(lacking))
        return None
    read = _size(size) or image_size(folder.root / name)
    if read is None:
        problems.error("image files that can't be read", name, "image_unreadable")
        return None
    short = next((name[len(p) + 1 :] for p in places if p and name.startswith(f"{p}/")), name)
    return ImageRecord(
        original_id=stem, name=short, root=folder.root, file_name=name, width=read[0], height=read[1]
    )


def _there(folder: Folder, file: str, places: list[str]) -> str | None:
    names = (f"{place}/{file}" if place else file for place in places)
    return next((name for name in names if folder.named(name)), None)


def _size(element: Element | None) -> tuple[int, int] | None:
    if element is None:
        return None
    width, height = (_number(_text(element, key)) for key in ("width", "height"))
    if width is None or height is None or not plausible_size(int(width), int(height)):
        return None
    return int(width), int(height)


def _label(
    records: Records,
    found: list[tuple[ImageRecord, list[dict[str, Any]]]],
    names: list[str],
    problems: Problems,
) -> None:
    """Give each image its objects; without a list of names, those that occur, in alphabetical order."""
    used = {raw["name"] for _, raws in found for raw in raws if not is_background(raw["name"])}
    names = names or sorted(used)
    records.categories = [Category(name, i) for i, name in enumerate(names)]
    if not names:
        problems.error("no object is labelled in any annotation file")
    labels = {name: i for i, name in enumerate(names)}
    for image, raws in found:
        for raw in raws:
            label = labels.get(raw["name"])
            if label is None:
                if not is_background(raw["name"]):
                    problems.error(
                        "annotations of a class that is not declared",
                        f"{raw['where']}: {raw['name'][:40]!r}",
                        "category_unknown",
                    )
                continue
            annotation = read_annotation(raw, label, image, raw["where"], problems)
            if annotation is not None:
                image.annotations.append(annotation)
        records.images.append(image)


def _names(folder: Folder, base: str, dataset: Dataset, problems: Problems) -> list[str]:
    places = [_below(base, name) for name in _CLASS_FILES]
    return [
        name
        for _, name in named_classes(folder, places, dataset.classes, problems)
        if not is_background(name)
    ]


def _mask_categories(folder: Folder, base: str, dataset: Dataset, problems: Problems) -> list[Category]:
    """Value -> class of the masks: by a list in the folder, else VOC's own twenty."""
    places = [_below(base, name) for name in _CLASS_FILES]
    found = named_classes(folder, places, dataset.classes, problems)
    if not found:
        found = list(enumerate(CLASSES, 1))
        problems.note("no list of classes in the folder, so masks were read with Pascal VOC's twenty")
    return [Category(name, value) for value, name in found if not is_background(name)]


def _checked_mask(folder: Folder, name: str, problems: Problems) -> None:
    lacking = folder.lacks(name)
    if lacking:
        problems.error(f"mask files {lacking}", name)


def _text(element: Element | None, key: str) -> str:
    found = element.findtext(key) if element is not None else None
    return (found or "").strip()


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and abs(value) < 1e9 else None
