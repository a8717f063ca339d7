"""One-stage pose estimation (mmpose): RTMO and YOLOX-Pose, every person of a picture with a box."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from trainer.export.graph.graph import Graph, refuse
from trainer.export.graph.nms import Duplicates, keep_best
from trainer.export.graph.options import GraphOptions
from trainer.export.graph.priors import Priors
from trainer.export.graph.top_rows import best, clip, rows_of, take, threshold

if TYPE_CHECKING:
    from trainer.inference.predictor import Predictor

HEADS = ("RTMOHead", "YOLOXPoseHead")
WHY_NOT = {
    "DEKRHead": "its people are put together from heat maps by rules that run on the CPU, one picture at a time",
    "AssociativeEmbeddingHead": "its keypoints are grouped into people by an assignment that runs on the CPU",
    "CIDHead": "it samples a number of people that differs from picture to picture, each with maps of its own",
    "EDPoseHead": "no graph is known for its answers",
}


def fits(model: Any) -> bool:
    return type(model).__name__ == "BottomupPoseEstimator"


def build(predictor: Predictor, options: GraphOptions) -> Graph:
    name = type(predictor.model.head).__name__
    if name not in HEADS:
        raise refuse(predictor, WHY_NOT.get(name, f"no graph is known for the answers of its {name}"))
    return OneStagePoseGraph(predictor, options)


class OneStagePoseGraph(Graph):
    """Boxes without their duplicates, and the keypoints of those that stay.

    A person's score is that of the box times the mean of its keypoints', as :class:`Prediction` has it; thresholds
    and duplicates go by the box's alone, as in the model.
    """

    output_names = ("boxes", "scores", "keypoints")

    def __init__(self, predictor: Predictor, options: GraphOptions) -> None:
        super().__init__(predictor, options)
        _fix_places(self.model.neck, options.size)
        head: Any = self.model.head
        config = self.model.test_cfg or {}
        self.rtmo = type(head).__name__ == "RTMOHead"
        self.points = int(head.num_keypoints)
        own = float(config.get("score_thr", 0.01))
        self.least = own if options.score_threshold is None else options.score_threshold
        self.before = int(config.get("nms_pre", 100000))
        limit = options.nms_iou if options.nms_iou is not None else float(config.get("nms_thr", 1.0))
        self.duplicates = Duplicates(limit) if limit < 1 else None
        maps = self.probe(self._maps)[0]
        self.priors = Priors(head.prior_generator, maps, options.dynamic_size)
        self.strides = list(head.featmap_strides)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        pixels = self.prepare(images)
        maps = self._maps(pixels)
        levels = self.priors(maps[0])
        counts = [count for _, count in levels]
        places = torch.cat([priors for priors, _ in levels])
        strides = torch.cat(
            [
                torch.full_like(priors[:, 0], stride)
                for (priors, _), stride in zip(levels, self.strides, strict=True)
            ]
        )

        def flat(level_maps: list[Tensor]) -> Tensor:
            pairs = zip(level_maps, counts, strict=True)
            return torch.cat([rows_of(one, one.shape[1], count) for one, count in pairs], 1)

        head: Any = self.model.head
        scores = flat(maps[0]).sigmoid()
        if self.rtmo:
            _, boxes, _, seen, vectors = maps
        else:
            _, objects, boxes, vectors, seen = maps
            scores = scores * flat(objects).sigmoid()
        scores = threshold(scores.amax(2), self.least)
        reached = head.decode_bbox(flat(boxes), places, strides)
        available = None if None in counts else sum(count for count in counts if count is not None)
        if available is not None and available > self.before:
            scores = self._highest(scores)
        if self.duplicates is not None:
            scores = keep_best(reached, scores, None, self.duplicates, self.options.max_detections)
        scores, chosen = best(scores, self.options.max_detections, available)
        reached, grids = take(reached, chosen), places[chosen]
        seen, vectors = take(flat(seen), chosen).sigmoid(), take(flat(vectors), chosen)
        keypoints = (
            self._coordinates(vectors, reached, grids)
            if self.rtmo
            else vectors.reshape(*vectors.shape[:2], self.points, 2) * strides[chosen][..., None, None]
            + grids.unsqueeze(2)
        )
        keypoints = torch.cat((keypoints, seen.unsqueeze(-1)), -1)
        scores, order = (scores * keypoints[..., 2].mean(2)).sort(1, descending=True)
        found = (scores > 0).to(scores.dtype)
        boxes = clip(take(reached, order), self.ends(pixels)) * found[..., None]
        return boxes, scores, take(keypoints, order) * found[..., None, None]

    def _maps(self, pixels: Tensor) -> Any:
        return self.model.head(self.model.extract_feat(pixels))

    def _highest(self, scores: Tensor) -> Tensor:
        """The ``nms_pre`` highest scores, the others 0."""
        return threshold(scores, 0) * (scores >= scores.topk(self.before, 1).values[:, -1:]).to(scores.dtype)

    def _coordinates(self, vectors: Tensor, boxes: Tensor, grids: Tensor) -> Tensor:
        """RTMO's dynamic coordinate classification: (N, K, C) pose vectors, boxes and cells -> (N, K, P, 2)."""
        dcc: Any = self.model.head.dcc
        centre = (boxes[..., :2] + boxes[..., 2:]) * 0.5
        size = (boxes[..., 2:] - boxes[..., :2]) * self.model.head.bbox_padding
        flat = [one.flatten(0, 1) for one in (vectors, torch.cat((centre, size), -1), grids)]
        return dcc.forward_test(*flat).reshape(*vectors.shape[:2], self.points, 2)


def _fix_places(neck: Any, size: tuple[int, int]) -> None:
    """Give RTMO's encoder the positions of a picture of ``size`` as constants; mmpose's own are for squares."""
    if not hasattr(neck, "sincos_pos_enc"):
        return
    width, height = size
    for number, level in enumerate(neck.use_encoder_idx):
        stride = 2 ** (3 + level)
        rows, columns = -(-height // stride), -(-width // stride)
        places = neck.sincos_pos_enc(size=(rows, columns)).transpose(-1, -2)
        neck.register_buffer(f"pos_enc_{number}", places.reshape(1, rows * columns, -1), persistent=False)
