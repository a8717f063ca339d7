"""The platform's words for a task, short and long."""

from __future__ import annotations

from collections.abc import Sequence

from trainer.core.errors import ConfigError, did_you_mean, fold

# What each of our tasks is called where the interface for validations is chosen by it.
LONG = {
    "detection": "object_detection",
    "instance_segmentation": "instance_segmentation",
    "semantic_segmentation": "semantic_segmentation",
    "pose": "pose_estimation",
}
SPELLINGS: dict[str, tuple[str, ...]] = {
    "detection": ("detection", "object_detection", "detect", "bbox"),
    "instance_segmentation": ("instance_segmentation", "segmentation", "segment", "instance"),
    "semantic_segmentation": ("semantic_segmentation", "semantic", "semseg"),
    "pose": ("pose", "pose_estimation", "keypoint", "keypoints", "keypoint_detection"),
}
# These say segmentation and leave open which; the model decides.
_EITHER = ("segmentation", "segment")


def task_of(word: str, able: Sequence[str] = ()) -> str:
    """Our name of a task in any of the platform's spellings.

    Args:
        word: as the platform has it.
        able: what the model can do, where that is known.

    Raises:
        ConfigError: no task of this trainer.
    """
    key = fold(word).replace("-", "_")
    if key in _EITHER and "instance_segmentation" not in able and "semantic_segmentation" in able:
        return "semantic_segmentation"
    for task, words in SPELLINGS.items():
        if key in words:
            return task
    known = [one for words in SPELLINGS.values() for one in words]
    raise ConfigError(
        f"TASK_TYPE={word!r} is no task of this trainer.{did_you_mean(word, known)} Tasks: {', '.join(LONG.values())}."
    )
