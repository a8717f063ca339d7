"""Tiles leave no seams, and mirrored and smaller looks agree with a plain one."""

from __future__ import annotations

import numpy as np
import pytest

from tests.inference.squares import Squares, as_set, scene
from trainer.inference.tta import windows


def _rectangles(seed, width=300, height=220, count=25):
    """Rectangles that don't touch each other, of all sizes, some larger than a tile of 64."""
    random = np.random.default_rng(seed)
    taken = np.zeros((height, width), bool)
    found = [(2, 10, 100, 160, 190)]
    taken[98:192, 8:162] = True
    while len(found) < count:
        wide, high = random.integers(4, 90, 2)
        x, y = random.integers(0, width - wide), random.integers(0, height - high)
        if not taken[max(0, y - 2) : y + high + 2, max(0, x - 2) : x + wide + 2].any():
            taken[y : y + high, x : x + wide] = True
            found.append((int(random.integers(3)), int(x), int(y), int(x + wide), int(y + high)))
    return found


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("overlap", [0.2, 0.4])
def test_tiles_find_what_the_whole_image_shows(seed, overlap):
    rectangles = _rectangles(seed)
    model = Squares("instance_segmentation")
    image = scene(300, 220, rectangles)
    (found,) = model.predict(image, tile=64, overlap=overlap)
    assert as_set(found) == set(rectangles)
    assert sum(model.batches) == len(windows(300, 220, 64, overlap)) + 1
    for box, mask in zip(found.boxes.astype(int), found.masks, strict=True):
        x1, y1, x2, y2 = box
        assert mask.sum() == (x2 - x1) * (y2 - y1) and mask[y1:y2, x1:x2].all()


def test_something_that_only_tiles_show_is_joined_from_its_parts():
    class Near(Squares):
        """Sees nothing in images larger than a tile, as a detector doesn't see what is small there."""

        def _answer(self, item):
            return super()._answer(item if item.shape[1] <= 64 else np.zeros_like(item))

    wide = (1, 10, 30, 190, 40)
    (found,) = Near().predict(scene(200, 64, [wide, (1, 10, 50, 20, 60)]), tile=64, overlap=0.25)
    assert as_set(found) == {wide, (1, 10, 50, 20, 60)}


def test_a_part_that_looks_like_something_else_gives_way_to_the_whole():
    class Short(Squares):
        """Takes what is narrower than 30 px for green."""

        def _answer(self, item):
            found = super()._answer(item)
            found.labels[found.boxes[:, 2] - found.boxes[:, 0] < 30] = 1
            return found

    (found,) = Short().predict(scene(110, 40, [(0, 50, 4, 90, 30), (2, 10, 4, 20, 14)]), tile=64, overlap=0.4)
    assert as_set(found) == {(0, 50, 4, 90, 30), (1, 10, 4, 20, 14)}


def test_classes_are_not_mixed_and_neighbours_stay_two():
    rectangles = [(0, 40, 10, 60, 30), (1, 61, 10, 80, 30), (0, 82, 10, 100, 30), (0, 40, 32, 60, 60)]
    (found,) = Squares().predict(scene(150, 64, rectangles), tile=64, overlap=0.5)
    assert as_set(found) == set(rectangles)


def test_the_best_of_all_tiles_are_kept():
    rectangles = _rectangles(1)
    (found,) = Squares("instance_segmentation").predict(
        scene(300, 220, rectangles), tile=64, max_detections=4
    )
    assert len(found) == 4 == len(found.masks)
    (none,) = Squares("instance_segmentation").predict(scene(300, 220, []), tile=64)
    assert len(none) == 0 and none.masks.shape == (0, 220, 300)


def test_a_map_of_tiles_is_that_of_the_whole():
    image = scene(300, 220, _rectangles(3))
    model = Squares("semantic_segmentation")
    (whole,), (tiled,) = model.predict(image), model.predict(image, tile=64)
    assert (whole.segmentation == tiled.segmentation).all() and len(np.unique(whole.segmentation)) == 4


