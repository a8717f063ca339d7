"""Masks, areas and boxes against pycocotools."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.data.geometry import mask_box, polygon_mask, rle_mask, segmentation_area, segmentation_box

tools = pytest.importorskip("pycocotools.mask")


@pytest.mark.parametrize("seed", range(8))
def test_rle_both_forms(seed):
    rng = np.random.default_rng(seed)
    mask = rng.random((int(rng.integers(1, 60)), int(rng.integers(1, 60)))) < rng.random()
    packed = tools.encode(np.asfortranarray(mask.astype(np.uint8)))
    text = {"size": packed["size"], "counts": packed["counts"].decode()}
    assert np.array_equal(rle_mask(text), mask)
    assert segmentation_area(text) == mask.sum()
    column = mask.T.ravel().astype(int)
    edges = np.flatnonzero(np.diff(column)) + 1
    runs = np.diff([0, *edges, len(column)]).tolist()
    plain = {"size": list(mask.shape), "counts": [0, *runs] if column[0] else runs}
    assert np.array_equal(rle_mask(plain), mask)
    box = segmentation_box(plain)
    assert box == (tuple(tools.toBbox(packed).tolist()) if mask.any() else None)


def test_large_masks_need_differences_of_two_back():
    mask = np.zeros((400, 500), bool)
    mask[30:370:7, 100:450] = True
    packed = tools.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert np.array_equal(rle_mask({"size": packed["size"], "counts": packed["counts"].decode()}), mask)


@pytest.mark.parametrize("counts", [[1, 2], [5, -1, 0], "01"])
def test_rle_that_does_not_fit(counts):
    with pytest.raises(ValueError, match="add up"):
        rle_mask({"size": [2, 2], "counts": counts})


@pytest.mark.parametrize("seed", range(6))
def test_polygons_agree_with_pycocotools_but_for_the_rim(seed):
    rng = np.random.default_rng(seed)
    angles = np.sort(rng.uniform(0, 2 * np.pi, 9))
    points = np.stack([50 + 40 * np.cos(angles) * rng.uniform(0.5, 1), 45 + 40 * np.sin(angles)], 1).clip(
        0, 90
    )
    ours = polygon_mask(points.ravel().tolist(), 90, 100)
    packed = tools.merge(tools.frPyObjects([points.ravel().tolist()], 90, 100))
    theirs = tools.decode(packed).astype(bool)
    assert (ours ^ theirs).sum() < 0.04 * theirs.sum()
    assert abs(ours.sum() - segmentation_area([points.ravel().tolist()])) < 0.03 * ours.sum()


def test_polygon_holds_the_pixels_whose_centres_it_holds():
    mask = polygon_mask([1, 1, 4, 1, 4, 3, 1, 3], 5, 6)
    assert mask_box(mask) == (1, 1, 3, 2) and mask.sum() == 6
    assert polygon_mask([1.6, 1.4, 3.4, 1.4, 3.4, 2.4, 1.6, 2.4], 5, 6).sum() == 1
    outside = polygon_mask([-5, -5, 50, -5, 50, 50, -5, 50], 5, 6)
    assert outside.all()
    bow_tie = polygon_mask([0, 0, 4, 4, 4, 0, 0, 4], 4, 4)  # crosses itself: its left and its right half
    assert bow_tie[1:3, [0, 3]].all() and not bow_tie[0, 1:3].any()
