"""The steps of one proof, in the process that trains."""

from __future__ import annotations

import copy
import math
import resource
import time
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.structures import BaseDataElement

from scripts.bench.zoo_cases import Case, words
from scripts.bench.zoo_proof import STEPS, Proof


def prove(case: Case, output: Path) -> Proof:
    """All steps, until one fails; the run goes below ``output``."""
    steps = _Steps(case, output)
    start = time.monotonic()
    for step in STEPS:
        if not steps.take(step):
            break
    steps.proof.memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    steps.proof.seconds.update(all=time.monotonic() - start, processor=time.process_time())
    return steps.proof


class Witness(Hook):
    """Keeps what training did with the network, and what it answered during validation."""

    priority = "VERY_LOW"  # the averaged weights are in their place by then

    def __init__(self) -> None:
        Witness.last = self
        self.before: dict[str, torch.Tensor] | None = None
        self.losses: list[dict[str, float]] = []
        self.answers: list[list[torch.Tensor]] = []

    def before_train(self, runner: Any) -> None:
        self.params = sum(one.numel() for one in runner.model.parameters())
        named = runner.model.named_parameters()
        self.before = {name: one.detach().clone() for name, one in named if one.requires_grad}

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        self.losses.append({key: float(value) for key, value in outputs.items() if "loss" in key})

    def after_train_epoch(self, runner: Any) -> None:
        now = dict(runner.model.named_parameters())
        self.still = [name for name, old in (self.before or {}).items() if torch.equal(old, now[name])]

    def before_val_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        torch.manual_seed(batch_idx)  # some decoders draw at random

    def after_val_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        if batch_idx == 0:
            self.raw = raw(runner.model, data_batch)
        self.answers.append(tensors(outputs))


HOOKS.register_module(module=Witness, force=True)


class _Steps:
    def __init__(self, case: Case, output: Path) -> None:
        self.case, self.output = case, output
        self.proof = Proof(case.model, case.task, case.special.size, note=case.special.why)
        self.witness: Any = None

    def take(self, step: str) -> bool:
        """One step; False when it failed."""
        start = time.monotonic()
        why = ""
        try:
            getattr(self, step)()
        except Exception as error:
            traceback.print_exc()
            text = " ".join(str(getattr(error, "message", None) or error).split())
            why = f"{type(error).__name__}: {text}"[:400]
            if step == "train" and getattr(self.witness, "before", None) is None:
                step = "build"  # the Runner couldn't be made
        self.proof.steps[step] = why
        self.proof.seconds[step] = self.proof.seconds.get(step, 0.0) + time.monotonic() - start
        return not why

    def build(self) -> None:
        from trainer.config.compose import compose
        from trainer.data.prepare import prepare
        from trainer.mmconfig.build_config import build_config

        self.exp, _ = compose("train", words(self.case, self.output))
        build_config(self.exp, prepare(self.exp.dataset, self.case.task))

    def train(self) -> None:
        """What ``python -m trainer`` does, with one hook more in the config."""
        from trainer.commands.train import train
        from trainer.mmconfig.build_config import Built

        config = Built.config

        def with_witness(built: Built) -> Any:
            built.cfg["custom_hooks"] = [*(built.cfg.get("custom_hooks") or []), {"type": "Witness"}]
            return config(built)

        Built.config = with_witness  # type: ignore[method-assign]
        try:
            self.result = train(self.exp, words(self.case, self.output))
        finally:
            self.witness = getattr(Witness, "last", None)
        assert self.result["status"] == "finished", self.result["status"]
        self._check_training()

    def _check_training(self) -> None:
        seen, proof = self.witness, self.proof
        proof.params, proof.losses = seen.params, [one["loss"] for one in seen.losses]
        total = len(seen.before)
        proof.changed, proof.unchanged = (total - len(seen.still), total), seen.still[:20]
        assert proof.losses, "no iteration was trained"
        wild = [
            f"{key} {value}" for one in seen.losses for key, value in one.items() if not math.isfinite(value)
        ]
        assert not wild, f"losses that are no numbers: {', '.join(wild)}"
        assert 2 * proof.changed[0] > total, (
            f"only {proof.changed[0]} of {total} weights changed: {seen.still[:3]}"
        )

    def evaluate(self) -> None:
        """Training's own validation gave finite figures."""
        primary = self.result["primary_metric"]["value"]
        assert primary is not None and math.isfinite(primary), f"the primary metric is {primary}"
        figures = [value for value in self.result["metrics"].values() if isinstance(value, (int, float))]
        assert figures and all(map(math.isfinite, figures)), f"no numbers: {self.result['metrics']}"

    def reload(self) -> None:
        """The checkpoint read back says the same: the network's own outputs, the answers, the figures."""
        from trainer.inference.evaluation import evaluate
        from trainer.inference.load_model import load_model

        self.predictor = load_model("latest", device="cpu", output_dir=self.output)
        model, outputs, answers = self.predictor.model, [], []
        step = model.val_step

        def val_step(batch: Any) -> Any:
            if not answers:
                outputs.extend(raw(model, batch))
            torch.manual_seed(len(answers))
            found = step(batch)
            answers.append(tensors(found))
            return found

        model.val_step = val_step
        again = evaluate(self.predictor, "val")
        model.val_step = step
        _same("the network's outputs", self.witness.raw, outputs)
        _same("the answers", self.witness.answers, answers)
        self.proof.answers = sum(map(len, answers))
        for name, value in again.metrics.items():
            before = self.result["metrics"].get(name, value)
            assert value == before or math.isnan(value), f"{name} was {before} and is {value}"

    def predict(self) -> None:
        found = list(self.predictor.predict_split("val", batch_size=2))
        assert len(found) == 2, f"{len(found)} answers for 2 images"
        for _, answer in found:
            _check_answer(self.case.task, answer)


