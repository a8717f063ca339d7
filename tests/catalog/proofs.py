"""Named models composed, built, trained, evaluated, saved, reloaded and queried, at a small size, one by one.

The test files beside this one share it: each is a part of the models, so that pytest-xdist can run the parts side by
side.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from scripts.bench.zoo_cases import Case, cases
from scripts.bench.zoo_proof import STEPS, Proof, from_json

ROOT = Path(__file__).parents[2]
# Minutes on one thread and gigabytes of checkpoints; the smaller sibling proves the family here, scripts/bench/zoo all.
SIBLINGS = {"dino-swin-l": "dino-r50", "mask2former-semantic-swin-l": "mask2former-semantic-r50"}
CASES = [case for case in cases() if case.model not in SIBLINGS]
REAL_TIME = ("rtmdet", "yolox")  # families of detectors


def part_of(case: Case) -> str:
    """The part that a model belongs to; each takes about as long as the others."""
    if case.task == "detection":
        return "real-time" if case.family in REAL_TIME else "detection"
    return "semantic" if case.task == "semantic_segmentation" else "masks and poses"


def part(name: str) -> list[Case]:
    """The models of a part."""
    return [case for case in CASES if part_of(case) == name]


class Prover:
    """A process that has imported everything, and forks a child for each model that it proves.

    Args:
        logs: the folder of its logs.
    """

    def __init__(self, logs: Path) -> None:
        command = [sys.executable, str(ROOT / "scripts/bench/zoo"), "--serve", "--logs", str(logs)]
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.errors = (logs / "errors.txt").open("w+")
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self.errors}
        self.process = subprocess.Popen(command, text=True, env=env, **pipes)

    def prove(self, model: str) -> Proof:
        """Compose, build, train, evaluate, save, reload and query a model."""
        requests, answers = self.process.stdin, self.process.stdout
        assert requests is not None and answers is not None
        requests.write(f"{model}\n")
        requests.flush()
        for line in answers:
            if line.startswith("{"):
                return from_json(line)
        self.errors.seek(0)
        pytest.fail(f"no proof of {model}: {self.errors.read()[-2000:]}")


@contextmanager
def proving(logs: Path) -> Iterator[Prover]:
    """A :class:`Prover` that ends with the block."""
    prover = Prover(logs)
    try:
        yield prover
    finally:
        prover.process.communicate()  # it ends with its input
        prover.errors.close()


def check(case: Case, proof: Proof) -> None:
    """Assert that every step passed, and that training did something."""
    if proof.needs:
        pytest.skip(f"needs {', '.join(proof.needs)}, which isn't installed")
    assert not proof.failure, proof.failure
    assert list(proof.steps) == list(STEPS)
    assert proof.params > 500_000 and proof.seconds["all"] > 0
    assert len(proof.losses) >= case.iterations
    assert proof.changed[0] > proof.changed[1] / 2
