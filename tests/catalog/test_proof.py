"""Every named model is composed, built, trained, evaluated, saved, reloaded and asked, at a small size."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.bench.zoo_cases import Case, cases
from scripts.bench.zoo_proof import STEPS, Proof, from_json

ROOT = Path(__file__).parents[2]
# Minutes on one thread and gigabytes of checkpoints; the smaller sibling proves the family here, scripts/bench/zoo all.
SIBLINGS = {"dino-swin-l": "dino-r50", "mask2former-semantic-swin-l": "mask2former-semantic-r50"}
CASES = [case for case in cases() if case.model not in SIBLINGS]


class Prover:
    """A process that has imported everything, and proves a model whenever it is asked to."""

    def __init__(self, logs: Path) -> None:
        line = [sys.executable, str(ROOT / "scripts/bench/zoo"), "--serve", "--logs", str(logs)]
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.errors = (logs / "errors.txt").open("w+")
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self.errors}
        self.process = subprocess.Popen(line, text=True, env=env, **pipes)

    def prove(self, model: str) -> Proof:
        asked, answers = self.process.stdin, self.process.stdout
        assert asked is not None and answers is not None
        asked.write(f"{model}\n")
        asked.flush()
        for line in answers:
            if line.startswith("{"):
                return from_json(line)
        self.errors.seek(0)
        pytest.fail(f"no proof of {model}: {self.errors.read()[-2000:]}")


@pytest.fixture(scope="module")
def prover(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prover]:
    prover = Prover(tmp_path_factory.mktemp("zoo"))
    yield prover
    prover.process.communicate()  # it ends with its input
    prover.errors.close()


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.model)
def test_model(case: Case, prover: Prover) -> None:
    proof = prover.prove(case.model)
    if proof.needs:
        pytest.skip(f"needs {', '.join(proof.needs)}, which isn't installed")
    assert not proof.failure, proof.failure
    assert list(proof.steps) == list(STEPS)
    assert proof.params > 500_000 and proof.seconds["all"] > 0
    assert len(proof.losses) >= case.iterations
    assert proof.changed[0] > proof.changed[1] / 2


def test_a_sibling_proves_the_family_of_what_is_too_large() -> None:
    families = {case.model: case.family for case in cases()}
    chosen = {case.model for case in CASES}
    for large, small in SIBLINGS.items():
        assert small in chosen and families[large] == families[small]
