"""Which tasks a config of the installed packages is for, from its name and metafile, never by loading it."""

from __future__ import annotations

import functools

from trainer.config_tree.config_files import list_configs
from trainer.schema import TASKS
from trainer.zoo.metafiles import entries

# A model with masks is usually wanted for them.
_ORDER = ("instance_segmentation", "detection", "semantic_segmentation", "pose")
_SHARED = "settings for other configs"
# By words in folder/name, the first that fits; a word that begins with "/" begins the file's name.
_OTHER: dict[str, dict[str, tuple[str, ...]]] = {
    "mmdet": {
        _SHARED: ("common/", "override_category", "_tta"),
        "panoptic segmentation": ("panoptic", "maskformer/"),
        "video instance segmentation": ("youtubevis", "masktrack"),
        "tracking in videos": ("sort/", "bytetrack/", "qdtrack/"),
        "re-identification": ("reid/",),
        "image classification": ("/classification/",),
        "region proposals alone": ("/rpn_", "/ga-rpn_", "/cascade-rpn_r"),
        "referring expressions": ("refcoco", "refexp"),
        "lane detection": ("clrnet/",),
        "semi-supervised detection": ("soft_teacher/",),
    },
    "mmseg": {"depth estimation": ("_nyu-",), "change detection": ("_levir-",)},
    "mmpose": {"3D keypoints": ("_3d_keypoint/",)},
}


def tasks_of(package: str, relative: str) -> list[str]:
    """The tasks of a config such as ``rtmdet/rtmdet_s_8xb32-300e_coco``, the usual first; may be empty."""
    if _other(package, relative):
        return []
    if package != "mmdet":
        return ["semantic_segmentation" if package == "mmseg" else "pose"]
    # A metafile doesn't list every config, and some entries forget a task: the namesakes know.
    entry = entries().get(f"{package}::{relative}.py")
    own = {figure["task"] for figure in entry.published} if entry else set()
    found = {*own, *_families(package).get(_family(relative), [])}
    if not found:  # no figures at all, of any task
        found = {"detection"}
    return [task for task in _ORDER if task in found]


def refusal(package: str, relative: str) -> str | None:
    """Why a config can't be chosen, in one line; None where it can."""
    if tasks_of(package, relative):
        return None
    what = _other(package, relative) or "something else"
    said = f"model={package}/{relative}: this config "
    if what == _SHARED:
        return f"{said}holds {what} and is no model of its own."
    return f"{said}is for {what}; this trainer's tasks are {', '.join(TASKS[:-1])} and {TASKS[-1]}."


def _other(package: str, relative: str) -> str | None:
    """What a config is for where that is none of our tasks."""
    path = f"/{relative}"
    return next(
        (what for what, words in _OTHER[package].items() if any(word in path for word in words)), None
    )


@functools.cache
def _families(package: str) -> dict[str, list[str]]:
    """For each first word of a name, the tasks that nearly all published configs of that name are for."""
    seen: dict[str, list[set[str]]] = {}
    for config in list_configs(package):
        entry = entries().get(f"{package}::{config}.py")
        if entry and entry.published:
            tasks = {figure["task"] for figure in entry.published}
            seen.setdefault(_family(config), []).append(tasks)
    return {
        family: [task for task in _ORDER if sum(task in tasks for tasks in each) >= 0.8 * len(each)]
        for family, each in seen.items()
    }


def _family(relative: str) -> str:
    return relative.rpartition("/")[2].partition("_")[0]
