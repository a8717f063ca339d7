"""``metadata.json`` of an export: all that is needed to use the file, in both of the platform's key families.

The same content, but for ``created_at`` and ``export_info``, is inside the model file (ONNX: ``metadata_props``, values
that aren't text as JSON; TorchScript: the extra file ``metadata.json``).
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

from trainer.core.installation import VERSION

if TYPE_CHECKING:
    from trainer.inference.predictor import Predictor

FRAMEWORKS = {"mmdet": "mmdet", "mmseg": "mmseg", "mmpose": "mmpose"}
OUTSIDE = ("created_at", "export_info", "proof")
"""Keys of metadata.json that are not inside the model file: they differ from one export to the next."""
SHOWN = 0.3
"""The score from which an answer is worth showing, where the user names none."""


class Input(TypedDict):
    """What the file takes, and how an image becomes it.

    An image is resized as ``resize`` says (``fit``: aspect kept, in the upper left corner; ``stretch``: to the whole
    size; ``center``: aspect kept, warped to the middle; ``border``: in its own size in the middle, made smaller only
    where it doesn't fit; ``crop``: a box of the image, widened by ``box_padding`` and to
    the input's aspect, warped), the rest filled with ``pad_value``. Where ``dtype`` is float32, ``mean`` is taken off
    and the result divided by ``std``; a uint8 file does so itself.
    """

    name: str  # of the graph's input
    dtype: str  # float32 | uint8
    batch: int | None  # None: any
    size: list[int]  # [width, height] in px; with dynamic_size what images are fitted into
    dynamic_size: bool
    divisor: int  # with dynamic_size: width and height are multiples of it
    channels: str  # order of the channels: rgb | bgr
    mean: list[float]  # of each channel, in the file's order, in 0 to 255
    std: list[float]
    resize: str  # fit | stretch | center | border | crop
    pad_value: list[float]  # of each channel, in the file's order, in 0 to 255
    box_padding: float  # crop: how much larger than the box
    udp: bool  # crop: pixel centres, not corners, are mapped on each other


class Output(TypedDict):
    """One output; coordinates are px of the input tensor. None in ``shape``: dynamic."""

    name: str
    dtype: str
    shape: list[int | None]


class Thresholds(TypedDict):
    """What the graph itself leaves out, and ``shown``: from which score on answers are worth showing."""

    score: float | None
    nms_iou: float | None
    max_detections: int | None
    shown: float


class Boxes(TypedDict):
    """What a model does with boxes that reach out of the picture; where the picture ends, only the caller knows."""

    cut: bool  # at the picture's edges
    drop_empty: bool  # those of which nothing is left


class Metadata(TypedDict, total=False):
    """The keys of metadata.json. The first part is the trainer's own, the second is the platform's."""

    task: str
    model: str
    classes: list[str]
    palette: list[list[int]]  # RGB of each class
    keypoints: list[str]  # pose
    skeleton: list[list[int]]  # pose: pairs of keypoint indices
    sigmas: list[float]  # pose
    flip_pairs: list[list[int]]  # pose: keypoints that change places in a mirrored image
    mirrors: bool  # whether training mirrored images
    format: str  # onnx | torchscript | tensorrt
    precision: str  # fp32 | fp16 | int8, as built
    opset: int | None
    input: Input
    outputs: list[Output]
    thresholds: Thresholds
    boxes: Boxes  # detection, instance segmentation
    flip_test: bool  # pose: whether the mirrored image is looked at too; never in a graph
    run_id: str | None
    dataset: str
    fingerprint: str | None  # of the data set
    epoch: int | None
    trainer_version: str
    file: str  # the model's file name
    # Outside of the model file:
    created_at: str
    export_info: dict[str, Any]  # file_size_mb, export_time_seconds
    proof: dict[str, Any]  # holds, forced, and the metric on both sides
    # The platform's names:
    framework: str
    model_name: str
    export_format: str
    task_type: str
    class_names: list[str]
    num_classes: int
    input_shape: list[int]  # [H, W, C]
    input_dtype: str
    output_shape: list[list[int]]  # -1: dynamic
    preprocessing: dict[str, Any]
    postprocessing: dict[str, Any]
    export_config: dict[str, Any]
    num_keypoints: int
    keypoint_names: list[str]
    input_spec: dict[str, Any]
    model_info: dict[str, Any]


def build_metadata(
    predictor: Predictor,
    kind: str,
    file: str,
    given: Input,
    outputs: Sequence[Output],
    thresholds: Thresholds,
    *,
    boxes: Boxes | None = None,
    precision: str,
    opset: int | None,
    settings: Mapping[str, Any],
) -> Metadata:
    """What an export of ``predictor``'s model says of itself; ``kind`` is its format.

    Args:
        file: the model file's name.
        given: its input.
        boxes: what the model does with boxes at the edges, if it finds objects.
        settings: what the export was asked for, as ``export_config``.
    """
    about = predictor.about
    classes = list(predictor.classes)
    metadata = Metadata(
        task=predictor.task,
        model=predictor.name,
        classes=classes,
        palette=[list(colour) for colour in predictor.palette],
        format=kind,
        precision=precision,
        opset=opset,
        input=given,
        outputs=list(outputs),
        thresholds=thresholds,
        run_id=about.get("run_id"),
        dataset=predictor.dataset,
        fingerprint=about.get("fingerprint"),
        mirrors=predictor.mirrors,
        epoch=predictor.epoch,
        trainer_version=VERSION,
        file=file,
    )
    if boxes is not None:
        metadata["boxes"] = boxes
    if predictor.task == "pose":
        facts = predictor.model.dataset_meta
        names = facts.get("keypoint_id2name") or {}
        metadata["keypoints"] = [str(names[index]) for index in sorted(names)]
        metadata["skeleton"] = [list(pair) for pair in predictor.skeleton]
        sigmas = facts.get("sigmas")
        metadata["sigmas"] = [] if sigmas is None else [round(float(value), 6) for value in sigmas]
        metadata["flip_pairs"] = [list(pair) for pair in predictor.flip_pairs]
        metadata["flip_test"] = False
        metadata["num_keypoints"] = len(names)
        metadata["keypoint_names"] = metadata["keypoints"]
    metadata.update(_of_the_platform(metadata, predictor.scope, settings))
    return metadata


def now() -> str:
    """The time for ``created_at``."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def inside(metadata: Metadata) -> dict[str, Any]:
    """What of it goes into the model file."""
    return {key: value for key, value in metadata.items() if key not in OUTSIDE}


def _of_the_platform(metadata: Metadata, scope: str, settings: Mapping[str, Any]) -> Metadata:
    given, thresholds = metadata["input"], metadata["thresholds"]
    width, height = given["size"]
    mean, std = given["mean"], given["std"]
    boxes = thresholds["max_detections"] is not None
    return Metadata(
        framework=FRAMEWORKS.get(scope, scope),
        model_name=metadata["model"],
        export_format=metadata["format"],
        task_type=metadata["task"],
        class_names=metadata["classes"],
        num_classes=len(metadata["classes"]),
        input_shape=[height, width, 3],
        input_dtype=given["dtype"],
        output_shape=[[-1 if side is None else side for side in one["shape"]] for one in metadata["outputs"]],
        preprocessing={
            "resize": width if width == height else [width, height],
            "normalize": {"mean": mean, "std": std},
            "mean": mean,
            "std": std,
            "format": given["channels"].upper(),
            "layout": "NCHW",
            "embedded": given["dtype"] == "uint8",
        },
        postprocessing={
            "nms": boxes and thresholds["nms_iou"] is not None,
            "confidence_threshold": thresholds["score"],
            "iou_threshold": thresholds["nms_iou"],
            "max_detections": thresholds["max_detections"],
        },
        export_config=dict(settings),
        input_spec={
            "name": given["name"],
            "shape": [given["batch"] or 1, 3, height, width],
            "dtype": given["dtype"],
        },
        model_info={
            "name": metadata["model"],
            "class_names": metadata["classes"],
            "task_type": metadata["task"],
        },
    )
