"""What preparing a data set yields: local files in the form that every task's reader expects."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Keypoints:
    """One keypoint set (pose): names, skeleton as index pairs, flip pairs as index pairs, OKS sigmas (one a point)."""

    names: tuple[str, ...]
    skeleton: tuple[tuple[int, int], ...]
    flip_pairs: tuple[tuple[int, int], ...]
    sigmas: tuple[float, ...]

    @property
    def flip_idx(self) -> list[int]:
        """The index of each point in a mirrored image."""
        index = list(range(len(self.names)))
        for a, b in self.flip_pairs:
            index[a], index[b] = b, a
        return index


@dataclass(frozen=True)
class Split:
    """One split on disk.

    ``ann_file`` is COCO JSON (instances or keypoints; for semantic segmentation too, where it lists the images).
    ``seg_map_root`` holds one index PNG an image, named ``<file_name>.png`` (so ``a.jpg`` -> ``a.jpg.png``), and
    ``list_file`` the file names, one a line; both are None unless the task is semantic segmentation.
    """

    name: str
    image_root: Path
    ann_file: Path
    num_images: int
    num_annotations: int
    seg_map_root: Path | None = None
    list_file: Path | None = None


@dataclass(frozen=True)
class DataBundle:
    """A prepared data set for one task.

    ``classes`` are in the order of the contiguous 0-based labels the model uses; for semantic segmentation they are
    the index values of the PNGs (255 is ignored) and include ``background`` where the data set has one. COCO
    categories carry ids 1..n in the same order. ``palette`` is one RGB triple a class. ``fingerprint`` is a SHA-256
    over classes, splits and annotations: the same data give the same one on any machine. ``report`` is a JSON file on
    what is there and what was found (:mod:`trainer.data.dataset_report`).
    """

    name: str
    task: str
    root: Path
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    splits: dict[str, Split]
    fingerprint: str
    keypoints: Keypoints | None = None
    notes: tuple[str, ...] = field(default=())
    report: Path | None = None

    @property
    def train(self) -> Split:
        return self.splits["train"]

    @property
    def val(self) -> Split:
        return self.splits["val"]
