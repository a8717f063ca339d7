"""An annotation document, COCO-style or nested by image, -> categories and images (contract, section 6.6)."""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.data import json_stream
from trainer.data.files import (
    Folder,
    image_size,
    inside,
    lacking_rule,
    parse_json,
    plausible_size,
    read_bytes,
)
from trainer.data.json_stream import JsonEntries, open_large
from trainer.data.keypoint_sets import keypoint_set
from trainer.data.labels import read_annotation
from trainer.data.packed_labels import PackedImage, add
from trainer.data.records import SPLITS, Annotation, Category, ImageRecord, Problems, Records

# The file of a file_name as (folder, name in it), or why there is none.
Locate = Callable[[str], "tuple[Path, str] | str"]
_HELD = 200_000  # labels held as objects before they are packed
_BACKGROUND = {"__background__", "_background_", "background"}


@dataclass
class Document:
    """A parsed file: ``raw`` as it stands, and the data set's folder, against which ``mask_file`` is read.

    ``group_by`` names the field of an image that says which others it belongs to.
    """

    path: Path
    raw: dict[str, Any]
    place: Folder
    group_by: str | None = None

    @property
    def folder(self) -> Path:
        return self.place.root

    @property
    def raw_categories(self) -> list[dict[str, Any]]:
        listed = self.raw.get("categories") or self.raw.get("classes") or []
        if not isinstance(listed, list):
            return []
        return [
            entry if isinstance(entry, dict) else {"id": i, "name": entry} for i, entry in enumerate(listed)
        ]


def open_document(
    path: Path, folder: Folder, problems: Problems, group_by: str | None = None
) -> Document | None:
    """An annotation file of any size, or None after noting what is wrong with it."""
    raw = None
    with suppress(OSError):  # said below
        raw = open_large(path) if path.stat().st_size >= json_stream.LARGE else None
    if raw is None:
        content = read_bytes(path, problems, limit=None)
        raw = parse_json(content, path, problems) if content is not None else None
    return Document(path, raw, folder, group_by) if raw is not None else None


def read_categories(document: Document, problems: Problems) -> list[Category]:
    """The classes in the file's order, background left out."""
    file = document.path.name
    found: list[Category] = []
    for i, entry in enumerate(document.raw_categories):
        name = entry.get("name")
        if not isinstance(name, str) or not name.strip():
            problems.error(f"{file}: a category without a name", f"entry {i + 1}")
        elif not is_background(name):
            found.append(Category(name.strip(), entry.get("id", i), _color(entry.get("color"))))
    for what, values in (("name", [c.name for c in found]), ("id", [str(c.original_id) for c in found])):
        for value in sorted(value for value, count in Counter(values).items() if count > 1):
            problems.error(f"{file}: two categories have the same {what}", repr(value))
    if not found:
        problems.error(f"{file} names no class: 'categories' (or 'classes') is missing or empty")
    return found


def read_images(
    document: Document, categories: list[Category], locate: Locate, problems: Problems
) -> list[ImageRecord]:
    """All images with their labels, in the file's order."""
    file = document.path.name
    entries = document.raw.get("images")
    if not isinstance(entries, (list, JsonEntries)) or not entries:
        problems.error(f"{file} lists no image: 'images' is missing or empty")
        return []
    nested = _nested(entries)
    packed = isinstance(entries, JsonEntries) and not nested
    if nested:
        entries = list(entries)
    by_id: dict[str, int] = {}
    images: list[ImageRecord] = []
    own: list[dict[str, Any]] = []
    names: set[str] = set()
    silent: set[str] = set()  # ids whose annotations mean nothing, and of whose images all is said
    for i, entry in enumerate(entries):
        if not isinstance(entry, dict):
            problems.error(f"{file}: entries of 'images' must be objects", f"entry {i + 1}")
            continue
        image = _read_image(entry, document, locate, problems, PackedImage if packed else ImageRecord)
        if image is None or "id" not in entry:
            silent.add(str(entry.get("id")))
        if image is None:
            continue
        key = image.key
        if image.file_name in names:
            problems.error(f"{file}: images listed twice", image.name, "image_twice")
            silent.add(key)
            continue
        names.add(image.file_name)
        if key in by_id and not nested:
            problems.error(f"{file}: two images have the same id", f"{key} ({image.name})", "id_twice")
            continue
        by_id[key] = len(images)
        images.append(image)
        if nested:
            own.append(entry)
    lookup = Lookup(document, categories, problems)
    if nested:
        if document.raw.get("annotations"):
            problems.note(
                f"{file}: the images carry their annotations, so the top-level 'annotations' was not read"
            )
        for entry, image in zip(own, images, strict=True):
            for i, raw in enumerate(_own(entry)):
                annotation = _read_one(image, raw, i + 1, lookup, document, problems)
                if annotation is not None:
                    image.annotations.append(annotation)
    else:
        _read_flat(document, images, by_id, silent, lookup, problems)
    return images


