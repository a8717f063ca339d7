"""What a checkpoint and an exported file have in common: they answer for images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from trainer.checkpoints.resolve_checkpoint import ResolvedCheckpoint
from trainer.core.errors import DatasetError
from trainer.inference.predict_options import PredictOptions
from trainer.inference.samples import Sample
from trainer.inference.stream import answers
from trainer.predictions.prediction import Prediction

Image = str | Path | np.ndarray | Sample


class BasePredictor(ABC):
    """A model that answers for images; made by :func:`trainer.load_model`.

    Attributes:
        task, name, dataset: the task, the model's and the data set's name.
        classes, palette: the classes' names and colours (RGB).
        keypoints: names of the keypoints (pose).
        skeleton: pairs of keypoint indices that are joined by a line.
        flip_pairs: pairs of keypoint indices that change places in a mirrored image.
        mirrors: whether a mirrored image may be asked about: it was trained with some.
        top_down: whether it looks at boxes (pose) instead of whole images.
        one_at_a_time: whether a forward pass takes a single image only.
        about: what the file says of itself: run_id, fingerprint, ...
        epoch: of the checkpoint; None where that isn't known.
        found: the file and its run.
        notes: what the user should know about the answers so far.
    """

    task: str
    name: str
    dataset: str
    classes: tuple[str, ...]
    palette: tuple[tuple[int, ...], ...]
    keypoints: tuple[str, ...] = ()
    skeleton: list[tuple[int, int]]
    flip_pairs: list[tuple[int, int]]
    mirrors: bool = True
    top_down: bool = False
    one_at_a_time: bool = False
    about: dict[str, Any]
    epoch: int | None
    found: ResolvedCheckpoint
    notes: list[str]

    def predict(
        self,
        images: Iterable[Image] | Image,
        batch_size: int = 8,
        threshold: float = 0.0,
        **options: Any,
    ) -> Iterator[Prediction]:
        """The answers in the order of ``images``; of these only a few batches are held in memory.

        Args:
            images: files, BGR uint8 arrays (H, W, 3), or :class:`Sample` (with boxes for a top-down pose model).
            batch_size: images (top-down pose: boxes) a forward pass.
            threshold: the lowest score that is kept. A top-down pose model answers for every box all the same.
            options: the others of :class:`trainer.inference.predict_options.PredictOptions`.

        Raises:
            DatasetError: an image can't be read; with ``on_error="skip"`` its answer is empty, of size (0, 0).
            ConfigError: an option that can't be meant.
        """
        if isinstance(images, (str, Path, np.ndarray, Sample)):
            images = [images]
        chosen = PredictOptions(threshold=threshold, batch_size=batch_size, **options)
        for answer in answers(self, (as_sample(one) for one in images), chosen):
            yield answer.prediction

    @abstractmethod
    def prepare(self, image: np.ndarray, boxes: np.ndarray | None) -> list[Any]:
        """What the network gets for an image: one item, or one a box for a top-down model. Called from many threads.

        Args:
            image: (H, W, 3) uint8, BGR.
            boxes: (N, 4) x1 y1 x2 y2 in px; only a top-down model is given some.
        """

    @abstractmethod
    def answer(
        self, prepared: Sequence[Any], threshold: float = 0.0, probabilities: bool = False
    ) -> list[Prediction]:
        """One answer for each item that :meth:`prepare` gave, in one forward pass.

        Args:
            threshold: instances that score less may be left out already.
            probabilities: whether a segmentation comes with its ``probabilities``, where the model has them.
        """

    def together(self, prepared: Any) -> Any:
        """Items for which this is the same may be answered in one forward pass."""
        return None

    def read(self, sample: Sample) -> np.ndarray:
        """The image of a sample, (H, W, 3) uint8, BGR. Called from many threads.

        Raises:
            DatasetError: it can't be read.
        """
        if isinstance(sample.image, np.ndarray):
            return sample.image
        if isinstance(sample.image, Path):
            return self.read_file(sample.image)
        content = sample.image.read()
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) if content else None
        if image is None:
            raise DatasetError(f"{sample.name} can't be read as an image")
        return image

    def read_file(self, path: Path) -> np.ndarray:
        """An image file, (H, W, 3) uint8, BGR."""
        from trainer.predictions.draw import read_image

        return read_image(path)

    def empty(self, size: tuple[int, int]) -> Prediction:
        """The answer for an image (width, height in px) in which nothing was found."""
        width, height = size
        return Prediction(
            None,
            size,
            self.classes,
            masks=np.zeros((0, height, width), bool) if self.task == "instance_segmentation" else None,
            keypoints=np.zeros((0, max(1, len(self.keypoints)), 3), np.float32)
            if self.task == "pose"
            else None,
        )


def as_sample(image: Any) -> Sample:
    """A file's name, an array or a sample as a sample.

    Raises:
        DatasetError: an array that is no image.
    """
    if isinstance(image, Sample):
        return image
    if isinstance(image, np.ndarray):
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            raise DatasetError(
                f"an image has to be a uint8 array (H, W, 3) in BGR order, not {image.dtype} {image.shape}"
            )
        return Sample(image)
    return Sample(Path(image).expanduser())
