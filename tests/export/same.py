"""Whether two detectors found the same: row by row, whatever the order of ties."""

from __future__ import annotations

import numpy as np

Rows = dict[str, np.ndarray]


def detections(outputs: list[np.ndarray], picture: int) -> Rows:
    """The used rows of a graph's answer (boxes, scores, labels, and masks where there are some) for one picture."""
    names = ("boxes", "scores", "labels", "masks")
    used = outputs[1][picture] > 0
    assert (outputs[2][picture][~used] == -1).all() and (outputs[2][picture][used] >= 0).all()
    assert not outputs[0][picture][~used].any()
    return {name: np.asarray(one[picture])[used] for name, one in zip(names, outputs, strict=False)}


def share_found(one: Rows, other: Rows, px: float = 0.1, score: float = 1e-3, pixels: float = 0.01) -> float:
    """The share of ``one``'s rows that ``other`` has, too: the same label, a box within ``px`` and a score within
    ``score``, and a mask of which no more than ``pixels`` of the picture differ."""
    if not len(one["scores"]):
        return 1.0 if not len(other["scores"]) else 0.0
    free = np.ones(len(other["scores"]), bool)
    hits = 0
    for row in range(len(one["scores"])):
        apart = np.abs(other["boxes"] - one["boxes"][row]).max(-1)
        near = free & (other["labels"] == one["labels"][row]) & (apart < px)
        near &= np.abs(other["scores"] - one["scores"][row]) < score
        if "masks" in one and near.any():
            mine, theirs = as_bits(one["masks"][row]), as_bits(other["masks"][near])
            near[near] = (mine != theirs).mean((1, 2)) <= pixels
        if near.any():
            free[np.flatnonzero(near)[0]] = False
            hits += 1
    return hits / len(one["scores"])


def as_bits(masks: np.ndarray) -> np.ndarray:
    """A graph's masks (probabilities times 255) as the model's own."""
    return masks if masks.dtype == bool else masks >= 128
