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
_ADAMS = ("default", "adam", "adamw")
FORMATS = ("auto", "dice", "coco", "yolo", "voc", "labelme", "masks")
_FILES = ("auto", "dice", "coco")


@dataclass
class Task:
    name: str = typed_field("detection", "what the model learns to do", choices=TASKS)
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
class Dataset:
    name: str = typed_field("", "what the data set is called in run names and the tracker")
    format: str = typed_field("digits", "how it is stored", choices=("digits", *FORMATS))
    path: str | None = typed_field(
        None, "the data set: a folder, an archive or s3://bucket/prefix", kind="path", only=FORMATS
    )
    train_annotations: str | None = typed_field(
        None, "annotation file of the training split, relative to path", kind="path", only=_FILES
    )
    val_annotations: str | None = typed_field(
        None, "annotation file of the validation split, relative to path", kind="path", only=_FILES
    )
    train_images: str | None = typed_field(
        None, "coco: folder of the training images, relative to path", kind="path", only=("auto", "coco")
    )
    val_images: str | None = typed_field(
        None, "coco: folder of the validation images, relative to path", kind="path", only=("auto", "coco")
    )
    classes: list[str] = typed_field(
        [],
        "names of the classes, the first for number or value 0, where the data set doesn't name them itself",
        only=("auto", "yolo", "voc", "labelme", "masks"),
    )
    background: str = typed_field(
        "auto",
        "semantic segmentation: pixels of no object are class 0, or 255 and don't count; auto: as the format has it",
        choices=("auto", "class", "ignore"),
        tasks=("semantic_segmentation",),
    )
    follow_links: bool = typed_field(
        False, "read files behind links that lead out of the data set's folder", only=FORMATS
    )
    on_error: str = typed_field(
        "fail",
        "what is wrong with the data stops (fail), is mended where it can be (fix), or is left out (skip)",
        choices=("fail", "fix", "skip"),
        only=FORMATS,
    )
    val_ratio: float = typed_field(
        0.2,
        "share of images validated on when the data set names no split",
        gt=0,
        le=0.9,
        only=FORMATS,
    )
    test_ratio: float = typed_field(
        0.0, "share of images kept for test when the split is drawn", ge=0, le=0.9, only=FORMATS
    )
    split_file: str | None = typed_field(
        None, "JSON file that says which image is in which split, relative to path", kind="path", only=FORMATS
    )
    resplit: bool = typed_field(False, "draw train and val anew, whatever the data set says", only=FORMATS)
    stratify: bool = typed_field(False, "draw so that each split has its share of every class", only=FORMATS)
    fold: str | None = typed_field(
        None, "k-fold: i/k, fold i (from 0) of k validates and the others train", kind="fold", only=FORMATS
    )
    group_by: str | None = typed_field(
        None,
        "keep images together in a split: a regular expression on the file name with one group, or an image's field",
        only=FORMATS,
    )
    seed: int = typed_field(42, "seed of the split, and of the digit scenes", ge=0)
    image_size: Any = typed_field(
        None, "size fed to the network in px: one integer or [width, height]", kind="size"
    )
    scenes: int = typed_field(1200, "digits: training scenes", ge=1, only=("digits",))
    val_scenes: int = typed_field(200, "digits: validation scenes", ge=1, only=("digits",))
    scene_size: int = typed_field(
        96, "digits: width and height of a scene in px", ge=32, le=2048, only=("digits",)
    )


