"""Rows of answers: choosing the best, and as many for every picture."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from trainer.export.graph.options import GraphOptions


def best(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The ``count`` largest of scores (N, L), the best first, and their places; all of them where there are fewer."""
    found = scores.topk(min(count, int(scores.shape[1])), dim=1)
    return found.values, found.indices


def chosen(values: Tensor, index: Tensor) -> Tensor:
    """Rows (N, K, ...) of ``values`` (N, L, ...) at places (N, K)."""
    shape = index.shape + (1,) * (values.dim() - 2)
    return values.gather(1, index.view(shape).expand(-1, -1, *values.shape[2:]))


def padded(
    boxes: Tensor, scores: Tensor, labels: Tensor, options: GraphOptions, threshold: float | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Detections sorted by score as ``max_detections`` rows; of the unused ones boxes and scores are 0, labels -1.

    Args:
        threshold: the model's own; the options' comes first.
    """
    lowest = options.score_threshold if options.score_threshold is not None else threshold
    kept = scores > (0.0 if lowest is None else lowest)
    scores = scores * kept.to(scores.dtype)
    boxes = boxes * kept.unsqueeze(-1).to(boxes.dtype)
    labels = (labels + 1) * kept.to(labels.dtype) - 1
    more = options.max_detections - int(scores.shape[1])
    if more > 0:
        scores, boxes = functional.pad(scores, (0, more)), functional.pad(boxes, (0, 0, 0, more))
        labels = functional.pad(labels, (0, more), value=-1)
    return boxes, scores, labels
