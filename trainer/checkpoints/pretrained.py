"""``checkpoint=pretrained:<model>``: a model as its authors published it, with its own classes.

The network and the pipeline of validation are the base config's, the classes its data set's, the weights those that
``model.weights=coco`` starts from. Imports no torch before the weights are read.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trainer.core.errors import ConfigError

PREFIX = "pretrained:"


@dataclass(frozen=True)
class PublishedModel:
    """A model of the zoo: its name, its base config (``package::path``), the task that it is usually used for."""

    model: str
    base: str
    task: str


def is_pretrained_name(name: str) -> bool:
    """Whether a checkpoint's name is ``pretrained:<model>``."""
    return name.startswith(PREFIX)


def model_of(name: str) -> PublishedModel:
    """The model that ``pretrained:<model>`` names.

    Raises:
        ConfigError: there is no such model, or a package is missing that it needs.
    """
    from trainer.schema.conf_folders import Conf
    from trainer.zoo.model_names import ModelNames
    from trainer.zoo.requirements import refusal

    conf = Conf()
    models = ModelNames(conf)
    choice = models.resolve(name.removeprefix(PREFIX))
    package, slash, path = choice.partition("/")
    base = f"{package}::{path}.py" if slash else str(conf.read("model", choice)["base"])
    if said := refusal(choice, base):
        raise ConfigError(said)
    return PublishedModel(choice, base, models.tasks(choice)[0])


def find_pretrained(name: str) -> tuple[Path, PublishedModel]:
    """The weights of ``pretrained:<model>``, from the cache of weights or fetched into it.

    Raises:
        ConfigError: there is no such model, it has no published weights, or a package is missing that it needs.
        NetworkError: they can't be fetched.
    """
    from trainer.checkpoints.remote_models import fetch_model
    from trainer.zoo.metafiles import weights_url

    published = model_of(name)
    url = weights_url(published.base) if "::" in published.base else None
    if url is None:
        raise ConfigError(f"checkpoint={name}: no weights are published for {published.model}")
    return fetch_model(url), published
