"""One named model through the real path on a few digits: composed, built, trained, evaluated, saved, reloaded.

Every model is as large as it always is; only the pictures are small. A model runs in a process of its own, forked
from one that has imported everything, since MMEngine keeps one Runner a process and imports take seconds.
"""

from __future__ import annotations

import gc
import json
import math
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

STEPS = ("build", "train", "evaluate", "reload", "predict")
BATCH = {"pose": 4}  # boxes of a few scenes; images elsewhere
SIZE = 64
LIMIT = 600.0  # seconds a model may take before it counts as stuck


@dataclass(frozen=True)
class Special:
    """What a model needs that the others don't, and why."""

    why: str
    size: int = SIZE
    words: tuple[str, ...] = ()
    iterations: int | None = None
    batch: int | None = None


_QUERIES = "its 900 queries are chosen from as many places, which smaller pictures don't have"
_RESIDUAL = "residual branches that start at zero pass nothing back in the first iteration"
_YOUNG = "learning slowly: norm layers' statistics are too young for its own rate to stay finite"
SPECIAL: dict[str, Special] = {
    "ssd300": Special("its anchors and layers are made for 300 px", size=300, batch=1, iterations=1),
    "dino-r50": Special(_QUERIES, size=224, words=("augmentation=none",)),
    "dino-swin-l": Special(_QUERIES, size=128, words=("augmentation=none",)),
    "solov2-r50": Special("its grids are as many at any size", batch=1, iterations=1),
    "simplebaseline-r50": Special(_RESIDUAL, iterations=2),
    "pidnet-s": Special(_YOUNG, words=("optimizer.lr=1e-4",)),
    "segnext-t": Special("its decoder draws at random when it answers, too: the same seed before both"),
    "dekr-w32": Special("it answers for one image at a time", words=("runtime.val_batch_size=1",)),
}

# Regions that a two-stage detector looks at: a hundred take a second on a CPU. The network is the same.
_REGIONS = (
    "mm.model.train_cfg.rpn_proposal.max_per_img=32",
    "mm.model.test_cfg.rpn.max_per_img=32",
    "mm.model.test_cfg.rcnn.max_per_img=8",
)
_SAMPLES = "mm.model.train_cfg.rcnn{}.sampler.num=32"
FEWER: dict[str, tuple[str, ...]] = {
    "faster_rcnn": (*_REGIONS, _SAMPLES.format("")),
    "mask_rcnn": (*_REGIONS, _SAMPLES.format("")),
    "cascade_rcnn": (*_REGIONS, *(_SAMPLES.format(f".{stage}") for stage in range(3))),
}


@dataclass
class Proof:
    """What was seen of a model: each step is "" when it passed, else what went wrong."""

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
    notes: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return all(self.steps.get(step) == "" for step in STEPS)


@dataclass(frozen=True)
class Case:
    """A model to prove: its usual task, its family, and how many iterations it trains."""

    model: str
    task: str
    family: str
    iterations: int = 1

    @property
    def special(self) -> Special:
        return SPECIAL.get(self.model, Special(""))


def cases(names: Iterable[str] = ()) -> list[Case]:
    """All named models, or these. One of each family trains two iterations, the others one."""
    from trainer.config.paths import Conf
    from trainer.zoo.names import Models

    models = Models(Conf())
    wanted = {models.resolve(name) for name in names}
    found: list[Case] = []
    seen: set[str] = set()
    for model in models.named:
        base = str(models.conf.read("model", model.name)["base"])
        family = base.partition("::")[2].rpartition("/")[0] or base
        special = SPECIAL.get(model.name)
        iterations = (special and special.iterations) or (1 if family in seen else 2)
        found.append(Case(model.name, model.tasks[0], family, iterations))
        seen.add(family)
    return [case for case in found if not wanted or case.model in wanted]


def prove_all(chosen: Iterable[Case], folder: Path | None = None) -> Iterator[Proof]:
    """A proof of each case in turn. Logs stay in ``folder``; runs are removed as soon as they have served.

    Call it in a process where torch has computed nothing yet: its threads don't survive a fork.
    """
    warm()
    logs = folder or Path(tempfile.mkdtemp(prefix="zoo-logs-"))
    logs.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="zoo-", dir=_scratch()) as scratch:
        os.environ["TRAINER_CACHE"] = str(Path(scratch) / "cache")
        for case in chosen:
            yield _apart(case, Path(scratch), logs)


