"""What an exported graph is asked to be."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class GraphOptions:
    """The shape and the answers of an exported graph.

    Attributes:
        size: (width, height) in px that the network is fed. With ``dynamic_size`` the size that it is traced at.
        batch: images at a time; None leaves it open.
        dynamic_size: height and width are open, in multiples of :attr:`Graph.multiple_of`.
        preprocess: uint8 RGB (N, 3, H, W) goes in, and normalising is in the graph. Otherwise float32 goes in,
            normalised and with its channels in the order that the network has them.
        score_threshold: detections at or below it are left out; None is the model's own (``test_cfg``).
        nms_iou: boxes of one class that overlap by more are duplicates; None is the model's own.
        max_detections: rows of the answer a picture; unused ones have score 0 and label -1.
    """

    size: tuple[int, int]
    batch: int | None = None
    dynamic_size: bool = False
    preprocess: bool = False
    score_threshold: float | None = None
    nms_iou: float | None = None
    max_detections: int = 100

    def __post_init__(self) -> None:
        if min(self.size) < 1 or self.max_detections < 1 or (self.batch is not None and self.batch < 1):
            raise ValueError(f"size, batch and max_detections must be positive: {self}")
