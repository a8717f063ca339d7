"""An exported model: load, predict, draw. Needs numpy, opencv and the file's own runtime, nothing of the trainer.

>>> from model_wrapper import Model, draw
>>> model = Model("rtmdet-s.onnx")
>>> result = model.predict("image.jpg")[0]
>>> print(result.names, result.scores, result.boxes)  # boxes (N, 4): x1 y1 x2 y2 in px of the image

From a shell: python model_wrapper.py rtmdet-s.onnx image.jpg --output drawn.png
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

_COLOURS = ((230, 25, 75), (60, 180, 75), (0, 130, 200), (245, 130, 48), (145, 30, 180), (70, 240, 240))


@dataclass(frozen=True)
class Result:
    """The answer for one image; arrays have the same N, and all px are the image's own.

    Attributes:
        size: (width, height) of the image in px.
        boxes: (N, 4) float32, x1 y1 x2 y2 in px.
        scores: (N,) float32 from 0 to 1, best first (of boxes that were given: in their order).
        labels: (N,) int64 into the classes; -1 where nothing is classified (pose).
        names: the class name of each.
        masks: (N, H, W) bool, or None.
        segmentation: (H, W) class indices, or None.
        keypoints: (N, K, 3) float32, x y in px and a score from 0 to 1, or None.
    """

    size: tuple[int, int]
    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    names: tuple[str, ...] = ()
    masks: np.ndarray | None = None
    segmentation: np.ndarray | None = None
    keypoints: np.ndarray | None = None


@dataclass(frozen=True)
class Place:
    """Where an image lies in the input tensor: network px = image px * scale + shift."""

    size: tuple[int, int]  # of the image
    filled: tuple[int, int]  # of its part of the input tensor, from the upper left corner
    scale: tuple[float, float]
    shift: tuple[float, float]

    def back(self, points: np.ndarray) -> np.ndarray:
        """(..., 2) network px as image px."""
        return ((points - np.array(self.shift)) / np.array(self.scale)).astype(np.float32)


class Model:
    """An exported file, ready to predict.

    Args:
        path: the .onnx, .torchscript or .engine file, or one that ``runtime.py`` beside this script loads. The metadata
            is read from ``metadata.json`` beside the file, else from inside it.
        device: ``cpu`` or ``cuda``.
        threads: threads of a CPU runtime; None leaves the number to it.
        runtime: what runs the file, if it is loaded already.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: its suffix is unknown, or it has no metadata.
    """

    def __init__(
        self, path: str | Path, device: str = "cpu", threads: int | None = None, runtime: Any = None
    ) -> None:
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"there is no exported model {path}")
        if runtime is None:
            runtime = _open(path, device, threads)
        beside = path.parent / "metadata.json"
        inside = not beside.is_file()
        metadata = runtime.inside() if inside else json.loads(beside.read_text(encoding="utf-8"))
        if "input" not in metadata:
            raise ValueError(f"{path} has no metadata inside, and there is no metadata.json beside it")
        self._set(runtime, metadata)

    @classmethod
    def around(cls, runtime: Any, metadata: dict[str, Any]) -> Model:
        """A model whose inputs are run by ``runtime.run(input's name, outputs' names, batch)``, a list of arrays."""
        model = cls.__new__(cls)
        model._set(runtime, metadata)
        return model

    def _set(self, runtime: Any, metadata: dict[str, Any]) -> None:
        self.runtime, self.metadata = runtime, metadata
        self.task: str = metadata["task"]
        self.classes = tuple(metadata["classes"])
        self.output_names = tuple(one["name"] for one in metadata["outputs"])
        self._input = metadata["input"]

    def predict(
        self,
        images: str | Path | np.ndarray | Iterable[str | Path | np.ndarray],
        threshold: float | None = None,
        boxes: Sequence[np.ndarray | None] | None = None,
        batch_size: int = 8,
    ) -> list[Result]:
        """The answers in the order of ``images``.

        Args:
            images: files, or (H, W, 3) uint8 arrays in BGR order as ``cv2.imread`` gives them.
            threshold: the lowest score that is kept; None: the metadata's ``thresholds.shown``.
            boxes: an (N, 4) array an image, x1 y1 x2 y2 in px: where a top-down pose model looks; without them the
                whole image is one box.
            batch_size: inputs a run, where the file takes any number.
        """
        if isinstance(images, (str, Path, np.ndarray)):
            images = [images]
        lowest = self.metadata["thresholds"]["shown"] if threshold is None else threshold
        results: list[Result] = []
        pending: list[tuple[list[np.ndarray], list[Place]]] = []
        for index, one in enumerate(images):
            image = read_image(one)
            looks: list[np.ndarray | None] = [None]
            if self._input["resize"] == "crop" and boxes is not None and boxes[index] is not None:
                looks = list(np.asarray(boxes[index], np.float32).reshape(-1, 4))
            pairs = [self.prepare(image, box) for box in looks]
            places = [place for _, place in pairs] or [Place(image.shape[1::-1], (0, 0), (1, 1), (0, 0))]
            pending.append(([array for array, _ in pairs], places))
            if sum(len(arrays) for arrays, _ in pending) >= batch_size:
                results += self._answers(pending, lowest, batch_size)
                pending = []
        return results + self._answers(pending, lowest, batch_size)

    def prepare(self, image: np.ndarray, box: np.ndarray | None = None) -> tuple[np.ndarray, Place]:
        """An image (H, W, 3) BGR as what the file takes, (3, H, W), and where it lies in it."""
        given = self._input
        width, height = given["size"]
        pixels: Any
        if given["resize"] in ("crop", "center"):
            pixels, place = _warped(image, box, given)
        elif given["resize"] == "border":
            pixels, place = _bordered(image, given)
            height, width = pixels.shape[:2]
        else:
            pixels, place = _resized(image, (width, height), given["resize"] == "stretch")
            if given["dynamic_size"]:
                width, height = (
                    math.ceil(side / given["divisor"]) * given["divisor"] for side in place.filled
                )
        if given["channels"] == "rgb":
            pixels = pixels[..., ::-1]
        fill = np.array(given["pad_value"], np.float32)
        if given["dtype"] == "uint8":
            fill = np.rint(fill).astype(np.uint8)
        else:
            mean, std = np.array(given["mean"], np.float32), np.array(given["std"], np.float32)
            pixels, fill = (pixels.astype(np.float32) - mean) / std, (fill - mean) / std
        if pixels.shape[:2] != (height, width):
            canvas: Any = np.empty((height, width, 3), fill.dtype)
            canvas[:] = fill
            canvas[: pixels.shape[0], : pixels.shape[1]] = pixels
            pixels = canvas
        return np.ascontiguousarray(pixels.transpose(2, 0, 1)), place

    def run(self, batch: np.ndarray) -> dict[str, np.ndarray]:
        """The file's own outputs for (N, 3, H, W); where its batch is fixed, N may be smaller."""
        fixed, count = self._input["batch"], len(batch)
        if fixed and count < fixed:
            batch = np.concatenate([batch, np.zeros((fixed - count, *batch.shape[1:]), batch.dtype)])
        outputs = self.runtime.run(self._input["name"], self.output_names, batch)
        return {
            name: np.asarray(value)[:count] for name, value in zip(self.output_names, outputs, strict=True)
        }

    def result(self, places: Sequence[Place], outputs: dict[str, np.ndarray], threshold: float) -> Result:
        """An image's answer from its rows of the outputs: one row, or one a box that was looked at."""
        size = places[0].size
        if self.task == "semantic_segmentation":
            return Result(size, *_nothing(), segmentation=_map(outputs["segmentation"][0], places[0]))
        if self._input["resize"] == "crop":
            return self._poses(places, outputs)
        kept = np.flatnonzero((outputs["scores"][0] >= threshold) & (outputs["scores"][0] > 0))
        kept = kept[np.argsort(-outputs["scores"][0][kept], kind="stable")]
        boxes: Any = places[0].back(outputs["boxes"][0][kept].reshape(-1, 2, 2)).reshape(-1, 4)
        scores = outputs["scores"][0][kept].astype(np.float32)
        if self.task == "pose":
            points = outputs["keypoints"][0][kept].astype(np.float32)
            points[..., :2] = places[0].back(points[..., :2])
            return Result(size, boxes, scores, np.full(len(kept), -1), ("",) * len(kept), keypoints=points)
        edges = self.metadata.get("boxes", {"cut": True, "drop_empty": False})
        if edges["cut"]:
            boxes = np.clip(boxes, 0, np.array([*size, *size], np.float32))
        if edges["drop_empty"]:
            some = (boxes[:, 2:] > boxes[:, :2]).all(-1)
            kept, boxes, scores = kept[some], boxes[some], scores[some]
        labels = outputs["labels"][0][kept].astype(np.int64)
        masks = None
        if self.task == "instance_segmentation":
            found = [_mask(mask, places[0]) for mask in outputs["masks"][0][kept]]
            masks = np.stack(found) if found else np.zeros((0, size[1], size[0]), bool)
        return Result(size, boxes, scores, labels, tuple(self.classes[label] for label in labels), masks)

    def _poses(self, places: Sequence[Place], outputs: dict[str, np.ndarray]) -> Result:
        points = np.array(outputs["keypoints"], np.float32)
        for index, place in enumerate(places[: len(points)]):
            points[index, :, :2] = place.back(points[index, :, :2])
        count = len(points)
        boxes = np.array([_around(one) for one in points], np.float32).reshape(-1, 4)
        scores = points[..., 2].mean(-1) if count else np.zeros(0, np.float32)
        return Result(places[0].size, boxes, scores, np.full(count, -1), ("",) * count, keypoints=points)

    def _answers(
        self, pending: list[tuple[list[np.ndarray], list[Place]]], threshold: float, batch_size: int
    ) -> list[Result]:
        arrays = [array for many, _ in pending for array in many]
        rows: list[dict[str, np.ndarray]] = []
        largest = self._input["batch"] or batch_size
        while len(rows) < len(arrays):
            # Of one shape: with dynamic sizes the next image may be another.
            batch = [arrays[len(rows)]]
            for array in arrays[len(rows) + 1 : len(rows) + largest]:
                if array.shape != batch[0].shape:
                    break
                batch.append(array)
            outputs = self.run(np.stack(batch))
            rows += [{name: value[i : i + 1] for name, value in outputs.items()} for i in range(len(batch))]
        results, start = [], 0
        for many, places in pending:
            mine = rows[start : start + len(many)]
            start += len(many)
            none = {"keypoints": np.zeros((0, len(self.metadata.get("keypoints", ())), 3), np.float32)}
            merged = {name: np.concatenate([row[name] for row in mine]) for name in mine[0]} if mine else none
            results.append(self.result(places, merged, threshold))
        return results


