"""What each setting of a training job becomes: the one table, from which docs/platform.md is written.

The drawers, in the order in which they count (:mod:`trainer.platform.settings.config_json` reads them): variables,
CONFIG's
``basic``, ``advanced`` and flat keys, ``advanced_config``, older variables, defaults.
"""

from __future__ import annotations

from trainer.platform.settings import translation as t
from trainer.platform.settings.setting_keys import SettingKey
from trainer.platform.settings.translation import OPTIMIZERS, SCHEDULERS

_YOLO = "a setting of YOLO's trainer that OpenMMLab's models don't have"
_OWN = "the model's own preprocessing belongs to its weights"
_AMOUNT = "how much is the model's own"

# What the backend writes into CONFIG and into variables.
JOB: tuple[SettingKey, ...] = (
    SettingKey("epochs", "runtime.epochs", type="int", low=1, high=1000, default=12,
        variables=("EPOCHS",), legacy="CONFIG_EPOCHS"),
    SettingKey("batch", "runtime.batch_size", type="int", low=1, high=512, default=2, aliases=("batch_size",),
        variables=("BATCH_SIZE",), legacy="CONFIG_BATCH"),
    SettingKey("learning_rate", "optimizer.lr", type="float", low=0, above=True, high=1, aliases=("lr", "lr0"),
        constant=0.001, variables=("LEARNING_RATE",), legacy="CONFIG_LR0"),
    SettingKey("imgsz", "dataset.image_size", type="size", low=32, aliases=("image_size", "img_scale", "img_size"),
        constant=640, variables=("IMGSZ", "IMAGE_SIZE"), legacy="CONFIG_IMGSZ"),
    SettingKey("optimizer", t.optimizer, "`optimizer`", type="text", choices=(*OPTIMIZERS, "auto"),
        aliases=("optimizer_type",), variables=("OPTIMIZER",), legacy="CONFIG_OPTIMIZER"),
    SettingKey("augment", t.augment, "false: `augmentation=none`", type="bool", sample=False,
        variables=("AUGMENT",), legacy="CONFIG_AUGMENT"),
    SettingKey("device", t.device, "`runtime.device`: cpu, or the GPU where there is one", type="text",
        variables=("DEVICE",), legacy="CONFIG_DEVICE", sample="0"),
    SettingKey("workers", "runtime.workers", type="int", low=0, high=256, aliases=("num_workers",),
        variables=("WORKERS", "NUM_WORKERS"), legacy="CONFIG_WORKERS"),
    SettingKey("val_interval", "runtime.val_interval", type="int", low=1),
    SettingKey("patience", t.patience, "`runtime.early_stopping`, which counts validations; 0: none", type="int", low=0,
        variables=("PATIENCE",), legacy="CONFIG_PATIENCE"),
    SettingKey("primary_metric", t.metric, "`task.primary_metric` where the task has it", type="text", constant="loss",
        sample="mAP50"),
    SettingKey("primary_metric_mode", None, "each metric has its own direction"),
    SettingKey("split_config", t.split, "`dataset.split_file`, written from it", type="object",
        sample={"train_ratio": 0.7, "val_ratio": 0.3}),
    SettingKey("num_classes", None, "the classes are the data set's own"),
)  # fmt: skip

# The trainer's own interface: CONFIG.basic.
BASIC: tuple[SettingKey, ...] = (
    SettingKey("epochs", "runtime.epochs", type="int", low=1, high=500, default=12),
    SettingKey(
        "batch", "runtime.batch_size", type="int", low=1, high=128, default=2, aliases=("batch_size",)
    ),
    SettingKey(
        "lr0", "optimizer.lr", type="float", low=0, above=True, high=1, aliases=("lr", "learning_rate")
    ),
    SettingKey("optimizer", t.optimizer, "`optimizer`", type="text", choices=OPTIMIZERS),
    SettingKey(
        "device", t.device, "`runtime.device`: cpu, or the GPU where there is one", type="text", sample="0"
    ),
    SettingKey("workers", "runtime.workers", type="int", low=0, high=32),
)

