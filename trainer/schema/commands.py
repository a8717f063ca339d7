"""The commands that use a model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from trainer.core import plugins
from trainer.schema.datasets import Dataset
from trainer.schema.declaration import typed_field

# ruff: noqa: RUF009  typed_field() makes a dataclass field

IMPORTS = "modules of your own that the model needs; a run's own checkpoint knows them"

MODEL = (
    "a run's id or folder, a .pth file, an exported file, its folder or package; also https://, s3://, models:/, "
    "pretrained:<model>"
)


@dataclass
class Evaluate:
    """``python -m trainer evaluate``: the metrics of a model on a split."""

    dataset: Dataset = field(default_factory=Dataset)
    checkpoint: str | None = typed_field(None, MODEL, kind="path")
    split: str = typed_field(
        "val",
        "which split; auto: test where there is one, else val",
        choices=("train", "val", "test", "auto"),
    )
    worst: int = typed_field(12, "how many of the worst images are drawn", ge=0)
    plots: bool = typed_field(True, "draw the curves into plots/ of the run")
    output: str | None = typed_field(None, "where to write; None: the run, or beside the file", kind="path")
    output_dir: str = typed_field("runs", "where runs are looked up", kind="path")
    track: bool = typed_field(True, "also tell the tracker that the run is on")
    device: str = typed_field("auto", "where to run", choices=("auto", "cpu", "gpu"))
    half: bool = typed_field(False, "compute in bfloat16 (CPU) or float16 (GPU)")
    batch_size: int | None = typed_field(None, "images a step; None: as in the run's validation", ge=1)
    workers: int = typed_field(0, "data loader processes", ge=0, le=256)
    imports: list[str] = typed_field([], IMPORTS)


@dataclass
class Predict:
    """``python -m trainer predict``: annotated pictures and predictions.json for images."""

    checkpoint: str | None = typed_field(None, MODEL, kind="path")
    source: str | None = typed_field(
        None,
        "an image, a folder, a glob, a video, a text file of names or s3://bucket/prefix; "
        "None: the run's validation images",
        kind="path",
    )
    output: str | None = typed_field(None, "where to write; None: predictions/ in the run", kind="path")
    output_dir: str = typed_field("runs", "where runs are looked up", kind="path")
    threshold: float = typed_field(0.3, "lowest score drawn and written", ge=0, le=1)
    classes: list[str] = typed_field([], "names of the classes that are kept; none: all")
    nms_iou: float | None = typed_field(
        None, "overlap from which two boxes are duplicates; None: the model's own", gt=0, le=1
    )
    max_detections: int | None = typed_field(None, "most instances of an image, the best ones", ge=1)
    max_images: int | None = typed_field(None, "stop after so many images or frames", ge=1)
    tta: bool = typed_field(False, "look at mirrored and smaller copies too, and merge the answers")
    tile: int | None = typed_field(
        None, "cut larger images into squares of so many px, and join the answers", ge=32
    )
    overlap: float = typed_field(0.2, "the share of a tile that its neighbour has too", ge=0, le=0.9)
    pictures: str = typed_field("png", "annotated pictures", choices=("png", "jpg", "none"))
    labels: bool = typed_field(False, "also write labels/<image>.txt as YOLO has them, with scores")
    on_error: str | None = typed_field(
        None,
        "an image that can't be read: fail, or skip and say so; None: fail for a single one",
        choices=("fail", "skip"),
    )
    device: str = typed_field("auto", "where to run", choices=("auto", "cpu", "gpu"))
    half: bool = typed_field(False, "compute in bfloat16 (CPU) or float16 (GPU)")
    batch_size: int = typed_field(8, "images a step", ge=1)
    imports: list[str] = typed_field([], IMPORTS)


def export_formats() -> tuple[str, ...]:
    """The formats that ``export`` writes, those of plug-ins too."""
    own = ("onnx", "torchscript", "tensorrt")
    return tuple(dict.fromkeys((*own, *plugins.names("trainer.exporters"))))


@dataclass
class Export:
    """``python -m trainer export``: files that answer for images without OpenMMLab, with the proof that they do."""

    checkpoint: str | None = typed_field(None, "a run's id or folder, or a .pth file", kind="path")
    format: Any = typed_field("onnx", "what to write, one or several", choices=export_formats, kind="words")
    output: str | None = typed_field(None, "where to write; None: export/ in the run", kind="path")
    output_dir: str = typed_field("runs", "where runs are looked up", kind="path")
    batch: Any = typed_field("dynamic", "images at a time: a number, or dynamic", kind="batch")
    size: Any = typed_field(
        None, "the network's input in px; None: that of the run's validation", kind="size"
    )
    dynamic_size: bool = typed_field(False, "height and width are open, size is what images are fitted into")
    preprocess: bool = typed_field(False, "normalising is in the file: uint8 RGB goes in")
    score_threshold: float | None = typed_field(
        None, "detections below it are left out; None: the model's own", ge=0, le=1
    )
    nms_iou: float | None = typed_field(
        None, "overlap from which two boxes are duplicates; None: the model's own", gt=0, le=1
    )
    max_detections: int | None = typed_field(None, "answers an image; None: the model's own", ge=1)
    opset: int = typed_field(17, "ONNX operator set", ge=13, le=20)
    simplify: bool = typed_field(True, "ONNX: fold constants and take out what has no effect")
    half: bool = typed_field(False, "fp16 inside; inputs and outputs stay as they are")
    int8: bool = typed_field(
        False, "8-bit integers inside, calibrated on the training images (ONNX, TensorRT)"
    )
    calibration_images: int = typed_field(100, "int8: how many of them", ge=1)
    workspace_gb: float = typed_field(4.0, "TensorRT: memory the builder may use", gt=0)
    tolerance: float = typed_field(
        1e-3, "fp32: largest difference to PyTorch's answers, relative to the largest answer", gt=0
    )
    metric_tolerance: float | None = typed_field(
        None, "largest difference to PyTorch's primary metric; None: 0.001, fp16 0.01, int8 0.05", gt=0
    )
    max_images: int = typed_field(500, "validation images the metric is computed on", ge=1)
    images: str | None = typed_field(
        None, "images to compare answers on, without a metric; None: the validation split", kind="path"
    )
    compile_seconds: int = typed_field(
        60, "the latency with torch.compile is measured if it compiles in so long; 0: not", ge=0
    )
    force: bool = typed_field(False, "keep a file whose proof failed, marked so")
    package: bool = typed_field(True, "write export_<id>.zip")
    id: str | None = typed_field(None, "the package's id; None: <run's id>-<format>")
    imports: list[str] = typed_field([], IMPORTS)
