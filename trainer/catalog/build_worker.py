"""The process that builds models on ``meta`` and counts, for :mod:`trainer.catalog.count_models`.

Reads ``{"bases": [...], "flops": [...]}`` from standard input and writes one JSON line ``[base, row]`` each.
"""

from __future__ import annotations

import contextlib
import copy
import gc
import json
import os
import pickle
import re
import sys
from typing import Any

from trainer.config_tree.base_config import load_base
from trainer.config_tree.config_files import configs_dir
from trainer.core.errors import ConfigError
from trainer.zoo.requirements import missing, needs

Row = dict[str, Any]


def main() -> int:
    """Answer the request on standard input; returns the exit code."""
    order = json.loads(sys.stdin.read())
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # the packages print what they like
    ready()
    flops = set(order["flops"])
    done: dict[str, Row] = {}
    for number, base in enumerate(order["bases"]):
        print(json.dumps([base, row_of(base, base in flops, done)]), file=answers, flush=True)
        if number % 50 == 49:
            gc.collect()
    return 0


def ready() -> None:
    """Import torch and the OpenMMLab packages, quietly."""
    import logging
    import warnings

    import torch

    from trainer.engine import compat

    compat.apply()
    warnings.filterwarnings("ignore")
    for package in ("mmdet", "mmseg", "mmpose"):
        if configs_dir(package) is not None:
            module = __import__(f"{package}.utils", fromlist=["register_all_modules"])
            module.register_all_modules(init_default_scope=False)
    # Synchronised normalisation asks for its group as soon as it is built; a group of one will do.
    with contextlib.suppress(Exception):
        torch.distributed.init_process_group(
            "gloo", store=torch.distributed.HashStore(), rank=0, world_size=1
        )
    logging.disable(logging.WARNING)
    read_each_file_once()
    gc.disable()  # thousands of modules that all die together; collected now and then


def row_of(base: str, flops: bool, done: dict[str, Row]) -> Row:
    """``{params}``, with ``{flops, size}`` where they are asked for and can be counted, or ``{reason}``.

    Beside either, ``{needs}``: the packages that the config needs. ``done`` keeps the rows of model sections: configs
    that differ in their schedule share one.
    """
    required = needs(base)
    return {**_row(base, flops, done), **({"needs": required} if required else {})}


def build(base: str, model: dict[str, Any]) -> Any:
    """A config's ``model`` section as a module whose parameters are on ``meta``."""
    from mmengine.config import ConfigDict
    from mmengine.registry import MODELS, DefaultScope

    from trainer.catalog.flops import OnMeta, Shapes

    package = base.partition("::")[0]
    root = configs_dir(package)
    assert root is not None
    os.chdir(root.parent)  # a few name a teacher's config relative to the package's own folder
    with DefaultScope.overwrite_default_scope(package):
        try:
            with OnMeta():
                return MODELS.build(ConfigDict(copy.deepcopy(model)))
        except RuntimeError as error:
            if "device" not in str(error):
                raise
            with Shapes():  # slower: looks at every call for tensors of both devices
                return MODELS.build(ConfigDict(copy.deepcopy(model)))


def reason(base: str, error: BaseException) -> str:
    """Why a config can't be built, in a few words that are the same for the same cause."""
    if lacking := missing(base):
        return f"needs {' and '.join(lacking)}"
    if isinstance(error, ConfigError):
        said = str(error).partition(".py ")[2] or str(error)
        return said.partition(":")[0]
    text = re.sub(r"\S*/\S+|0x\w+", "...", " ".join(str(error).split()))
    return f"{type(error).__name__}: {text[:120]}".strip(": ")


def _row(base: str, flops: bool, done: dict[str, Row]) -> Row:
    from mmengine.utils import import_modules_from_strings

    try:
        cfg = load_base(base)
        model = _without_teachers(cfg["model"])
        if (imports := cfg.get("custom_imports")) and not missing(base):
            import_modules_from_strings(**imports)
        key = repr((base.partition("::")[0], model, flops))
        if key not in done:
            done[key] = _counted(base, cfg, model, flops)
        return done[key]
    except BaseException as error:  # SystemExit too: nothing that one config does may end the others
        if isinstance(error, KeyboardInterrupt):
            raise
        return {"reason": reason(base, error)}


def _counted(base: str, cfg: dict[str, Any], model: dict[str, Any], flops: bool) -> Row:
    from trainer.catalog.flops import multiply_adds

    module = build(base, model)
    row: Row = {"params": sum(parameter.numel() for parameter in module.parameters())}
    if flops:
        row |= multiply_adds(module, cfg)
    return row


def read_each_file_once() -> None:
    """Keep what mmengine reads from a config file: most configs share their bases, and parsing takes long."""
    from mmengine.config import Config

    read = Config._file2dict
    pickled: dict[str, bytes] = {}

    def read_once(filename: str, *args: Any, **options: Any) -> Any:
        path = os.path.abspath(filename)
        if path not in pickled:
            pickled[path] = pickle.dumps(read(filename, *args, **options))
        return pickle.loads(pickled[path])  # a copy each time: configs that inherit it change it

    Config._file2dict = staticmethod(read_once)


def _without_teachers(model: dict[str, Any]) -> dict[str, Any]:
    """Without the checkpoints that some models load while they are built."""
    return {
        key: None if key in ("teacher_ckpt", "teacher_pretrained") else value for key, value in model.items()
    }


if __name__ == "__main__":
    sys.exit(main())
