"""One-stage detectors whose head answers by mmdet's common decoding: RetinaNet, FCOS, ATSS, GFL, RTMDet, SSD
and what else uses it unchanged (FSAF, FreeAnchor, DDOD, ...)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trainer.export.graph.graph import DETECTION, Graph, refuse
from trainer.export.graph.nms import Duplicates, keep_best
from trainer.export.graph.options import GraphOptions
from trainer.export.graph.priors import Priors
from trainer.export.graph.top_rows import best, clip, finish, rows_of, take, threshold

STEPS = ("predict", "predict_by_feat", "_predict_by_feat_single", "_bbox_post_process")


def fits(model: Any) -> bool:
    """A single-stage detector with a head that decodes as one of ours does."""
    from mmdet.models.detectors import SingleStageDetector

    return (
        isinstance(model, SingleStageDetector)
        and type(model).predict is SingleStageDetector.predict
        and _kind(model.bbox_head) is not None
    )


def build(predictor: Any, options: GraphOptions) -> Graph:
    kind = _kind(predictor.model.bbox_head)
    assert kind is not None
    try:
        return kind(predictor, options)
    except ValueError as error:
        raise refuse(predictor, str(error)) from None


@dataclass(frozen=True)
class Candidates:
    """Detections before duplicates go.

    Attributes:
        scores, labels, boxes: (N, M), (N, M) and (N, M, 4).
        priors: (N, M, 2 or 4) what each box is relative to.
        rows: (N, M) which place of which level, counted through all levels.
        count: M where it is known when the graph is built.
    """

    scores: Tensor
    labels: Tensor
    boxes: Tensor
    priors: Tensor
    rows: Tensor
    count: int | None


class Dense(Graph):
    """The common decoding: a score for each class at each place of each level, the best ``nms_pre`` of a level."""

    output_names: tuple[str, ...] = DETECTION
    cuts = True

    def __init__(self, predictor: Any, options: GraphOptions) -> None:
        super().__init__(predictor, options)
        head = self.model.bbox_head
        config = head.test_cfg
        self.duplicates = Duplicates.of(config["nms"], options)
        least = options.score_threshold
        self.least = float(config.get("score_thr", 0.0)) if least is None else least
        self.before = int(config.get("nms_pre", -1))
        self.limit = min(options.max_detections, int(config.get("max_per_img", options.max_detections)))
        self.smallest = float(config.get("min_bbox_size", -1))
        self.clips = self.cuts and bool(getattr(head.bbox_coder, "clip_border", True))
        self.cut_at_edges = self.cut_at_edges and self.clips
        self.drop_empty = self.cut_at_edges and self.smallest >= 0
        self.priors = Priors(head.prior_generator, self.probe(self._maps)[0], options.dynamic_size)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        pixels = self.prepare(images)
        boxes, scores, labels, _, _ = self.found(self.candidates(self._maps(pixels), pixels))
        return boxes, scores, labels

    def found(self, many: Candidates) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Boxes, scores and labels as they are answered, and the priors and rows (see :class:`Candidates`) of each."""
        scores = many.scores
        if self.smallest >= 0:
            sides = many.boxes[..., 2:] - many.boxes[..., :2]
            scores = scores * (sides > self.smallest).all(-1)
        scores = keep_best(many.boxes, scores, many.labels, self.duplicates, self.limit)
        scores, places = best(scores, self.options.max_detections, many.count)
        answer = finish(scores, take(many.labels, places), take(many.boxes, places))
        return (*answer, take(many.priors, places), take(many.rows, places))

    def candidates(self, maps: Any, pixels: Tensor) -> Candidates:
        """What the head's maps say before duplicates go."""
        head: Any = self.model.bbox_head
        found: list[tuple[Tensor, ...]] = []
        levels = self.priors(maps[0])
        classes = head.cls_out_channels - (0 if getattr(head, "use_sigmoid_cls", True) else 1)
        before: Any = 0
        for level, (cls, reg, factor, (priors, count)) in enumerate(
            zip(maps[0], maps[1], self.factors(maps), levels, strict=True)
        ):
            scores = threshold(self.scores(rows_of(cls, head.cls_out_channels, count)), self.least)
            scores, places = self._best_of_level(scores.flatten(1), count, classes)
            labels = places % classes
            places = (places - labels).div(classes, rounding_mode="trunc")
            if factor is not None:
                scores = scores * take(rows_of(factor, 1, count).squeeze(-1).sigmoid(), places)
            deltas = take(self.deltas(reg, level, count), places)
            found.append((scores, labels, priors[places], deltas, places + before))
            before = before + priors.shape[0]
        scores, labels, priors, deltas, rows = (torch.cat(parts, 1) for parts in zip(*found, strict=True))
        boxes = self.decode(priors, deltas)
        if self.clips:
            boxes = clip(boxes, self.ends(pixels))
        return Candidates(scores, labels, boxes, priors, rows, self._available(levels, classes))

    def factors(self, maps: Any) -> Any:
        """For each level what the scores are multiplied by before duplicates go (centerness); None for nothing."""
        return maps[2] if len(maps) > 2 else [None] * len(maps[0])

    def scores(self, logits: Tensor) -> Tensor:
        """(N, M, C) logits -> (N, M, classes) probabilities."""
        head: Any = self.model.bbox_head
        if getattr(head.loss_cls, "custom_cls_channels", False):
            return head.loss_cls.get_activation(logits)
        return logits.sigmoid() if head.use_sigmoid_cls else logits.softmax(-1)[..., :-1]

    def deltas(self, reg: Tensor, level: int, count: int | None) -> Tensor:
        """A level's regression map -> (N, M, D), what :meth:`decode` takes."""
        return rows_of(reg, self.model.bbox_head.bbox_coder.encode_size, count)

    def decode(self, priors: Tensor, deltas: Tensor) -> Tensor:
        """(N, K, 4 or 2) priors and (N, K, D) deltas -> (N, K, 4) boxes, not yet cut at the edges."""
        flat = self.model.bbox_head.bbox_coder.decode(priors.flatten(0, 1), deltas.flatten(0, 1))
        return flat.reshape(*priors.shape[:2], 4)

    def _maps(self, pixels: Tensor) -> Any:
        return self.model.bbox_head(self.model.extract_feat(pixels))

    def _best_of_level(self, scores: Tensor, count: int | None, classes: int) -> tuple[Tensor, Tensor]:
        available = None if count is None else count * classes
        wanted = self.before if self.before > 0 else available
        if wanted is None:
            ranked, places = scores.sort(1, descending=True)
            return ranked, places
        return best(scores, wanted if available is None else min(wanted, available), available)

    def _available(self, levels: list[tuple[Tensor, int | None]], classes: int) -> int | None:
        total = 0
        for _, count in levels:
            if count is None:
                return None
            total += min(self.before, count * classes) if self.before > 0 else count * classes
        return total


class Gfl(Dense):
    """Distances as distributions (Generalized Focal Loss)."""

    def deltas(self, reg: Tensor, level: int, count: int | None) -> Tensor:
        head: Any = self.model.bbox_head
        values = rows_of(reg, 4 * (head.reg_max + 1), count)
        shape = values.shape
        distances = head.integral(values.reshape(-1, shape[-1])).reshape(shape[0], -1, 4)
        return distances * head.prior_generator.strides[level][0]

    def decode(self, priors: Tensor, deltas: Tensor) -> Tensor:
        head: Any = self.model.bbox_head
        return super().decode(head.anchor_center(priors.flatten(0, 1)).reshape(*priors.shape[:2], 2), deltas)


def _kind(head: Any) -> type[Dense] | None:
    """Which of our decodings equals the one that a head inherited; None where it wrote its own."""
    from mmdet.models.dense_heads import GFLHead
    from mmdet.models.dense_heads.base_dense_head import BaseDenseHead

    for kind, ours in ((GFLHead, Gfl), (BaseDenseHead, Dense)):
        if isinstance(head, kind) and all(getattr(type(head), step) is getattr(kind, step) for step in STEPS):
            return ours
    return None
