"""bfloat16 on a CPU, which mmengine's AmpOptimWrapper refuses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class CpuAmpOptimWrapper(OptimWrapper):
    """OptimWrapper whose forward pass runs under CPU autocast.

    There is no loss scaler: bfloat16 has float32's range. Gradient accumulation and clipping are
    OptimWrapper's.

    Args:
        dtype: ``bfloat16`` or ``float16``.
        kwargs: OptimWrapper's own.
    """

    def __init__(self, dtype: str = "bfloat16", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.cast_dtype: torch.dtype = getattr(torch, dtype)

    @contextmanager
    def optim_context(self, model: torch.nn.Module) -> Iterator[None]:
        with super().optim_context(model), torch.autocast("cpu", dtype=self.cast_dtype):
            yield
