"""Prove one exported file: run it, compare it with PyTorch, time both."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trainer.core.errors import DatasetError, FrameworkError
from trainer.export.export_format import ExportFormat
from trainer.export.graph import Graph
from trainer.export.metadata import Metadata
from trainer.export.proof.compare import compare
from trainer.export.proof.compiled import compiled_seconds
from trainer.export.proof.images import proof_images
from trainer.export.proof.metric import ValidationMetrics, without_flip
from trainer.export.proof.process import median_seconds
from trainer.export.proof.proof import Latency, Limits, Metric, Proof
from trainer.export.proof.rounding import TOLERANCE, Rounding, nudged
from trainer.export.proof.run_exported import FileAnswers, ImageRegion, run_file
from trainer.export.runtimes.python.model_wrapper import Model, Result, read_image
from trainer.inference.predictor import Predictor
from trainer.inference.samples import Sample
from trainer.inference.suppress_output import suppress_output
from trainer.schema import Export

BATCHES = (1, 8)
"""The batch sizes that are timed."""


class Eager:
    """The graph in PyTorch, in the form of the wrapper's runtimes."""

    name = f"torch {torch.__version__}"

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    def run(self, name: str, outputs: Sequence[str], batch: np.ndarray) -> list[np.ndarray]:
        """The graph's outputs for a batch (N, 3, H, W), in their order."""
        with torch.no_grad(), suppress_output():
            return [value.numpy() for value in self.graph(torch.from_numpy(batch))]


def prove(
    predictor: Predictor,
    graph: Graph,
    file: Path,
    metadata: Metadata,
    config: Export,
    *,
    export_format: ExportFormat,
    requested: str,
    built: str,
    compiled: dict[int, float | str] | None = None,
    log: Callable[[str], Any] = print,
) -> Proof:
    """Compare ``file`` with PyTorch; its ``runtimes`` and ``metadata.json`` lie beside it.

    A file that fails is not timed, unless it will be kept.

    Args:
        graph: the graph that it was written from.
        requested: the precision that was asked for.
        built: the precision of the weights in the file.
        compiled: latencies with torch.compile that are known already.
        log: called with a line about each step.

    Raises:
        FrameworkError: the file doesn't run in its runtime, or its outputs have other shapes.
        DatasetError: ``config.images`` has no images.
    """
    eager = Model.around(Eager(graph), dict(metadata))
    fixed_batch = metadata["input"]["batch"]
    threads = torch.get_num_threads()
    limits = Limits.of(requested, config.tolerance, config.metric_tolerance)
    sizes = tuple(sorted({fixed_batch} if fixed_batch else set(BATCHES)))
    with tempfile.TemporaryDirectory(prefix="proof-") as temporary:
        folder = Path(temporary)
        images, origin = proof_images(predictor, config.images, folder)
        inputs = _inputs(eager, images, fixed_batch)
        validation, no_metric = _validation(predictor, config)
        validation_images = validation.images() if validation else []
        log(
            f"running it on {len(images)} {origin}"
            + (f" and {len(validation_images)} for the metric" if validation_images else "")
        )
        answers = run_file(
            file,
            file.parent / "runtimes" / "python" / "model_wrapper.py",
            folder,
            inputs,
            validation_images,
            latency=sizes,
            threads=threads,
            device=export_format.device,
            packages=export_format.packages,
        )
        expected = [eager.run(batch) for batch in inputs]
        try:
            side = max(inputs[0].shape[2:])
            border = config.tolerance if requested == "fp32" else 0.02
            differences, agreement = compare(expected, answers.outputs, side, border)
        except ValueError as error:
            raise FrameworkError(f"the answers of {file.name} differ from PyTorch's: {error}") from None
        metric = _metric(validation, answers, eager, config, metadata, limits, log) if validation else None
        proof = Proof(
            runtime=answers.runtime,
            asked=requested,
            precision=built,
            images=origin,
            compared=len(images),
            batches=tuple(sorted({len(batch) for batch in inputs})),
            differences=tuple(differences),
            agreement=agreement,
            metric=metric,
            no_metric=no_metric,
            latency=(),
            threads=threads,
            size_bytes=file.stat().st_size,
            limits=limits,
            modules=tuple(answers.modules),
        )
        # A user who has set a smaller tolerance wants it to hold, whatever rounding does.
        usual = config.tolerance >= TOLERANCE
        if requested == "fp32" and usual and proof.failures:
            log("measuring how much PyTorch's own answers depend on rounding")
            nudged_model = Model.around(Eager(nudged(graph)), dict(metadata))
            own = compare(expected, [nudged_model.run(batch) for batch in inputs], side, border)
            proof = replace(proof, rounding=Rounding.of(*own))
        if proof.failures and not config.force:
            return proof
        proof = replace(proof, forced=bool(proof.failures))
        example = inputs[0][:1]
        if compiled is None:
            compiled = _compiled(graph, [(size, *example.shape[1:]) for size in sizes], threads, config, log)
        log("timing PyTorch")
        latency = [
            Latency(
                size,
                answers.seconds[size],
                _eager_seconds(predictor, eager, images[0], example, size),
                compiled.get(size),
            )
            for size in sizes
        ]
    return replace(proof, latency=tuple(latency))


