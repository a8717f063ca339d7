from __future__ import annotations

from itertools import pairwise

from trainer.tracking.metric_mapping import TRAIN_POINTS, clean_key, points_of
from trainer.tracking.mlflow_state import MlflowProgress


def test_names_steps_and_times(log):
    points = _all([{"time": 5.25, **event} for event in [log.started(), *log.epoch(2)]])
    by_key = {}
    for point in points:
        by_key.setdefault(point.key, []).append((point.step, point.value))
    assert [step for step, _ in by_key["train/loss"]] == list(range(11, 21))
    assert by_key["epoch/loss"] == [(2, 0.5)]
    assert by_key["mAP50-95"] == [(2, 0.2)]
    assert by_key["per_class/one/mAP50"] == [(2, 0.5)]
    assert {point.time_ms for point in points} == {5250}


def test_the_best_so_far_is_beside_every_validation(log):
    def values(key, events):
        return [(point.step, point.value) for point in _all(events) if point.key == key]

    def validated(epoch, value):
        return {"type": "validation", "epoch": epoch, "iter": 10 * epoch, "metrics": {"mAP50-95": value}}

    events = [log.started(), validated(1, 0.4), validated(2, 0.6), validated(3, 0.5)]
    assert values("best/mAP50-95", events) == [(1, 0.4), (2, 0.6), (3, 0.6)]
    assert values("best/epoch", events) == [(1, 1), (2, 2), (3, 2)]
    # Gone on from the end of epoch 1: what was better after it doesn't count any more.
    events += [
        {**log.started(), "resumed": True},
        {"type": "resumed", "epoch": 1, "iter": 10},
        validated(2, 0.45),
    ]
    assert values("best/mAP50-95", events)[-1] == (2, 0.45)
    smaller = {**log.started(), "primary_metric": {"name": "mAP50-95", "mode": "min"}}
    assert values("best/mAP50-95", [smaller, validated(1, 0.4), validated(2, 0.6)])[-1] == (2, 0.4)


def test_the_machine_is_sampled_in_steps_of_one():
    events = [{"type": "system", "values": {"cpu_percent": value, "odd": None}} for value in (10.0, 20.0)]
    assert [(p.key, p.step, p.value) for p in _all(events)] == [
        ("system/cpu_percent", 1, 10.0),
        ("system/cpu_percent", 2, 20.0),
    ]


def test_validations_of_a_loop_that_counts_iterations_have_iterations_as_steps(log):
    points = _all([log.started(epochs=None), *log.epoch(2)])
    assert [point.step for point in points if point.key == "mAP50"] == [20]


def test_train_values_are_thinned_evenly(log):
    iterations = 25_000
    events = [{"type": "train", "iter": i, "losses": {"loss": 1.0}} for i in range(10, iterations + 1, 10)]
    steps = [point.step for point in _all([log.started(iterations=iterations), *events])]
    assert TRAIN_POINTS * 0.8 <= len(steps) <= TRAIN_POINTS + 1
    assert max(b - a for a, b in pairwise(steps)) <= 40


def test_not_a_number_is_a_gap():
    assert not _all([{"type": "train", "iter": 1, "losses": {"loss": None, "other": float("nan")}}])
    assert not _all([{"type": "validation", "epoch": 1, "metrics": {"mAP50": "good"}}])


def test_status_follows_the_last_word():
    progress = MlflowProgress()
    for kind, status in (
        ("cancelled", "KILLED"),
        ("resumed", "RUNNING"),
        ("failed", "FAILED"),
        ("pruned", "KILLED"),
        ("finished", "FINISHED"),
    ):
        _, progress = points_of({"type": kind, "time": 7.0}, progress)
        assert progress.status == status
    assert progress.ended == 7.0


def test_any_class_name_makes_a_valid_key():
    from mlflow.utils.validation import _validate_metric_name

    for name in ("traffic light", "a/b", "a//b", "../x", "Straße", "50%", "(none)", "", "/", "x" * 400):
        for key in (clean_key(f"per_class/{name}/mAP50"), clean_key(name)):
            _validate_metric_name(key)


def _all(events):
    progress, points = MlflowProgress(), []
    for event in events:
        new, progress = points_of(event, progress)
        points += new
    return points
