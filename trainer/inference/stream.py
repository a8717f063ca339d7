"""Images in, answers out: read and prepared ahead in threads, answered in batches, in order, a few at a time."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from trainer.core.errors import DatasetError
from trainer.inference import tile_merge
from trainer.inference.image_model import WHOLE_IMAGE, ImageModel
from trainer.inference.merge_predictions import merge_predictions
from trainer.inference.predict_options import PredictOptions
from trainer.inference.prefetch import prefetch
from trainer.inference.samples import Sample
from trainer.inference.tta import ImageView, Window, views, windows
from trainer.predictions.prediction import Prediction, joined

DOUBT = 0.25
"""The share of the threshold that something must score in a single look to be fused with others."""
BOXES_ONLY = "tile=... is for whole images; this pose model looks at boxes"

NO_MIRROR = "tta=true doesn't mirror: the model was trained without mirrored images"


@dataclass(frozen=True)
class SampleResult:
    """What a model says of one sample.

    Attributes:
        prediction: empty where the image can't be read.
        image: (H, W, 3) uint8, BGR, as it was read; None where it can't be.
        milliseconds: its share of the time that the network's forward passes took, decoding included.
        error: why the image can't be read.
    """

    sample: Sample
    prediction: Prediction
    image: np.ndarray | None
    milliseconds: float = 0.0
    error: str | None = None


@dataclass
class Timing:
    """Seconds of the caller's thread: waiting for images, in the network, and merging what views saw."""

    images: int = 0
    waiting: float = 0.0
    network: float = 0.0
    merging: float = 0.0


def answers(
    model: ImageModel, samples: Iterable[Sample], options: PredictOptions, timing: Timing | None = None
) -> Iterator[SampleResult]:
    """The answer for each sample, in order. Of the images no more than about two batches are held in memory.

    Args:
        samples: taken as they are needed.
        timing: added to.

    Raises:
        ConfigError: a class that the model doesn't know.
        DatasetError: an image can't be read and ``on_error`` is ``fail``.
    """
    timing = timing or Timing()
    labels = options.labels(model.classes)
    if options.tile and model.top_down:
        _note(model, BOXES_ONLY)
    if options.tta and not model.mirrors:
        _note(model, NO_MIRROR)
    with ThreadPoolExecutor(options.readers, thread_name_prefix="images") as pool:
        yield from _Stream(model, options, labels, timing).run(samples, pool)


@dataclass
class _Job:
    """One image on its way through."""

    sample: Sample
    size: tuple[int, int] = (0, 0)
    image: np.ndarray | None = None
    boxes: np.ndarray | None = None
    error: str | None = None
    windows: list[Window] = field(default_factory=list)
    waiting: int = 0  # views without an answer yet
    seen: dict[Window, list[Prediction]] = field(default_factory=dict)
    merged: Any = None  # where tiles' answers go
    single: Prediction | None = None
    seconds: float = 0.0


@dataclass
class _Part:
    """What the network gets for one view, and its answers so far."""

    job: _Job
    view: ImageView
    items: list[Any]
    answered: list[Prediction] = field(default_factory=list)


