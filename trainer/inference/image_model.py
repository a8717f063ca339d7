"""What :func:`trainer.inference.stream.answers` needs of a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from trainer.inference.samples import Sample
from trainer.predictions.prediction import Prediction

WHOLE_IMAGE = "this pose model looks at boxes: without annotations the whole image is taken as one box"


class ImageModel(Protocol):
    """A model that answers for images; :class:`trainer.inference.predictor_base.BasePredictor` has the details."""

    task: str
    classes: tuple[str, ...]
    mirrors: bool
    top_down: bool
    one_at_a_time: bool
    notes: list[str]

    @property
    def flip_pairs(self) -> list[tuple[int, int]]:
        """Pairs of keypoint indices that change places in a mirrored image."""

    def read(self, sample: Sample) -> np.ndarray:
        """The image of a sample, (H, W, 3) uint8, BGR. Raises a DatasetError where it can't be read."""

    def prepare(self, image: np.ndarray, boxes: np.ndarray | None) -> list[Any]:
        """What the network gets for an image: one item, or one a box (N, 4) for a top-down model."""

    def together(self, prepared: Any) -> Any:
        """Items for which this is the same may be answered in one forward pass."""

    def answer(
        self, prepared: Sequence[Any], threshold: float = 0.0, probabilities: bool = False
    ) -> list[Prediction]:
        """One answer for each prepared item, in one forward pass."""

    def empty(self, size: tuple[int, int]) -> Prediction:
        """The answer for an image (width, height in px) in which nothing was found."""
