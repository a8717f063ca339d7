"""Making the proof of one exported file."""

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
from trainer.export.graph import Graph
from trainer.export.metadata import Metadata
from trainer.export.proof.compare import compare
from trainer.export.proof.compiled import compiled_seconds
from trainer.export.proof.images import looks_of
from trainer.export.proof.metric import ValidationMetrics, without_flip
from trainer.export.proof.process import median_seconds
from trainer.export.proof.proof import Latency, Limits, Metric, Proof
from trainer.export.proof.rounding import TOLERANCE, Rounding, nudged
from trainer.export.proof.run_exported import Answers, Look, run_file
from trainer.export.runtimes.python.model_wrapper import Model, Result, read_image
from trainer.inference.predictor import Predictor
from trainer.inference.samples import Sample
from trainer.inference.suppress_output import suppress_output
from trainer.schema import Export

BATCHES = (1, 8)
"""The batch sizes that are timed."""


class Eager:
    """The graph in PyTorch, as one of the wrapper's runtimes."""

    name = f"torch {torch.__version__}"

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    def run(self, name: str, outputs: Sequence[str], batch: np.ndarray) -> list[np.ndarray]:
        with torch.no_grad(), suppress_output():
            return [value.numpy() for value in self.graph(torch.from_numpy(batch))]


