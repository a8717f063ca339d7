"""``--help``: commands, groups, choices and examples, from the folder listing alone (no Hydra, no rich)."""

from __future__ import annotations

import dataclasses
import shutil
import textwrap

from trainer.schema import COMMANDS
from trainer.schema.conf_folders import Conf, config_name
from trainer.schema.fields import fields_of

_HEAD = """\
OpenMMLab models on your data: Hydra groups compose into MMEngine configs.

usage: python -m trainer [COMMAND] [key=value ...] [flags]
"""

_COMMANDS = {
    "train": "train a model (the word may be left out)",
    "show": "print the final MMEngine config and what differs from the base config",
    "check": "look at a data set as training would, and draw a report of it",
    "evaluate": "the metrics of a model on a split of its own or other data",
    "predict": "annotated pictures and JSON for images, folders, videos, stores",
    "export": "the network as an ONNX file",
    "convert": "write a data set in another format: COCO, YOLO or DICE",
    "models": "find a model: parameters, published figures; show one; fetch its weights",
    "replay": "tell MLflow (or another sink) about a run from its event log",
    "reproduce": "train a run again as it was, and say what differs",
    "sweep": "where a sweep is, its best trial as a recipe, its plots",
    "status": "how a launched job is doing, or all of them (launch.detach=true, launcher=...)",
    "logs": "what a launched job says",
    "cancel": "have a launched job save and end",
    "resume": "start a launched job again: its run goes on",
}

_EXAMPLES = {
    "train": """\
python -m trainer experiment=digits                          a recipe: handwritten digits, on a CPU
python -m trainer model=rtmdet-s dataset=digits runtime.epochs=1
python -m trainer model=segformer-b0                         the task follows the model
python -m trainer task=pose                                  the model follows the task
python -m trainer dataset=coco dataset.path=data/cats        your own data
python -m trainer model=mmdet/rtmdet/rtmdet_s_8xb32-300e_coco    any config of the installed packages
python -m trainer mm.train_pipeline.RandomFlip.prob=0.3      any key of MMEngine's config
python -m trainer -m optimizer.lr=1e-3,2e-3                  a sweep
python -m trainer resume=latest                              go on with the newest run
python -m trainer launcher=torchrun launch.detach=true       all GPUs, in the background""",
    "show": "python -m trainer show model=rtmdet-s optimizer=adamw",
    "check": "python -m trainer check dataset=auto dataset.path=data/cats task=detection",
    "evaluate": """\
python -m trainer evaluate checkpoint=latest split=val
python -m trainer evaluate checkpoint=latest dataset=coco dataset.path=data/cats
python -m trainer evaluate checkpoint=latest/export/onnx     an exported file""",
    "predict": """\
python -m trainer predict checkpoint=latest source=images/ threshold=0.4
python -m trainer predict checkpoint=latest source=large.png tile=640
python -m trainer predict checkpoint=model.onnx source=film.mp4""",
    "export": "python -m trainer export checkpoint=latest opset=18",
}

_FLAGS = """\
--cfg job|hydra|all   print the composed configuration and stop (-p GROUP: only that part; --resolve)
--info [WHAT]         how it was composed: defaults, defaults-tree, searchpath, config, plugins
-m, --multirun        try every combination of key=a,b (also key=range(1,4)), one after the other
--config-dir DIR      more choices from a folder of your own
--shell-completion    eval "$(python -m trainer --shell-completion install=bash)" turns completion on
--help, --hydra-help, --version"""


def show_help(command: str | None = None) -> None:
    """Print the help of a command, or of all."""
    print(help_text(command))


def help_text(command: str | None = None, conf: Conf | None = None) -> str:
    """The help text; without a command, the commands and training's help."""
    conf = conf or Conf()
    parts = [_HEAD]
    if command is None:
        parts.append("commands\n" + columns(_COMMANDS))
    else:
        parts.append(f"{command}: {_COMMANDS[command]}\n")
    command = command or "train"
    if groups := conf.groups_of(command):
        choices = {group: " ".join(names) for group, names in groups.items()}
        parts.append("groups and their choices (group=choice)\n" + columns(choices))
    parts.append("keys\n" + columns(_keys(command)))
    parts.append("examples\n" + textwrap.indent(_EXAMPLES[command], "  ") + "\n")
    parts.append("flags\n" + textwrap.indent(_FLAGS, "  "))
    return "\n".join(parts)


def columns(rows: dict[str, str]) -> str:
    """Names and what they mean, wrapped to the terminal."""
    width = max(60, min(shutil.get_terminal_size((110, 24)).columns, 140))
    first = max(map(len, rows)) + 2
    lines = []
    for name, words in rows.items():
        wrapped = textwrap.wrap(words, width - first - 2, break_on_hyphens=False) or [""]
        lines.append(f"  {name:<{first}}{wrapped[0]}")
        lines += [" " * (first + 2) + line for line in wrapped[1:]]
    return "\n".join(lines) + "\n"


def _keys(command: str) -> dict[str, str]:
    """The keys of each group by name, those of all its choices; every other key with what it is."""
    schema = COMMANDS[command]
    fields = fields_of(schema)
    keys: dict[str, str] = {}
    for field in dataclasses.fields(schema):
        factory = field.default_factory
        if isinstance(factory, type) and dataclasses.is_dataclass(factory):
            names = [key.partition(".")[2] for key in fields if key.startswith(f"{field.name}.")]
            if names := [name for name in names if name != "name"]:
                keys[f"{field.name}."] = " ".join(names)
        else:
            choices = fields[field.name].choices
            keys[field.name] = field.metadata["doc"] + (f" ({', '.join(choices)})" if choices else "")
    if config_name(command) == "train":
        keys["mm."] = "any key of the MMEngine config"
        keys.pop("mm", None)
    return keys
