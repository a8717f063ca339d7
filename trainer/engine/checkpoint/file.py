"""What goes into a checkpoint, and how it comes back: tensors and plain values, nothing that runs code."""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from trainer.core.errors import CheckpointError

SCHEME = "trainer-checkpoint:"
FORMAT = 2  # 1: one process's random states under "rng", an interrupted epoch starts again
HISTORY = 1000  # values kept of each logged scalar; mmengine's own window is 10 to 50
NOT_KEPT = ("cfg", "dataset_meta")  # set anew at every start, and long


def load(file: str | Path | IO[bytes], map_location: Any = None) -> Any:
    """Read a checkpoint of ours or of an OpenMMLab package without running code from it.

    Raises:
        CheckpointError: it is damaged, or holds other things than tensors and plain values.
    """
    try:
        return torch.load(file, map_location=map_location, weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"there is no checkpoint {file}") from None
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise CheckpointError(f"{file} can't be loaded as tensors and plain values only: {reason}") from error


def load_for_runner(filename: str, map_location: Any = None) -> dict[str, Any]:
    """What mmengine's Runner resumes from; ``filename`` is a path behind :data:`SCHEME`.

    Raises:
        CheckpointError: it can't be loaded, or isn't one to go on from.
    """
    path = filename.removeprefix(SCHEME)
    checkpoint = load(path, map_location)
    missing = [key for key in ("meta", "optimizer", "message_hub", "progress") if key not in checkpoint]
    if missing:
        raise CheckpointError(f"{path} holds no {', '.join(missing)}: training can't go on from it")
    if checkpoint.get("format", 1) > FORMAT:
        raise CheckpointError(
            f"{path} has format {checkpoint['format']}; this version of the trainer knows formats up to {FORMAT}"
        )
    # Runner.resume would execute a config text of this name.
    checkpoint["meta"].pop("config", None)
    checkpoint["message_hub"] = unpack_hub(checkpoint["message_hub"])
    return checkpoint


def as_current(model: Any, weights: Mapping[str, Any]) -> OrderedDict[str, Any]:
    """Weights that were written here, marked as laid out as ``model`` is now: its conversions of older layouts
    (mmpose's DEKR has one) don't touch them."""
    marked = OrderedDict(weights)
    vars(marked)["_metadata"] = vars(getattr(model, "module", model).state_dict())["_metadata"]
    return marked


def plain(value: Any) -> Any:
    """A copy of ``value`` in main memory, with NumPy's numbers and arrays as Python's and without what isn't data
    (functions, objects). Training can go on while the copy is written.
    """
    kept = _plain(value)
    return None if kept is _DROP else kept


def rank_states(checkpoint: dict[str, Any]) -> list[dict[str, Any]]:
    """Each process's ``rng`` and ``gradients`` (those that accumulate towards the next step), by rank."""
    return checkpoint["ranks"] if "ranks" in checkpoint else [{"rng": checkpoint["rng"], "gradients": {}}]


def pack_hub(hub: Any) -> dict[str, Any]:
    """mmengine's MessageHub as plain values."""
    state = hub.state_dict()
    scalars = {}
    for key, buffer in state["log_scalars"].items():
        values, counts = buffer.data
        scalars[key] = [torch.tensor(part[-HISTORY:]) for part in (values, counts)]
    info = {key: value for key, value in state["runtime_info"].items() if key not in NOT_KEPT}
    kept = {key: value for key, value in state["resumed_keys"].items() if key in scalars or key in info}
    return {"log_scalars": scalars, "runtime_info": plain(info), "resumed_keys": kept}


def unpack_hub(state: dict[str, Any]) -> dict[str, Any]:
    """The form that MessageHub.load_state_dict takes."""
    from mmengine.logging import HistoryBuffer

    scalars = {
        key: HistoryBuffer(*(part.tolist() if isinstance(part, torch.Tensor) else part for part in pair))
        for key, pair in state["log_scalars"].items()
    }
    return {**state, "log_scalars": scalars}


def rng_state() -> dict[str, Any]:
    """All random generators' states in this process."""
    numpy = np.random.get_state(legacy=False)
    inner = numpy["state"]
    state: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": [inner["key"].tolist(), int(inner["pos"]), int(numpy["has_gauss"]), float(numpy["gauss"])],
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def restore_rng(state: dict[str, Any]) -> None:
    """Put the generators back to :func:`rng_state`; CUDA's only when as many devices are there."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state(("MT19937", np.array(keys, dtype=np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"].cpu())
    cuda = state.get("cuda", [])
    if cuda and torch.cuda.is_available() and len(cuda) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([one.cpu() for one in cuda])


_DROP = object()


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):  # before float and str, which some of them also are
        return value.item()
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes)):
        return value
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        pairs = ((_plain(key), _plain(item)) for key, item in value.items())
        kind = OrderedDict if isinstance(value, OrderedDict) else dict
        return kind((key, item) for key, item in pairs if key is not _DROP and item is not _DROP)
    if isinstance(value, (list, tuple, set, frozenset)):
        items = [item for item in map(_plain, value) if item is not _DROP]
        return tuple(items) if isinstance(value, tuple) else items
    return _DROP