def read_keypoints(records: Records, document: Document, problems: Problems) -> None:
    """Set ``records.keypoints`` from what is labelled; objects without keypoints are left out."""
    counts = {
        len(annotation.keypoints) // 3
        for image in records.images
        for annotation in image.annotations
        if annotation.keypoints
    }
    if not counts:
        return
    if len(counts) > 1:
        problems.error(
            f"{document.path.name}: annotations differ in their number of keypoints: {sorted(counts)}"
        )
        return
    entries = {str(entry.get("name", "")).strip(): entry for entry in document.raw_categories}
    described = [entries[c.name] for c in records.categories if entries.get(c.name, {}).get("keypoints")]
    try:
        sets = {keypoint_set(entry, *counts) for entry in described or [{}]}
    except (ValueError, TypeError, IndexError, KeyError, OverflowError) as error:
        problems.error(f"{document.path.name}: {error}")
        return
    if len(sets) > 1:
        problems.error(
            f"{document.path.name}: its categories have different keypoints; a model learns one set"
        )
        return
    records.keypoints = sets.pop()


def is_background(name: str) -> bool:
    return name.strip().lower() in _BACKGROUND


class Lookup:
    """Which label an annotation means: ``category_id``, else ``class_id``, else ``class_name``."""

    def __init__(self, document: Document, categories: list[Category], problems: Problems) -> None:
        labels = {category.name: i for i, category in enumerate(categories)}
        self._file = document.path.name
        self._problems = problems
        self._names: dict[str, int | None] = dict(labels)
        self._ids: dict[str, int | None] = {}
        for i, entry in enumerate(document.raw_categories):
            name = str(entry.get("name", "")).strip()
            if is_background(name):
                self._ids[str(entry.get("id", i))] = self._names[name] = None
            elif name in labels:
                self._ids[str(entry.get("id", i))] = labels[name]

    def __call__(self, raw: dict[str, Any], where: str) -> int | None:
        """The label; None for background and, after noting the mistake, for a class nobody declared."""
        for key in ("category_id", "class_id", "class_name"):
            value = raw.get(key)
            if value is None:
                continue
            table = self._names if key == "class_name" else self._ids
            text = str(value).strip()
            if text in table:
                return table[text]
            if key == "class_name" and is_background(text):
                return None
            example = f"{where} {key} {value!r}"
            self._problems.error(
                f"{self._file}: annotations of a class that is not declared", example, "category_unknown"
            )
            return None
        self._problems.error(
            f"{self._file}: annotations without category_id, class_id or class_name",
            where,
            "category_unknown",
        )
        return None


def _read_image(
    entry: dict[str, Any], document: Document, locate: Locate, problems: Problems, kind: type[ImageRecord]
) -> ImageRecord | None:
    file, name = document.path.name, entry.get("file_name")
    clean = inside(name)
    if clean is None:
        problems.error(f"{file}: file_name must be a path inside the data set's folder", repr(name))
        return None
    place = locate(clean)
    if isinstance(place, str):
        problems.error(f"{file}: image files {place}", clean, lacking_rule(place))
        return None
    root, file_name = place
    size = entry.get("width"), entry.get("height")
    if not all(isinstance(n, int) and n > 0 for n in size):
        read = image_size(root / file_name)
        if read is None:
            problems.error(f"{file}: image files that can't be read", clean, "image_unreadable")
            return None
        size = read
    elif not plausible_size(*size):
        problems.error(f"{file}: sizes that no image has", f"{clean}: {size[0]} x {size[1]}", "image_huge")
        return None
    split = entry.get("split")
    if split is not None and str(split).lower() not in SPLITS:
        problems.error(f"{file}: split must be train, val or test", f"{clean}: {split!r}")
        split = None
    return kind(
        original_id=entry.get("id", clean),
        name=clean,
        root=root,
        file_name=file_name,
        width=int(size[0]),  # type: ignore[arg-type]
        height=int(size[1]),  # type: ignore[arg-type]
        split=SPLITS[str(split).lower()] if split is not None else None,
        mask=_mask(entry, document, problems),
        group=_group(entry, document.group_by),
    )


