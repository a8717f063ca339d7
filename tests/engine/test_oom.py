"""A full GPU, made up on a CPU: the batch that fits is found by trying. Figures of memory need a GPU."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from torch import nn

from trainer.core.errors import ResourceError
from trainer.engine.failures import as_trainer_error
from trainer.engine.oom import BatchHook, fitting_batch, out_of_memory_error, size_of

FULL = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 8.00 GiB"


class Narrow(BaseModel):
    """Trains on ``room`` images at a time and not on one more."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room, self.tried = room, list[int]()
        self.layer = nn.Linear(3, 1)

    def forward(self, inputs: Any, data_samples: Any = None, mode: str = "tensor") -> Any:
        self.tried.append(len(inputs))
        if len(inputs) > self.room:
            raise torch.cuda.OutOfMemoryError(FULL)
        return {"loss": self.layer(torch.stack(inputs)).sum()}


def runner(room: int) -> Any:
    model = Narrow(room)
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    return SimpleNamespace(model=model, optim_wrapper=wrapper)


def batch(images: int) -> dict[str, Any]:
    return {"inputs": [torch.ones(3) for _ in range(images)], "data_samples": [object()] * images}


@pytest.mark.parametrize(("room", "found"), [(9, 8), (8, 8), (5, 4), (1, 1), (0, 0)])
def test_smaller_batches_are_tried_until_one_fits(room: int, found: int) -> None:
    made = runner(room)
    assert fitting_batch(made, batch(16), 16) == found
    assert all(size < 16 for size in made.model.tried)
    assert all(parameter.grad is None for parameter in made.model.parameters())


def test_the_error_names_the_batch_that_fits() -> None:
    error = out_of_memory_error(torch.cuda.OutOfMemoryError(FULL), runner(5), batch(16))
    assert isinstance(error, ResourceError) and as_trainer_error(error) is error
    assert "A batch of 4 fits: runtime.batch_size=4 (it is 16)" in error.message
    assert "Tried to allocate 2.00 GiB" in error.message


def test_not_even_one_image() -> None:
    for images in (1, 4):
        message = out_of_memory_error(torch.cuda.OutOfMemoryError(FULL), runner(0), batch(images)).message
        assert "Not even one image fits" in message


def test_a_search_that_fails_does_not_hide_the_error() -> None:
    message = out_of_memory_error(torch.cuda.OutOfMemoryError(FULL), SimpleNamespace(), batch(4)).message
    assert "Smaller: runtime.batch_size" in message
    assert "Smaller" in out_of_memory_error(torch.cuda.OutOfMemoryError(FULL), runner(1), None).message


def test_the_batch_under_way_is_held_and_let_go() -> None:
    hook = BatchHook()
    hook.before_train_iter(None, 0, batch(2))
    assert size_of(hook.batch) == 2
    hook.after_train_iter(None, 0, batch(2))
    assert hook.batch is None


def test_sizes_of_batches() -> None:
    assert size_of({"inputs": {"sup": [1, 2, 3]}}) == 3
    assert size_of({"inputs": torch.zeros(4, 3)}) == 4
    assert size_of(None) is None
