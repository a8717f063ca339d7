"""What a proof found, which of it counts, and how it is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from trainer.export.proof.compare import Agreement, Difference
from trainer.export.proof.rounding import Rounding


@dataclass(frozen=True)
class Limits:
    """What a file of some precision must reach.

    Attributes:
        difference: of an output, relative to its largest value; None where only the answers count.
        share: of answers that are the same.
        metric: largest difference of the primary metric, from 0 to 1.
    """

    difference: float | None
    share: float
    metric: float

    @classmethod
    def of(cls, precision: str, tolerance: float, metric: float | None) -> Limits:
        """Those of fp32, fp16 or int8; ``metric`` None: as usual for it."""
        usual = {"fp32": (tolerance, 0.99, 0.001), "fp16": (None, 0.9, 0.01), "int8": (None, 0.0, 0.05)}[
            precision
        ]
        return cls(usual[0], usual[1], usual[2] if metric is None else metric)


@dataclass(frozen=True)
class Metric:
    """The primary metric on the validation images.

    Attributes:
        checkpoint: of the model in PyTorch, by training's own validation (without the mirrored look of pose models).
        graph: of the exported graph in PyTorch, where ``apart`` says why it needn't be the same; None otherwise.
        runtime: of the file.
        images: how many images (pose: boxes) it was computed on.
        all: every metric, of both sides.
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
        """To what the file must equal: the graph, where it had to be asked."""
        return abs(self.runtime - (self.checkpoint if self.graph is None else self.graph))


@dataclass(frozen=True)
class Latency:
    """Seconds a run with so many images; in words where there is no number."""

    batch: int
    runtime: float
    eager: float
    compiled: float | str | None


@dataclass(frozen=True)
class Proof:
    """That a file answers as PyTorch does, or in what it doesn't.

    Attributes:
        runtime: what ran the file.
        asked, precision: what the file should be, and what its weights are.
        images: where the compared images are from, and ``compared``, how many.
        modules: what of OpenMMLab, the trainer and the runtimes was imported where the file ran.
        metric: None where there is no ground truth; ``no_metric`` says why.
        rounding: how far PyTorch's answers are from its own; asked for only where they are far from the file's.
        forced: whether the file was kept although it fails.
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
        """What is not as it must be, in words."""
        found = []
        if self.precision != self.asked:
            found.append(f"its weights are {self.precision}, not {self.asked}")
        limit = self.limits.difference
        if limit is not None:
            found += [
                f"{one.output} is {one.largest:.3g} apart, {one.relative:.3g} of its largest value "
                f"(tolerance={limit:g})"
                for one in self.differences
                if not one.whole and not one.relative <= self._most(one.output, limit)  # NaN never is
            ]
        if not self.agreement.share >= self._least_share:
            found.append(
                f"only {self.agreement.matched} of {max(self.agreement.expected, self.agreement.found)} answers are "
                f"the same ({self.limits.share:.0%} are asked for)"
            )
        if self.metric is not None and not self.metric.difference <= self.limits.metric:
            found.append(
                f"{self.metric.name} is {self.metric.runtime:.4f} and PyTorch's "
                f"{self.metric.runtime + self._gap:.4f} (metric_tolerance={self.limits.metric:g})"
            )
        return found

    @property
    def remarks(self) -> list[str]:
        """What makes the proof worth less."""
        same, rounding = self.agreement, self.rounding
        if not (same.expected or same.found):
            return [
                f"nothing is found on the {self.images}, on either side: no answer was compared "
                "(images=... names others)"
            ]
        if rounding is None or not self.holds or not replace(self, rounding=None).failures:
            return []
        return [
            f"this model's answers hang on rounding: {same.share:.1%} of the file's are PyTorch's, and "
            f"{rounding.share:.1%} of PyTorch's own with weights that differ by a millionth; it hardly tells "
            "one place from another"
        ]

    @property
    def _least_share(self) -> float:
        asked = self.limits.share
        return asked if self.rounding is None else self.rounding.least_share(asked)

    def _most(self, output: str, asked: float) -> float:
        return asked if self.rounding is None else self.rounding.most(output, asked)

    @property
    def _gap(self) -> float:
        assert self.metric is not None
        graph = self.metric.graph
        return (self.metric.checkpoint if graph is None else graph) - self.metric.runtime

    @property
    def holds(self) -> bool:
        return not self.failures

    def to_json(self) -> dict[str, Any]:
        """proof.json."""
        return {
            "holds": self.holds,
            "failures": self.failures,
            "remarks": self.remarks,
            **asdict(self),
            "differences": [{**asdict(one), "relative": one.relative} for one in self.differences],
            "agreement": self.agreement.to_json(),
        }

    def summary(self) -> dict[str, Any]:
        """What metadata.json tells of it."""
        metric = self.metric
        return {
            "holds": self.holds,
            "forced": self.forced,
            "metric": None
            if metric is None
            else {"name": metric.name, "pytorch": metric.checkpoint, "runtime": metric.runtime},
        }


def plain(value: Any) -> Any:
    """Without NaN and infinity, which JSON doesn't have."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and (value != value or abs(value) == float("inf")) else value
