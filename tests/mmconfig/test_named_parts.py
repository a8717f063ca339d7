"""Modules and metrics from outside, in the MMEngine config."""

import pytest

from tests.mmconfig.bases import MASK, RTMDET, SEGFORMER, build
from trainer.core import plugins
from trainer.core.errors import ConfigError
from trainer.core.plugins import EntryPoint
from trainer.mmconfig.named_parts import with_named_metrics


@pytest.fixture
def plugged(monkeypatch):
    """A plug-in with a module and a metric."""
    entries = {
        "trainer.modules": (EntryPoint("trainer.modules", "parts", "json.tool", "mine"),),
        "trainer.metrics": (EntryPoint("trainer.metrics", "mine", "my_package:MyMetric", "mine"),),
    }
    monkeypatch.setattr(plugins, "_installed", lambda paths: entries)


def test_modules_of_the_user_and_of_plugins_join_those_of_the_config(plugged):
    cfg = build(RTMDET, imports=["json", "csv"], mm={"custom_imports": {"imports": ["csv", "string"]}})
    assert cfg["custom_imports"] == {
        "imports": ["csv", "string", "json", "json.tool", "trainer.engine.registered"],
        "allow_failed_imports": False,
    }


def test_a_module_that_is_not_there_is_named_with_its_key():
    with pytest.raises(ConfigError, match=r"imports: there is no module 'lost_parts.hooks'; .*PYTHONPATH"):
        build(RTMDET, imports=["json", "lost_parts.hooks"])


def test_named_metrics_come_after_the_tasks_own(plugged):
    cfg = build(RTMDET, task__metrics=["mine"])
    for split in ("val", "test"):
        own, named = cfg[f"{split}_evaluator"]
        assert own["type"] == "BoxMetrics"
        assert named == {"type": "NamedMetric", "name": "mine", "ann_file": own["ann_file"]}
    assert build(SEGFORMER, task__metrics=["mine"])["val_evaluator"][1] == {
        "type": "NamedMetric",
        "name": "mine",
    }


def test_a_metric_that_is_not_there_or_twice_is_refused(plugged):
    with pytest.raises(ConfigError, match=r"'mien'.*mine"):
        build(RTMDET, task__metrics=["mien"])
    with pytest.raises(ConfigError, match=r"task\.metrics: mask is the task's own metric"):
        build(MASK, task__metrics=["mask"])


def test_another_data_set_is_measured_by_the_named_metrics_too(plugged):
    base = build(RTMDET, task__metrics=["mine"])["val_evaluator"]
    other = {"type": "BoxMetrics", "ann_file": "other.json"}
    assert with_named_metrics(other, base) == [
        other,
        {"type": "NamedMetric", "name": "mine", "ann_file": "other.json"},
    ]
    assert with_named_metrics(other, base[0]) == other
