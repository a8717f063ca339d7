"""What a checkpoint's config may name: parts that a registry knows, and no file that is unpickled when it is read.

Plain data isn't harmless data. mmengine's registries build ``type='os.system'`` by importing it, and mmengine's reader
of annotation files unpickles ``.pkl`` files, from a URL too. What ``custom_imports`` names is not imported from here:
see :mod:`trainer.checkpoints.checkpoint_modules`.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from trainer.config_tree.traverse import traverse
from trainer.core.errors import CheckpointError
from trainer.core.user_modules import OPENMMLAB as PACKAGES

_BUILT = ("model", "val_dataloader", "test_dataloader", "train_dataloader", "val_evaluator", "test_evaluator")
_FETCHED = re.compile(r"^[\w+.-]+:(//|s3:)|\.(pkl|pickle|pth|pt)$", re.IGNORECASE)


def check_config(config: dict[str, Any], modules: Sequence[str] = ()) -> None:
    """Refuse a config that would run other code than the parts of installed packages and of trusted modules.

    Args:
        modules: the user's modules whose parts it may name, all imported already.

    Raises:
        CheckpointError: naming the key and what it names.
    """
    scope = config.get("default_scope", "mmengine")
    scopes = (*PACKAGES, *(name.partition(".")[0] for name in modules))
    if scope not in scopes:
        raise CheckpointError(
            f"the checkpoint's config has default_scope={scope!r}; one of {', '.join(scopes)}"
        )
    for section in _BUILT:
        for path, value in traverse(config.get(section), (section,)):
            if isinstance(value, str):
                _check(path, value, scopes, modules)


def _check(path: tuple[Any, ...], value: str, scopes: Sequence[str], modules: Sequence[str]) -> None:
    key = ".".join(map(str, path))
    if path[-1] == "_scope_" and value not in scopes:
        raise CheckpointError(f"the checkpoint's config has {key}={value!r}; one of {', '.join(scopes)}")
    dotted = path[-1] in ("type", "constructor", "of") and "." in value
    if dotted and not _is_part(value) and not _is_user_part(value, modules):
        raise CheckpointError(
            f"the checkpoint's config has {key}={value!r}, which is no part of an OpenMMLab package or of torch.nn"
        )
    if path[0] != "model" and _FETCHED.search(value):
        raise CheckpointError(
            f"the checkpoint's config reads {value!r} ({key}): pickles and URLs are not read"
        )


def _is_part(name: str) -> bool:
    """Whether a dotted name is one of a registry's parts, or a ``torch.nn.Module``."""
    package, _, rest = name.partition(".")
    if package in PACKAGES and "." not in rest:
        return any(rest in registry.module_dict for registry in _registries(package))
    if package in (*PACKAGES, "torch", "trainer"):
        from mmengine.utils import get_object_from_string

        return _is_module_or_registered(get_object_from_string(name), package)
    return False


def _is_user_part(name: str, modules: Sequence[str]) -> bool:
    """Whether a dotted name is a part in one of the user's modules; imports nothing."""
    for module in modules:
        if not name.startswith(f"{module}.") or module not in sys.modules:
            continue
        part: Any = sys.modules[module]
        for attribute in name[len(module) + 1 :].split("."):
            part = getattr(part, attribute, None)
        if inspect.isclass(part) and any(_is_module_or_registered(part, package) for package in PACKAGES):
            return True
    return False


def _is_module_or_registered(part: Any, package: str) -> bool:
    from torch import nn

    if inspect.isclass(part) and issubclass(part, nn.Module):
        return True
    return any(part is known for registry in _registries(package) for known in registry.module_dict.values())


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