class _Stream:
    def __init__(
        self, model: ImageModel, options: PredictOptions, labels: list[int] | None, timing: Timing
    ) -> None:
        self.model, self.options, self.labels, self.timing = model, options, labels, timing
        self.batch_size = 1 if model.one_at_a_time else options.batch_size
        self.tile = None if model.top_down else options.tile
        self.looks = views(options.tta, model.mirrors, model.top_down)
        self.merges = len(self.looks) > 1 or self.tile is not None
        self.jobs: deque[_Job] = deque()
        self.batch: list[tuple[_Part, Any]] = []

    def run(self, samples: Iterable[Sample], pool: ThreadPoolExecutor) -> Iterator[SampleResult]:
        jobs = prefetch(pool, self._read, samples, self.options.readers)
        parts = prefetch(pool, self._prepare, self._views(jobs), self.batch_size + self.options.readers)
        while True:
            start = time.perf_counter()
            part = next(parts, None)
            self.timing.waiting += time.perf_counter() - start
            if part is None:
                break
            if not part.items:
                self._seen(part)
            for item in part.items:
                if self.batch and self.model.together(item) != self.model.together(self.batch[0][1]):
                    self._answer()
                self.batch.append((part, item))
                if len(self.batch) >= self.batch_size:
                    self._answer()
            yield from self._finished()
        self._answer()
        yield from self._finished()

    def _read(self, sample: Sample) -> _Job:
        try:
            image = self.model.read(sample)
        except DatasetError as error:
            if self.options.on_error == "fail":
                raise
            return _Job(sample, error=str(error))
        height, width = image.shape[:2]
        job = _Job(sample, (width, height), image)
        if self.model.top_down:
            whole = np.array([[0, 0, width, height]], np.float32)
            job.boxes = whole if sample.boxes is None else sample.boxes
        tile = self.tile
        large = tile is not None and (width > tile or height > tile)
        job.windows = (
            windows(width, height, tile, self.options.overlap) if tile and large else [(0, 0, width, height)]
        )
        if large and self.model.task != "semantic_segmentation":
            job.windows.append((0, 0, width, height))  # for what is larger than a tile
        return job

    def _views(self, jobs: Iterable[_Job]) -> Iterator[tuple[_Job, ImageView]]:
        for job in jobs:
            self.jobs.append(job)
            if job.boxes is not None and job.sample.boxes is None:
                _note(self.model, WHOLE_IMAGE)
            views = [ImageView(window, *look) for window in job.windows for look in self.looks]
            job.waiting = len(views)
            for view in views:
                yield job, view

    def _prepare(self, wanted: tuple[_Job, ImageView]) -> _Part:
        job, view = wanted
        assert job.image is not None
        boxes = None if job.boxes is None else view.boxes_of(job.boxes)
        return _Part(job, view, self.model.prepare(view.of(job.image), boxes))

    def _answer(self) -> None:
        """A forward pass for what has come together."""
        if not self.batch:
            return
        batch, self.batch = self.batch, []
        # A fused score is a mean: what one look is less sure of may be there all the same.
        threshold = self.options.threshold * (DOUBT if len(self.looks) > 1 else 1.0)
        start = time.perf_counter()
        found = self.model.answer([item for _, item in batch], threshold, self.merges)
        seconds = time.perf_counter() - start
        self.timing.network += seconds
        for (part, _), prediction in zip(batch, found, strict=True):
            part.job.seconds += seconds / len(batch)
            part.answered.append(prediction)
            if len(part.answered) == len(part.items):
                start = time.perf_counter()
                self._seen(part)
                self.timing.merging += time.perf_counter() - start

    def _seen(self, part: _Part) -> None:
        """A view is answered; its window when all its views are, the image when all its windows are."""
        job, view = part.job, part.view
        answer = joined(part.answered) if part.answered else self.model.empty(view.size)
        seen = job.seen.setdefault(view.window, [])
        seen.append(view.undo(answer, self.model.flip_pairs))
        job.waiting -= 1
        if len(seen) < len(self.looks):
            return
        whole = merge_predictions(job.seen.pop(view.window), self.model.top_down)
        if len(job.windows) == 1:
            job.single = whole
            return
        if job.merged is None:
            maps = self.model.task == "semantic_segmentation"
            job.merged = (tile_merge.Map if maps else tile_merge.Instances)(self.model.empty(job.size))
        job.merged.add(view.window, whole if whole.segmentation is not None else self._chosen(whole))

    def _finished(self) -> Iterator[SampleResult]:
        while self.jobs and not self.jobs[0].waiting:
            job = self.jobs.popleft()
            start = time.perf_counter()
            answer = self._finish(job)
            self.timing.merging += time.perf_counter() - start
            self.timing.images += 1
            yield answer

    def _finish(self, job: _Job) -> SampleResult:
        if job.error is not None:
            nothing = replace(self.model.empty((0, 0)), path=job.sample.name)
            return SampleResult(job.sample, nothing, None, error=job.error)
        prediction = job.single
        if job.merged is not None:
            prediction = (
                job.merged.result()
                if isinstance(job.merged, tile_merge.Map)
                else job.merged.result(self.options.max_detections)
            )
        assert prediction is not None
        prediction = replace(self._chosen(prediction), path=job.sample.name, probabilities=None)
        return SampleResult(job.sample, prediction, job.image, 1000 * job.seconds)

    def _chosen(self, prediction: Prediction) -> Prediction:
        """What is asked for of an answer."""
        if self.labels is not None:
            prediction = prediction.only(self.labels)
        if prediction.segmentation is None and not self.model.top_down:
            prediction = prediction.above(self.options.threshold)
            prediction = prediction.kept(np.arange(len(prediction))[: self.options.max_detections])
        return prediction


def _note(model: ImageModel, text: str) -> None:
    if text not in model.notes:
        model.notes.append(text)
