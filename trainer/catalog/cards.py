"""What is known of a model, collected from conf/, the packages' metafiles, the counts and the weights cache."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.catalog import counts
from trainer.checkpoints import cached_path
from trainer.config_tree.config_files import PACKAGES, list_configs
from trainer.core.errors import ConfigError
from trainer.core.yaml_io import load_yaml
from trainer.schema import TASKS
from trainer.zoo.config_tasks import refusal, tasks_of
from trainer.zoo.metafiles import MetafileEntry, entries, full
from trainer.zoo.model_names import ModelNames, squash
from trainer.zoo.requirements import installed, needs

SORTS = ("task", "name", "map", "params", "flops")
_METRIC = {
    "detection": ("box AP", ("COCO",)),
    "instance_segmentation": ("mask AP", ("COCO",)),
    "semantic_segmentation": ("mIoU", ("ADE20K", "Cityscapes")),
    "pose": ("AP", ("COCO",)),
}


@dataclass(frozen=True)
class Figure:
    """One published figure.

    Attributes:
        value: percent.
        metric: its name in the metafiles, such as ``box AP``.
        dataset: what it was measured on.

    >>> str(Figure(44.6, "box AP", "COCO"))
    '44.6'
    """

    value: float
    metric: str
    dataset: str

    def __str__(self) -> str:
        return f"{self.value:.1f}"


@dataclass(frozen=True)
class Card:
    """One model.

    Attributes:
        name: of the named model, or ``package/config``.
        tasks: what it can do, the usual task first.
        base: its config, ``package::path.py``.
        aliases: other names that mean it.
        params: parameters; None when it can't be built here.
        flops: multiply-adds of one image of ``size``; None when they can't be counted.
        size: [width, height] in px.
        published: the metafile's figures: ``task``, ``dataset`` and ``metrics``.
        weights: the URL of the published weights.
        weights_file: their local file, when it was downloaded.
        missing: packages that it needs and that aren't installed.
        promised: figures that the documentation promises.
        paper: the paper's URL.
        is_named: whether conf/model names it.
    """

    name: str
    tasks: list[str]
    base: str
    aliases: list[str]
    params: int | None
    flops: int | None
    size: list[int] | None
    published: list[dict[str, Any]]
    weights: str | None
    weights_file: str | None
    missing: list[str]
    promised: dict[str, float]
    paper: str | None
    is_named: bool

    @property
    def task(self) -> str:
        """The usual task."""
        return self.tasks[0]

    def figure(self, task: str) -> Figure | None:
        """Return the figure published for a task, on its usual data set if there is one; None without any."""
        metric, datasets = _METRIC[task]
        figures = [
            Figure(_percent(entry["metrics"][metric], metric), metric, entry["dataset"])
            for entry in self.published
            if entry["task"] == task and metric in entry["metrics"]
        ]
        figures.sort(key=lambda f: datasets.index(f.dataset) if f.dataset in datasets else len(datasets))
        return figures[0] if figures else None

    def to_json(self) -> dict[str, Any]:
        """Return the card as JSON data; ``weights_cached`` is the local file of the weights, or null."""
        return {
            "name": self.name,
            "task": self.task,
            "tasks": self.tasks,
            "base": self.base,
            "aliases": self.aliases,
            "params": self.params,
            "flops": self.flops,
            "flops_size": self.size,
            "published": self.published,
            "promised": self.promised,
            "weights": self.weights,
            "weights_cached": self.weights_file,
            "missing_packages": self.missing,
            "paper": self.paper,
        }


def named_cards(models: ModelNames, say: Callable[[str], None] | None = None) -> list[Card]:
    """Return the cards of all named models.

    Args:
        models: the names.
        say: called with a line before counting, which takes seconds.
    """
    model_of = {model.name: model for model in models.named}
    bases = {name: full(str(models.conf.read("model", name)["base"])) for name in model_of}
    rows = counts.read_counts(bases.values(), say)
    return [
        _card(name, base, model_of[name].tasks, model_of[name].aliases, rows.get(base, {}), True)
        for name, base in bases.items()
    ]


def zoo_cards(
    exclude: Iterable[str] = (), words: Iterable[str] = (), say: Callable[[str], None] | None = None
) -> list[Card]:
    """Return the cards of the installed configs that can be trained.

    Args:
        exclude: bases that are left out.
        words: what the names have to contain, all of them.
        say: called with a line before counting, which takes seconds.
    """
    exclude, words = set(exclude), list(words)
    configs = {}
    for package in PACKAGES:
        for config in list_configs(package):
            base = f"{package}::{config}.py"
            name = f"{package}/{config}"
            if base not in exclude and _fits(words, [name]) and (tasks := tasks_of(package, config)):
                configs[base] = (name, tasks)
    rows = counts.read_counts(configs, say)
    return [
        _card(name, base, tasks, [], rows.get(base, {}), False) for base, (name, tasks) in configs.items()
    ]


def find_cards(
    models: ModelNames,
    words: Iterable[str] = (),
    task: str | None = None,
    sort: str = "task",
    everything: bool = False,
    say: Callable[[str], None] | None = None,
) -> list[Card]:
    """Find models by parts of their names.

    Args:
        models: the names.
        words: what a name, base or alias has to contain, all of them; none: every named model.
        task: the task that they have to be for.
        sort: one of :data:`SORTS`.
        everything: include the whole zoo although there are no ``words``.
        say: called with a line before counting, which takes seconds.

    Raises:
        ConfigError: no model fits; names the nearest.
    """
    words = list(words)
    named = named_cards(models, say)
    cards = [card for card in named if _fits(words, [card.name, card.base, *card.aliases])]
    if words or everything:
        cards += zoo_cards({card.base for card in named}, words, say)
    if task:
        cards = [card for card in cards if task in card.tasks]
    if not cards:
        sought = f" with {' and '.join(map(repr, words))} in its name" if words else ""
        raise ConfigError(
            f"there is no model{sought}{f' for {task}' if task else ''}.{models.hint(' '.join(words))}"
        )
    return sorted(cards, key=functools.partial(_order, sort, task))


def find_card(models: ModelNames, word: str, say: Callable[[str], None] | None = None) -> Card:
    """Return the card of the model that ``word`` names.

    Raises:
        ConfigError: no such model (names the nearest), or a config that can't be trained here.
    """
    choice = models.resolve(word)
    if "/" not in choice:
        return next(card for card in named_cards(models, say) if card.name == choice)
    package, _, config = choice.partition("/")
    if reason := refusal(package, config):
        raise ConfigError(reason)
    base = f"{package}::{config}.py"
    row = counts.read_counts([base], say).get(base, {})
    return _card(choice, base, tasks_of(package, config), [], row, False)


@functools.cache
def promises() -> dict[str, Any]:
    """Return the promised figures: ``source``, and ``models`` with the figures of each."""
    return load_yaml(Path(__file__).with_name("promised.yaml"))


def millions(number: int | None) -> str:
    """Format a large number; a dash for None.

    >>> millions(8_890_000), millions(216_000_000_000), millions(None)
    ('8.89 M', '216 G', '-')
    """
    if number is None:
        return "-"
    value, unit = (number / 1e6, "M") if number < 1e9 else (number / 1e9, "G")
    return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f} {unit}"


def _card(
    name: str, base: str, tasks: list[str], aliases: list[str], row: dict[str, Any], is_named: bool
) -> Card:
    entry = entries().get(base) or MetafileEntry(base)
    # The counts know what a config needs; only where they don't is its text read.
    required = row.get("needs", []) if row else needs(base)
    file = cached_path(entry.weights) if entry.weights else None
    return Card(
        name=name,
        tasks=tasks,
        base=base,
        aliases=aliases,
        params=row.get("params"),
        flops=row.get("flops"),
        size=row.get("size"),
        published=entry.published,
        weights=entry.weights,
        weights_file=str(file) if file and file.is_file() else None,
        missing=[package for package in required if not installed(package)],
        promised=promises()["models"].get(name, {}) if is_named else {},
        paper=entry.paper,
        is_named=is_named,
    )


def _percent(value: float, metric: str) -> float:
    """mmpose's metafiles say 0.739 where the others say 73.9."""
    return 100 * value if metric == "AP" and value <= 1 else float(value)


def _fits(words: list[str], names: list[str]) -> bool:
    texts = [squash(name) for name in names]
    return all(any(squash(word) in text for text in texts) for word in words)


def _order(sort: str, task: str | None, card: Card) -> tuple[Any, ...]:
    figure = card.figure(task or card.task)
    keys: dict[str, tuple[Any, ...]] = {
        "map": (-(figure.value if figure else -1),),
        "params": (card.params is None, card.params or 0),
        "flops": (card.flops is None, card.flops or 0),
        "name": (),
        "task": (TASKS.index(card.task), not card.is_named),
    }
    # Figures of different tasks don't compare.
    group = (TASKS.index(task or card.task),) if sort == "map" else ()
    return (*group, *keys[sort], card.name)