def read_image(image: str | Path | np.ndarray) -> np.ndarray:
    """An image file as (H, W, 3) uint8 in BGR order; an array is given back."""
    if isinstance(image, np.ndarray):
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(f"an image has to be a uint8 array (H, W, 3), not {image.dtype} {image.shape}")
        return image
    pixels = cv2.imread(str(image), cv2.IMREAD_COLOR)
    if pixels is None:
        raise ValueError(f"{image} can't be read as an image")
    return pixels


def draw(image: np.ndarray, result: Result, metadata: dict[str, Any]) -> np.ndarray:
    """A copy of the (H, W, 3) BGR image with the answer drawn on it."""
    canvas = image.copy()
    palette = [tuple(colour) for colour in metadata.get("palette") or _COLOURS]
    thick = max(1, round(max(canvas.shape[:2]) / 320))
    if result.segmentation is not None:
        for label in np.unique(result.segmentation):
            if label < len(palette) and metadata["classes"][label] != "background":
                _tint(canvas, result.segmentation == label, palette[label])
        return canvas
    for index in reversed(range(len(result.boxes))):
        label = int(result.labels[index])
        colour = palette[label % len(palette)] if label >= 0 else _COLOURS[index % len(_COLOURS)]
        if result.masks is not None:
            _tint(canvas, result.masks[index], colour)
        x1, y1, x2, y2 = (round(float(side)) for side in result.boxes[index])
        cv2.rectangle(canvas, (x1, y1), (x2, y2), colour[::-1], thick, cv2.LINE_AA)
        words = f"{result.names[index]} {result.scores[index]:.2f}".strip()
        place = (max(0, x1), max(12 * thick, y1 - 3))
        cv2.putText(
            canvas, words, place, cv2.FONT_HERSHEY_SIMPLEX, 0.4 * thick, (0, 0, 0), 3 * thick, cv2.LINE_AA
        )
        cv2.putText(
            canvas, words, place, cv2.FONT_HERSHEY_SIMPLEX, 0.4 * thick, (255, 255, 255), thick, cv2.LINE_AA
        )
        if result.keypoints is not None:
            points = [(round(float(x)), round(float(y))) for x, y, _ in result.keypoints[index]]
            for a, b in metadata.get("skeleton", ()):
                cv2.line(canvas, points[a], points[b], colour[::-1], thick, cv2.LINE_AA)
            for point in points:
                cv2.circle(canvas, point, 2 * thick, (255, 255, 255), -1, cv2.LINE_AA)
    return canvas


class _Onnx:
    def __init__(self, path: Path, device: str, threads: int | None) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if threads:
            options.intra_op_num_threads = threads
        providers = ["CPUExecutionProvider"]
        if device != "cpu":
            providers.insert(0, "CUDAExecutionProvider")
        self.name = f"onnxruntime {onnxruntime.__version__}"
        self.session = onnxruntime.InferenceSession(str(path), options, providers=providers)

    def inside(self) -> dict[str, Any]:
        found = self.session.get_modelmeta().custom_metadata_map
        return {key: _parsed(value) for key, value in found.items()}

    def run(self, name: str, outputs: Sequence[str], batch: np.ndarray) -> list[np.ndarray]:
        return self.session.run(list(outputs), {name: batch})


class _TorchScript:
    def __init__(self, path: Path, device: str, threads: int | None) -> None:
        import torch

        if threads:
            torch.set_num_threads(threads)
        self.torch, self.device = torch, device
        self.name = f"torch {torch.__version__}"
        self._files = {"metadata.json": ""}
        self.module = torch.jit.load(str(path), map_location=device, _extra_files=self._files).eval()

    def inside(self) -> dict[str, Any]:
        return json.loads(self._files["metadata.json"] or "{}")

    def run(self, name: str, outputs: Sequence[str], batch: np.ndarray) -> list[np.ndarray]:
        with self.torch.no_grad():
            answer = self.module(self.torch.from_numpy(batch).to(self.device))
        answer = answer if isinstance(answer, (tuple, list)) else [answer]
        return [value.cpu().numpy() for value in answer]


