"""What a step's batch is made of, and what is said about it."""

from __future__ import annotations

import pytest

from trainer.mmconfig.batch import batch_facts, notes, scales
from trainer.schema import Experiment

CFG = {
    "train_dataloader": {"batch_size": 4},
    "optim_wrapper": {"accumulative_counts": 2, "optimizer": {"lr": 0.001}},
    "auto_scale_lr": {"base_batch_size": 32},
}


@pytest.fixture
def exp() -> Experiment:
    exp = Experiment()
    exp.model.base = "some/config.py"
    return exp


def test_facts(exp: Experiment) -> None:
    found = batch_facts(CFG, exp, 2)
    assert (found["images"], found["processes"], found["accumulate"], found["effective"]) == (4, 2, 2, 16)
    assert (found["lr"], found["rule"], found["base"]) == (0.001, "linear", 32)
    assert notes(found) == ["effective batch 16: 4 images x 2 processes x 2 iterations a step"]


def test_a_rate_of_ones_own_isnt_scaled_unless_asked(exp: Experiment) -> None:
    exp.optimizer.lr = 0.01
    assert not scales(exp)
    found = batch_facts(CFG, exp, 2)
    assert found["rule"] is found["base"] is None
    assert notes(found)[0].endswith("; the learning rate stays 0.001")
    exp.runtime.auto_scale_lr = True
    assert scales(exp)


def test_nothing_is_said_of_one_process(exp: Experiment) -> None:
    plain = {**CFG, "optim_wrapper": {"optimizer": {"lr": 0.001}}}
    assert notes(batch_facts(plain, exp, 1)) == []
