"""A metric of the user's own, by its entry point: beside the task's own, and as the primary one."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
from toy import toy_experiment, toy_fit

from trainer.core import plugins
from trainer.core.errors import ConfigError
from trainer.engine.checkpoint.file import load
from trainer.engine.metrics import BoxMetrics, MaskMetrics, PoseMetrics, SegMetrics, named_metric
from trainer.runs.events.reader import events
from trainer.runs.run import Run

METRIC = """
from mmengine.evaluator import BaseMetric

class Sureness(BaseMetric):
    def __init__(self, ann_file=None):
        super().__init__()
        self.ann_file = ann_file

    def process(self, data_batch, data_samples):
        self.results += [float(max(probabilities)) for probabilities, truth in data_samples]

    def compute_metrics(self, results):
        return {"sureness": sum(results) / len(results), "images": float(len(results))}

class Bare:
    pass
"""


@pytest.fixture
def plugged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package with a metric, as its metadata has it."""
    (tmp_path / "sure_metric.py").write_text(METRIC)
    metadata = tmp_path / "sure-1.0.dist-info"
    metadata.mkdir()
    (metadata / "entry_points.txt").write_text(
        "[trainer.metrics]\nsure = sure_metric:Sureness\nbare = sure_metric:Bare\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()


def test_our_own_metrics_have_names_in_the_same_form() -> None:
    kinds = {"box": BoxMetrics, "mask": MaskMetrics, "pose": PoseMetrics, "segmentation": SegMetrics}
    assert {name: plugins.load("trainer.metrics", name) for name in plugins.names("trainer.metrics")} == kinds


def test_a_metric_gets_what_its_signature_asks_for(plugged: None) -> None:
    assert named_metric("sure", ann_file="a.json", other=1).ann_file == "a.json"  # type: ignore[attr-defined]
    with pytest.raises(
        ConfigError, match=r"task\.metrics: bare \(sure_metric:Bare\) is no class of mmengine"
    ):
        named_metric("bare")


def test_it_chooses_the_best_checkpoint(plugged: None, run: Run) -> None:
    exp = toy_experiment(task__primary_metric="sureness")
    evaluator: Any = [{"type": "ToyMetric"}, {"type": "NamedMetric", "name": "sure"}]
    hooks = {"checkpoint": {"type": "CheckpointHook", "save_best": "sureness", "rule": "greater"}}
    result = toy_fit(run, exp, epochs=2, val_evaluator=evaluator, default_hooks=hooks)
    validations = [event["metrics"] for event in events(run.events) if event["type"] == "validation"]
    assert [set(metrics) for metrics in validations] == [{"score", "other", "sureness", "images"}] * 2
    best = max(metrics["sureness"] for metrics in validations)
    assert result["primary_metric"]["value"] == best
    assert load(run.checkpoints / "best.pth")["progress"]["value"] == best
    assert validations[0]["images"] == 24
