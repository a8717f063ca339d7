"""The groups of a training, but those that say where it runs (``launch.py``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trainer.schema.declaration import typed_field

# ruff: noqa: RUF009  typed_field() makes a dataclass field


TASKS = ("detection", "instance_segmentation", "semantic_segmentation", "pose")
BOX_TASKS = TASKS[:2]
METRICS = {
    "detection": ("mAP50-95", "mAP50", "mAP75", "mAP_small", "mAP_medium", "mAP_large", "AR100"),
    "instance_segmentation": (
        *("mAP50-95", "mAP50", "mAP75", "mAP_small", "mAP_medium", "mAP_large", "AR100"),
        *("box_mAP50-95", "box_mAP50", "box_mAP75", "mask_mAP50-95", "mask_mAP50", "mask_mAP75"),
    ),
    "semantic_segmentation": ("mIoU", "mDice", "aAcc", "mAcc"),
    "pose": ("mAP50-95", "mAP50", "mAP75", "AR", "PCK"),
}


@dataclass
class Task:
    name: str = typed_field("detection", "what the model learns to do", choices=TASKS, kind="choice")
    primary_metric: str = typed_field("mAP50-95", "the metric that chooses the best checkpoint")
    default_model: str = typed_field("", "the model when only the task is named")
    mode: str = typed_field(
        "max", "whether a larger or a smaller primary metric is better", choices=("max", "min")
    )
    metrics: list[str] = typed_field(
        [], "further metrics by name, besides the task's own; an installed package adds choices"
    )


@dataclass
class Model:
    name: str = typed_field("", "the model's name in this trainer")
    base: str = typed_field("", "the OpenMMLab config it starts from, package::path")
    tasks: list[str] = typed_field([], "what it can do, the usual one first")
    aliases: list[str] = typed_field([], "other names for it")
    weights: str = typed_field(
        "none",
        "none | coco (published) | backbone | path | https://... | s3://... | a previous run",
        kind="path",
    )
    trust_weights: bool = typed_field(
        False, "read a checkpoint that holds more than data, and run what is in it"
    )
    freeze: Any = typed_field(
        None, "backbone's stages that don't learn: 0 the stem, n the stem and n stages, -1 none, backbone all",
        kind="freeze",
    )  # fmt: skip


@dataclass
class Augmentation:
    name: str = typed_field(
        "default",
        "which set of augmentations",
        kind="choice",
    )
    mosaic: bool | None = typed_field(
        None, "four images in one (detection, instance segmentation)", tasks=BOX_TASKS
    )
    mixup: bool | None = typed_field(
        None, "two images blended (detection, instance segmentation)", tasks=BOX_TASKS
    )
    hsv: bool | None = typed_field(None, "random hue, saturation and value")
    flip: float | None = typed_field(
        None, "probability of a horizontal flip; 0 where left and right matter", ge=0, le=1
    )
    rotation: float | None = typed_field(None, "largest rotation in degrees, both ways", ge=0, le=180)
    scaling: list[float] | None = typed_field(
        None, "range of the random scale, [smallest, largest]", kind="range", gt=0
    )
    crop: bool | None = typed_field(None, "random crop of the network's input size")
    close_mosaic_epochs: int | None = typed_field(
        None, "last epochs without mosaic and mixup", ge=0, tasks=BOX_TASKS
    )


@dataclass
class Runtime:
    name: str = typed_field("auto", "the kind of machine", kind="choice")
    device: str = typed_field("auto", "where to run", choices=("auto", "cpu", "gpu"))
    epochs: int | None = typed_field(None, "epochs to train", ge=1)
    batch_size: int | None = typed_field(None, "images a step and process", ge=1)
    val_batch_size: int | None = typed_field(None, "images a validation step", ge=1)
    val_interval: int | None = typed_field(None, "epochs between two validations", ge=1)
    workers: int | None = typed_field(None, "data loader processes", ge=0, le=256)
    seed: int = typed_field(0, "seed of weights, order and augmentation", ge=0)
    deterministic: bool = typed_field(False, "deterministic algorithms, slower")
    amp: str | None = typed_field(None, "mixed precision", choices=("off", "bf16", "fp16"))
    compile: bool | None = typed_field(None, "torch.compile the model")
    channels_last: bool = typed_field(False, "channels-last memory format")
    clip_grad: float | None = typed_field(None, "largest gradient norm; 0 for no clipping", ge=0)
    accumulate: int | None = typed_field(None, "batches a weight update", ge=1)
    ema: bool | None = typed_field(None, "exponential moving average of the weights")
    sync_bn: bool | None = typed_field(None, "batch normalisation over all processes")
    auto_scale_lr: bool | None = typed_field(
        None, "scale the learning rate by batch size; None: only when the rate is the model's own"
    )
    early_stopping: int | None = typed_field(None, "validations without improvement before stopping", ge=1)
    log_interval: int = typed_field(10, "iterations between two logged losses", ge=1)
    checkpoint_interval: int = typed_field(1, "epochs between two saves of the last checkpoint", ge=1)
    keep_every: int | None = typed_field(
        None,
        "epochs (iterations where the base counts those) between two checkpoints that stay for good",
        ge=1,
    )
    keep_best: int = typed_field(1, "how many of the best checkpoints stay, best.pth among them", ge=1)
    max_minutes: float | None = typed_field(
        None, "minutes this attempt may train; then it saves and ends as finished, and resume goes on", gt=0
    )


@dataclass
class Tracking:
    name: str = typed_field("mlflow", "the tracker", kind="choice")
    uri: str | None = typed_field(None, "tracking server; None: sqlite file mlflow.db in output_dir")
    experiment: str | None = typed_field(None, "experiment's name; None: <dataset>-<task>")
    run_name: str | None = typed_field(None, "run's name; None: the run id")
    log_checkpoint: bool = typed_field(
        True, "upload the best and the last checkpoint, and log the best as a model"
    )
    register: str | None = typed_field(
        None, "the model's name in the registry, where a finished run adds a version"
    )
    tensorboard: bool = typed_field(False, "also write tensorboard/ in the run directory")
    plots: bool = typed_field(True, "draw plots/ in the run directory while training")
    samples_every: int | None = typed_field(
        None, "epochs between two sheets of sample predictions; None: about 10 a run, 0: none", ge=0
    )


@dataclass
class Debug:
    name: str = typed_field("none", "a shortened run for finding mistakes", kind="choice")
    max_batches: int | None = typed_field(None, "training and validation batches an epoch", ge=1)
    overfit: int | None = typed_field(None, "train and validate on the same first images", ge=1)
    profile: bool = typed_field(False, "write a torch profile of a few iterations")
