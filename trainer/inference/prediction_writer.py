"""Answers as files, written as they come: predictions.json, COCO results, labels, pictures, a video, a sheet."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from trainer.core.atomic_files import atomic_file, atomic_write
from trainer.inference.predictor_base import BasePredictor
from trainer.inference.prefetch import prefetch
from trainer.inference.stream import SampleResult
from trainer.inference.video import Video, Writer
from trainer.predictions.contact_sheet import contact_sheet
from trainer.predictions.draw import draw_prediction
from trainer.predictions.formats import coco_results, yolo_lines

SHEET = 12
"""How many answers ``sheet.png`` shows."""
PICTURES = ("png", "jpg", "none")
_WAITING = 4  # pictures that are drawn while the network goes on


@dataclass
class Written:
    """What was written and counted."""

    images: int = 0
    instances: int = 0
    unreadable: int = 0
    sheet: Path | None = None
    video: Path | None = None


def write(
    model: BasePredictor,
    answers: Iterable[SampleResult],
    folder: Path,
    threshold: float,
    *,
    pictures: str = "png",
    labels: bool = False,
    video: Video | None = None,
    written: Written | None = None,
) -> Iterator[SampleResult]:
    """Write each answer as it comes, and give it on. The files have their names when the last one has come.

    ``predictions.json`` and, but for semantic segmentation, ``results.json`` (COCO's results format) are always
    written; for semantic segmentation ``maps/<name>.png`` holds the class index of each pixel.

    Args:
        threshold: the lowest score of a keypoint that is drawn; stated in the files.
        pictures: ``png``, ``jpg`` or ``none``.
        labels: whether ``labels/<name>.txt`` is written in YOLO's form, which has none for a segmentation.
        video: the answers are its frames: one annotated video is written instead of pictures.
        written: is told what was written.
    """
    written = Written() if written is None else written
    with ExitStack() as stack:
        files = _Files(stack, folder, model, threshold, pictures, labels, video)
        pool = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="pictures"))
        # One thread draws, in order; the network goes on meanwhile.
        for answer, picture, truth in prefetch(pool, files.drawn, files.noted(answers), _WAITING):
            files.show(answer, picture, truth)
            written.images += 1
            written.instances += len(answer.prediction)
            written.unreadable += answer.error is not None
            yield answer
        written.sheet = files.finish()
        written.video = files.video_path if video and written.images else None


class _Files:
    def __init__(
        self,
        stack: ExitStack,
        folder: Path,
        model: BasePredictor,
        threshold: float,
        pictures: str,
        labels: bool,
        video: Video | None,
    ) -> None:
        self.folder, self.model, self.threshold = folder, model, threshold
        self.pictures, self.labels, self.video = pictures, labels, video
        self.semantic = model.task == "semantic_segmentation"
        self.names = Names(f".{pictures}")
        self.pairs: list[tuple[np.ndarray, np.ndarray | None]] = []
        self.predictions = stack.enter_context(atomic_file(folder / "predictions.json"))
        self.predictions.write(_opening(model, threshold).encode())
        self.results = None if self.semantic else stack.enter_context(atomic_file(folder / "results.json"))
        if self.results is not None:
            self.results.write(b"[")
        self.number = self.found = 0
        self.video_path = folder / f"{video.path.stem}.mp4" if video else None
        draws = video is not None and pictures != "none" and self.video_path is not None
        self.writer = (
            stack.enter_context(Writer(self.video_path, video.fps))
            if draws and video and self.video_path
            else None
        )

    def noted(self, answers: Iterable[SampleResult]) -> Iterator[tuple[SampleResult, str]]:
        """Each answer in the JSON files, with the name of its picture."""
        for answer in answers:
            name = self.names.of(answer)
            self._note(answer, name)
            self.number += 1
            yield answer, name

    def drawn(
        self, named: tuple[SampleResult, str]
    ) -> tuple[SampleResult, np.ndarray | None, np.ndarray | None]:
        """An answer with its picture, and its ground truth's for the sheet. Called on another thread."""
        answer, name = named
        self._save(answer, Path(name).stem)
        if answer.image is None or self.pictures == "none":
            return answer, None, None
        options = (self.model.palette, self.model.skeleton)
        picture = draw_prediction(answer.image, answer.prediction, *options, threshold=self.threshold)
        truth = None
        if answer.sample.truth is not None and len(self.pairs) < SHEET:
            truth = draw_prediction(answer.image, answer.sample.truth, *options)
        if self.writer is None:
            save_picture(self.folder / name, picture)
        return answer, picture, truth

    def show(self, answer: SampleResult, picture: np.ndarray | None, truth: np.ndarray | None) -> None:
        """Keep a picture for the sheet, and add it to the video."""
        if picture is None:
            return
        if self.writer is not None:
            self.writer.add(picture)
        if len(self.pairs) < SHEET:
            self.pairs.append((picture, truth))

    def finish(self) -> Path | None:
        self.predictions.write(b"\n]}\n")
        if self.results is not None:
            self.results.write(b"\n]\n")
        return save_picture(self.folder / "sheet.png", contact_sheet(self.pairs)) if self.pairs else None

    def _note(self, answer: SampleResult, name: str) -> None:
        entry = self._entry(answer, name)
        lead = "," if self.number else ""
        self.predictions.write(f"{lead}\n  {json.dumps(entry, ensure_ascii=False)}".encode())
        if answer.error is not None:
            return
        if self.results is not None:
            for result in coco_results(answer.prediction, entry["image_id"]):
                self.results.write(f"{',' if self.found else ''}\n  {json.dumps(result)}".encode())
                self.found += 1

    def _save(self, answer: SampleResult, stem: str) -> None:
        if answer.error is not None or self.video is not None:
            return
        if answer.prediction.segmentation is not None:
            save_picture(self.folder / "maps" / f"{stem}.png", answer.prediction.segmentation)
        if self.labels and not self.semantic:
            lines = yolo_lines(answer.prediction, scores=True)
            atomic_write(self.folder / "labels" / f"{stem}.txt", "".join(f"{line}\n" for line in lines))

    def _entry(self, answer: SampleResult, name: str) -> dict[str, Any]:
        known = answer.sample.image_id
        number = self.number if known is None else known
        if answer.error is not None:
            return {"file": answer.sample.name, "image_id": number, "error": answer.error}
        entry = {**answer.prediction.to_json(), "image_id": number}
        if self.video is not None:
            return {**entry, "frame": number, "seconds": self.video.seconds(number)}
        if self.pictures != "none":
            entry["picture"] = name
        return {**entry, "milliseconds": round(answer.milliseconds, 2)}


class Names:
    """A file's name for each answer: the image's own, made different where two folders have the same."""

    def __init__(self, suffix: str) -> None:
        self.suffix = suffix
        self._taken = {"sheet.png"}
        self._count = 0

    def of(self, answer: SampleResult) -> str:
        self._count += 1
        own = answer.sample.name
        stem = Path(own).stem if own and "#" not in own else f"image-{self._count:06}"
        name, number = f"{stem}{self.suffix}", 1
        while name in self._taken:
            number += 1
            name = f"{stem}-{number}{self.suffix}"
        self._taken.add(name)
        return name


def save_picture(path: Path, picture: np.ndarray) -> Path:
    """A picture (H, W) or (H, W, 3) BGR, uint8, in the format of the file's suffix."""
    return atomic_write(path, cv2.imencode(path.suffix, picture)[1].tobytes())


def _opening(model: BasePredictor, threshold: float) -> str:
    about: dict[str, Any] = {
        "run_id": model.about.get("run_id"),
        "checkpoint": str(model.found.path),
        "task": model.task,
        "model": model.name,
        "classes": list(model.classes),
        "threshold": threshold,
    }
    if model.task == "pose":
        about["keypoints"] = list(model.keypoints)
        about["skeleton"] = list[Sequence[int]](model.skeleton)
    return json.dumps(about, ensure_ascii=False)[:-1] + ', "images": ['
