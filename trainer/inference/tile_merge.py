"""The answers of an image's tiles as one answer without seams."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from trainer.inference.merge_predictions import iou, probabilities_of
from trainer.inference.tta import Window
from trainer.predictions.prediction import Prediction

SAME = 0.5
"""From this overlap (IoU) on, in the part that two tiles share, two instances of a class are one thing."""
EDGE = 0.01
"""The share of a tile's side from its edge on in which a box counts as cut by it."""


@dataclass(frozen=True)
class _Found:
    """One instance of one tile; its box in px of the image."""

    tile: int
    index: int
    box: np.ndarray
    score: float
    label: int
    cut: bool


class Instances:
    """Collects tiles' instances. Two are one thing where they agree on the part that both tiles see.

    Of one thing's instances the best that no tile's edge cuts is kept; where all are cut, for the thing is larger
    than a tile, they are joined. A part of something may look like another class: where one tile cuts what another
    sees whole, the latter is believed.
    """

    def __init__(self, empty: Prediction) -> None:
        self.empty, self.size = empty, empty.size
        self.windows: list[Window] = []
        self.answers: list[Prediction] = []
        self.found: list[list[_Found]] = []

    def add(self, window: Window, answer: Prediction) -> None:
        """The answer for a window, in px of the window."""
        tile, offset = len(self.windows), np.array([window[0], window[1]] * 2, np.float32)
        boxes = answer.boxes + offset
        cut = _cut(boxes, window, self.size)
        self.windows.append(window)
        self.answers.append(answer)
        self.found.append(
            [
                _Found(tile, i, boxes[i], float(answer.scores[i]), int(answer.labels[i]), bool(cut[i]))
                for i in range(len(answer))
            ]
        )

    def result(self, limit: int | None = None) -> Prediction:
        """The image's answer, best first, at most ``limit`` instances."""
        things = [thing for group in self._groups() for thing in _things(group)]
        things.sort(key=lambda members: -max(one.score for one in members))
        return self._prediction(things[:limit])

    def _groups(self) -> list[list[_Found]]:
        """Instances that agree pairwise, and what agrees with these, and so on."""
        flat = [one for many in self.found for one in many]
        place = {(one.tile, one.index): number for number, one in enumerate(flat)}
        parent = list(range(len(flat)))

        def root(number: int) -> int:
            while parent[number] != number:
                parent[number] = parent[parent[number]]
                number = parent[number]
            return number

        misread = set()
        for first, second in self._agreeing():
            a, b = place[first.tile, first.index], place[second.tile, second.index]
            if first.label == second.label:
                parent[root(b)] = root(a)
            elif first.cut != second.cut:
                misread.add(a if first.cut else b)
        groups: dict[int, list[_Found]] = {}
        for number, one in enumerate(flat):
            if number not in misread:
                groups.setdefault(root(number), []).append(one)
        return list(groups.values())

    def _agreeing(self) -> Iterator[tuple[_Found, _Found]]:
        for a, first in enumerate(self.found):
            for b in range(a + 1, len(self.found)):
                second = self.found[b]
                shared = _intersection(self.windows[a], self.windows[b])
                if shared is None or not first or not second:
                    continue
                overlaps = iou(_clipped(first, shared), _clipped(second, shared))
                for row, column in zip(*np.nonzero(overlaps >= SAME), strict=True):
                    yield first[row], second[column]

    def _prediction(self, things: Sequence[Sequence[_Found]]) -> Prediction:
        width, height = self.size
        if not things:
            return self.empty
        best = [max(members, key=lambda one: one.score) for members in things]
        boxes = np.stack([_union(members) for members in things]).astype(np.float32)
        masks = keypoints = None
        if self.empty.masks is not None:
            masks = np.zeros((len(things), height, width), bool)
            for mask, members in zip(masks, things, strict=True):
                for one in members:
                    x1, y1, x2, y2 = self.windows[one.tile]
                    own = self.answers[one.tile].masks
                    assert own is not None
                    mask[y1:y2, x1:x2] |= own[one.index]
        if self.empty.keypoints is not None:
            keypoints = np.stack([self._points(one) for one in best])
        return replace(
            self.empty,
            boxes=boxes,
            scores=np.array([one.score for one in best], np.float32),
            labels=np.array([one.label for one in best], np.int64),
            masks=masks,
            keypoints=keypoints,
        )

    def _points(self, one: _Found) -> np.ndarray:
        points = self.answers[one.tile].keypoints
        assert points is not None
        moved = points[one.index].copy()
        moved[:, :2] += self.windows[one.tile][:2]
        return moved


