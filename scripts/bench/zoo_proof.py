"""Named models through the real path on a few digits: composed, built, trained, evaluated, saved, reloaded.

Every model is as large as it always is; only the pictures are small. A model runs in a process of its own, forked
from one that has imported everything, since MMEngine keeps one Runner a process and imports take seconds.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from scripts.bench.zoo_cases import SIZE, Case

STEPS = ("build", "train", "evaluate", "reload", "predict")
LIMIT = 600.0  # seconds a model may take before it counts as stuck


@dataclass
class Proof:
    """What was seen of a model: each step is "" when it passed, else what went wrong.

    Attributes:
        size: width and height of the pictures in px.
        losses: the total loss of each iteration.
        changed: (how many, of how many) trainable tensors training changed; ``unchanged`` names some others.
        answers: tensors of answers that were compared.
        seconds: of each step, of ``all``, and ``processor`` time.
        memory: the largest resident size in MiB.
        needs: packages that the model needs and that aren't installed; nothing was tried then.
        note: what was done differently for this model, and why.
    """

    model: str
    task: str
    size: int = SIZE
    params: int = 0
    losses: list[float] = field(default_factory=list)
    changed: tuple[int, int] = (0, 0)
    unchanged: list[str] = field(default_factory=list)
    answers: int = 0
    steps: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    memory: int = 0
    needs: list[str] = field(default_factory=list)
    note: str = ""

    @property
    def passed(self) -> bool:
        return all(self.steps.get(step) == "" for step in STEPS)

    @property
    def failure(self) -> str:
        """The step that failed and why; empty where none did."""
        return next((f"{step}: {why}" for step, why in self.steps.items() if why), "")


def prove_all(chosen: Iterable[Case], logs: Path | None = None) -> Iterator[Proof]:
    """A proof of each case in turn. Logs stay in ``logs``; runs are removed as soon as they have served.

    Call it in a process where torch has computed nothing yet: its threads don't survive a fork.
    """
    from trainer.zoo.requirements import missing

    warm()
    logs = logs or Path(tempfile.mkdtemp(prefix="zoo-logs-"))
    logs.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="zoo-", dir=_scratch()) as scratch:
        os.environ["TRAINER_CACHE"] = str(Path(scratch) / "cache")
        for case in chosen:
            lacking = missing(case.base)
            yield (
                Proof(case.model, case.task, needs=lacking) if lacking else _apart(case, Path(scratch), logs)
            )


def warm() -> None:
    """Import all that a child needs; nothing is computed."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from trainer.engine import compat

    compat.apply()
    compat.hide_gpus()
    import faster_coco_eval  # noqa: F401
    import torch._dynamo  # noqa: F401 - an optimiser imports it
    from mmdet.utils import register_all_modules as det
    from mmpose.utils import register_all_modules as pose
    from mmseg.utils import register_all_modules as seg

    import trainer.commands.train
    import trainer.engine.hooks.checkpoints
    import trainer.engine.hooks.events
    import trainer.engine.registered
    import trainer.engine.runner
    import trainer.engine.train
    import trainer.inference.evaluation
    import trainer.inference.load_model  # noqa: F401
    from trainer.config.compose import compose

    compose("train", [])  # Hydra, the bridge and the data's readers
    for register in (det, pose, seg):
        register(init_default_scope=False)
    gc.collect()
    gc.freeze()  # what is shared with the children stays shared


def _scratch() -> str | None:
    """Memory instead of a disk for checkpoints that live for seconds, where there is plenty."""
    shared = Path("/dev/shm")
    return str(shared) if shared.is_dir() and shutil.disk_usage(shared).free > 12 << 30 else None


def _apart(case: Case, scratch: Path, logs: Path) -> Proof:
    """Prove a case in a forked child."""
    from scripts.bench.zoo_steps import prove

    answer, log, runs = scratch / "proof.json", logs / f"{case.model}.log", scratch / "runs"
    answer.unlink(missing_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    start = time.monotonic()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            with log.open("w") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
            answer.write_text(json.dumps(asdict(prove(case, runs))))
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    ended = _wait(child, start + LIMIT)
    shutil.rmtree(runs, ignore_errors=True)
    if ended == 0:
        return from_json(answer.read_text())
    why = f"the process ended with {ended} after {time.monotonic() - start:.0f} s; see {log}"
    return Proof(case.model, case.task, steps={"build": why})


def from_json(text: str) -> Proof:
    """A proof as it was written."""
    facts = json.loads(text)
    return Proof(**{**facts, "changed": tuple(facts["changed"])})


def _wait(child: int, until: float) -> int:
    """The exit status of a child, negative for a signal; one that takes too long is ended."""
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > until:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.01)
