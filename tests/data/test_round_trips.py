"""COCO -> DICE -> COCO and COCO -> YOLO -> COCO on random documents: what is kept exactly, what within the rounding."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.data.conftest import image, write
from trainer.data.convert.convert_dataset import convert
from trainer.data.convert.mask_to_polygon import mask_to_polygon
from trainer.data.geometry import mask_rle, polygon_mask, rle_mask, segmentation_area, segmentation_mask
from trainer.schema import Dataset

WIDTH, HEIGHT = 40, 30
ROUNDING = 0.001  # px, as docs/data.md states it for YOLO
SETTINGS = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
POINTS = ["left_eye", "right_eye", "tail"]

numbers = st.floats(0, 1, allow_nan=False, width=32)


@st.composite
def boxes(draw: st.DrawFn) -> list[float]:
    x, y = draw(st.floats(0, WIDTH - 3)), draw(st.floats(0, HEIGHT - 3))
    return [x, y, draw(st.floats(1, WIDTH - x)), draw(st.floats(1, HEIGHT - y))]


@st.composite
def masks(draw: st.DrawFn) -> np.ndarray:
    """Any pixels at all: parts, holes, parts that touch at a corner."""
    seed = draw(st.integers(0, 2**32 - 1))
    share = draw(st.floats(0.02, 0.98))
    mask = np.random.default_rng(seed).random((HEIGHT, WIDTH)) < share
    mask[draw(st.integers(0, HEIGHT - 1)), draw(st.integers(0, WIDTH - 1))] = True
    return mask


@st.composite
def polygons(draw: st.DrawFn) -> list[list[float]]:
    """One to three rectangles or triangles, which may overlap."""
    found = []
    for _ in range(draw(st.integers(1, 3))):
        x, y, w, h = draw(boxes())
        corners = [x, y, x + w, y, x + w, y + h, x, y + h]
        found.append(corners if draw(st.booleans()) else corners[:6])
    return found


@st.composite
def documents(draw: st.DrawFn, task: str) -> dict[str, dict[str, Any]]:
    """``{"train": COCO document, "val": ...}`` with odd ids, crowds and empty images."""
    categories: list[dict[str, Any]] = [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog"}]
    if task == "pose":
        for entry in categories:
            entry |= {"keypoints": POINTS, "skeleton": [[1, 3], [2, 3]], "sigmas": [0.03, 0.03, 0.1]}
    whole, number = {}, 500
    for split, ids in (("train", (11, 5)), ("val", (8,))):
        annotations = []
        for i in ids:
            for k in range(draw(st.integers(1 if i in (11, 8) else 0, 3))):
                number += 1
                entry: dict[str, Any] = {
                    "id": number,
                    "image_id": i,
                    # Both classes have an object that is no crowd: pose leaves out a class that has none, and YOLO
                    # has no crowds.
                    "category_id": {11: 7, 8: 3}[i] if k == 0 and i != 5 else draw(st.sampled_from([7, 3])),
                }
                # The first of each is no crowd, so that something is left to learn.
                entry["iscrowd"] = int(draw(st.booleans())) if k else 0
                if task == "instance_segmentation":
                    rle = entry["iscrowd"] or draw(st.booleans())
                    entry["segmentation"] = mask_rle(draw(masks())) if rle else draw(polygons())
                    entry["area"] = segmentation_area(entry["segmentation"])
                else:
                    entry["bbox"] = draw(boxes())
                    entry["area"] = entry["bbox"][2] * entry["bbox"][3]
                if task == "pose":
                    flat: list[float] = []
                    for visible in draw(st.lists(st.sampled_from([0, 1, 2]), min_size=3, max_size=3)):
                        place = (draw(numbers) * WIDTH, draw(numbers) * HEIGHT) if visible else (0.0, 0.0)
                        flat += [*place, visible]
                    entry["keypoints"] = flat
                annotations.append(entry)
        images = [{"id": i, "file_name": f"{i}.png", "width": WIDTH, "height": HEIGHT} for i in ids]
        whole[split] = {"images": images, "annotations": annotations, "categories": categories}
    return whole


def trip(source: dict[str, dict[str, Any]], task: str, through: str, folder: Path) -> tuple[Any, Any]:
    """The annotations by file name: converted to COCO at once, and by way of ``through``."""
    for split, document in source.items():
        for entry in document["images"]:
            image(folder / "src" / "images" / entry["file_name"], WIDTH, HEIGHT)
        write(folder / "src" / "annotations" / f"{split}.json", document)
    start = Dataset(format="coco", path=str(folder / "src"))
    convert(start, task, "coco", folder / "direct")
    convert(start, task, through, folder / "middle")
    convert(Dataset(format=through, path=str(folder / "middle")), task, "coco", folder / "back")
    return tuple(_by_name(folder / name) for name in ("direct", "back"))  # type: ignore[return-value]


def _by_name(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for split in ("train", "val"):
        document = orjson.loads((folder / "annotations" / f"{split}.json").read_bytes())
        names = {entry["id"]: f"{split}/{entry['file_name']}" for entry in document["images"]}
        found |= {name: [] for name in names.values()}
        for annotation in document["annotations"]:
            found[names[annotation["image_id"]]].append(annotation)
        found[f"{split} categories"] = [
            {k: v for k, v in entry.items() if k != "original_id"} for entry in document["categories"]
        ]
    return found


KEPT = ("category_id", "bbox", "area", "iscrowd", "segmentation", "keypoints", "num_keypoints")


@pytest.mark.parametrize("task", ["detection", "instance_segmentation", "pose"])
def test_dice_keeps_everything_exactly(task: str) -> None:
    @SETTINGS
    @given(documents(task))
    def check(source: dict[str, dict[str, Any]]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            direct, back = trip(source, task, "dice", Path(folder))
        assert direct.keys() == back.keys()
        for name, expected in direct.items():
            if name.endswith("categories"):
                assert back[name] == expected
            else:
                assert [{k: a.get(k) for k in KEPT} for a in back[name]] == [
                    {k: a.get(k) for k in KEPT} for a in expected
                ]

    check()


@pytest.mark.parametrize("task", ["detection", "instance_segmentation", "pose"])
def test_yolo_keeps_all_but_crowds_within_the_rounding(task: str) -> None:
    @SETTINGS
    @given(documents(task))
    def check(source: dict[str, dict[str, Any]]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            direct, back = trip(source, task, "yolo", Path(folder))
        assert direct.keys() == back.keys()
        for name, entries in direct.items():
            if name.endswith("categories"):
                assert back[name] == entries
                continue
            expected = [a for a in entries if not a["iscrowd"]]
            assert [a["category_id"] for a in back[name]] == [a["category_id"] for a in expected]
            for a, b in zip(expected, back[name], strict=True):
                _alike(a, b, task)

    check()


def _alike(a: dict[str, Any], b: dict[str, Any], task: str) -> None:
    assert b["iscrowd"] == 0
    if task != "instance_segmentation":
        assert np.allclose(a["bbox"], b["bbox"], atol=ROUNDING, rtol=0)
    if task == "pose":
        assert a["keypoints"][2::3] == b["keypoints"][2::3]
        assert np.allclose(a["keypoints"], b["keypoints"], atol=ROUNDING, rtol=0)
    if task == "instance_segmentation":
        assert isinstance(b["segmentation"], list) and len(b["segmentation"]) == 1
        first = segmentation_mask(a["segmentation"], HEIGHT, WIDTH)
        second = segmentation_mask(b["segmentation"], HEIGHT, WIDTH)
        if isinstance(a["segmentation"], dict):
            assert (first == second).all()
        else:  # a pixel whose centre lies on an edge may fall to either side by the rounding
            assert _only_at_edges(first != second, a["segmentation"])


def _only_at_edges(differs: np.ndarray, parts: list[list[float]]) -> bool:
    for y, x in np.argwhere(differs).tolist():
        centre = np.array([x + 0.5, y + 0.5])
        nearest = min(_distance(centre, np.reshape(part, (-1, 2))) for part in parts)
        if nearest > ROUNDING:
            return False
    return True


def _distance(point: np.ndarray, corners: np.ndarray) -> float:
    ends = np.roll(corners, -1, axis=0)
    along = ends - corners
    length = np.maximum((along**2).sum(1), 1e-12)
    share = np.clip(((point - corners) * along).sum(1) / length, 0, 1)
    return float(np.sqrt(((corners + share[:, None] * along - point) ** 2).sum(1)).min())


@SETTINGS
@given(masks())
def test_any_mask_is_one_polygon_of_the_same_pixels(mask: np.ndarray) -> None:
    outline = mask_to_polygon(mask_rle(mask), HEIGHT, WIDTH)
    assert outline is not None
    assert (polygon_mask(outline, HEIGHT, WIDTH) == mask).all()
    assert segmentation_area([outline]) == mask.sum()
    assert (rle_mask(mask_rle(mask)) == mask).all()


def test_an_empty_mask_has_no_outline() -> None:
    assert mask_to_polygon(mask_rle(np.zeros((4, 5), bool)), 4, 5) is None


@SETTINGS
@given(masks())
def test_the_outline_means_the_same_to_pycocotools(mask: np.ndarray) -> None:
    from pycocotools import mask as coco_mask

    outline = mask_to_polygon(mask_rle(mask), HEIGHT, WIDTH)
    decoded = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects([outline], HEIGHT, WIDTH)))
    assert (decoded.astype(bool) == mask).all()
