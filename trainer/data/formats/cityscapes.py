"""Cityscapes' folders: ``leftImg8bit/<split>/<city>/`` and ``gtFine/<split>/<city>/``, label ids or train ids."""

from __future__ import annotations

from collections.abc import Iterator

from trainer.data.files import Folder
from trainer.data.formats.data_format import split_folders
from trainer.data.records import Category, Records

# name, label id, colour: the 19 classes that are evaluated, in the order of their train ids.
_CLASSES = (
    ("road", 7, (128, 64, 128)), ("sidewalk", 8, (244, 35, 232)), ("building", 11, (70, 70, 70)),
    ("wall", 12, (102, 102, 156)), ("fence", 13, (190, 153, 153)), ("pole", 17, (153, 153, 153)),
    ("traffic light", 19, (250, 170, 30)), ("traffic sign", 20, (220, 220, 0)), ("vegetation", 21, (107, 142, 35)),
    ("terrain", 22, (152, 251, 152)), ("sky", 23, (70, 130, 180)), ("person", 24, (220, 20, 60)),
    ("rider", 25, (255, 0, 0)), ("car", 26, (0, 0, 142)), ("truck", 27, (0, 0, 70)), ("bus", 28, (0, 60, 100)),
    ("train", 31, (0, 80, 100)), ("motorcycle", 32, (0, 0, 230)), ("bicycle", 33, (119, 11, 32)),
)  # fmt: skip
_PNG = frozenset({".png", ".jpg"})
_IMAGES, _MASKS = "leftImg8bit", ("gtFine", "gtCoarse")


def there(folder: Folder) -> bool:
    return folder.has(_IMAGES) and any(folder.has(name) for name in _MASKS)


def pairs(folder: Folder) -> Iterator[tuple[str, str, str | None]]:
    """(image, mask, split) of every image that has labels; train ids before label ids where both are there."""
    masks = next(name for name in _MASKS if folder.has(name))
    kind = (
        "labelTrainIds" if folder.some(_PNG, masks) and _has(folder, masks, "labelTrainIds") else "labelIds"
    )
    for split, place in split_folders(folder, _IMAGES).items():
        for image in folder.files(_PNG, place):
            stem = image[len(_IMAGES) + 1 :].rpartition(".")[0].removesuffix("_leftImg8bit")
            mask = f"{masks}/{stem}_{masks}_{kind}.png"
            if folder.has(mask):
                yield image, mask, split


def name(records: Records) -> None:
    """The 19 classes; all other label ids don't count, and there is no background."""
    train_ids = any(p.mask is not None and p.mask.stem.endswith("labelTrainIds") for p in records.images)
    records.categories = [
        Category(name, i if train_ids else label, color) for i, (name, label, color) in enumerate(_CLASSES)
    ]
    records.background = "ignore"
    if not train_ids:
        known = {label for _, label, _ in _CLASSES}
        records.ignored = frozenset(set(range(34)) - known)


def _has(folder: Folder, masks: str, kind: str) -> bool:
    for split in split_folders(folder, masks).values():
        if any(name.endswith(f"_{kind}.png") for name in folder.some(_PNG, split, limit=100)):
            return True
    return False
