"""How cores and GPUs are divided."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from trainer.schema import Sweep
from trainer.sweep.driver import slots
from trainer.sweep.driver.slots import make_slots, visible_gpus


@pytest.fixture(autouse=True)
def much_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(slots, "_fitting", lambda: 1000)


def made(
    cpus: int, gpus: list[str], device: str = "auto", **sweep: Any
) -> list[tuple[int | None, str | None]]:
    return [(slot.threads, slot.gpus) for slot in make_slots(Sweep(**sweep), device, cpus=cpus, gpus=gpus)]


def test_cores_are_divided_between_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    assert made(2, []) == [(1, None)] * 2
    assert made(1, []) == [(None, None)]
    assert made(16, []) == [(4, None)] * 4
    assert made(64, []) == [(4, None)] * 16
    assert made(8, [], workers=3) == [(2, None)] * 3
    assert made(2, [], workers=4) == [(1, None)] * 4
    assert made(8, [], workers=2, threads=1) == [(1, None)] * 2
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # whoever says so is obeyed
    assert made(8, [], workers=2) == [(None, None)] * 2
    monkeypatch.setattr(slots, "_fitting", lambda: 1)
    assert len(made(8, [])) == 1


def test_gpus_are_given_out() -> None:
    assert made(8, ["0", "1"]) == [(4, "0"), (4, "1")]
    assert [gpu for _, gpu in made(8, ["0", "1"], gpus_per_trial=0.5)] == ["0", "1", "0", "1"]
    assert [gpu for _, gpu in made(8, ["0"], gpus_per_trial=0.3)] == ["0", "0", "0"]
    assert [gpu for _, gpu in made(8, ["0", "1", "2", "3"], gpus_per_trial=2)] == ["0,1", "2,3"]
    assert [gpu for _, gpu in made(8, ["0", "1", "2"], gpus_per_trial=2)] == ["0,1"]
    assert [gpu for _, gpu in made(8, ["GPU-a"], workers=2)] == ["GPU-a", "GPU-a"]
    assert made(2, ["0"], device="cpu") == [(1, None)] * 2


def test_a_slot_says_what_its_trial_may_use() -> None:
    (slot,) = make_slots(Sweep(workers=1, threads=3), "auto", cpus=4, gpus=["2"])
    assert slot.environment["OMP_NUM_THREADS"] == slot.environment["MKL_NUM_THREADS"] == "3"
    assert slot.environment["CUDA_VISIBLE_DEVICES"] == "2"
    (bare,) = make_slots(Sweep(workers=1), "auto", cpus=4, gpus=[])
    assert bare.environment == {"TRAINER_CORES": "4"}
    assert [slot.cores for slot in make_slots(Sweep(workers=2), "auto", cpus=9, gpus=[])] == [4, 4]


def test_which_gpus_are_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1, 3")
    assert visible_gpus() == ["1", "3"]
    for none in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", none)
        assert visible_gpus() == []
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 0\necho 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert visible_gpus() == ["0", "1"]
    program.write_text("#!/bin/sh\nexit 9\n")
    assert visible_gpus() == []