class Map:
    """Averages tiles' probabilities, each less sure towards its edges; only the rows that tiles still reach are kept.

    Windows come row by row, as :func:`trainer.inference.tta.windows` gives them.
    """

    def __init__(self, empty: Prediction) -> None:
        self.empty = empty
        width, height = empty.size
        self.labels = np.zeros((height, width), np.uint8)
        self.top = 0
        self.total: np.ndarray = np.zeros((len(empty.classes), 0, width), np.float32)

    def add(self, window: Window, answer: Prediction) -> None:
        """The answer for a window, in px of the window."""
        x1, y1, x2, y2 = window
        self._finish(y1)
        lacking = y2 - self.top - self.total.shape[1]
        if lacking > 0:
            below: np.ndarray = np.zeros((self.total.shape[0], lacking, self.total.shape[2]), np.float32)
            self.total = np.concatenate([self.total, below], 1)
        weight = np.multiply.outer(_ramp(y2 - y1), _ramp(x2 - x1))
        self.total[:, y1 - self.top : y2 - self.top, x1:x2] += probabilities_of(answer) * weight

    def result(self) -> Prediction:
        """The image's answer."""
        self._finish(self.empty.size[1])
        return replace(self.empty, segmentation=self.labels)

    def _finish(self, until: int) -> None:
        """Decide the rows above ``until``."""
        done = until - self.top
        if done > 0:
            self.labels[self.top : until] = self.total[:, :done].argmax(0)
            self.total, self.top = self.total[:, done:].copy(), until


def _things(group: list[_Found]) -> list[list[_Found]]:
    """The things that a group of agreeing instances shows: whole ones, or one that is joined from parts."""
    whole = sorted((one for one in group if not one.cut), key=lambda one: -one.score)
    if not whole:
        return [group]
    kept: list[_Found] = []
    for one in whole:
        if not kept or iou(one.box[None], np.stack([other.box for other in kept])).max() < SAME:
            kept.append(one)
    return [[one] for one in kept]


def _cut(boxes: np.ndarray, window: Window, size: tuple[int, int]) -> np.ndarray:
    """Whether each box (N, 4) ends at an edge of the window that isn't the image's."""
    x1, y1, x2, y2 = window
    margin_x, margin_y = max(2.0, EDGE * (x2 - x1)), max(2.0, EDGE * (y2 - y1))
    return (
        ((x1 > 0) & (boxes[:, 0] < x1 + margin_x))
        | ((y1 > 0) & (boxes[:, 1] < y1 + margin_y))
        | ((x2 < size[0]) & (boxes[:, 2] > x2 - margin_x))
        | ((y2 < size[1]) & (boxes[:, 3] > y2 - margin_y))
    )


def _intersection(a: Window, b: Window) -> Window | None:
    x1, y1, x2, y2 = max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])
    return (x1, y1, x2, y2) if x1 < x2 and y1 < y2 else None


def _clipped(found: Sequence[_Found], window: Window) -> np.ndarray:
    boxes = np.stack([one.box for one in found])
    low, high = np.array(window[:2] * 2), np.array(window[2:] * 2)
    return np.clip(boxes, low, high)


def _union(members: Sequence[_Found]) -> np.ndarray:
    boxes = np.stack([one.box for one in members])
    return np.concatenate([boxes[:, :2].min(0), boxes[:, 2:].max(0)])


def _ramp(length: int) -> np.ndarray:
    """(length,) weights that rise from the edges to the middle."""
    place = np.arange(length, dtype=np.float32)
    return np.minimum(place + 1, length - place) / ((length + 1) / 2)
