"""Run an exported file in its own runtime, in a separate process."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trainer.core.errors import FrameworkError
from trainer.export.proof import process as standalone
from trainer.export.runtimes.python.model_wrapper import Result


@dataclass(frozen=True)
class ImageRegion:
    """An image file, and for a top-down pose model the box to predict in (x1 y1 x2 y2 in px); None: all of it."""

    path: Path
    box: tuple[float, ...] | None = None


@dataclass(frozen=True)
class FileAnswers:
    """The outputs of the inputs, the results of the images, and how long the file took.

    Attributes:
        runtime: name and version of the runtime.
        outputs: for each input the arrays by output name.
        seconds: median seconds a run, by batch size.
        modules: the modules of OpenMMLab, the trainer and the runtimes that the process had imported.
        folder: holds the results, until it is deleted.
        images: the number of images.
    """

    runtime: str
    outputs: list[dict[str, np.ndarray]]
    seconds: dict[int, float]
    modules: list[str]
    folder: Path
    images: int

    def results(self) -> Iterator[Result]:
        """Read the images' results one by one, in order."""
        for index in range(self.images):
            with np.load(self.folder / f"result-{index}.npz") as arrays:
                yield _result({name: arrays[name] for name in arrays.files})


def run_file(
    model: Path,
    wrapper: Path,
    folder: Path,
    inputs: Sequence[np.ndarray],
    images: Sequence[ImageRegion],
    *,
    latency: Sequence[int],
    threads: int,
    batch: int = 8,
    device: str = "cpu",
    packages: Sequence[str] = (),
) -> FileAnswers:
    """Use an exported file through its package's wrapper, where neither OpenMMLab nor the trainer can be imported.

    Args:
        wrapper: the package's ``model_wrapper.py``.
        folder: an empty folder for the results.
        inputs: batches (N, 3, H, W) for :attr:`FileAnswers.outputs`.
        images: the images for :meth:`FileAnswers.results`.
        latency: the batch sizes to time.
        batch: images a run, for ``images``.
        device: ``cpu`` or ``cuda``.
        packages: further modules to report in :attr:`FileAnswers.modules` if they were imported.

    Raises:
        FrameworkError: the runtime refuses the file, or fails.
    """
    arrays: dict[str, Any] = {str(index): value for index, value in enumerate(inputs)}
    np.savez(folder / "inputs.npz", **arrays)
    request = {
        "model": str(model.resolve()),
        "wrapper": str(wrapper.resolve()),
        "folder": str(folder.resolve()),
        "images": [{"image": str(image.path.resolve()), "box": image.box} for image in images],
        "latency": list(latency),
        "threads": threads,
        "batch": batch,
        "device": device,
        "packages": list(packages),
    }
    process = subprocess.run(
        [sys.executable, "-I", "-B", "-W", "ignore", standalone.__file__],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=False,
    )
    if process.returncode:
        lines = [line for line in process.stderr.splitlines() if line.strip()]
        reason = lines[-1] if lines else f"it exited with {process.returncode}"
        raise FrameworkError(f"{model.name} doesn't work in its own runtime: {reason[:400]}")
    answer: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])
    outputs = []
    for index in range(len(inputs)):
        with np.load(folder / f"outputs-{index}.npz") as saved:
            outputs.append({name: saved[name] for name in saved.files})
    seconds = {int(size): value for size, value in answer["seconds"].items()}
    return FileAnswers(answer["runtime"], outputs, seconds, answer["modules"], folder, len(images))


def _result(arrays: dict[str, np.ndarray]) -> Result:
    masks = None
    if "masks" in arrays:
        shape = tuple(int(side) for side in arrays["shape"])
        masks = np.unpackbits(arrays["masks"], count=int(np.prod(shape))).reshape(shape).astype(bool)
    return Result(
        (0, 0),
        arrays["boxes"],
        arrays["scores"],
        arrays["labels"],
        masks=masks,
        segmentation=arrays.get("segmentation"),
        keypoints=arrays.get("keypoints"),
    )
