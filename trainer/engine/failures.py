"""What went wrong, in the kinds that people can act on. The cause stays attached for the log file."""

from __future__ import annotations

import re
import traceback
import urllib.error

from trainer.core.errors import (
    ConfigError,
    DatasetError,
    FrameworkError,
    NetworkError,
    ResourceError,
    TrainerError,
    of_the_machine,
)
from trainer.core.user_modules import missing_part

TRACEBACK = 20_000  # characters


def as_trainer_error(error: BaseException) -> TrainerError:
    """``error`` as the fitting kind of TrainerError, decided by its type; itself when it is one."""
    if isinstance(error, TrainerError):
        return error
    found = _classify(error)
    found.__cause__ = error
    return found


def traceback_of(error: TrainerError) -> str | None:
    """Where an unexpected error happened, the last part of a long one; None for a mistake that was recognised."""
    if error.__cause__ is None:
        return None
    return "".join(traceback.format_exception(error.__cause__))[-TRACEBACK:]


def is_consequence(error: BaseException) -> bool:
    """Whether ``error`` only says that another process of the training doesn't answer."""
    return isinstance(error, RuntimeError) and bool(
        re.search(r"(?i)gloo|nccl|connection (was )?(closed|reset)|broken pipe", str(error))
    )


def is_worker_death(error: BaseException) -> bool:
    """Whether ``error`` says that a data loader process has ended by itself."""
    return isinstance(error, RuntimeError) and "DataLoader worker" in str(error)


def _classify(error: BaseException) -> TrainerError:
    import torch

    text = _essence(error)
    if isinstance(error, torch.cuda.OutOfMemoryError):
        return ResourceError(
            f"the GPU's memory is full ({text}). Smaller: runtime.batch_size, dataset.image_size; "
            "or runtime.amp=bf16, runtime.accumulate to keep the effective batch"
        )
    if isinstance(error, MemoryError):
        return ResourceError(
            f"memory is full ({text}). Smaller: runtime.batch_size, runtime.workers, dataset.image_size"
        )
    if known := of_the_machine(error):
        return known
    if isinstance(error, urllib.error.URLError):
        return NetworkError(f"a server doesn't answer: {text}")
    if isinstance(error, (FileNotFoundError, NotADirectoryError, IsADirectoryError)):
        return DatasetError(f"a file is missing: {error.filename or text}")
    if is_consequence(error):
        return ResourceError(f"another process of this training ended without a word: {text}")
    if isinstance(error, RuntimeError) and "Expected to have finished reduction" in text:
        return ConfigError(
            "parts of this model take no part in its loss, for which several processes would wait: "
            "mm.find_unused_parameters=true"
        )
    if _is_image_error(error):
        return DatasetError(f"an image can't be read: {text}")
    if is_worker_death(error):
        return ResourceError(f"a data loader process was killed, mostly for lack of (shared) memory: {text}")
    if hint := missing_part(error):
        return ConfigError(hint)
    return FrameworkError(f"{type(error).__name__}: {text}")


def _is_image_error(error: BaseException) -> bool:
    kinds = {f"{kind.__module__}.{kind.__name__}" for kind in type(error).__mro__}
    if kinds & {"cv2.error", "PIL.UnidentifiedImageError"}:
        return True
    # mmcv and mmengine report these with bare assertions and Exceptions.
    return bool(re.search(r"failed to load image|Cannot find valid image", str(error)))


def _essence(error: BaseException) -> str:
    """The message without the traceback that torch puts into errors from a data loader process."""
    text = str(error).strip() or type(error).__name__
    if text.startswith("Caught ") and "Original Traceback" in text:
        text = text.splitlines()[-1]
    return text.partition("\n")[0][:500]
