"""The result of a proof: the differences, the limits that they must keep, and the form in ``proof.json``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from trainer.export.proof.compare import Agreement, Difference
from trainer.export.proof.rounding import Rounding


@dataclass(frozen=True)
class Limits:
    """The limits for a file of some precision.

    Attributes:
        difference: largest difference of an output, relative to its largest value; None: only the answers count.
        share: smallest share of answers that are the same, from 0 to 1.
        metric: largest difference of the primary metric, from 0 to 1.
    """

    difference: float | None
    share: float
    metric: float

    @classmethod
    def of(cls, precision: str, tolerance: float, metric: float | None) -> Limits:
        """The limits for fp32, fp16 or int8; if ``metric`` is None, the usual one of that precision."""
        usual = {"fp32": (tolerance, 0.99, 0.001), "fp16": (None, 0.9, 0.01), "int8": (None, 0.0, 0.05)}[
            precision
        ]
        return cls(usual[0], usual[1], usual[2] if metric is None else metric)


@dataclass(frozen=True)
class Metric:
    """The primary metric on the validation images.

    Attributes:
        checkpoint: its value for the model in PyTorch, by training's own validation (pose: without the flip test).
        runtime: its value for the file.
        images: the number of images (top-down pose: boxes) that it was computed on.
        whole: whether that is the whole split.
        graph: its value for the exported graph in PyTorch, if ``apart`` says why it may differ; None otherwise.
        apart: why the file may differ from training's validation.
        all: every metric of each side, by name.
    """

    name: str
    checkpoint: float
    runtime: float
    images: int
    whole: bool
    graph: float | None
    apart: tuple[str, ...]
    all: Mapping[str, Mapping[str, float]]

    @property
    def difference(self) -> float:
        """Between the file and what it must equal: the graph if it was evaluated, else the checkpoint."""
        return abs(self.runtime - (self.checkpoint if self.graph is None else self.graph))


@dataclass(frozen=True)
class Latency:
    """Seconds a run with a batch of this size.

    Attributes:
        runtime: of the file.
        eager: of PyTorch.
        compiled: with torch.compile; a phrase that says why there is no number; None: not measured.
    """

    batch: int
    runtime: float
    eager: float
    compiled: float | str | None


@dataclass(frozen=True)
class Proof:
    """Whether a file's answers equal PyTorch's, and where they differ. Its fields are the keys of ``proof.json``.

    Attributes:
        runtime: name and version of the runtime that ran the file.
        asked: the precision that was asked for.
        precision: the precision of the weights in the file.
        images: where the compared images are from.
        compared: the number of compared images.
        batches: the batch sizes that were compared.
        modules: the modules of OpenMMLab, the trainer and the runtimes that were imported where the file ran.
        metric: None without ground truth; ``no_metric`` says why.
        rounding: how far PyTorch's answers move when rounding changes; measured only where the file's differ.
        forced: whether the file was kept although the proof failed.
    """

    runtime: str
    asked: str
    precision: str
    images: str
    compared: int
    batches: tuple[int, ...]
    differences: tuple[Difference, ...]
    agreement: Agreement
    metric: Metric | None
    no_metric: str | None
    latency: tuple[Latency, ...]
    threads: int
    size_bytes: int
    limits: Limits
    modules: tuple[str, ...]
    rounding: Rounding | None = None
    forced: bool = False

    @property
    def failures(self) -> list[str]:
        """The limits that are not kept, a sentence each."""
        failures = []
        if self.precision != self.asked:
            failures.append(f"its weights are {self.precision}, not {self.asked}")
        limit = self.limits.difference
        if limit is not None:
            failures += [
                f"{difference.output} differs by {difference.largest:.3g}, {difference.relative:.3g} of its largest "
                f"value (tolerance={limit:g})"
                for difference in self.differences
                # "not <=" rather than ">": NaN fails, too
                if not difference.whole and not difference.relative <= self._limit(difference.output, limit)
            ]
        if not self.agreement.share >= self._least_share:
            failures.append(
                f"only {self.agreement.matched} of {max(self.agreement.expected, self.agreement.found)} answers are "
                f"the same (at least {self.limits.share:.0%} must be)"
            )
        if self.metric is not None and not self.metric.difference <= self.limits.metric:
            failures.append(
                f"{self.metric.name} is {self.metric.runtime:.4f} and PyTorch's "
                f"{self.metric.runtime + self._gap:.4f} (metric_tolerance={self.limits.metric:g})"
            )
        return failures

    @property
    def remarks(self) -> list[str]:
        """What weakens the proof, a sentence each."""
        agreement, rounding = self.agreement, self.rounding
        if not (agreement.expected or agreement.found):
            return [
                f"neither side finds anything on the {self.images}: no answer was compared "
                "(images=... names others)"
            ]
        if rounding is None or not self.holds or not replace(self, rounding=None).failures:
            return []
        return [
            f"this model's answers depend on rounding: {agreement.share:.1%} of the file's equal PyTorch's, as do "
            f"{rounding.share:.1%} of PyTorch's own with weights changed by a millionth; its scores hardly differ "
            "from one place to another"
        ]

    @property
    def _least_share(self) -> float:
        limit = self.limits.share
        return limit if self.rounding is None else self.rounding.least_share(limit)

    def _limit(self, output: str, limit: float) -> float:
        return limit if self.rounding is None else self.rounding.largest_difference(output, limit)

    @property
    def _gap(self) -> float:
        assert self.metric is not None
        graph = self.metric.graph
        return (self.metric.checkpoint if graph is None else graph) - self.metric.runtime

    @property
    def holds(self) -> bool:
        """Whether every limit is kept."""
        return not self.failures

    def to_json(self) -> dict[str, Any]:
        """The content of ``proof.json``."""
        return {
            "holds": self.holds,
            "failures": self.failures,
            "remarks": self.remarks,
            **asdict(self),
            "differences": [{**asdict(item), "relative": item.relative} for item in self.differences],
            "agreement": self.agreement.to_json(),
        }

    def summary(self) -> dict[str, Any]:
        """The key ``proof`` of ``metadata.json``."""
        metric = self.metric
        return {
            "holds": self.holds,
            "forced": self.forced,
            "metric": None
            if metric is None
            else {"name": metric.name, "pytorch": metric.checkpoint, "runtime": metric.runtime},
        }


def without_nan(value: Any) -> Any:
    """Replace NaN and infinity, which JSON doesn't have, by None; tuples become lists.

    >>> without_nan({"iou": float("nan"), "sizes": (1, 2)})
    {'iou': None, 'sizes': [1, 2]}
    """
    if isinstance(value, Mapping):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