# The trainer's own interface: CONFIG.advanced.
ADVANCED: tuple[SettingKey, ...] = (
    SettingKey("lr_scheduler", t.scheduler, "`scheduler`; linear: `scheduler=poly scheduler.power=1`", type="text",
        choices=SCHEDULERS, aliases=("scheduler",)),
    SettingKey("warmup_epochs", "scheduler.warmup_epochs", type="float", low=0),
    SettingKey("warmup_ratio", "scheduler.warmup_ratio", type="float", low=0, above=True, high=1),
    SettingKey("mosaic", "augmentation.mosaic", type="bool"),
    SettingKey("mixup", "augmentation.mixup", type="bool"),
    SettingKey("amp", t.amp, "`runtime.amp`: bf16 or off", type="bool"),
    SettingKey("sync_bn", "runtime.sync_bn", type="bool"),
    SettingKey("val_interval", "runtime.val_interval", type="int", low=1),
    SettingKey("checkpoint_interval", "runtime.checkpoint_interval", type="int", low=1),
)  # fmt: skip

# Flat settings of forms and of other trainers: at CONFIG's top, in advanced, in a flat advanced_config.
FORM: tuple[SettingKey, ...] = (
    SettingKey("weight_decay", "optimizer.weight_decay", type="float", low=0),
    SettingKey("momentum", "optimizer.momentum", type="float", low=0, high=1),
    SettingKey("cos_lr", t.cosine, "true: `scheduler=cosine`", type="bool"),
    SettingKey("lrf", "scheduler.min_ratio", type="float", low=0, high=1),
    SettingKey("warmup_iters", "scheduler.warmup_iters", type="int", low=0),
    SettingKey("clip_grad", "runtime.clip_grad", type="float", low=0, aliases=("gradient_clip_value",)),
    SettingKey("accumulate", "runtime.accumulate", type="int", low=1, aliases=("gradient_accumulation_steps",)),
    SettingKey("ema", "runtime.ema", type="bool"),
    SettingKey("seed", "runtime.seed", type="int", low=0),
    SettingKey("deterministic", "runtime.deterministic", type="bool"),
    SettingKey("log_interval", "runtime.log_interval", type="int", low=1),
    SettingKey("save_period", "runtime.keep_every", type="int", low=1, aliases=("keep_every",)),
    SettingKey("keep_n_checkpoints", "runtime.keep_best", type="int", low=1, aliases=("keep_best",)),
    SettingKey("crop_size", t.crop_size, "`dataset.image_size`; [height, width]", type="size", low=32),
    SettingKey("flip", "augmentation.flip", type="float", low=0, high=1, aliases=("fliplr",)),
    SettingKey("hsv", "augmentation.hsv", type="bool"),
    SettingKey("hsv_h", t.hsv, "`augmentation.hsv`, on where one of the three is above 0", type="float", low=0,
        aliases=("hsv_s", "hsv_v")),
    SettingKey("rotation", "augmentation.rotation", type="float", low=0, high=180, aliases=("degrees",)),
    SettingKey("scaling", "augmentation.scaling", type="pair", low=0, above=True, sample=[0.5, 1.5]),
    SettingKey("scale", t.scale, "`augmentation.scaling`: 0.5 is [0.5, 1.5]", type="float", low=0, high=0.95),
    SettingKey("crop", "augmentation.crop", type="bool"),
    SettingKey("close_mosaic", "augmentation.close_mosaic_epochs", type="int", low=0, aliases=("close_mosaic_epochs",)),
    SettingKey("pretrained", t.weights, "`model.weights`: true is coco, false none; or a path or address", type="any",
        sample=False),
    SettingKey("load_from", t.weights, "`model.weights`: a path, file://, s3:// or https://", type="text",
        aliases=("weights",), sample="none"),
    SettingKey("freeze", "model.freeze", type="int", low=-1, high=10),
    SettingKey("overrides", t.overrides, "a list of `key=value`, any of the trainer's own", type="list",
        sample=["runtime.clip_grad=5"]),
    SettingKey("resume_from", None,
        "a job goes on from its own last checkpoint by itself; `load_from` starts from another"),
    SettingKey("resume", None,
        "a job goes on from its own last checkpoint by itself; the variable RESUME=false starts anew"),
    *(SettingKey(name, None, _YOLO) for name in (
        "warmup_momentum", "warmup_bias_lr", "copy_paste", "translate", "shear", "perspective", "flipud", "bgr",
        "erasing", "auto_augment", "box", "cls", "dfl", "nbs", "rect", "cache", "single_cls", "dropout", "overlap_mask",
        "mask_ratio", "multi_scale", "fraction", "cutmix", "label_smoothing", "kobj",
    )),
    SettingKey("auxiliary_head", None, "the model's own auxiliary heads are trained"),
)  # fmt: skip

