"""Models as people read them: a table, one model's card, and the table of docs/models.md."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from trainer.catalog.cards import Card, millions, promises
from trainer.core.cli_text import program
from trainer.schema import TASKS, Experiment
from trainer.schema.fields import fields_of
from trainer.zoo.requirements import install_command

_HEADS = {
    "detection": "box",
    "instance_segmentation": "mask",
    "semantic_segmentation": "mIoU",
    "pose": "AP",
}
_SHORT = {"instance_segmentation": "instances", "semantic_segmentation": "semantic"}
# Where no figure needs the data set's name beside it.
_USUAL = ("COCO", "ADE20K")


def listing(cards: list[Card], console: Console | None = None) -> None:
    """Print a table of models."""
    console = console or _console()
    table = Table(box=None, header_style="bold", pad_edge=False)
    widest = min(28, max(len(card.name) for card in cards))
    table.add_column("model", overflow="fold", min_width=widest)
    table.add_column("task", no_wrap=True)
    for head in ("params", "FLOPs"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("published")
    table.add_column("weights")
    for card in cards:
        tasks = ", ".join(_SHORT.get(task, task) for task in card.tasks[:1])
        table.add_row(
            escape(card.name),
            tasks,
            millions(card.params),
            millions(card.flops),
            _figures(card),
            _weights(card),
        )
    console.print(table)
    console.print(f"\n{len(cards)} models. {_legend(cards)}", soft_wrap=True, style="dim")


def show(card: Card, facts: dict[str, Any], console: Console | None = None) -> None:
    """Print one model's card.

    Args:
        card: the model.
        facts: what :func:`trainer.catalog.base_defaults.facts` found in its base.
    """
    console = console or _console()
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for head, text in [*_about(card), ("", ""), *_options(facts), ("", ""), *_commands(card)]:
        table.add_row(head, escape(text))
    console.print(table)


def markdown(cards: list[Card]) -> str:
    """The table of docs/models.md: the named models task by task, published figures and promised ones."""
    lines = [
        "| Model | Task | Parameters | FLOPs (at) | Published | Promised | Base config |",
        "|---|---|---:|---:|---|---|---|",
    ]
    for card in sorted(cards, key=lambda card: (TASKS.index(card.task), card.name)):
        at = f" ({card.size[0]}x{card.size[1]})" if card.size else ""
        figures = [(head, card.figure(task)) for task, head in _HEADS.items()]
        cells = [f"`{card.name}`", ", ".join(task.replace("_", " ") for task in card.tasks)]
        cells += [millions(card.params), millions(card.flops) + at]
        cells.append(", ".join(f"{head} {figure} ({figure.dataset})" for head, figure in figures if figure))
        cells += [_promised(card), f"`{card.base}`"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _about(card: Card) -> list[tuple[str, str]]:
    package = card.base.partition("::")[0]
    rows = [("model", card.name), ("tasks", ", ".join(card.tasks)), ("base", card.base)]
    if card.aliases:
        rows.append(("also called", ", ".join(card.aliases)))
    if card.missing:
        rows.append(("needs", f"{' and '.join(card.missing)}: {install_command(card.missing)}"))
    rows.append(("parameters", millions(card.params)))
    if card.flops and card.size:
        rows.append(
            (
                "FLOPs",
                f"{millions(card.flops)} multiply-adds for one image of {card.size[0]}x{card.size[1]} px",
            )
        )
    rows.append((f"published ({package}'s metafile)", "; ".join(_published(card)) or "nothing"))
    if card.promised:
        rows.append((f"promised ({promises()['source']})", _promised(card)))
    if card.paper:
        rows.append(("paper", card.paper))
    at_hand = f" (at hand: {card.weights_file})" if card.weights_file else ""
    return [*rows, ("weights", f"{card.weights or 'none are published'}{at_hand}")]


def _options(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """What can be changed, with the value that it has when nothing is said."""
    known = fields_of(Experiment)
    rows = [("change with", "the authors' own value")]
    for key, value in facts.items():
        if key == "iterations" or key == "whole_batch":
            continue
        text = "-" if value is None else _text(value)
        if key == "runtime.epochs" and value is None and facts.get("iterations"):
            text = f"- ({facts['iterations']} iterations)"
        if key == "runtime.batch_size" and facts.get("whole_batch"):
            text += f" a process, {facts['whole_batch']} in all"
        rows.append((f"{key}=", text))
    weights = known["model.weights"]
    rows.append(("model.weights=", f"{weights.default} ({weights.metadata['doc']})"))
    return [*rows, ("mm.<key>=", "any other key of the MMEngine config")]


def _commands(card: Card) -> list[tuple[str, str]]:
    run = f"{program()} model={card.name}"
    rows = [("train on digits", run), ("train on your data", f"{run} dataset=coco dataset.path=<folder>")]
    if card.weights:
        rows.append(("fine-tune", f"{rows[1][1]} model.weights=coco"))
        rows.append(("bring its weights", f"{program()} models fetch {card.name}"))
    rows += [(f"as {task}", f"{run} task={task}") for task in card.tasks[1:]]
    return [*rows, ("see the config", f"{program()} show model={card.name}")]


def _published(card: Card) -> list[str]:
    """One text a result: ``box AP 44.5 on COCO``."""
    found = []
    for result in card.published:
        metrics = ", ".join(f"{name} {_value(name, value)}" for name, value in result["metrics"].items())
        found.append(f"{metrics} on {result['dataset']}")
    return found


def _value(name: str, value: float) -> str:
    whole = 100 * value if value <= 1 and name.startswith(("AP", "AR")) else value
    return f"{whole:.4g}"


def _promised(card: Card) -> str:
    """The promised figures; where the metafile says another, that is said."""
    texts = []
    for key, value in card.promised.items():
        if key == "params":
            texts.append(f"{value} M parameters")
            continue
        said = _said(card, key)
        differs = f" (metafile: {said:g})" if said is not None and said != value else ""
        texts.append(f"{key} {value}{differs}" if key != "fps" else f"{value} FPS")
    return ", ".join(texts)


def _said(card: Card, metric: str) -> float | None:
    found = [one["metrics"][metric] for one in card.published if metric in one["metrics"]]
    return found[0] if found else None


def _figures(card: Card) -> str:
    """``box 38.2, mask 34.7``; the data set where it isn't the usual one."""
    found = [(head, card.figure(task)) for task, head in _HEADS.items()]
    return ", ".join(
        f"{head} {figure}" + ("" if figure.dataset in _USUAL else f" {figure.dataset}")
        for head, figure in found
        if figure
    )


def _weights(card: Card) -> str:
    if card.missing:
        return f"needs {' and '.join(card.missing)}"
    return "-" if not card.weights else "at hand" if card.weights_file else "to fetch"


def _legend(cards: list[Card]) -> str:
    return (
        "Published: mAP on COCO val2017, mIoU on ADE20K, keypoint AP on COCO, or on the data set that is named. "
        f"FLOPs: multiply-adds of one image. More: {program()} models show {cards[0].name}"
    )


def _console() -> Console:
    """As wide as the terminal; a file or a pipe has no width to keep to."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=200)


def _text(value: Any) -> str:
    if isinstance(value, list):
        return (
            "x".join(map(str, value)) if value and isinstance(value[0], int) else ", ".join(map(str, value))
        )
    return (
        str(value).lower()
        if isinstance(value, bool)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )
