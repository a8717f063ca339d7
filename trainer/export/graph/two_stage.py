"""Detectors that look at proposed regions: Faster and Mask R-CNN, Cascade R-CNN and Cascade Mask R-CNN."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from trainer.export.graph.graph import DETECTION, INSTANCES, Graph, refuse
from trainer.export.graph.mask_output import as_bytes
from trainer.export.graph.nms import Duplicates, keep_best
from trainer.export.graph.options import GraphOptions
from trainer.export.graph.paste import paste
from trainer.export.graph.proposals import Proposals
from trainer.export.graph.regions import check_extractor, regions
from trainer.export.graph.top_rows import best, clip, finish, take, threshold


def fits(model: Any) -> bool:
    """A region proposal network with a plain or a cascaded head."""
    from mmdet.models.dense_heads import RPNHead
    from mmdet.models.detectors import TwoStageDetector
    from mmdet.models.roi_heads import CascadeRoIHead, StandardRoIHead

    return (
        isinstance(model, TwoStageDetector)
        and type(model).predict is TwoStageDetector.predict
        and type(model.rpn_head) is RPNHead
        and type(model.roi_head) in (StandardRoIHead, CascadeRoIHead)
    )


def build(predictor: Any, options: GraphOptions) -> Graph:
    try:
        _check(predictor.model.roi_head)
        return TwoStage(predictor, options)
    except ValueError as error:
        raise refuse(predictor, str(error)) from None


class TwoStage(Graph):
    """Proposals, then one stage of classes and boxes or several, then masks where the model has them."""

    min_opset = 16
    min_opset_reason = "where RoiAlign samples at half pixels"

    def __init__(self, predictor: Any, options: GraphOptions) -> None:
        super().__init__(predictor, options)
        head: Any = self.model.roi_head
        config = head.test_cfg
        self.duplicates = Duplicates.of(config["nms"], options)
        least = options.score_threshold
        self.least = float(config["score_thr"]) if least is None else least
        self.limit = min(options.max_detections, int(config["max_per_img"]))
        self.masked = bool(head.with_mask)
        if self.masked and float(config["mask_thr_binary"]) != 0.5:
            raise ValueError(f"its masks are cut at {config['mask_thr_binary']}; only 0.5 can be expressed")
        self.output_names = INSTANCES if self.masked else DETECTION
        rpn: Any = self.model.rpn_head
        self.proposals = Proposals(rpn, self.probe(self.model.extract_feat), options.dynamic_size)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        pixels = self.prepare(images)
        features = self.model.extract_feat(pixels)
        ends = self.ends(pixels)
        boxes, valid = self.proposals(*self.model.rpn_head(features), ends)
        scores, labels, boxes = self._classified(features, boxes, valid, ends)
        scores = keep_best(boxes, scores, labels, self.duplicates, self.limit)
        scores, places = best(scores, self.options.max_detections, None)
        boxes, scores, labels = finish(scores, take(labels, places), take(boxes, places))
        if not self.masked:
            return boxes, scores, labels
        return boxes, scores, labels, self._masks(features, boxes, labels, scores > 0, pixels)

    def _classified(
        self, features: Any, boxes: Tensor, valid: Tensor, ends: tuple[Any, Any]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Proposals (N, P, 4) -> scores (N, P * C), labels and boxes (N, P * C, 4), a row for each class."""
        head: Any = self.model.roi_head
        stages = _each(head.bbox_head)
        logits: Any = 0
        for number, (stage, extractor) in enumerate(zip(stages, _each(head.bbox_roi_extractor), strict=True)):
            found, deltas = stage(regions(features, boxes, valid, extractor))
            logits = logits + found
            if number < len(stages) - 1:
                label = found[:, :-1].argmax(1)
                whole = {"img_shape": None}  # cut at the edges by us, where they may be open
                refined = stage.regress_by_class(boxes.flatten(0, 1), label, deltas, whole)
                boxes = clip(refined.reshape(boxes.shape), ends)
        last = stages[-1]
        logits = logits / float(len(stages)) if len(stages) > 1 else logits
        scores = last.loss_cls.get_activation(logits) if last.custom_cls_channels else logits.softmax(-1)
        classes = last.num_classes
        scores = threshold(scores[:, :classes], self.least) * valid.flatten().unsqueeze(1)
        each = 1 if last.reg_class_agnostic else classes
        origins = boxes.flatten(0, 1).unsqueeze(1).expand(-1, each, -1).reshape(-1, 4)
        boxes = last.bbox_coder.decode(origins, deltas.reshape(-1, 4)).reshape(-1, each, 4)
        rows = self.proposals.count * classes
        boxes = clip(boxes.expand(-1, classes, -1).reshape(-1, rows, 4), ends)
        labels = torch.arange(classes).repeat(self.proposals.count)
        scores = scores.reshape(-1, rows)
        return scores, labels.unsqueeze(0).expand_as(scores), boxes

    def _masks(self, features: Any, boxes: Tensor, labels: Tensor, used: Tensor, pixels: Tensor) -> Tensor:
        """(N, K, H, W) uint8 for boxes (N, K, 4)."""
        head: Any = self.model.roi_head
        stages = _each(head.mask_head)
        masks: Any = 0
        for stage, extractor in zip(stages, _each(head.mask_roi_extractor), strict=True):
            masks = masks + stage(regions(features, boxes, used, extractor)).sigmoid()
        masks = masks / len(stages) if len(stages) > 1 else masks
        high, wide = masks.shape[-2:]
        if stages[-1].class_agnostic:
            masks = masks[:, 0]
        else:
            label = labels.flatten().clamp(min=0).view(-1, 1, 1, 1).expand(-1, 1, high, wide)
            masks = masks.gather(1, label).squeeze(1)
        masks = masks.reshape(-1, self.options.max_detections, high, wide)
        return as_bytes(paste(masks, boxes, *pixels.shape[-2:]) * used[..., None, None])


def _each(part: Any) -> list[Any]:
    """The stages of a part: a cascade has a list of them, the others are one."""
    return list(part) if isinstance(part, nn.ModuleList) else [part]


def _check(head: Any) -> None:
    """What the heads must be for the decoding above to be theirs.

    Raises:
        ValueError: with what they are instead.
    """
    from mmdet.models.roi_heads.bbox_heads import BBoxHead
    from mmdet.models.roi_heads.mask_heads import FCNMaskHead

    for stage in _each(head.bbox_head):
        steps = ("predict_by_feat", "_predict_by_feat_single", "regress_by_class")
        if not isinstance(stage, BBoxHead) or any(
            getattr(type(stage), step) is not getattr(BBoxHead, step) for step in steps
        ):
            raise ValueError(f"no graph is known for the box head {type(stage).__name__}")
        if not stage.with_reg or stage.bbox_coder.encode_size != 4:
            raise ValueError(f"the box head {type(stage).__name__} answers no boxes of four numbers")
    for stage in _each(head.mask_head) if head.with_mask else []:
        if type(stage).predict_by_feat is not FCNMaskHead.predict_by_feat or type(stage) is not FCNMaskHead:
            raise ValueError(f"no graph is known for the mask head {type(stage).__name__}")
    extractors = _each(head.bbox_roi_extractor) + (_each(head.mask_roi_extractor) if head.with_mask else [])
    for extractor in extractors:
        check_extractor(extractor)