_NESTED_OPTIMIZERS = (*OPTIMIZERS, "rmsprop", "adagrad")
_NESTED_SCHEDULERS = ("none", "step", "multistep", "exponential", "cosine", "cosine_warm_restarts",
                      "reduce_on_plateau", "one_cycle")  # fmt: skip

# advanced_config as the backend writes it: groups, every default filled in; a default says nothing.
NESTED: dict[str, tuple[SettingKey, ...]] = {
    "optimizer": (
        SettingKey("type", t.optimizer, "`optimizer`; rmsprop and adagrad: ignored", type="text",
            choices=_NESTED_OPTIMIZERS, default="adam", sample="sgd"),
        SettingKey("learning_rate", "optimizer.lr", type="float", low=0, above=True, high=1, default=0.001),
        SettingKey("weight_decay", "optimizer.weight_decay", type="float", low=0, default=0.0),
        SettingKey("betas", "optimizer.betas", type="pair", low=0, high=1, default=[0.9, 0.999], sample=[0.8, 0.99]),
        SettingKey("eps", "optimizer.eps", type="float", low=0, above=True, default=1e-8),
        SettingKey("amsgrad", "optimizer.amsgrad", type="bool", default=False),
        SettingKey("momentum", "optimizer.momentum", type="float", low=0, high=1, default=0.9),
        SettingKey("nesterov", "optimizer.nesterov", type="bool", default=False),
        SettingKey("alpha", None, "RMSprop's, which this trainer doesn't have", default=0.99),
    ),
    "scheduler": (
        SettingKey("type", t.nested_scheduler, "`scheduler`; exponential: `scheduler=step scheduler.step_size=1`; "
            "cosine_warm_restarts, reduce_on_plateau: ignored", type="text", choices=_NESTED_SCHEDULERS,
            default="none", sample="cosine"),
        SettingKey("step_size", "scheduler.step_size", type="int", low=1, default=30),
        SettingKey("gamma", "scheduler.gamma", type="float", low=0, above=True, high=1, default=0.1),
        SettingKey("milestones", "scheduler.milestones", type="numbers", low=0, above=True, default=[30, 60, 90],
            sample=[8, 11]),
        SettingKey("T_max", None, "the cosine falls over the whole training", default=100),
        SettingKey("eta_min", t.eta_min, "`scheduler.min_ratio`, divided by the learning rate where one is given",
            type="float", low=0, default=0.0),
        *(SettingKey(name, None, "of a schedule that this trainer doesn't have", default=default) for name, default in (
            ("T_0", 10), ("T_mult", 2), ("mode", "min"), ("factor", 0.1), ("patience", 10), ("threshold", 1e-4),
            ("cooldown", 0), ("min_lr", 0.0),
        )),
        SettingKey("max_lr", t.max_lr, "`optimizer.lr` with one_cycle", type="float", low=0, above=True, high=1,
            default=0.1),
        SettingKey("pct_start", "scheduler.pct_start", type="float", low=0, above=True, high=0.99, default=0.3),
        SettingKey("anneal_strategy", None, "one_cycle anneals by a cosine", default="cos"),
        SettingKey("warmup_epochs", "scheduler.warmup_epochs", type="float", low=0, default=0),
        SettingKey("warmup_lr", t.warmup_lr,
            "`scheduler.warmup_ratio`, divided by the learning rate where one is given",
            type="float", low=0, above=True, default=1e-6),
    ),
    "augmentation": (
        SettingKey("enabled", t.augment, "false: `augmentation=none`", type="bool", default=True),
        SettingKey("random_flip", t.flip, "false: `augmentation.flip=0`", type="bool", default=True),
        SettingKey("random_flip_prob", "augmentation.flip", type="float", low=0, high=1, default=0.5),
        SettingKey("random_rotation", t.rotation, "true: `augmentation.rotation` by rotation_degrees", type="bool",
            default=False),
        SettingKey("rotation_degrees", t.beside("random_rotation"), "counts with random_rotation", default=15),
        SettingKey("random_crop", "augmentation.crop", type="bool", default=False),
        SettingKey("color_jitter", "augmentation.hsv", type="bool", default=False),
        SettingKey("mixup", "augmentation.mixup", type="bool", default=False),
        *(SettingKey(name, None, _AMOUNT, default=default) for name, default in (
            ("crop_scale", [0.8, 1.0]), ("crop_ratio", [0.75, 1.333]), ("brightness", 0.2), ("contrast", 0.2),
            ("saturation", 0.2), ("hue", 0.1), ("mixup_alpha", 0.2),
        )),
        *(SettingKey(name, None, "an augmentation for classification", default=default) for name, default in (
            ("random_erasing", False), ("erasing_prob", 0.5), ("random_grayscale", False), ("grayscale_prob", 0.1),
            ("gaussian_blur", False), ("blur_kernel_size", 5), ("blur_sigma", [0.1, 2.0]), ("cutmix", False),
            ("cutmix_alpha", 1.0), ("autoaugment", False), ("autoaugment_policy", "imagenet"),
        )),
    ),
    "preprocessing": (
        SettingKey("image_size", "dataset.image_size", type="size", low=32, default=224),
        *(SettingKey(name, None, _OWN, default=default) for name, default in (
            ("resize_mode", "resize"), ("normalize", True), ("mean", [0.485, 0.456, 0.406]),
            ("std", [0.229, 0.224, 0.225]), ("pad_value", 0), ("to_rgb", True),
        )),
    ),
    "validation": (
        SettingKey("enabled", None, "the best checkpoint is chosen by validating", default=True),
        SettingKey("val_interval", "runtime.val_interval", type="int", low=1, default=1),
        SettingKey("val_start_epoch", "mm.train_cfg.val_begin", type="int", low=1, default=1),
        SettingKey("metrics", None, "all metrics of the task are computed", default=["accuracy"]),
        SettingKey("save_best", None, "the best checkpoint is always kept", default=True),
        SettingKey("save_best_metric", t.metric, "`task.primary_metric` where the task has it", type="text",
            default="accuracy", sample="mAP50"),
        SettingKey("save_best_mode", None, "each metric has its own direction", default="max"),
        *(SettingKey(name, None, "sample predictions are always drawn", default=default) for name, default in (
            ("save_predictions", False), ("save_visualizations", False), ("num_visualizations", 10),
        )),
        SettingKey("early_stopping", t.early_stopping, "true: `runtime.early_stopping` by early_stopping_patience",
            type="bool", default=False),
        SettingKey("early_stopping_patience", t.beside("early_stopping"), "counts with early_stopping", default=10),
        SettingKey("early_stopping_min_delta", None, "any improvement counts", default=0.0),
    ),
    "": (
        SettingKey("mixed_precision", t.amp, "`runtime.amp`: bf16 or off", type="bool", default=False),
        SettingKey("gradient_clip_value", "runtime.clip_grad", type="float", low=0, default=None),
        SettingKey("gradient_accumulation_steps", "runtime.accumulate", type="int", low=1, default=1),
        SettingKey("checkpoint_interval", "runtime.checkpoint_interval", type="int", low=1, default=10),
        SettingKey("keep_n_checkpoints", "runtime.keep_best", type="int", low=1, default=3),
        SettingKey("log_interval", "runtime.log_interval", type="int", low=1, default=10),
    ),
}  # fmt: skip
