"""After the GPU's memory was full: which batch would have fitted, found by trying smaller ones."""

from __future__ import annotations

import gc
import logging
import traceback
from typing import Any

import torch
from mmengine.hooks import Hook

from trainer.core.errors import ResourceError

# Of the memory: fragments of it can't be used.
USABLE = 0.95
logger = logging.getLogger("trainer")


class BatchHook(Hook):
    """Holds the batch that is trained on, for :func:`out_of_memory_error`."""

    priority = "VERY_HIGH"

    def __init__(self) -> None:
        self.batch: Any = None

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        self.batch = data_batch

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        self.batch = None


def out_of_memory_error(error: BaseException, runner: Any, batch: Any) -> ResourceError:
    """A full GPU as the user's error, with the batch size that fits where one does.

    The images of ``batch``, of which training has just failed, are tried again, fewer at a time: forward and
    backward, and room for the optimizer's state where there is none yet.
    """
    first = str(error).partition("\n")[0][:300]
    images = size_of(batch)
    traceback.clear_frames(error.__traceback__)  # they hold the tensors that filled the memory
    fitting = None
    if images and not _several():
        try:
            fitting = fitting_batch(runner, batch, images)
        except Exception as trouble:  # the advice must not hide the error
            logger.debug("no batch size could be found: %s", trouble)
    if fitting:
        advice = f"a batch of {fitting} fits: runtime.batch_size={fitting} (it is {images})"
    elif images == 1 or fitting == 0:
        advice = "not even one image fits: a smaller dataset.image_size, a smaller model, or runtime.amp=bf16"
    else:
        advice = "smaller: runtime.batch_size, dataset.image_size"
    return ResourceError(
        f"the GPU's memory is full ({first}). {advice[0].upper()}{advice[1:]}; runtime.accumulate keeps the "
        "effective batch, runtime.amp=bf16 takes about half"
    )


def fitting_batch(runner: Any, batch: Any, images: int) -> int:
    """The largest number of images, below ``images``, that one step can be trained on; 0 where none can."""
    count, peak = images // 2, None
    while count and (peak := _peak(runner, batch, count)) is None:
        count //= 2
    if peak is None or not torch.cuda.is_available():
        return count
    base, capacity = _allocated(), _capacity()
    each = max(1.0, (peak - base) / count)
    likely = min(int((capacity - base) / each), 2 * count - 1, images - 1)
    return likely if likely > count and _peak(runner, batch, likely) is not None else count


def size_of(batch: Any) -> int | None:
    """The images in a data loader's batch."""
    if isinstance(batch, dict):
        found = [size for value in batch.values() if (size := size_of(value))]
        return found[0] if found else None
    return len(batch) if isinstance(batch, (list, tuple, torch.Tensor)) else None


def _peak(runner: Any, batch: Any, count: int) -> int | None:
    """Bytes that training on the first ``count`` images takes; None where they don't fit."""
    model = getattr(runner.model, "module", runner.model)
    wrapper = runner.optim_wrapper
    wrapper.zero_grad()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    try:
        with wrapper.optim_context(model):
            data = model.data_preprocessor(_first(batch, count), True)
            loss, _ = model.parse_losses(model._run_forward(data, mode="loss"))
        wrapper.backward(loss)
        if not torch.cuda.is_available():
            return 0
        peak = torch.cuda.max_memory_allocated() + _state_to_come(wrapper.optimizer)
        return peak if peak <= _capacity() else None
    except torch.cuda.OutOfMemoryError as error:
        traceback.clear_frames(error.__traceback__)
        return None
    finally:
        wrapper.zero_grad()


def _first(batch: Any, count: int) -> Any:
    return (
        {key: _first(value, count) for key, value in batch.items()}
        if isinstance(batch, dict)
        else batch[:count]
    )


def _several() -> bool:
    """Whether others train with this process: they would wait for it in a step that it takes alone."""
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def _allocated() -> int:
    return int(torch.cuda.memory_allocated())


def _capacity() -> float:
    """Bytes that this process may use: what is free, and what it has."""
    free, _ = torch.cuda.mem_get_info()
    return USABLE * (free + torch.cuda.memory_reserved())


def _state_to_come(optimizer: Any) -> int:
    """What the first step adds: SGD's momentum, the two moments of the others."""
    if optimizer.state:
        return 0
    weights = sum(p.numel() * p.element_size() for group in optimizer.param_groups for p in group["params"])
    return int(weights * (1 if isinstance(optimizer, torch.optim.SGD) else 2))