def test_in_the_overlap_of_tiles_the_nearer_middle_has_more_say():
    class Unsure(Squares):
        """Blue in the left half of each tile, green in the right, with a doubt that grows towards its edges."""

        def _answer(self, item):
            found = super()._answer(item)
            width = item.shape[1]
            left = np.arange(width) < width / 2
            found.probabilities[:] = 0
            found.probabilities[1], found.probabilities[2] = left, ~left
            return found

    (found,) = Unsure("semantic_segmentation").predict(scene(96, 64, []), tile=64, overlap=0.5)
    row = found.segmentation[32]
    # Tiles 0-64 and 32-96: the second one's blue, near its left edge, gives way to the first one's green.
    assert (row[:32] == 1).all() and (row[32:47] == 2).all()
    assert (found.segmentation == row).all(), "no seam from row to row"


def test_small_images_are_not_cut():
    model = Squares()
    list(model.predict([scene(64, 64, []), scene(64, 65, [])], tile=64))
    assert sum(model.batches) == 1 + 2 + 1


def test_windows_cover_everything_and_overlap():
    found = windows(1000, 700, 256, 0.2)
    covered = np.zeros((700, 1000), int)
    for x1, y1, x2, y2 in found:
        assert (x2 - x1, y2 - y1) == (256, 256)
        covered[y1:y2, x1:x2] += 1
    assert covered.min() == 1
    assert windows(100, 300, 256, 0.2) == [(0, 0, 100, 256), (0, 44, 100, 300)]


@pytest.mark.parametrize("task", ["detection", "instance_segmentation", "semantic_segmentation", "pose"])
def test_looking_several_ways_agrees_with_looking_once(task):
    model = Squares(task)
    image = scene(60, 41, [(0, 3, 5, 20, 30), (1, 33, 8, 58, 20), (1, 33, 22, 50, 40)])
    (once,), (often,) = model.predict(image), model.predict(image, tta=True)
    assert model.batches == [1, 4]
    assert as_set(often) == as_set(once)
    for name in ("segmentation", "masks", "keypoints"):
        expected, got = getattr(once, name), getattr(often, name)
        assert (expected is None) == (got is None)
        if name == "segmentation" and got is not None:
            # The grey margin of the smaller copy is of no class here.
            assert (expected == got).all()
        elif got is not None:
            order = np.lexsort(once.boxes.T), np.lexsort(often.boxes.T)
            np.testing.assert_allclose(got[order[1]], expected[order[0]], atol=1e-3)


def test_what_few_looks_see_scores_less():
    class Mirrored(Squares):
        """Finds things in the left half only: each look but the mirrored one sees another half."""

        def _answer(self, item):
            half = item.copy()
            half[:, 30:] = 0
            return super()._answer(half)

    (found,) = Mirrored().predict(scene(60, 20, [(0, 5, 5, 15, 15)]), tta=True)
    assert as_set(found) == {(0, 5, 5, 15, 15)}
    assert found.scores.tolist() == [0.5]


def test_a_model_that_never_saw_a_mirror_is_not_shown_one():
    model = Squares()
    model.mirrors = False
    list(model.predict(scene(20, 20, []), tta=True))
    assert model.batches == [2] and "without mirrored" in model.notes[0]


def test_a_top_down_model_is_shown_mirrored_boxes():
    model = Squares("pose")
    model.top_down = True
    from trainer.inference.samples import Sample

    image = scene(60, 20, [(0, 5, 0, 15, 20), (1, 30, 0, 50, 20)])
    boxes = np.array([[0, 0, 25, 20], [25, 0, 60, 20]], np.float32)
    (found,) = model.predict(Sample(image, boxes), tta=True, tile=32)
    np.testing.assert_allclose(found.keypoints[..., 0], [[5, 14], [30, 49]], atol=1e-4)
    assert model.batches == [4] and any("tile" in note for note in model.notes)


def test_tiles_and_several_looks_together():
    rectangles = _rectangles(5)
    (found,) = Squares().predict(scene(300, 220, rectangles), tile=64, tta=True)
    assert as_set(found) == set(rectangles)
