"""What single settings of a training job become, where that is more than one key with the same value."""

from __future__ import annotations

from typing import Any

from trainer.core.errors import fold
from trainer.platform.settings.coercion import Raw
from trainer.platform.settings.setting_keys import IgnoredSetting, JobFacts, Pair
from trainer.schema import METRICS

OPTIMIZERS = ("SGD", "Adam", "AdamW")
SCHEDULERS = ("step", "cosine", "onecycle", "multistep", "poly", "linear", "constant", "default")


def optimizer(value: str, facts: JobFacts) -> list[Pair]:
    word = fold(value)
    if word in ("auto", "default"):
        raise IgnoredSetting("the model's own optimizer")
    if word not in map(fold, OPTIMIZERS):
        raise IgnoredSetting(f"this trainer has {', '.join(OPTIMIZERS)}; the model's own optimizer is used")
    return [("optimizer", word)]


def scheduler(value: str, facts: JobFacts) -> list[Pair]:
    word = {"one-cycle": "onecycle", "none": "constant"}.get(fold(value), fold(value))
    if word in ("auto", "default"):
        raise IgnoredSetting("the model's own schedule")
    return [("scheduler", "poly"), ("scheduler.power", 1.0)] if word == "linear" else [("scheduler", word)]


def cosine(value: bool, facts: JobFacts) -> list[Pair]:
    if not value:
        raise IgnoredSetting("the schedule stays as it is")
    return [("scheduler", "cosine")]


def device(value: str, facts: JobFacts) -> list[Pair]:
    if fold(value).startswith("cpu"):
        return [("runtime.device", "cpu")]
    return [("runtime.device", "auto")]


def augment(value: bool, facts: JobFacts) -> list[Pair]:
    if value:
        raise IgnoredSetting("the model's own augmentation")
    return [("augmentation", "none")]


def amp(value: bool, facts: JobFacts) -> list[Pair]:
    return [("runtime.amp", "bf16" if value else "off")]


def hsv(value: float, facts: JobFacts) -> list[Pair]:
    amounts = [facts.settings.get(name) for name in ("hsv_h", "hsv_s", "hsv_v")]
    return [
        ("augmentation.hsv", any(isinstance(one, (int, float)) and one > 0 for one in amounts) or value > 0)
    ]


def scale(value: float, facts: JobFacts) -> list[Pair]:
    return [("augmentation.scaling", [round(1 - value, 6), round(1 + value, 6)])]


def crop_size(value: int | list[int], facts: JobFacts) -> list[Pair]:
    return [("dataset.image_size", value[::-1] if isinstance(value, list) else value)]


def weights(value: Any, facts: JobFacts) -> list[Pair]:
    word = fold(str(value))
    if word in ("true", "1", "yes"):
        return [("model.weights", "coco")]
    if word in ("false", "0", "no"):
        return [("model.weights", "none")]
    return [("model.weights", str(value))]


def patience(value: int, facts: JobFacts) -> list[Pair]:
    if value == 0:
        raise IgnoredSetting("training isn't stopped early")
    return [("runtime.early_stopping", value)]


def metric(value: str, facts: JobFacts) -> list[Pair]:
    known = METRICS[facts.task]
    word = {"bbox-map": "mAP50-95", "map": "mAP50-95", "accuracy": known[0]}.get(fold(value), value)
    same = [metric for metric in known if fold(metric) == fold(word)]
    if not same:
        raise IgnoredSetting(f"the best checkpoint is chosen by one of {', '.join(known)}")
    return [("task.primary_metric", same[0])]


def split(value: dict[str, Any], facts: JobFacts) -> list[Pair]:
    return [("dataset.split_file", value)]


def ratio(value: float, facts: JobFacts) -> list[Pair]:
    return [("dataset.val_ratio", round(1 - value, 6))]


def overrides(value: list[Any], facts: JobFacts) -> list[Pair]:
    pairs = []
    for word in value:
        key, sign, text = str(word).partition("=")
        if not sign or not key.strip():
            raise IgnoredSetting(f"expected key=value, got {word!r}")
        pairs.append((key.strip(), Raw(text)))
    return pairs


def nested_scheduler(value: str, facts: JobFacts) -> list[Pair]:
    word = fold(value)
    if word in ("cosine-warm-restarts", "reduce-on-plateau"):
        raise IgnoredSetting("this trainer doesn't have it; the model's own schedule is used")
    if word == "exponential":
        return [("scheduler", "step"), ("scheduler.step_size", 1)]
    return scheduler(value, facts)


def eta_min(value: float, facts: JobFacts) -> list[Pair]:
    return [("scheduler.min_ratio", _share(value, facts))]


def warmup_lr(value: float, facts: JobFacts) -> list[Pair]:
    return [("scheduler.warmup_ratio", _share(value, facts))]


def max_lr(value: float, facts: JobFacts) -> list[Pair]:
    if facts.settings.get("type") != "one_cycle":
        raise IgnoredSetting("counts with one_cycle")
    return [("optimizer.lr", value)]


def beside(name: str) -> Any:
    """For an amount that is read with the switch of that name."""

    def read(value: Any, facts: JobFacts) -> list[Pair]:
        if not facts.settings.get(name):
            raise IgnoredSetting(f"counts with {name}")
        return []

    return read


def flip(value: bool, facts: JobFacts) -> list[Pair]:
    return [("augmentation.flip", 0.5 if value else 0.0)]


def rotation(value: bool, facts: JobFacts) -> list[Pair]:
    degrees = facts.settings.get("rotation_degrees", 15)
    return [("augmentation.rotation", float(degrees) if value and isinstance(degrees, (int, float)) else 0.0)]


def early_stopping(value: bool, facts: JobFacts) -> list[Pair]:
    epochs = facts.settings.get("early_stopping_patience", 10)
    return patience(epochs if value and isinstance(epochs, int) else 0, facts)


def _share(rate: float, facts: JobFacts) -> float:
    base = facts.chosen.get("optimizer.lr")
    if not base:
        raise IgnoredSetting("a share of the learning rate, and none is given")
    return float(f"{min(1.0, rate / base):.6g}")
