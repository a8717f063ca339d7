"""That an exported file answers as PyTorch does: both are run on the same images, and every output is compared."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trainer.errors import FrameworkError
from trainer.export.network import Network
from trainer.export.network_onnx import INPUT

_WARM, _TIMED = 3, 20


@dataclass(frozen=True)
class Difference:
    """One output: the largest and the mean absolute difference over all images, and the largest answer itself."""

    output: str
    shape: tuple[int, ...]
    largest: float
    mean: float
    magnitude: float

    @property
    def relative(self) -> float:
        """The largest difference as a share of the largest answer."""
        return self.largest / self.magnitude if self.magnitude > 0 else self.largest


@dataclass(frozen=True)
class Proof:
    """What was compared and how far apart the two are; latencies in seconds for one image (median)."""

    runtime: str
    images: int
    batches: tuple[int, ...]
    tolerance: float
    differences: tuple[Difference, ...]
    torch_seconds: float
    runtime_seconds: float
    threads: int

    @property
    def worst(self) -> Difference:
        return max(self.differences, key=lambda one: one.relative)

    @property
    def holds(self) -> bool:
        return all(one.relative <= self.tolerance for one in self.differences)  # NaN never is

    def to_json(self) -> dict[str, Any]:
        differences = [{**asdict(one), "relative": one.relative} for one in self.differences]
        return {**asdict(self), "holds": self.holds, "differences": differences}


def prove(
    path: Path, network: Network, inputs: torch.Tensor, names: Sequence[str], dynamic: bool, tolerance: float
) -> Proof:
    """Run ``path`` in onnxruntime and ``network`` in PyTorch on the CPU and compare them.

    Args:
        inputs: the images as the network gets them (N, 3, H, W); one by one, and all at once where the batch is
            dynamic.
        names: of the outputs.
        tolerance: the largest difference that is accepted, as a share of the output's largest absolute value.

    Raises:
        FrameworkError: the file doesn't load, or its outputs are of another number or shape.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()  # the same for both
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise FrameworkError(f"onnxruntime can't load {path}: {error}") from error
    batches = [inputs[index : index + 1] for index in range(len(inputs))]
    if dynamic and len(inputs) > 1:
        batches.append(inputs)
    pairs = [(_torch(network, batch), _runtime(session, names, batch)) for batch in batches]
    one = inputs[:1]
    return Proof(
        runtime=f"onnxruntime {onnxruntime.__version__}, CPU",
        images=len(inputs),
        batches=tuple(sorted({len(batch) for batch in batches})),
        tolerance=tolerance,
        differences=tuple(_difference(name, index, pairs) for index, name in enumerate(names)),
        torch_seconds=_median_seconds(lambda: _torch(network, one)),
        runtime_seconds=_median_seconds(lambda: _runtime(session, names, one)),
        threads=torch.get_num_threads(),
    )


def _torch(network: Network, batch: torch.Tensor) -> list[np.ndarray]:
    with torch.no_grad():
        return [value.numpy() for value in network(batch)]


def _runtime(session: Any, names: Sequence[str], batch: torch.Tensor) -> list[np.ndarray]:
    return session.run(list(names), {INPUT: batch.numpy()})


def _difference(name: str, index: int, pairs: list[tuple[list[np.ndarray], list[np.ndarray]]]) -> Difference:
    largest = total = magnitude = 0.0
    count = 0
    for expected, given in pairs:
        ours, theirs = expected[index].astype(np.float64), given[index].astype(np.float64)
        if ours.shape != theirs.shape:
            raise FrameworkError(
                f"{name} has the shape {theirs.shape} in the exported file and {ours.shape} in torch"
            )
        if ours.size:
            apart = np.abs(ours - theirs)
            largest = float(np.maximum(largest, apart.max()))  # NaN stays NaN, and so fails
            magnitude = max(magnitude, float(np.abs(ours).max()))
            total, count = total + float(apart.sum()), count + ours.size
    return Difference(name, tuple(pairs[0][0][index].shape[1:]), largest, total / max(1, count), magnitude)


def _median_seconds(call: Callable[[], Any]) -> float:
    for _ in range(_WARM):
        call()
    times = []
    for _ in range(_TIMED):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)