def _group(entry: dict[str, Any], field: str | None) -> str | None:
    value = entry.get(field) if field else None
    return None if value is None else str(value)


def _nested(images: list[Any] | JsonEntries) -> bool:
    return any(
        isinstance(entry, dict) and ("annotations" in entry or "annotation" in entry) for entry in images
    )


def _own(entry: dict[str, Any]) -> list[Any]:
    """An image's own annotations: a list, or the older single object."""
    listed = entry.get("annotations")
    if isinstance(listed, list):
        return listed
    single = entry.get("annotation")
    return single if isinstance(single, list) else [single] if single else []


def _read_flat(
    document: Document,
    images: list[ImageRecord],
    by_id: dict[str, int],
    silent: set[str],
    lookup: Lookup,
    problems: Problems,
) -> None:
    listed = document.raw.get("annotations") or []
    if not isinstance(listed, (list, JsonEntries)):
        problems.error(f"{document.path.name}: 'annotations' must be a list, not a {type(listed).__name__}")
        return
    counts = array("L", bytes(array("L").itemsize * len(images)))
    fresh: dict[int, list[Annotation]] = {}
    waiting = 0
    for i, raw in enumerate(listed):
        key = str(raw.get("image_id")) if isinstance(raw, dict) else None
        number = by_id.get(key) if key is not None else None
        if number is not None:
            counts[number] += 1
            annotation = _read_one(images[number], raw, counts[number], lookup, document, problems)
            if annotation is not None:
                fresh.setdefault(number, []).append(annotation)
                waiting += 1
        elif key is None or key not in silent:
            problems.error(
                f"{document.path.name}: annotations of an image that is not listed",
                f"entry {i + 1} image_id {key}",
                "annotation_unlisted",
            )
        if waiting >= _HELD:
            _hand_out(fresh, images)
            waiting = 0
    _hand_out(fresh, images)


def _hand_out(fresh: dict[int, list[Annotation]], images: list[ImageRecord]) -> None:
    for number, batch in fresh.items():
        add(images[number], batch)
    fresh.clear()


def _read_one(
    image: ImageRecord, raw: Any, number: int, lookup: Lookup, document: Document, problems: Problems
) -> Annotation | None:
    """An annotation of ``image``, its ``number``-th, unless it labels nothing or only names a mask."""
    where = f"{image.name}#{raw.get('id', number) if isinstance(raw, dict) else number}"
    if not isinstance(raw, dict):
        problems.error(f"{document.path.name}: annotations must be objects", where, "annotation_invalid")
        return None
    if raw.get("mask_file"):
        image.mask = _mask(raw, document, problems)
        if not any(raw.get(key) for key in ("bbox", "segmentation", "keypoints")):
            return None
    label = lookup(raw, where)
    return read_annotation(raw, label, image, where, problems) if label is not None else None


def _mask(entry: dict[str, Any], document: Document, problems: Problems) -> Path | None:
    """The index PNG an image or annotation names, relative to the data set's folder."""
    name, file = entry.get("mask_file"), document.path.name
    if not name:
        return None
    form = entry.get("mask_format", "indexed_png")
    if form != "indexed_png":
        problems.error(f"{file}: mask_format must be indexed_png", f"{name}: {form!r}")
        return None
    clean = inside(name)
    if clean is None:
        problems.error(f"{file}: mask_file must be a path inside the data set's folder", repr(name))
    elif lacking := document.place.lacks(clean):
        problems.error(f"{file}: mask files {lacking}", clean)
    else:
        return document.folder / clean
    return None


def _color(text: Any) -> tuple[int, int, int] | None:
    if isinstance(text, str) and re.fullmatch(r"#[0-9a-fA-F]{6}", text.strip()):
        digits = text.strip()[1:]
        return int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:], 16)
    return None