def warm() -> None:
    """Import all that a child needs; nothing is computed."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from trainer.engine import compat

    compat.apply()
    compat.hide_gpus()
    import faster_coco_eval  # noqa: F401
    from mmdet.utils import register_all_modules as det
    from mmpose.utils import register_all_modules as pose
    from mmseg.utils import register_all_modules as seg

    import trainer.commands.train
    import trainer.engine.checkpoint_hook
    import trainer.engine.events_hook
    import trainer.engine.fit
    import trainer.engine.registered
    import trainer.engine.runner
    import trainer.inference.evaluate
    import trainer.inference.load  # noqa: F401
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
    answer, log, runs = scratch / "proof.json", logs / f"{case.model}.log", scratch / "runs"
    answer.unlink(missing_ok=True)
    sys.stdout.flush()
    start = time.monotonic()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            with log.open("w") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
            proof = prove(case, runs)
            answer.write_text(json.dumps(asdict(proof)))
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
        facts = json.loads(answer.read_text())
        return Proof(**{**facts, "changed": tuple(facts["changed"])})
    proof = Proof(case.model, case.task)
    proof.steps["build"] = f"the process ended with {ended}; see {log}"
    proof.seconds["all"] = time.monotonic() - start
    return proof


def _wait(child: int, until: float) -> int:
    """The exit status of a child, negative for a signal; one that takes too long is ended."""
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > until:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.01)


def words(case: Case, output: Path) -> list[str]:
    """What would be typed for this proof."""
    special = case.special
    batch = special.batch or BATCH.get(case.task, 2)
    scenes = 2 if case.task == "pose" else batch * case.iterations
    return [
        f"model={case.model}", f"task={case.task}", "dataset=digits", f"dataset.scenes={scenes}",
        "dataset.val_scenes=2", "dataset.scene_size=64", f"dataset.image_size={special.size}",
        "scheduler=constant", "runtime.epochs=1", f"runtime.batch_size={batch}", "runtime.workers=0",
        *([] if any("val_batch_size" in word for word in special.words) else ["runtime.val_batch_size=2"]),
        "runtime.device=cpu", "runtime.auto_scale_lr=false", "runtime.log_interval=1", "tracking=none",
        f"output_dir={output}", *FEWER.get(case.family, ()), *special.words,
    ]  # fmt: skip


def prove(case: Case, output: Path) -> Proof:
    """All steps in this process, until one fails."""
    proof = Proof(case.model, case.task, case.special.size)
    if case.special.why:
        proof.notes.append(case.special.why)
    witness: dict[str, Any] = {}
    seen: dict[str, Any] = {}

    def build() -> None:
        from trainer.bridge.build import build_config
        from trainer.config.compose import compose
        from trainer.data.prepare import prepare

        seen["exp"], _ = compose("train", words(case, output))
        seen["bundle"] = prepare(seen["exp"].dataset, case.task)
        seen["built"] = build_config(seen["exp"], seen["bundle"])

    def train() -> None:
        from trainer.commands.train import open_run, write_configuration
        from trainer.engine.fit import fit

        run = open_run(seen["exp"])
        seen["run"] = run
        built = seen["built"]
        built.cfg["work_dir"] = str(run.dir)
        write_configuration(run, seen["exp"], words(case, output))
        built.cfg["custom_hooks"] = [*(built.cfg.get("custom_hooks") or []), _witness(witness, case)]
        seen["result"] = fit(built.config(), run, seen["exp"], seen["bundle"])
        _check_training(proof, witness)

    def evaluated() -> None:
        metrics = seen["result"]["metrics"]
        primary = seen["result"]["primary_metric"]["value"]
        assert primary is not None and math.isfinite(primary), f"the primary metric is {primary}"
        numbers = [value for value in metrics.values() if isinstance(value, (int, float))]
        assert numbers and all(map(math.isfinite, numbers)), f"metrics that are no numbers: {metrics}"

    def reload() -> None:
        import torch

        from trainer.inference.evaluate import evaluate
        from trainer.inference.load import load_model

        predictor = seen["predictor"] = load_model(seen["run"].dir, device="cpu")
        answers: list[Any] = []
        step = predictor.model.val_step

        def val_step(batch: Any) -> Any:
            if not answers:
                seen["raw"] = _raw(predictor.model, batch)
            torch.manual_seed(len(answers))
            outputs = step(batch)
            answers.append(_tensors(outputs))
            return outputs

        predictor.model.val_step = val_step
        again = evaluate(predictor, "val")
        predictor.model.val_step = step
        _same("the network's outputs", witness["raw"], seen["raw"])
        _same("the answers", witness["answers"], answers)
        proof.answers = sum(map(len, [one for batch in answers for one in batch if one.dim()]))
        trained = seen["result"]["metrics"]
        for name, value in again.metrics.items():
            if name in trained:
                assert value == trained[name] or math.isnan(value), f"{name}: {trained[name]}, now {value}"

    def predict() -> None:
        found = list(seen["predictor"].predict_split("val", batch_size=2))
        assert len(found) == 2, f"{len(found)} answers for 2 images"
        for _, answer in found:
            _check_answer(case.task, answer)

    start = time.monotonic()
    actions = (build, train, evaluated, reload, predict)
    for step, action in zip(STEPS, actions, strict=True):
        if not _try(proof, step, action):
            if step == "train" and "before" not in witness:
                proof.steps["build"] = proof.steps.pop("train")
            break
    proof.params = witness.get("params", 0)
    import resource

    proof.memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    proof.seconds["all"] = time.monotonic() - start
    return proof


def _try(proof: Proof, step: str, action: Callable[[], None]) -> bool:
    start = time.monotonic()
    try:
        action()
        proof.steps[step] = ""
    except Exception as error:
        traceback.print_exc()
        text = getattr(error, "message", None) or str(error)
        proof.steps[step] = f"{type(error).__name__}: {' '.join(text.split())}"[:400]
    proof.seconds[step] = time.monotonic() - start
    return not proof.steps[step]


def _witness(seen: dict[str, Any], case: Case) -> dict[str, Any]:
    """A hook's config; the hook keeps what training did with the network."""
    import torch
    from mmengine.hooks import Hook
    from mmengine.registry import HOOKS

    class Witness(Hook):
        priority = "VERY_LOW"  # the averaged weights are in their place during validation

        def before_train(self, runner: Any) -> None:
            seen["params"] = sum(one.numel() for one in runner.model.parameters())
            named = runner.model.named_parameters()
            seen["before"] = {name: one.detach().clone() for name, one in named if one.requires_grad}
            seen["losses"], seen["answers"] = [], []

        def after_train_iter(
            self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
        ) -> None:
            seen["losses"].append({key: float(value) for key, value in outputs.items() if "loss" in key})

        def after_train_epoch(self, runner: Any) -> None:
            named = dict(runner.model.named_parameters())
            seen["still"] = [key for key, old in seen["before"].items() if torch.equal(old, named[key])]

        def before_val_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
            torch.manual_seed(batch_idx)

        def after_val_iter(
            self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
        ) -> None:
            if batch_idx == 0:
                seen["raw"] = _raw(runner.model, data_batch)
            seen["answers"].append(_tensors(outputs))

    HOOKS.register_module(module=Witness, force=True)
    return {"type": "Witness"}


