"""An exported file run in its own runtime, in a process of its own."""

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
from trainer.export.proof import process
from trainer.export.runtimes.python.model_wrapper import Result


@dataclass(frozen=True)
class Look:
    """An image file, and the box of it that a top-down pose model looks at (x1 y1 x2 y2 in px)."""

    image: Path
    box: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Answers:
    """What the file answered: the outputs of each input, the results of the images, and how long it took.

    Attributes:
        seconds: median seconds a run, by batch size.
        modules: which of OpenMMLab's packages, the trainer and the runtimes the process had imported.
    """

    runtime: str
    outputs: list[dict[str, np.ndarray]]
    seconds: dict[int, float]
    modules: list[str]
    folder: Path
    images: int

    def results(self) -> Iterator[Result]:
        """The images' results, read one by one."""
        for index in range(self.images):
            with np.load(self.folder / f"result-{index}.npz") as found:
                yield _result({name: found[name] for name in found.files})


def run_file(
    model: Path,
    wrapper: Path,
    folder: Path,
    inputs: Sequence[np.ndarray],
    looks: Sequence[Look],
    *,
    latency: Sequence[int],
    threads: int,
    batch: int = 8,
    device: str = "cpu",
) -> Answers:
    """Use an exported file through its package's wrapper, where nothing of OpenMMLab's or ours can be imported.

    Args:
        folder: an empty one; it holds the answers.
        inputs: batches for :attr:`Answers.outputs`.
        latency: batch sizes that are timed.

    Raises:
        FrameworkError: the runtime refuses the file, or fails.
    """
    named: dict[str, Any] = {str(index): value for index, value in enumerate(inputs)}
    np.savez(folder / "inputs.npz", **named)
    request = {
        "model": str(model.resolve()),
        "wrapper": str(wrapper.resolve()),
        "folder": str(folder.resolve()),
        "images": [{"image": str(one.image.resolve()), "box": one.box} for one in looks],
        "latency": list(latency),
        "threads": threads,
        "batch": batch,
        "device": device,
    }
    done = subprocess.run(
        [sys.executable, "-I", "-B", "-W", "ignore", process.__file__],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        reason = lines[-1] if lines else f"it ended with {done.returncode}"
        raise FrameworkError(f"{model.name} doesn't work in its own runtime: {reason[:400]}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    outputs = []
    for index in range(len(inputs)):
        with np.load(folder / f"outputs-{index}.npz") as found:
            outputs.append({name: found[name] for name in found.files})
    seconds = {int(size): value for size, value in answer["seconds"].items()}
    return Answers(answer["runtime"], outputs, seconds, answer["modules"], folder, len(looks))


def _result(found: dict[str, np.ndarray]) -> Result:
    masks = None
    if "masks" in found:
        shape = tuple(int(side) for side in found["shape"])
        masks = np.unpackbits(found["masks"], count=int(np.prod(shape))).reshape(shape).astype(bool)
    return Result(
        (0, 0),
        found["boxes"],
        found["scores"],
        found["labels"],
        masks=masks,
        segmentation=found.get("segmentation"),
        keypoints=found.get("keypoints"),
    )