def prepared(model: Model, image: ImageRegion) -> np.ndarray:
    """An image as the file takes it: (3, H, W), uint8 or normalised float32."""
    box = None if image.box is None else np.array(image.box, np.float32)
    return model.prepare(read_image(image.path), box)[0]


def _compiled(
    graph: Graph, shapes: list[tuple[int, ...]], threads: int, config: Export, log: Callable[[str], Any]
) -> dict[int, float | str]:
    if not config.compile_seconds:
        return {}
    log(f"torch.compile, {config.compile_seconds} s at the most")
    return compiled_seconds(graph, shapes, threads, config.compile_seconds)


def _eager_seconds(
    predictor: Predictor, eager: Model, image: ImageRegion, example: np.ndarray, size: int
) -> float:
    """Seconds of the checkpoint's own answer; of the graph's if the two take inputs of different sizes."""
    box = None if image.box is None else np.array([image.box], np.float32)
    checkpoint_input = predictor.network_input([Sample(image.path, box)])
    if checkpoint_input.shape[2:] != example.shape[2:]:
        data = np.repeat(example, size, 0)
        return median_seconds(lambda: eager.run(data))
    pixels = read_image(image.path)
    whole = np.array([[0, 0, pixels.shape[1], pixels.shape[0]]], np.float32)
    item = predictor.prepare(pixels, whole if box is None else box)[0]
    batches = [[item]] * size if predictor.one_at_a_time else [[item] * size]
    with without_flip(predictor.model):
        return median_seconds(lambda: [predictor.answer(copy.deepcopy(batch)) for batch in batches])


def _inputs(model: Model, images: Sequence[ImageRegion], fixed_batch: int | None) -> list[np.ndarray]:
    """The network's inputs for the images: one by one, and all at once if the batch is open."""
    arrays = [prepared(model, image) for image in images]
    if fixed_batch:
        arrays = arrays[: max(fixed_batch, len(arrays) // fixed_batch * fixed_batch)]
        arrays += arrays[:1] * (-len(arrays) % fixed_batch)
        return [np.stack(arrays[start : start + fixed_batch]) for start in range(0, len(arrays), fixed_batch)]
    singles = [array[None] for array in arrays]
    together = [np.stack(arrays)] if len(arrays) > 1 and len({array.shape for array in arrays}) == 1 else []
    return singles + together


def _validation(predictor: Predictor, config: Export) -> tuple[ValidationMetrics | None, str | None]:
    if config.images is not None:
        return None, "images=... have no ground truth"
    try:
        return ValidationMetrics(predictor, config.max_images), None
    except DatasetError:
        return None, "the run's validation split is not here"


def _metric(
    validation: ValidationMetrics,
    answers: FileAnswers,
    eager: Model,
    config: Export,
    metadata: Metadata,
    limits: Limits,
    log: Callable[[str], Any],
) -> Metric:
    """The primary metric of both sides; the graph in PyTorch is evaluated only where it may and does differ."""
    log(f"validating {len(validation)} images in PyTorch")
    checkpoint, runtime = validation.of_the_checkpoint(), validation.of_answers(answers.results())
    name = validation.primary if validation.primary in checkpoint else next(iter(checkpoint))
    reasons: tuple[str, ...] = ()
    graph: dict[str, float] | None = None
    if not abs(checkpoint[name] - runtime[name]) <= limits.metric:
        reasons = tuple(_reasons_to_differ(validation, eager, config, metadata))
        if reasons:
            log(f"and in the graph in PyTorch, since {reasons[0]}")
            graph = validation.of_answers(_graph_results(eager, validation.images()))
    return Metric(
        name=name,
        checkpoint=checkpoint[name],
        runtime=runtime[name],
        images=len(validation),
        whole=validation.whole,
        graph=None if graph is None else graph[name],
        apart=reasons,
        all={"pytorch": checkpoint, "runtime": runtime, **({"graph": graph} if graph else {})},
    )


def _graph_results(model: Model, images: Sequence[ImageRegion], batch: int = 8) -> Iterator[Result]:
    for start in range(0, len(images), batch):
        chunk = images[start : start + batch]
        boxes = [None if image.box is None else np.array([image.box], np.float32) for image in chunk]
        yield from model.predict([image.path for image in chunk], 0.0, boxes, batch)


def _reasons_to_differ(
    validation: ValidationMetrics, eager: Model, config: Export, metadata: Metadata
) -> Iterator[str]:
    """Why the graph may answer differently from training's validation."""
    for name in ("score_threshold", "nms_iou", "max_detections"):
        if getattr(config, name) is not None:
            yield f"{name} was given"
    predictor = validation.predictor
    masks = metadata["task"] in ("semantic_segmentation", "instance_segmentation")
    for image in validation.images():
        boxes = None if image.box is None else np.array([image.box], np.float32)
        validated = tuple(predictor.network_input([Sample(image.path, boxes)]).shape[2:])
        exported = tuple(prepared(eager, image).shape[1:])
        if validated != exported:
            yield (
                f"its input is {exported[1]} x {exported[0]} px, and validation's "
                f"{validated[1]} x {validated[0]}"
            )
            return
        if masks and read_image(image.path).shape[:2] != exported:
            yield "masks are of the input's size and then scaled to the image's"
            return