def _check_training(proof: Proof, seen: dict[str, Any]) -> None:
    proof.losses = [one["loss"] for one in seen["losses"]]
    total, still = len(seen["before"]), seen["still"]
    proof.changed, proof.unchanged = (total - len(still), total), still[:20]
    assert proof.losses, "no iteration was trained"
    wild = [
        f"{key} {value}" for one in seen["losses"] for key, value in one.items() if not math.isfinite(value)
    ]
    assert not wild, f"losses that are no numbers: {', '.join(wild)}"
    assert 2 * proof.changed[0] > total, f"only {proof.changed[0]} of {total} weights changed: {still[:3]}"


def _raw(model: Any, batch: Any) -> list[Any]:
    """What the network says of a batch before it is made into answers: of its head where that needs no labels."""
    import copy

    import torch

    torch.manual_seed(0)
    with torch.no_grad():
        data = model.data_preprocessor(copy.deepcopy(batch), False)
        try:
            found = model(**data, mode="tensor")
        except TypeError:  # some heads can't be asked alone
            found = model.extract_feat(data["inputs"])
    tensors = _tensors(found)
    assert tensors and all(torch.isfinite(one).all() for one in tensors), (
        "the network's outputs aren't finite"
    )
    return tensors


def _tensors(value: Any) -> list[Any]:
    """Copies of every tensor in what a model gives, in order."""
    import torch
    from mmengine.structures import BaseDataElement

    if isinstance(value, torch.Tensor):
        return [value.detach().clone()]
    if hasattr(value, "tensor") and isinstance(value.tensor, torch.Tensor):  # mmdet's boxes
        return [value.tensor.detach().clone()]
    if isinstance(value, BaseDataElement):
        predicted = [one for key, one in value.items() if not key.startswith(("gt_", "ignored"))]
        return [tensor for one in predicted for tensor in _tensors(one)]
    if isinstance(value, dict):
        return [tensor for key in sorted(value) for tensor in _tensors(value[key])]
    if isinstance(value, (list, tuple)):
        return [tensor for one in value for tensor in _tensors(one)]
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return [torch.as_tensor(value).clone()]
    return []


def _same(what: str, first: Any, second: Any) -> None:
    import torch

    if isinstance(first, list):
        assert len(first) == len(second) > 0 or not first, f"{what}: {len(first)} and {len(second)}"
        for one, other in zip(first, second, strict=True):
            _same(what, one, other)
        return
    assert first.shape == second.shape, f"{what} have shapes {tuple(first.shape)} and {tuple(second.shape)}"
    if not torch.equal(first, second):
        apart = (first.double() - second.double()).abs().max().item()
        raise AssertionError(f"{what} of the reloaded model differ by {apart:.3g}")


def _check_answer(task: str, answer: Any) -> None:
    import numpy as np

    assert tuple(answer.size) == (64, 64), f"size {answer.size}"
    if task == "semantic_segmentation":
        assert answer.segmentation.shape == (64, 64) and answer.segmentation.max() < len(answer.classes)
        return
    assert np.isfinite(answer.boxes).all() and np.isfinite(answer.scores).all()
    count = len(answer.scores)
    if task == "instance_segmentation":
        assert answer.masks.shape == (count, 64, 64), f"masks {answer.masks.shape} of {count} objects"
    if task == "pose":
        assert answer.keypoints.shape[0] == count and np.isfinite(answer.keypoints).all()