def raw(model: Any, batch: Any) -> list[torch.Tensor]:
    """What the network says of a batch before it is made into answers: of its head where that needs no labels."""
    torch.manual_seed(0)
    with torch.no_grad():
        data = model.data_preprocessor(copy.deepcopy(batch), False)
        try:
            found = tensors(model(**data, mode="tensor"))
        except TypeError:  # some heads can't be asked alone
            found = tensors(model.extract_feat(data["inputs"]))
    assert found and all(bool(torch.isfinite(one).all()) for one in found), (
        "the network's outputs aren't finite"
    )
    return found


def tensors(value: Any) -> list[torch.Tensor]:
    """Copies of every tensor in what a model gives, in order, without ground truth."""
    if isinstance(value, torch.Tensor):
        return [value.detach().clone()]
    if isinstance(getattr(value, "tensor", None), torch.Tensor):  # mmdet's boxes
        return tensors(value.tensor)
    if isinstance(value, BaseDataElement):
        value = [one for key, one in value.items() if not key.startswith(("gt_", "ignored"))]
    if isinstance(value, dict):
        value = [value[key] for key in sorted(value)]
    if isinstance(value, (list, tuple)):
        return [one for item in value for one in tensors(item)]
    return [torch.as_tensor(value).clone()] if isinstance(value, np.ndarray) else []


def _same(what: str, first: Any, second: Any) -> None:
    """Two nested lists of tensors are equal bit for bit."""
    if isinstance(first, list):
        assert len(first) == len(second), f"{what}: {len(first)} and {len(second)}"
        for one, other in zip(first, second, strict=True):
            _same(what, one, other)
    elif not torch.equal(first, second):
        shapes = f"{tuple(first.shape)} and {tuple(second.shape)}"
        apart = (
            (first.double() - second.double()).abs().max().item() if first.shape == second.shape else shapes
        )
        raise AssertionError(f"{what} of the reloaded model differ: {apart}")


def _check_answer(task: str, answer: Any) -> None:
    width, height = answer.size
    assert (width, height) == (64, 64), f"the answer is for {width} x {height} px"
    if task == "semantic_segmentation":
        assert answer.segmentation.shape == (height, width) and answer.segmentation.max() < len(
            answer.classes
        )
        return
    count = len(answer.scores)
    assert np.isfinite(answer.boxes).all() and np.isfinite(answer.scores).all(), "boxes that aren't finite"
    if task == "instance_segmentation":
        assert answer.masks.shape == (count, height, width), f"masks {answer.masks.shape} of {count} objects"
    if task == "pose":
        assert len(answer.keypoints) == count and np.isfinite(answer.keypoints).all(), (
            "keypoints aren't finite"
        )
