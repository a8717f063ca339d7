from __future__ import annotations

from itertools import pairwise

from trainer.tracking.points import TRAIN_POINTS, clean_key, points_of
from trainer.tracking.state import Progress


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
    progress = Progress()
    for kind, status in (
        ("cancelled", "KILLED"),
        ("resumed", "RUNNING"),
        ("failed", "FAILED"),
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
    progress, points = Progress(), []
    for event in events:
        new, progress = points_of(event, progress)
        points += new
    return points