@dataclass
class Optimizer:
    name: str = typed_field("default", "the update rule", choices=("default", "sgd", "adam", "adamw"))
    lr: float | None = typed_field(None, "learning rate", gt=0)
    weight_decay: float | None = typed_field(None, "weight decay", ge=0)
    momentum: float | None = typed_field(None, "sgd: momentum", ge=0, le=1, only=("default", "sgd"))
    nesterov: bool | None = typed_field(None, "sgd: Nesterov's momentum", only=("default", "sgd"))
    betas: list[float] | None = typed_field(
        None, "adam, adamw: decay rates of the two moments", only=_ADAMS, kind="pair", ge=0, le=1
    )
    eps: float | None = typed_field(None, "adam, adamw: added to the denominator", gt=0, only=_ADAMS)
    amsgrad: bool | None = typed_field(None, "adam, adamw: the AMSGrad variant", only=_ADAMS)
    fused: bool | None = typed_field(
        None, "all parameters in one kernel: the same rule, faster, on CPU and GPU"
    )
    norm_decay_mult: float | None = typed_field(None, "weight decay's factor for normalisation layers", ge=0)
    bias_decay_mult: float | None = typed_field(None, "weight decay's factor for biases", ge=0)
    backbone_lr_mult: float | None = typed_field(None, "the learning rate's factor for the backbone", ge=0)
    layer_decay: float | None = typed_field(
        None, "the learning rate's factor from each backbone stage to the one before it", gt=0, le=1
    )


@dataclass
class Scheduler:
    name: str = typed_field(
        "default",
        "how the learning rate changes",
        choices=("default", "constant", "step", "multistep", "cosine", "poly", "onecycle"),
    )
    warmup_iters: int | None = typed_field(None, "iterations of linear warm-up", ge=0)
    warmup_epochs: float | None = typed_field(
        None, "epochs of linear warm-up (instead of warmup_iters)", ge=0
    )
    warmup_ratio: float | None = typed_field(
        None, "the learning rate's factor where warm-up starts", gt=0, le=1
    )
    gamma: float | None = typed_field(
        None, "step, multistep: factor at each step", gt=0, le=1, only=("step", "multistep")
    )
    step_size: int | None = typed_field(None, "step: epochs between two steps", ge=1, only=("step",))
    milestones: list[float] | None = typed_field(
        None,
        "multistep: epochs, or shares of the run when all are below 1",
        only=("multistep",),
        kind="ascending",
        gt=0,
    )
    min_ratio: float | None = typed_field(
        None, "cosine, poly: the learning rate's factor at the end", ge=0, le=1, only=("cosine", "poly")
    )
    flat_ratio: float | None = typed_field(
        None, "cosine: share of the run at full rate before it falls", ge=0, le=0.95, only=("cosine",)
    )
    power: float | None = typed_field(None, "poly: the exponent", gt=0, only=("poly",))
    pct_start: float | None = typed_field(
        None, "onecycle: share of the run in which the rate rises", gt=0, le=0.99, only=("onecycle",)
    )


@dataclass
class Augmentation:
    name: str = typed_field(
        "default",
        "which set of augmentations",
        choices=("default", "none", "light", "mosaic", "mosaic_mixup", "strong"),
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
    name: str = typed_field("auto", "the machine's kind", choices=("auto", "cpu", "gpu", "amp"))
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
    name: str = typed_field("mlflow", "the tracker", choices=("mlflow", "none"))
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
class Callback:
    name: str = typed_field("none", "who is told about the run", choices=("none", "platform"))
    url: str | None = typed_field(
        None, "the callback address, http://backend:8000/api/v1", only=("platform",)
    )
    job_id: int | None = typed_field(None, "the job's number there", ge=0, only=("platform",))
    max_retries: int = typed_field(
        3, "tries of a callback in a row, besides the first one", ge=0, only=("platform",)
    )
    retry_delay: float = typed_field(
        2.0, "seconds before the second try, doubled for each further one", ge=0, only=("platform",)
    )
    interval: int = typed_field(1, "epochs between two rows of metrics", ge=1, only=("platform",))
    flush_seconds: float = typed_field(
        60.0, "how long the end waits for a backend that doesn't answer", ge=0, only=("platform",)
    )
    upload: bool | None = typed_field(
        None, "checkpoints go to the results store; None: where one is configured", only=("platform",)
    )


@dataclass
class Debug:
    name: str = typed_field(
        "none", "a short-cut for finding mistakes", choices=("none", "one_batch", "overfit", "profile")
    )
    max_batches: int | None = typed_field(None, "training and validation batches an epoch", ge=1)
    overfit: int | None = typed_field(None, "train and validate on the same first images", ge=1)
    profile: bool = typed_field(False, "write a torch profile of a few iterations")