class _TensorRT:
    """An engine; torch holds the GPU's memory."""

    def __init__(self, path: Path, device: str, threads: int | None) -> None:
        import tensorrt
        import torch

        self.torch, self.trt = torch, tensorrt
        self.name = f"tensorrt {tensorrt.__version__}"
        self._runtime = tensorrt.Runtime(tensorrt.Logger(tensorrt.Logger.WARNING))
        self.engine = self._runtime.deserialize_cuda_engine(path.read_bytes())
        if self.engine is None:
            raise RuntimeError(f"{path} was built for another GPU or another version of TensorRT")
        self.context = self.engine.create_execution_context()

    def inside(self) -> dict[str, Any]:
        return {}

    def run(self, name: str, outputs: Sequence[str], batch: np.ndarray) -> list[np.ndarray]:
        given = self.torch.from_numpy(batch).cuda()
        self.context.set_input_shape(name, tuple(given.shape))
        self.context.set_tensor_address(name, given.data_ptr())
        found = []
        for output in outputs:
            kind = np.dtype(self.trt.nptype(self.engine.get_tensor_dtype(output)))
            empty = self.torch.from_numpy(np.empty(tuple(self.context.get_tensor_shape(output)), kind)).cuda()
            self.context.set_tensor_address(output, empty.data_ptr())
            found.append(empty)
        stream = self.torch.cuda.current_stream()
        if not self.context.execute_async_v3(stream.cuda_stream):
            raise RuntimeError("TensorRT could not run this input")
        stream.synchronize()
        return [value.cpu().numpy() for value in found]


_RUNTIMES = {".onnx": _Onnx, ".torchscript": _TorchScript, ".pt": _TorchScript, ".engine": _TensorRT}


def _open(path: Path, device: str, threads: int | None) -> Any:
    beside = Path(__file__).with_name("runtime.py")
    if beside.is_file():  # the package of a format that this script doesn't know
        spec = importlib.util.spec_from_file_location("exported_runtime", beside)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules["exported_runtime"] = module
        spec.loader.exec_module(module)
        return module.Runtime(path, device, threads)
    if path.suffix not in _RUNTIMES:
        raise ValueError(f"{path}: expected one of {', '.join(_RUNTIMES)}")
    return _RUNTIMES[path.suffix](path, device, threads)


def _resized(image: np.ndarray, size: tuple[int, int], stretch: bool) -> tuple[np.ndarray, Place]:
    height, width = image.shape[:2]
    if stretch:
        new = size
    else:
        factor = min(size[0] / width, size[1] / height)
        new = max(1, int(width * factor + 0.5)), max(1, int(height * factor + 0.5))
    pixels = image if new == (width, height) else cv2.resize(image, new, interpolation=cv2.INTER_LINEAR)
    return pixels, Place((width, height), new, (new[0] / width, new[1] / height), (0.0, 0.0))


