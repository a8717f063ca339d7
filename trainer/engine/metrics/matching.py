"""Which detections are right at one IoU, by COCO's rules, from the overlaps that COCO's evaluation has computed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from faster_coco_eval import COCO
from faster_coco_eval import mask as rle

IOU = 0.5
CONFIDENT = 0.3
"""The lowest score of a detection in the confusion matrix."""

Annotation = Mapping[str, Any]


@dataclass(frozen=True)
class Overlaps:
    """What COCO's evaluation compared.

    Attributes:
        kind: ``bbox``, ``segm`` or ``keypoints``.
        ious: (image, category) -> (detections, ground truths) overlaps, the detections best first; where either has
            none it is empty or missing.
        limit: most detections of an image and category that count.
    """

    truth: COCO
    found: COCO
    kind: str
    images: tuple[int, ...]
    categories: tuple[int, ...]
    ious: Mapping[tuple[int, int], Any]
    limit: int


@dataclass(frozen=True)
class Matches:
    """All detections of a category that count: scores (N,), whether each is right (N,); how many there are to find."""

    scores: np.ndarray
    right: np.ndarray
    truths: int


def match_detections(overlaps: Overlaps, iou: float = IOU) -> dict[int, Matches]:
    """Category -> matches: the best detection first takes the free ground truth that it overlaps most.

    A detection on a crowd, or on a person without keypoints, is neither right nor wrong and is left out.
    """
    scores: dict[int, list[float]] = {category: [] for category in overlaps.categories}
    right: dict[int, list[bool]] = {category: [] for category in overlaps.categories}
    truths = dict.fromkeys(overlaps.categories, 0)
    known = frozenset(overlaps.categories)
    for image in overlaps.images:
        shown = _by_category(overlaps.truth.imgToAnns.get(image, ()), known)
        for category, ones in shown.items():
            truths[category] += sum(not _ignored(one, overlaps.kind) for one in ones)
        said = _by_category(overlaps.found.imgToAnns.get(image, ()), known)
        for category, detections in said.items():
            found = sorted((float(one["score"]) for one in detections), reverse=True)[: overlaps.limit]
            table = overlaps.ious.get((image, category))
            if category not in shown or table is None or not len(table):
                # Most pairs of an image and a category; nothing is there to be found.
                scores[category] += found
                right[category] += [False] * len(found)
                continue
            ones = shown[category]
            left_out = np.array([_ignored(one, overlaps.kind) for one in ones])
            crowd = np.array([bool(one.get("iscrowd")) for one in ones])
            hit, counts = _greedy(np.asarray(table), left_out, crowd, iou)
            scores[category] += np.array(found)[counts].tolist()
            right[category] += hit[counts].tolist()
    return {
        category: Matches(
            np.array(scores[category], float),
            np.array(right[category], bool),
            truths[category],
        )
        for category in overlaps.categories
    }


def confusion(overlaps: Overlaps, threshold: float = CONFIDENT, iou: float = IOU) -> np.ndarray:
    """(C + 1, C + 1) counts, rows what is true and columns what was said, in the order of ``overlaps.categories``.

    Last come what isn't there (row) and what wasn't found (column). Detections from ``threshold`` on take, the best
    first, the free ground truth of whatever class that they overlap most, from ``iou`` on; one on a crowd is left out.
    """
    index = {category: place for place, category in enumerate(overlaps.categories)}
    nothing = len(index)
    counts = np.zeros((nothing + 1, nothing + 1), np.int64)
    for image in overlaps.images:
        shown = [one for one in overlaps.truth.imgToAnns.get(image, ()) if one["category_id"] in index]
        said = [
            one
            for one in overlaps.found.imgToAnns.get(image, ())
            if one["category_id"] in index and one["score"] >= threshold
        ]
        said.sort(key=lambda one: -one["score"])
        crowd = np.array([bool(one.get("iscrowd")) for one in shown], bool)
        missed = ~crowd
        if shown and said:
            table = _overlaps(said, shown, crowd, overlaps)
            for row, one in enumerate(said):
                best = _best(table[row], missed, iou)
                if best is not None:
                    missed[best] = False
                    counts[index[shown[best]["category_id"]], index[one["category_id"]]] += 1
                elif _best(table[row], crowd, iou) is None:
                    counts[nothing, index[one["category_id"]]] += 1
        else:
            for one in said:
                counts[nothing, index[one["category_id"]]] += 1
        for place in np.flatnonzero(missed):
            counts[index[shown[place]["category_id"]], nothing] += 1
    return counts


def _by_category(
    annotations: Iterable[Annotation], categories: frozenset[int]
) -> dict[int, list[Annotation]]:
    grouped: dict[int, list[Annotation]] = defaultdict(list)
    for one in annotations:
        if one["category_id"] in categories:
            grouped[one["category_id"]].append(one)
    return grouped


def _ignored(annotation: Annotation, kind: str) -> bool:
    return bool(annotation.get("iscrowd")) or (kind == "keypoints" and not annotation.get("num_keypoints"))


def _greedy(
    table: np.ndarray, left_out: np.ndarray, crowd: np.ndarray, iou: float
) -> tuple[np.ndarray, np.ndarray]:
    """(whether each row is right, whether it counts)."""
    right, counts = np.zeros(len(table), bool), np.ones(len(table), bool)
    threshold = min(iou, 1 - 1e-10)
    free, spare = ~left_out, left_out.copy()
    for row in np.flatnonzero((table >= threshold).any(axis=1)):
        best = _best(table[row], free, threshold)
        if best is not None:
            free[best], right[row] = False, True
            continue
        best = _best(table[row], spare, threshold)
        if best is not None:
            spare[best], counts[row] = crowd[best], False
    return right, counts


def _best(values: np.ndarray, allowed: np.ndarray, threshold: float) -> int | None:
    """The place of the largest allowed value from ``threshold`` on; of equal ones the last, as COCO has it."""
    places = np.flatnonzero(allowed & (values >= threshold))
    if not places.size:
        return None
    return int(places[len(places) - 1 - int(np.argmax(values[places][::-1]))])


def _overlaps(
    said: list[Annotation], shown: list[Annotation], crowd: np.ndarray, overlaps: Overlaps
) -> np.ndarray:
    if overlaps.kind == "bbox":
        found, truth = [one["bbox"] for one in said], [one["bbox"] for one in shown]
    else:
        found = [_mask(one, overlaps.found) for one in said]
        truth = [_mask(one, overlaps.truth) for one in shown]
    return np.asarray(rle.iou(found, truth, crowd.astype(int).tolist()))


def _mask(annotation: Annotation, of: COCO) -> Any:
    """The run lengths; the evaluation has left them with the annotation."""
    return annotation["rle"] if "rle" in annotation else of.annToRLE(annotation)
