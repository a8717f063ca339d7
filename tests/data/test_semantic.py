"""Index maps from polygons, RLE and the data set's own masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.data.conftest import flat, image
from trainer.core.errors import DatasetError
from trainer.data.bundle import DataBundle

TASK = "semantic_segmentation"


def index_map(bundle: DataBundle, name: str) -> np.ndarray:
    found = [split.seg_map_root / f"{name}.png" for split in bundle.splits.values() if split.seg_map_root]
    path = next(path for path in found if path.is_file())
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def masked(root: Path, values: np.ndarray, *, palette: bool = False, **document: Any) -> dict[str, Any]:
    """Three images with the same mask; class ids 0 ``ground`` and 4 ``pipe`` unless ``document`` says otherwise."""
    (root / "masks").mkdir(exist_ok=True)
    images = []
    for i in range(1, 4):
        image(root / "images" / f"{i}.png")
        mask = Image.fromarray(values)
        if palette:
            mask = mask.convert("P")
            mask.putpalette([9, 9, 9, 200, 0, 0, 0, 200, 0, 0, 0, 200, 77, 66, 55] + [1] * 753)
        mask.save(root / "masks" / f"{i}.png")
        label = {"mask_file": f"masks/{i}.png", "mask_format": "indexed_png", "num_classes": 2}
        images.append({"id": i, "file_name": f"{i}.png", "width": 64, "height": 48, "annotation": label})
    return {"classes": [{"id": 0, "name": "ground"}, {"id": 4, "name": "pipe"}], "images": images} | document


def test_polygons_with_small_on_large(root, dice):
    document = flat(root)
    whole = {"id": 1, "image_id": 1, "category_id": 3, "segmentation": [[0, 0, 64, 0, 64, 48, 0, 48]]}
    document["annotations"].append(whole)  # after the small square, which must stay visible
    bundle = dice(document, TASK)
    assert bundle.classes == ("background", "a", "b") and bundle.palette[0] == (0, 0, 0)
    found = index_map(bundle, "images/1.png")
    assert found.shape == (48, 64) and found.dtype == np.uint8
    assert (found == 2).sum() == 400 and (found[10:30, 10:30] == 2).all() and (found == 0).sum() == 0
    other = index_map(bundle, "images/2.png")
    assert (other == 1).sum() == 400 and (other == 0).sum() == 48 * 64 - 400
    for split in bundle.splits.values():
        assert split.list_file is not None and split.seg_map_root is not None
        listed = split.list_file.read_text().split()
        assert len(listed) == split.num_images
        assert all(
            (split.image_root / n).is_file() and (split.seg_map_root / f"{n}.png").is_file() for n in listed
        )


def test_rle_is_painted(root, dice):
    document = flat(root)
    document["annotations"][0]["segmentation"] = {"size": [48, 64], "counts": [48 * 2 + 3, 5, 48 * 61 + 40]}
    assert np.argwhere(index_map(dice(document, TASK), "images/1.png") == 2).tolist() == [
        [y, 2] for y in range(3, 8)
    ]


@pytest.mark.parametrize("palette", [False, True])
def test_masks_are_mapped_from_ids_to_indices(root, dice, palette):
    values = np.zeros((48, 64), np.uint8)
    values[:5], values[5] = 4, 255
    bundle = dice(masked(root, values, palette=palette), TASK)
    assert bundle.classes == ("ground", "pipe")  # every pixel is labelled, so there is no background
    found = index_map(bundle, "images/1.png")
    assert (found[:5] == 1).all() and (found[5] == 255).all() and (found[6:] == 0).all()
    assert bundle.train.num_annotations == bundle.train.num_images


def test_masks_beside_a_background_class(root, dice):
    values = np.zeros((48, 64), np.uint8)
    values[:5] = 1
    classes = [{"id": 0, "name": "__background__"}, {"id": 1, "name": "pipe"}]
    bundle = dice(masked(root, values, classes=classes), TASK)
    assert bundle.classes == ("background", "pipe")
    assert (index_map(bundle, "images/1.png")[:6, 0] == [1, 1, 1, 1, 1, 0]).all()


def test_masks_enter_the_fingerprint(root, dice):
    values = np.zeros((48, 64), np.uint8)
    first = dice(masked(root, values), TASK)
    assert dice(masked(root, values, palette=True), TASK).fingerprint == first.fingerprint
    values[0, 0] = 4
    assert dice(masked(root, values), TASK).fingerprint != first.fingerprint


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mask_file": "masks/none.png"}, r"mask files missing.*masks/none\.png"),
        ({"mask_file": "../1.png"}, "mask_file must be a path inside"),
        ({"mask_format": "rgb"}, "mask_format must be indexed_png"),
        ({"mask_file": "images/1.png"}, "not indexed or grey PNGs"),
    ],
)
def test_bad_masks(root, dice, change, message):
    document = masked(root, np.zeros((48, 64), np.uint8))
    document["images"][0]["annotation"] |= change
    with pytest.raises(DatasetError, match=message):
        dice(document, TASK)


def test_masks_of_wrong_size_or_value_leave_nothing_behind(root, dice, cache):
    document = masked(root, np.full((48, 64), 3, np.uint8))
    Image.fromarray(np.zeros((20, 30), np.uint8)).save(root / "masks" / "2.png")
    with pytest.raises(
        DatasetError, match=r"(?s)no class id \(2\).*\[3\].*another size.*30 x 20, image 64 x 48"
    ):
        dice(document, TASK)
    assert not list((cache / "prepared").iterdir())
