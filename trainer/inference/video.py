"""Videos: frames in, annotated frames out."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np

from trainer.core.atomic_files import move_into_place
from trainer.core.errors import DatasetError, ResourceError
from trainer.inference.samples import Sample

VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg")
_FPS = 25.0
_CODEC = "mp4v"


@dataclass(frozen=True)
class Video:
    """A video file: frames a second, and how many frames its head says it has (None: it doesn't)."""

    path: Path
    fps: float
    frames: int | None

    @classmethod
    def open(cls, path: Path) -> Video:
        """Raises DatasetError where it can't be read as a video."""
        capture = _capture(path)
        try:
            fps, frames = capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_COUNT)
        finally:
            capture.release()
        return cls(path, fps if 0 < fps < 1000 else _FPS, int(frames) if frames > 0 else None)

    def samples(self) -> Iterator[Sample]:
        """Its frames as samples, in order; ``image_id`` counts them from 0."""
        capture = _capture(self.path)
        try:
            number = 0
            while True:
                there, image = capture.read()
                if not there:
                    break
                yield Sample(image, image_id=number, label=f"{self.path}#{number}")
                number += 1
        finally:
            capture.release()
        if not number:
            raise DatasetError(f"{self.path}: no frame can be read from this video")

    def seconds(self, number: int) -> float:
        """When a frame is shown."""
        return round(number / self.fps, 4)


class Writer:
    """Writes frames of one size as an ``.mp4`` that has its name when it is whole."""

    def __init__(self, path: Path, fps: float) -> None:
        self.path, self.fps = path, fps
        self._draft = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.tmp{path.suffix}")
        self._writer: Any = None
        self._size = (0, 0)

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.release()
            if kind is None:
                move_into_place(self._draft, self.path)
        self._draft.unlink(missing_ok=True)

    def add(self, frame: np.ndarray) -> None:
        """A frame (H, W, 3) uint8, BGR; later ones are brought to the first one's size.

        Raises:
            ResourceError: this opencv can't write videos.
        """
        if self._writer is None:
            # The codec wants even sides.
            self._size = frame.shape[1] // 2 * 2, frame.shape[0] // 2 * 2
            self.path.parent.mkdir(parents=True, exist_ok=True)
            code = cv2.VideoWriter.fourcc(*_CODEC)
            self._writer = cv2.VideoWriter(str(self._draft), code, self.fps, self._size)
            if not self._writer.isOpened():
                raise ResourceError(f"{self.path}: this opencv can't write {self.path.suffix} videos")
        if frame.shape[1::-1] != self._size:
            frame = cv2.resize(frame, self._size, interpolation=cv2.INTER_AREA)
        self._writer.write(frame)


def _capture(path: Path) -> Any:
    capture = cv2.VideoCapture(str(path))
    if not capture.isOpened():
        raise DatasetError(f"{path} can't be read as a video")
    return capture
