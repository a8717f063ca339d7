"""Index PNGs beside images: ``images/`` and ``masks/`` by stem, mmseg's ``img_dir``/``ann_dir``, or Cityscapes.

The value of a pixel is its class. Names come from ``classes.txt`` or its like (line 0 is value 0), else from
``dataset.classes``, else they are ``class_<value>``, value 0 being the background. 255 is ignored, except where masks
hold nothing but 0 and 255: those are background and ``foreground``.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from trainer.data.annotation_document import is_background
from trainer.data.files import IMAGE_SUFFIXES, Folder, image_size, lacking_rule, read_index_png
from trainer.data.formats import cityscapes
from trainer.data.formats.class_lists import named_classes, text_lines
from trainer.data.formats.data_format import DataFormat, FormatPart, new_records, opened, split_folders
from trainer.data.records import Category, ImageRecord, Problems, Records
from trainer.schema import Dataset

_PNG = frozenset({".png", ".bmp", ".tif", ".tiff"})
_IMAGES = ("images", "img_dir", "imgs", "image", "img", "JPEGImages", "leftImg8bit")
_MASKS = ("masks", "ann_dir", "mask", "annotations", "labels", "gt", "segmentation")
_ENDINGS = ("", "_mask", "_masks", "_label", "_labels", "_gt", "_seg", "_L", "_labelTrainIds", "_labelIds")
_CLASS_FILES = (
    "classes.txt", "class_names.txt", "labels.txt", "labelmap.txt", "label_names.txt", "classes.json",
    "id2label.json", "label_map.json",
)  # fmt: skip
_VOID = 255


class MaskFormat(DataFormat):
    """Index PNGs beside images; a pixel's value is its class."""

    title = "mask PNG data set"
    layout = "images/ and masks/ (or img_dir/ and ann_dir/) with equal names, or leftImg8bit/ and gtFine/"
    tasks = ("semantic_segmentation",)

    def matches(self, folder: Folder, task: str) -> str | None:
        """Return the first mask that has its image."""
        if cityscapes.there(folder):
            return "leftImg8bit, gtFine"
        for images, masks, _ in _pairs(folder):
            for name in folder.some(_PNG, masks, limit=20):
                stem = name[len(masks) + 1 :].rpartition(".")[0]
                stems = [stem.removesuffix(ending) for ending in _ENDINGS if stem.endswith(ending)]
                if any(folder.has(f"{images}/{s}{suffix}") for s in stems for suffix in IMAGE_SUFFIXES):
                    return name
        return None

    def read_records(
        self, parts: list[FormatPart], dataset: Dataset, task: str, problems: Problems
    ) -> Records:
        """Read all images with a mask. Names of folders give the split, then lists like ``train.txt``, else a draw."""
        folder = opened(dataset)
        records = new_records(folder, dataset, source=folder.root.name)
        city = cityscapes.there(folder)
        pairs = cityscapes.pairs(folder) if city else _found(folder, problems)
        listed = _lists(folder, problems)
        for image_name, mask_name, split in pairs:
            image = _read_image(folder, image_name, mask_name, problems)
            if image is not None:
                stem = image.name.rpartition(".")[0]
                image.split = split or listed.get(stem) or listed.get(stem.rpartition("/")[2])
                records.images.append(image)
        if not records.images:
            problems.error(f"no mask in {folder.root} has its image: they must have equal names")
            return records
        if city and not dataset.classes:
            cityscapes.name(records)
        else:
            _name(records, named_classes(folder, _CLASS_FILES, dataset.classes, problems), problems)
        return records


def _pairs(folder: Folder) -> Iterator[tuple[str, str, str | None]]:
    """(folder of images, folder of masks, split), for ``images/train`` and for ``train/images``."""
    for base, split in [("", None), *((name, split) for split, name in split_folders(folder).items())]:
        there = set(folder.folders(base))
        images = [name for name in _IMAGES if name in there]
        masks = [name for name in _MASKS if name in there]
        if not images or not masks:
            continue
        left, right = (f"{base}/{n[0]}" if base else n[0] for n in (images, masks))
        inner = split_folders(folder, left), split_folders(folder, right)
        if split is None and inner[0] and inner[1]:
            for name in inner[0].keys() & inner[1].keys():
                yield inner[0][name], inner[1][name], name
        else:
            yield left, right, split


def _found(folder: Folder, problems: Problems) -> Iterator[tuple[str, str, str | None]]:
    """(image, mask, split) of each image that has a mask."""
    for images, masks, split in sorted(_pairs(folder)):
        by_stem = {name[len(masks) + 1 :].rpartition(".")[0]: name for name in folder.files(_PNG, masks)}
        for image in folder.files(IMAGE_SUFFIXES, images):
            stem = image[len(images) + 1 :].rpartition(".")[0]
            mask = next((by_stem.pop(stem + end) for end in _ENDINGS if stem + end in by_stem), None)
            if mask is None:
                problems.error("images without a mask", image, "image_unlabelled")
            else:
                yield image, mask, split
        for left in by_stem.values():
            problems.note("masks without an image were left out", left)


def _lists(folder: Folder, problems: Problems) -> dict[str, str]:
    """Stem -> split by ``train.txt``, ``splits/val.txt`` and their like."""
    found = {}
    for split in ("train", "val", "test"):
        for place in ("", "splits/", "ImageSets/"):
            for line in text_lines(folder, f"{place}{split}.txt", problems):
                name = line.split()[0].replace("\\", "/")
                stem = name.rpartition(".")[0] if name.lower().endswith(tuple(IMAGE_SUFFIXES)) else name
                found[stem.rpartition("images/")[2]] = split
    return found


def _read_image(folder: Folder, image: str, mask: str, problems: Problems) -> ImageRecord | None:
    for what, name in (("image", image), ("mask", mask)):
        lacking = folder.lacks(name)
        if lacking:
            problems.error(f"{what} files {lacking}", name, lacking_rule(lacking))
            return None
    size = image_size(folder.root / image)
    if size is None:
        problems.error("image files that can't be read", image, "image_unreadable")
        return None
    return ImageRecord(
        original_id=image,
        name=image.split("/", 1)[-1] if image.split("/", 1)[0] in _IMAGES else image,
        root=folder.root,
        file_name=image,
        width=size[0],
        height=size[1],
        mask=folder.root / mask,
    )


def _name(records: Records, named: list[tuple[int, str]], problems: Problems) -> None:
    """Classes by their names; without names by the values that the masks hold, which takes a look at each."""
    if not named:
        values: set[int] = set()
        for image in records.images:
            assert image.mask is not None
            found = read_index_png(image.mask)
            if found is None:
                problems.error("mask files that are not indexed or grey PNGs", image.mask.name)
            else:
                values.update(np.unique(found).tolist())
        if values == {0, _VOID}:
            named = [(0, "background"), (_VOID, "foreground")]
        else:
            named = [(0, "background"), *((v, f"class_{v}") for v in sorted(values - {0, _VOID}))]
        names = ", ".join(name for _, name in named[:6])
        problems.note(f"no list of classes, so their names are {names}{', ...' if len(named) > 6 else ''}")
    records.categories = [Category(name, value) for value, name in named if not is_background(name)]
    if not records.categories:
        problems.error("the masks hold one value only: there is no class to learn")
