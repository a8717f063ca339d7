"""Rows of answers: choosing the best, and as many for every picture."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


def threshold(scores: Tensor, least: float) -> Tensor:
    """Scores with those at or below ``least`` set to 0."""
    return scores * (scores > least).to(scores.dtype)


def at_least(scores: Tensor, least: float) -> Tensor:
    """As :func:`threshold`, where a score of ``least`` itself counts."""
    return torch.where(scores >= least, scores, torch.zeros_like(scores))


def rows_of(maps: Tensor, values: int, count: int | None) -> Tensor:
    """(N, A * values, H, W) -> (N, H * W * A, values); ``count`` is the middle one where it is known."""
    last = maps.permute(0, 2, 3, 1)
    if count is None:
        return last.reshape(maps.shape[0], -1, values)
    return last.reshape(-1, count, values)


def best(scores: Tensor, count: int, available: int | None = None) -> tuple[Tensor, Tensor]:
    """The ``count`` best of scores (N, M), the best first, and their places, both (N, count).

    Args:
        available: M, where it is fixed; None: it may be smaller or larger. Rows that aren't there score 0.
    """
    missing = count if available is None else count - available
    if missing > 0:
        scores = functional.pad(scores, (0, missing))
    ranked, places = scores.topk(count, 1)
    if missing > 0:
        places = torch.minimum(places, torch.full_like(places, 0) + (scores.shape[1] - missing - 1))
    return ranked, places


def take(values: Tensor, places: Tensor) -> Tensor:
    """Rows (N, K, ...) of ``values`` (N, M, ...) at ``places`` (N, K)."""
    shape = places.shape + (1,) * (values.dim() - 2)
    return values.gather(1, places.reshape(shape).expand(*places.shape, *values.shape[2:]))


def clip(boxes: Tensor, ends: tuple[Any, Any]) -> Tensor:
    """Boxes (N, M, 4) xyxy cut at the upper left corner and at ``ends``: height and width in px, of all pictures or
    (N, 1) of each."""
    x1, y1, x2, y2 = boxes.unbind(-1)
    across = [_most(x.clamp(min=0), ends[1]) for x in (x1, x2)]
    down = [_most(y.clamp(min=0), ends[0]) for y in (y1, y2)]
    return torch.stack((across[0], down[0], across[1], down[1]), -1)


def finish(scores: Tensor, labels: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(boxes, scores, labels) with boxes 0 and label -1 where the score is 0."""
    found = scores > 0
    boxes = boxes * found.unsqueeze(-1).to(boxes.dtype)
    return boxes, scores, (labels + 1) * found.to(labels.dtype) - 1


def _most(values: Tensor, most: Any) -> Tensor:
    return torch.minimum(values, most) if isinstance(most, Tensor) and most.dim() else values.clamp(max=most)
