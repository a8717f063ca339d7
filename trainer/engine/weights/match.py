"""Fitting a checkpoint to a model: tensor by tensor, and whatever doesn't fit is told or refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from trainer.core.errors import CheckpointError
from trainer.engine.weights.class_dependence import ClassAxis, class_axes, size_dependent
from trainer.engine.weights.class_names import names_in, names_of_base, rows
from trainer.engine.weights.head_rows import mix_rows
from trainer.engine.weights.identify import identify_model
from trainer.engine.weights.layout import Checkpoint, Tensors, counts, current_names, load_tensors, place_in
from trainer.engine.weights.loading_report import LoadingReport, NewTensor, dims, some

# Share of the file's backbone that may be left over before it is another, larger backbone.
LEFT_OVER = 0.2


@dataclass(frozen=True)
class MatchTarget:
    """What the model is for.

    Attributes:
        cfg: the final config; ``cfg["model"]`` is what the model was built from.
        task: one of the four.
        names: its classes, or for pose its keypoints, in label order.
        base: the base config, ``package::path``.
        model: the model's name in messages.
    """

    cfg: Mapping[str, Any]
    task: str
    names: Sequence[str]
    base: str
    model: str

    @property
    def pose(self) -> bool:
        return self.task == "pose"


def match_weights(
    model: nn.Module, checkpoint: Checkpoint, goal: MatchTarget, source: str | None = None
) -> LoadingReport:
    """Load what fits; heads of other classes (or keypoints) keep the rows of those that both have.

    The model is as it was when an error is raised.

    Args:
        model: initialised, on any device.
        source: what the report calls the file.

    Raises:
        CheckpointError: anything else doesn't fit; names the first tensors, and the likely model where it can be told.
    """
    with torch.no_grad():
        fitting = _Fitting(model, checkpoint, goal, source or checkpoint.path.name)
        return fitting.run()


@dataclass
class _Fitting:
    model: nn.Module
    checkpoint: Checkpoint
    goal: MatchTarget
    source: str
    final: Tensors = field(default_factory=dict)

    def run(self) -> LoadingReport:
        self.tensors = place_in(self.model, self.checkpoint)
        self.whole = self.model.state_dict()
        self.target = {key: value for key, value in self.whole.items() if counts(key) and not _of_data(key)}
        self.report = LoadingReport(self.source, total=len(self.target))
        self.report.what = "keypoints" if self.goal.pose else "classes"
        self.report.here = len(self.goal.names)
        for key, value in self.whole.items():
            given = None if _of_data(key) else self.tensors.get(key)
            if given is not None and given.numel() == value.numel() == 1:
                given = given.reshape(value.shape)  # older torch saved numbers as lists of one
            if given is not None and given.shape == value.shape:
                self.final[key] = given
        self._leave_out_missing_parts()
        if self._open() or self._names_differ():
            self._fit_classes(class_axes(self.model, self.goal.cfg, len(self.goal.names), self.goal.pose))
        if self._misfits():
            self._leave_out_sizes()
        self._refuse()
        load_tensors(self.model, dict(self.final), current_names)
        changed = {each.name for each in self.report.anew}
        self.report.loaded = sum(key in self.final and key not in changed for key in self.target)
        return self.report

    # --- what is allowed not to fit -------------------------------------------------------------------------

    def _leave_out_missing_parts(self) -> None:
        """A file of a backbone alone leaves the other parts as they are."""
        parts: dict[str, int] = {}
        for key in self.target:
            parts[key.partition(".")[0]] = parts.get(key.partition(".")[0], 0) + 1
        given = {key.partition(".")[0] for key in self.tensors} & parts.keys()
        if given == {"backbone"}:
            self.report.fresh = {part: count for part, count in parts.items() if part != "backbone"}

    def _fit_classes(self, axes: Mapping[str, ClassAxis | None]) -> None:
        """Heads of other classes keep the rows of those that both have."""
        there, count = self._count_there(axes), len(self.goal.names)
        if there is None:
            return
        names = self._names_there(there)
        places = rows(names, self.goal.names) if names else [None] * count
        same = there == count
        if same and (places == list(range(there)) or not any(place is not None for place in places)):
            return
        self.report.there = there
        self.report.kept = [
            name for name, place in zip(self.goal.names, places, strict=True) if place is not None
        ]
        what = self.report.what
        why = f"{there} {what} there, {count} here" if not same else f"other {what} there than here"
        for key, axis in axes.items():
            given = self.tensors.get(key)
            if given is None or key in self._fresh_keys() or not _alike(given, self.target[key], axis):
                continue
            own = self.target[key]
            value = mix_rows(own, given, axis, places) if axis is not None else None
            self.final.pop(key, None)
            if value is not None:
                self.final[key] = value
            self.report.anew.append(NewTensor(key, tuple(given.shape), tuple(own.shape), why))

    def _leave_out_sizes(self) -> None:
        """What is as large as the image can't be taken from a model for another size."""
        depends = size_dependent(self.model, self.goal.cfg, self.goal.task)
        for key in self._misfits():
            if key in depends:
                there, here = tuple(self.tensors[key].shape), tuple(self.target[key].shape)
                self.report.anew.append(NewTensor(key, there, here, "made for another image size"))

    # --- what isn't -----------------------------------------------------------------------------------------

    def _refuse(self) -> None:
        missing = [key for key in self._open() if key not in self.tensors]
        misfits = self._misfits()
        unused = [key for key in self.tensors if key not in self.whole and counts(key)]
        larger = self._larger_backbone(unused)
        self.report.unused = unused
        if not missing and not misfits and not larger:
            return
        wrong = []
        if missing:
            wrong.append(f"{len(missing)} of {len(self.target)} tensors aren't in the file ({some(missing)})")
        if misfits:
            shown = [
                f"{key}: {dims(self.tensors[key].shape)} there, {dims(self.target[key].shape)} here"
                for key in misfits
            ]
            wrong.append(f"{len(misfits)} have another shape ({some(shown)})")
        if larger:
            wrong.append(f"the file's backbone has {len(larger)} tensors more ({some(larger)})")
        likely = identify_model(self.checkpoint.meta, self.checkpoint.path)
        hint = f". It says that it is of {likely}" if likely and likely != self.goal.model else ""
        raise CheckpointError(
            f"{self.checkpoint.path} doesn't fit the model {self.goal.model}: {'; '.join(wrong)}{hint}"
        )

    def _larger_backbone(self, unused: list[str]) -> list[str]:
        """What a ResNet-101's file has left over in a ResNet-50, where everything else fits."""
        stages = {".".join(key.split(".")[:2]) for key in self.target}
        left = [
            key for key in unused if key.startswith("backbone.") and ".".join(key.split(".")[:2]) in stages
        ]
        whole = sum(key.startswith("backbone.") for key in self.tensors)
        return left if len(left) > LEFT_OVER * whole else []

    # --- helpers --------------------------------------------------------------------------------------------

    def _open(self) -> list[str]:
        """Tensors of the model that nothing is decided about yet."""
        decided = {each.name for each in self.report.anew} | self._fresh_keys()
        return [key for key in self.target if key not in self.final and key not in decided]

    def _misfits(self) -> list[str]:
        return [key for key in self._open() if key in self.tensors]

    def _fresh_keys(self) -> set[str]:
        return {key for key in self.target if key.partition(".")[0] in self.report.fresh}

    def _names_differ(self) -> bool:
        theirs = names_in(self.checkpoint.meta, self.goal.pose)
        return theirs is not None and rows(theirs, self.goal.names) != list(range(len(self.goal.names)))

    def _names_there(self, count: int) -> list[str] | None:
        theirs = names_in(self.checkpoint.meta, self.goal.pose)
        if theirs is None:
            theirs = names_of_base(self.goal.base, self.goal.pose)
        return theirs if theirs is not None and len(theirs) == count else None

    def _count_there(self, axes: Mapping[str, ClassAxis | None]) -> int | None:
        """The number of classes in the file: what all of its tensors agree on; None when they don't."""
        counted = {
            axis.classes(given.shape[axis.dim])
            for key, axis in axes.items()
            if axis is not None
            and (given := self.tensors.get(key)) is not None
            and _alike(given, self.target[key], axis)
        }
        return counted.pop() if len(counted) == 1 else None


def _alike(given: torch.Tensor, own: torch.Tensor, axis: ClassAxis | None) -> bool:
    """Whether two tensors have the same shape but for the dimension of the classes."""
    if given.dim() != own.dim():
        return False
    return axis is None or all(
        dim == axis.dim or given.shape[dim] == own.shape[dim] for dim in range(own.dim())
    )


def _of_data(key: str) -> bool:
    """Constants in a loss (the sigmas of keypoints) are the data set's, not the model's."""
    return any(part.startswith("loss_") for part in key.split("."))
