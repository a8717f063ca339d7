"""The choices that are not typed, and the class of a choice, read from the files without composing them.

Task and model follow each other: what is typed wins over an experiment's file, and that over ``train.yaml``. A model
that is typed brings its usual task; a task that is typed brings its default model, unless the experiment's model can
do it.
"""

from __future__ import annotations

from collections.abc import Mapping

from trainer.core.yaml_io import load_yaml
from trainer.schema.choices import GROUPS, choice_class
from trainer.schema.conf_folders import Conf
from trainer.zoo.model_names import ModelNames


def infer_choices(chosen: Mapping[str, str], conf: Conf, models: ModelNames) -> dict[str, str]:
    """The choices of ``task`` and ``model`` to add to the ``chosen`` ones (group -> resolved choice)."""
    task, model = chosen.get("task"), chosen.get("model")
    if task and model:
        return {}
    recipe = defaults(conf, "experiment", chosen["experiment"]) if chosen.get("experiment") else {}
    recipe_task, recipe_model = recipe.get("task"), recipe.get("model")
    if model:
        able = models.tasks(model)
        usual = recipe_task if recipe_task in able else next(iter(able), None)
        return {"task": usual} if usual else {}
    if task:
        if recipe_model and task in models.tasks(recipe_model):
            return {}
        default = conf.read("task", task).get("default_model")
        return {"model": str(default)} if default else {}
    if recipe_model and not recipe_task:
        return {"task": able[0]} if (able := models.tasks(recipe_model)) else {}
    if recipe_task and not recipe_model:
        return {"model": str(conf.read("task", recipe_task).get("default_model"))}
    return {}


def defaults(conf: Conf, group: str, choice: str) -> dict[str, str]:
    """The choices that a file's defaults list makes, and those of the files of its group below it."""
    path = conf.file(group, choice)
    if path is None:
        return {}
    found: dict[str, str] = {}
    for item in load_yaml(path).get("defaults") or []:
        if isinstance(item, str):
            if item != "_self_":
                found.update(defaults(conf, group, item.rpartition("/")[2]))
            continue
        for key, value in item.items():
            name = str(key).split(" ")[-1].lstrip("/").partition("@")[0]
            if isinstance(value, str):
                found[name] = value
    return found


def untyped_choice(conf: Conf, group: str, experiment: str | None = None) -> str:
    """The choice of a group that isn't typed: the experiment's, else that of ``train.yaml``."""
    recipe = defaults(conf, "experiment", experiment) if experiment else {}
    return recipe.get(group) or defaults(conf, "", "train").get(group, "")


def class_of_choice(conf: Conf, group: str, choice: str) -> type:
    """The dataclass of a choice, by what its file and the files below it say."""
    content = _content(conf, group, choice)
    key = GROUPS[group].base.key
    return choice_class(group, str(content.get(key, choice)), str(content.get("type") or ""))


def _content(conf: Conf, group: str, choice: str) -> dict[str, object]:
    """What a choice's file says, over the files of its group in its defaults list."""
    content: dict[str, object] = {}
    own = conf.read(group, choice)
    for item in own.get("defaults") or []:
        if isinstance(item, str) and item != "_self_":
            content.update(_content(conf, group, item.rpartition("/")[2]))
    return {**content, **own}
