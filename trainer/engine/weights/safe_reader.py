"""Reading a checkpoint from anywhere: tensors and plain values, and nothing in it is run.

torch's own safe reader builds tensors, containers and numbers. Published files hold a little more, and each of those
few names is listed here with the reason. What could be used to reach code is replaced by a stand-in that does
nothing: the values behind it aren't needed.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy._core import multiarray as _multiarray

from trainer.core.errors import CheckpointError


class IgnoredObject:
    """Stands for an object of a file that isn't needed: takes everything, does nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def ignored_call(*args: Any) -> None:
    """Stands for a function that a file wants called: isn't called."""


def plain_dict(*args: Any) -> dict[Any, Any]:
    """Stands for a dict that makes its own defaults."""
    return {}


_REFUSED = re.compile(r"GLOBAL (\S+) (?:was not an allowed|whose module)")


def allowed() -> list[Callable[..., Any] | tuple[Callable[..., Any], str]]:
    """What a file may name beside torch's tensors and Python's containers, each with its reason."""
    numbers = [np.dtype(name) for name in ("bool", "U1", "S1", *np.typecodes["AllInteger"], "e", "f", "d")]
    names: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
        # NumPy: metrics in meta, sigmas and colours in dataset_meta. Under the names of NumPy 1 and of NumPy 2.
        np.ndarray,
        np.dtype,
        *sorted({type(one) for one in numbers}, key=lambda kind: kind.__name__),
        *(
            (getattr(_multiarray, name), f"numpy.{core}.multiarray.{name}")
            for core in ("core", "_core")
            for name in ("_reconstruct", "scalar")
        ),
        # Containers: mmcv's and mmengine's meta and message hub.
        (plain_dict, "collections.defaultdict"),  # torch's reader fills no other kind of dict
        (dict, "builtins.dict"),
        (list, "builtins.list"),
        (slice, "builtins.slice"),
        # The command line of files from research code (DeiT, BEiT, DETR): a bag of values.
        argparse.Namespace,
        # mmengine's logged values, in every file that it saved while training. The class keeps functions in its
        # state, and getattr, which brings them along, could reach further: neither is the real one here.
        (IgnoredObject, "mmengine.logging.history_buffer.HistoryBuffer"),
        (ignored_call, "builtins.getattr"),
    ]
    return names


def read(path: Path, trust: bool = False) -> Any:
    """The content of a ``.pth`` file on the CPU.

    Args:
        trust: unpickle it whatever it holds, which runs any code that is in it.

    Raises:
        CheckpointError: missing, damaged, or it holds more than data (and isn't trusted): says what.
    """
    try:
        if trust:
            return torch.load(path, map_location="cpu", weights_only=False)
        with torch.serialization.safe_globals(allowed()):
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"there is no file {path}") from None
    except Exception as error:
        raise CheckpointError(_complaint(path, str(error), trust)) from error


def _complaint(path: Path, reason: str, trust: bool) -> str:
    named = _REFUSED.search(reason)
    if named and not trust:
        return (
            f"{path} holds {named[1]}, which is no data: reading it could run code, so it is refused. "
            "If you trust where the file comes from, add model.trust_weights=true"
        )
    first = " ".join(reason.partition("\n")[0].split())[:300] or "unknown reason"
    return f"{path} can't be read as a checkpoint: {first}"
