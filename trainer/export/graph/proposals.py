"""The regions that a region proposal network proposes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from trainer.export.graph.nms import Duplicates, keep_best
from trainer.export.graph.priors import Priors
from trainer.export.graph.top_rows import best, clip, rows_of, take


class Proposals(nn.Module):
    """mmdet's ``RPNHead.predict_by_feat``.

    Args:
        head: mmdet's RPNHead.
        features: the pyramid at the size that the graph is built for.

    Attributes:
        count: proposals a picture, the rows that are filled up included.
    """

    def __init__(self, head: Any, features: Any, dynamic: bool) -> None:
        super().__init__()
        config = head.test_cfg
        self.before, self.count = int(config.get("nms_pre", -1)), int(config["max_per_img"])
        if self.before < 1:
            raise ValueError("its proposals are not limited in number (nms_pre)")
        self.smallest = float(config.get("min_bbox_size", -1))
        self.duplicates = Duplicates.of(config["nms"])
        self.coder, self.sigmoid = head.bbox_coder, head.use_sigmoid_cls
        with torch.no_grad():
            self.priors = Priors(head.prior_generator, head(features)[0], dynamic)

    def forward(self, objectness: Any, deltas: Any, ends: tuple[Any, Any]) -> tuple[Tensor, Tensor]:
        """The head's maps of each level -> boxes (N, count, 4), cut at ``ends``, and which rows are proposals
        (N, count), 1 or 0."""
        found: list[tuple[Tensor, ...]] = []
        for level, (logits, reg, (priors, count)) in enumerate(
            zip(objectness, deltas, self.priors(objectness), strict=True)
        ):
            if self.sigmoid:
                scores = rows_of(logits, 1, count).squeeze(-1).sigmoid()
            else:
                scores = rows_of(logits, 2, count).softmax(-1)[..., 0]
            wanted = self.before if count is None else min(self.before, count)
            scores, places = best(scores, wanted, count)
            found.append(
                (scores, torch.full_like(places, level), priors[places], take(rows_of(reg, 4, count), places))
            )
        scores, levels, priors, moves = (torch.cat(parts, 1) for parts in zip(*found, strict=True))
        boxes = self.coder.decode(priors.flatten(0, 1), moves.flatten(0, 1)).reshape(priors.shape)
        boxes = clip(boxes, ends)
        if self.smallest >= 0:
            scores = scores * (boxes[..., 2:] - boxes[..., :2] > self.smallest).all(-1)
        scores = keep_best(boxes, scores, levels, self.duplicates, self.count)
        scores, places = best(scores, self.count, None)
        valid = (scores > 0).to(boxes.dtype)
        return take(boxes, places) * valid.unsqueeze(-1), valid
