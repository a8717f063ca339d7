"""What a checkpoint's config may name: parts that a registry knows, and no file that is unpickled when it is read.

Plain data isn't harmless data. mmengine's registries build ``type='os.system'`` by importing it, ``custom_imports``
imports anything, and mmengine's reader of annotation files unpickles ``.pkl`` files, from a URL too.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from typing import Any

from trainer.config_tree.traverse import traverse
from trainer.core.errors import CheckpointError

PACKAGES = ("mmengine", "mmcv", "mmdet", "mmseg", "mmpose", "mmpretrain")
_BUILT = ("model", "val_dataloader", "test_dataloader", "train_dataloader", "val_evaluator", "test_evaluator")
_FETCHED = re.compile(r"^[\w+.-]+:(//|s3:)|\.(pkl|pickle|pth|pt)$", re.IGNORECASE)


def check_config(config: dict[str, Any]) -> None:
    """Refuse a config that would run other code than the installed packages' parts.

    Raises:
        CheckpointError: naming the key and what it names.
    """
    scope = config.get("default_scope", "mmengine")
    if scope not in PACKAGES:
        raise CheckpointError(
            f"the checkpoint's config has default_scope={scope!r}; one of {', '.join(PACKAGES)}"
        )
    for name in _imports(config):
        if name.partition(".")[0] not in (*PACKAGES, "trainer") and name not in sys.modules:
            raise CheckpointError(
                f"the checkpoint's config imports {name!r}, which is no part of OpenMMLab or this package; "
                "if you trust it, import it before load_model(...)"
            )
    for section in _BUILT:
        for path, value in traverse(config.get(section), (section,)):
            if isinstance(value, str):
                _check(path, value)


def _imports(config: dict[str, Any]) -> list[str]:
    custom = config.get("custom_imports") or {}
    names = custom.get("imports") or [] if isinstance(custom, dict) else custom
    return [str(name) for name in ([names] if isinstance(names, str) else names)]


def _check(path: tuple[Any, ...], value: str) -> None:
    key = ".".join(map(str, path))
    if path[-1] == "_scope_" and value not in PACKAGES:
        raise CheckpointError(f"the checkpoint's config has {key}={value!r}; one of {', '.join(PACKAGES)}")
    if path[-1] in ("type", "constructor", "of") and "." in value and not _is_part(value):
        raise CheckpointError(
            f"the checkpoint's config has {key}={value!r}, which is no part of an OpenMMLab package or of torch.nn"
        )
    if path[0] != "model" and _FETCHED.search(value):
        raise CheckpointError(
            f"the checkpoint's config reads {value!r} ({key}): pickles and URLs are not read"
        )


def _is_part(name: str) -> bool:
    """Whether a dotted name is one of a registry's parts, or a module of torch's."""
    package, _, rest = name.partition(".")
    if package in PACKAGES and "." not in rest:
        return any(rest in registry.module_dict for registry in _registries(package))
    if package in (*PACKAGES, "torch", "trainer"):
        from mmengine.utils import get_object_from_string
        from torch import nn

        part = get_object_from_string(name)
        if inspect.isclass(part) and issubclass(part, nn.Module):
            return True
        return any(
            part is known for registry in _registries(package) for known in registry.module_dict.values()
        )
    return False


def _registries(package: str) -> Iterator[Any]:
    """The registries of a package, filled; mmengine's own for torch and this package, which register there."""
    from mmengine.registry import Registry

    package = package if package in PACKAGES else "mmengine"
    try:
        module = importlib.import_module(f"{package}.registry")
    except ImportError:
        return
    for registry in vars(module).values():
        if isinstance(registry, Registry):
            registry.import_from_location()
            yield registry