def _warped(image: np.ndarray, box: np.ndarray | None, given: dict[str, Any]) -> tuple[np.ndarray, Place]:
    """A box of the image (``crop``), or all of it (``center``), in the middle of the input."""
    width, height = given["size"]
    size = image.shape[1], image.shape[0]
    x1, y1, x2, y2 = (float(side) for side in (box if box is not None else (0, 0, *size)))
    middle, wide, high = ((x1 + x2) / 2, (y1 + y2) / 2), x2 - x1, y2 - y1
    if given["resize"] == "crop":
        wide, high = wide * given["box_padding"], high * given["box_padding"]
    factor = min(width / max(wide, 1e-6), height / max(high, 1e-6))
    covered = width / factor, height / factor  # px of the image
    lost = 1 if given["udp"] else 0
    scale = (width - lost) / covered[0], (height - lost) / covered[1]
    shift = [(side - lost) / 2 - at * by for side, at, by in zip((width, height), middle, scale, strict=True)]
    matrix = np.array([[scale[0], 0, shift[0]], [0, scale[1], shift[1]]], np.float64)
    fill = given["pad_value"] if given["channels"] == "bgr" else given["pad_value"][::-1]
    pixels = cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderValue=fill)
    # Answers are in px whose corners lie on each other, whatever was done with the pixels.
    back = width / 2 - middle[0] * factor, height / 2 - middle[1] * factor
    return pixels, Place(size, (width, height), (factor, factor), back)


def _bordered(image: np.ndarray, given: dict[str, Any]) -> tuple[np.ndarray, Place]:
    """The image in its own size in the middle of the input; smaller where it is larger than that."""
    pixels: Any = image
    width, height = given["size"]
    if image.shape[1] > width or image.shape[0] > height:
        pixels = _resized(image, (width, height), False)[0]
    high, wide = pixels.shape[:2]
    if given["dynamic_size"]:
        # The next larger multiple.
        width, height = (
            min(most, (side // given["divisor"] + 1) * given["divisor"])
            for side, most in ((wide, width), (high, height))
        )
    left, top = width // 2 - wide // 2, height // 2 - high // 2
    fill = given["pad_value"] if given["channels"] == "bgr" else given["pad_value"][::-1]
    sides = (top, height - high - top, left, width - wide - left)
    pixels = cv2.copyMakeBorder(pixels, *sides, cv2.BORDER_CONSTANT, value=fill)
    size = image.shape[1], image.shape[0]
    return pixels, Place(size, (width, height), (wide / size[0], high / size[1]), (left, top))


def _mask(mask: np.ndarray, place: Place) -> np.ndarray:
    """A mask of probabilities from 0 to 255 as one of the image."""
    part = mask[: place.filled[1], : place.filled[0]].astype(np.float32)
    return cv2.resize(part, place.size, interpolation=cv2.INTER_LINEAR) >= 127.5


def _map(indices: np.ndarray, place: Place) -> np.ndarray:
    part = indices[: place.filled[1], : place.filled[0]].astype(np.uint8)
    return cv2.resize(part, place.size, interpolation=cv2.INTER_NEAREST)


def _nothing() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64)


def _around(points: np.ndarray) -> list[float]:
    """The box around keypoints."""
    return [*points[:, :2].min(0), *points[:, :2].max(0)]


def _tint(canvas: np.ndarray, where: np.ndarray, colour: Sequence[int]) -> None:
    canvas[where] = (canvas[where] * 0.55 + np.array(colour[::-1]) * 0.45).astype(np.uint8)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _main() -> None:
    parser = argparse.ArgumentParser(description="Predict with an exported model.")
    parser.add_argument("model", type=Path)
    parser.add_argument("images", type=Path, nargs="+")
    parser.add_argument("--output", type=Path, help="draw the first image's answer into this file")
    parser.add_argument("--threshold", type=float, help="lowest score shown")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    options = parser.parse_args()
    model = Model(options.model, options.device)
    for path, result in zip(options.images, model.predict(options.images, options.threshold), strict=True):
        found: dict[str, Any] = {"file": str(path), "boxes": result.boxes.tolist()}
        found |= {"scores": result.scores.tolist(), "names": list(result.names)}
        if result.keypoints is not None:
            found["keypoints"] = result.keypoints.tolist()
        if result.segmentation is not None:
            labels, counts = np.unique(result.segmentation, return_counts=True)
            found["area"] = {model.classes[a]: int(b) for a, b in zip(labels, counts, strict=True)}
        print(json.dumps(found))
    if options.output:
        first = read_image(options.images[0])
        result = model.predict(first, options.threshold)[0]
        cv2.imwrite(str(options.output), draw(first, result, model.metadata))


if __name__ == "__main__":
    _main()
