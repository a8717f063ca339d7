"""How a model is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trainer.core.errors import ConfigError, did_you_mean


@dataclass(frozen=True)
class PredictOptions:
    """How images are predicted on; the same for a checkpoint and an exported file.

    Attributes:
        threshold: the lowest score that is kept. A top-down pose model answers for every box all the same.
        batch_size: images (tiles, a top-down pose model's boxes) a forward pass.
        classes: names of the classes that are kept; none means all.
        max_detections: most instances of an image, the best ones; None for the model's own limit.
        tta: predict on flipped and scaled copies too, and merge.
        tile: the side of the square tiles in px that larger images are cut into; None doesn't cut.
        overlap: the share of a tile's side that it has in common with its neighbour, from 0 to below 1.
        on_error: ``fail`` raises for an image that can't be read, ``skip`` yields an answer that says so.
        readers: threads that read and prepare images ahead.
    """

    threshold: float = 0.0
    batch_size: int = 8
    classes: Sequence[str] = ()
    max_detections: int | None = None
    tta: bool = False
    tile: int | None = None
    overlap: float = 0.2
    on_error: str = "fail"
    readers: int = 2

    def labels(self, classes: Sequence[str]) -> list[int] | None:
        """The indices of the wanted classes in the model's; None for all.

        Raises:
            ConfigError: the model doesn't know one of them.
        """
        if not self.classes:
            return None
        for name in self.classes:
            if name not in classes:
                hint = did_you_mean(name, classes) or f" It knows {', '.join(classes)}."
                raise ConfigError(f"classes={name}: the model doesn't know this class.{hint}")
        return [classes.index(name) for name in self.classes]