def prove(
    predictor: Predictor,
    graph: Graph,
    file: Path,
    metadata: Metadata,
    config: Export,
    *,
    asked: str,
    built: str,
    compiled: dict[int, float | str] | None = None,
    say: Callable[[str], Any] = print,
) -> Proof:
    """Compare ``file``, with its package's ``runtimes`` and ``metadata.json`` beside it, with PyTorch.

    A file that fails is not timed, unless it will be kept.

    Args:
        graph: what it was made from.
        asked, built: the precision that was asked for, and that of the weights in the file.
        compiled: latencies with torch.compile that are known already.
        say: told what is being done.

    Raises:
        FrameworkError: the file doesn't run in its runtime, or its outputs are of other shapes.
        DatasetError: ``config.images`` has no images.
    """
    eager = Model.around(Eager(graph), dict(metadata))
    given = metadata["input"]
    threads = torch.get_num_threads()
    limits = Limits.of(asked, config.tolerance, config.metric_tolerance)
    sizes = tuple(sorted({given["batch"]} if given["batch"] else set(BATCHES)))
    with tempfile.TemporaryDirectory(prefix="proof-") as temporary:
        folder = Path(temporary)
        looks, words = looks_of(predictor, config.images, folder)
        inputs = _inputs(eager, looks, given["batch"])
        validation, no_metric = _validation(predictor, config)
        asked_for = validation.looks() if validation else []
        say(
            f"running it on {len(looks)} {words}"
            + (f" and {len(asked_for)} for the metric" if asked_for else "")
        )
        answers = run_file(
            file,
            file.parent / "runtimes" / "python" / "model_wrapper.py",
            folder,
            inputs,
            asked_for,
            latency=sizes,
            threads=threads,
            device="cuda" if file.suffix == ".engine" else "cpu",
        )
        expected = [eager.run(batch) for batch in inputs]
        try:
            side = max(inputs[0].shape[2:])
            border = config.tolerance if asked == "fp32" else 0.02
            differences, agreement = compare(expected, answers.outputs, side, border)
        except ValueError as error:
            raise FrameworkError(f"{file.name} answers otherwise than PyTorch: {error}") from None
        metric = _metric(validation, answers, eager, config, metadata, limits, say) if validation else None
        proof = Proof(
            runtime=answers.runtime,
            asked=asked,
            precision=built,
            images=words,
            compared=len(looks),
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
        # A limit that somebody has tightened is meant as it is.
        usual = config.tolerance >= TOLERANCE
        if asked == "fp32" and usual and proof.failures:
            say("asking PyTorch how much hangs on rounding")
            shaken = Model.around(Eager(nudged(graph)), dict(metadata))
            own = compare(expected, [shaken.run(batch) for batch in inputs], side, border)
            proof = replace(proof, rounding=Rounding.of(*own))
        if proof.failures and not config.force:
            return proof  # nobody will look at its speed
        proof = replace(proof, forced=bool(proof.failures))
        example = inputs[0][:1]
        if compiled is None:
            compiled = _compiled(graph, [(size, *example.shape[1:]) for size in sizes], threads, config, say)
        say("timing PyTorch")
        latency = [
            Latency(
                size,
                answers.seconds[size],
                _eager_seconds(predictor, eager, looks[0], example, size),
                compiled.get(size),
            )
            for size in sizes
        ]
    return replace(proof, latency=tuple(latency))


def _compiled(
    graph: Graph, shapes: list[tuple[int, ...]], threads: int, config: Export, say: Callable[[str], Any]
) -> dict[int, float | str]:
    if not config.compile_seconds:
        return {}
    say(f"torch.compile, {config.compile_seconds} s at the most")
    return compiled_seconds(graph, shapes, threads, config.compile_seconds)


def _eager_seconds(predictor: Predictor, eager: Model, look: Look, example: np.ndarray, size: int) -> float:
    """Seconds of the checkpoint's own answer; of the graph's where that gets inputs of another size."""
    box = None if look.box is None else np.array([look.box], np.float32)
    mine = predictor.network_input([Sample(look.image, box)])
    if mine.shape[2:] != example.shape[2:]:
        data = np.repeat(example, size, 0)
        return median_seconds(lambda: eager.run(data))
    image = read_image(look.image)
    whole = np.array([[0, 0, image.shape[1], image.shape[0]]], np.float32)
    item = predictor.prepare(image, whole if box is None else box)[0]
    rows = [[item]] * size if predictor.one_at_a_time else [[item] * size]
    with without_flip(predictor.model):
        return median_seconds(lambda: [predictor.answer(copy.deepcopy(row)) for row in rows])


def _inputs(model: Model, looks: Sequence[Look], fixed: int | None) -> list[np.ndarray]:
    """What the network gets for the images: one by one, and all at once where the batch is open."""
    arrays = [prepared(model, look) for look in looks]
    if fixed:
        arrays = arrays[: max(fixed, len(arrays) // fixed * fixed)]
        arrays += arrays[:1] * (-len(arrays) % fixed)
        return [np.stack(arrays[start : start + fixed]) for start in range(0, len(arrays), fixed)]
    singles = [array[None] for array in arrays]
    together = [np.stack(arrays)] if len(arrays) > 1 and len({array.shape for array in arrays}) == 1 else []
    return singles + together


def prepared(model: Model, look: Look) -> np.ndarray:
    """An image (3, H, W) as a file takes it."""
    box = None if look.box is None else np.array(look.box, np.float32)
    return model.prepare(read_image(look.image), box)[0]


def _validation(predictor: Predictor, config: Export) -> tuple[ValidationMetrics | None, str | None]:
    if config.images is not None:
        return None, "images=... have no ground truth"
    try:
        return ValidationMetrics(predictor, config.max_images), None
    except DatasetError:
        return None, "the run's validation split is not here"


def _metric(
    validation: ValidationMetrics,
    answers: Answers,
    eager: Model,
    config: Export,
    metadata: Metadata,
    limits: Limits,
    say: Callable[[str], Any],
) -> Metric:
    """Asks the graph in PyTorch only where the file may differ from training's validation and does."""
    say(f"validating {len(validation)} images in PyTorch")
    mine, its = validation.of_the_checkpoint(), validation.of_answers(answers.results())
    name = validation.primary if validation.primary in mine else next(iter(mine))
    apart: tuple[str, ...] = ()
    graph: dict[str, float] | None = None
    if not abs(mine[name] - its[name]) <= limits.metric:
        apart = tuple(_apart(validation, eager, config, metadata))
        if apart:
            say(f"and in the graph in PyTorch, since {apart[0]}")
            graph = validation.of_answers(_answered(eager, validation.looks()))
    return Metric(
        name=name,
        checkpoint=mine[name],
        runtime=its[name],
        images=len(validation),
        whole=validation.whole,
        graph=None if graph is None else graph[name],
        apart=apart,
        all={"pytorch": mine, "runtime": its, **({"graph": graph} if graph else {})},
    )


def _answered(model: Model, looks: Sequence[Look], batch: int = 8) -> Iterator[Result]:
    for start in range(0, len(looks), batch):
        some = looks[start : start + batch]
        boxes = [None if one.box is None else np.array([one.box], np.float32) for one in some]
        yield from model.predict([one.image for one in some], 0.0, boxes, batch)


def _apart(validation: ValidationMetrics, eager: Model, config: Export, metadata: Metadata) -> Iterator[str]:
    """Why the graph needn't answer as training's validation did."""
    for name in ("score_threshold", "nms_iou", "max_detections"):
        if getattr(config, name) is not None:
            yield f"{name} was given"
    predictor = validation.predictor
    masks = metadata["task"] in ("semantic_segmentation", "instance_segmentation")
    for look in validation.looks():
        boxes = None if look.box is None else np.array([look.box], np.float32)
        mine = tuple(predictor.network_input([Sample(look.image, boxes)]).shape[2:])
        its = tuple(prepared(eager, look).shape[1:])
        if mine != its:
            yield f"its input is {its[1]} x {its[0]} px, and validation's {mine[1]} x {mine[0]}"
            return
        if masks and read_image(look.image).shape[:2] != its:
            yield "masks are of the input's size and then scaled to the image's"
            return
