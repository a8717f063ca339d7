"""Semantic segmentation's metrics against mmseg's own and against hand-counted pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from trainer.engine.metrics import SegMetrics, split_per_class

CLASSES = ("background", "road", "tree", "unicorn")  # No pixel is a unicorn.


def test_equals_mmsegs_metric():
    from mmseg.evaluation.metrics import IoUMetric

    samples = _random_samples()
    stock = IoUMetric(iou_metrics=["mIoU", "mDice"])
    metric = SegMetrics()
    values = []
    for each in (metric, stock):
        each.dataset_meta = {"classes": CLASSES}
        each.process({}, samples)
        values.append(each.evaluate(len(samples)))
    ours, theirs = values
    for name in ("mIoU", "mDice", "mAcc", "aAcc"):
        assert ours[name] * 100 == pytest.approx(theirs[name], abs=5.1e-3), name
    assert 0.2 < ours["mIoU"] < ours["mDice"] < 1
    _, classes = split_per_class(ours)
    assert set(classes) == {"background", "road", "tree"}


def test_counted_by_hand():
    # 255 is left out; road: 2 right, 1 missed, 1 wrongly called road.
    truth = torch.tensor([[0, 0, 1, 1], [1, 0, 255, 255]])
    predicted = torch.tensor([[0, 1, 1, 1], [0, 0, 1, 1]])
    values = _evaluate([_sample(predicted, truth)])
    flat, classes = split_per_class(values)
    assert classes["road"] == pytest.approx({"IoU": 2 / 4, "Dice": 4 / 6})
    assert classes["background"] == pytest.approx({"IoU": 2 / 4, "Dice": 4 / 6})
    assert flat == pytest.approx({"mIoU": 0.5, "mDice": 2 / 3, "mAcc": 2 / 3, "aAcc": 4 / 6})


def test_a_class_only_predicted_has_zero_and_nothing_is_nan():
    values = _evaluate([_sample(torch.full((4, 4), 2), torch.zeros(4, 4, dtype=torch.long))])
    flat, classes = split_per_class(values)
    assert set(flat.values()) == {0.0}
    assert classes == {"background": {"IoU": 0.0, "Dice": 0.0}, "tree": {"IoU": 0.0, "Dice": 0.0}}


def test_everything_ignored_is_zero():
    values = _evaluate([_sample(torch.zeros(4, 4, dtype=torch.long), torch.full((4, 4), 255))])
    assert values == {"mIoU": 0.0, "mDice": 0.0, "mAcc": 0.0, "aAcc": 0.0}


def test_confusion_counted_by_hand():
    truth = torch.tensor([[0, 0, 1, 1], [1, 0, 255, 255]])
    predicted = torch.tensor([[0, 1, 1, 1], [0, 3, 1, 1]])
    metric = _metric([_sample(predicted, truth), _sample(predicted, truth)])
    metric.evaluate(2)
    found = metric.curves()["confusion"]
    assert found["names"] == list(CLASSES)
    assert found["matrix"] == [[2, 2, 0, 2], [2, 4, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]


def test_areas_beyond_floats_exact_integers():
    """Single precision stops counting at 16.7 million; a small class must not drown."""
    metric = SegMetrics()
    metric.dataset_meta = {"classes": ("a", "b")}
    truth = torch.zeros(1, 2)
    truth[0, 1] = 1
    big = [(np.array([0]), np.array([2**24]))]
    metric.process({}, [_sample(truth, truth)] * 3)
    metric.results = big + metric.results
    assert metric.evaluate(4)["aAcc"] == 1.0
    metric.process({}, [_sample(1 - truth, truth)] * 3)
    metric.results = big + metric.results
    assert metric.evaluate(4)["aAcc"] == pytest.approx(2**24 / (2**24 + 6), abs=1e-12)


def test_nothing_on_the_console(capfd, caplog):
    _evaluate(_random_samples())
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


def _evaluate(samples):
    return _metric(samples).evaluate(len(samples))


def _metric(samples):
    metric = SegMetrics()
    metric.dataset_meta = {"classes": CLASSES}
    metric.process({}, samples)
    return metric


def _random_samples():
    generator = torch.Generator().manual_seed(0)
    samples = []
    for _ in range(6):
        truth = torch.randint(0, 3, (24, 32), generator=generator)
        wrong = torch.rand(truth.shape, generator=generator) < 0.3
        predicted = torch.where(wrong, torch.randint(0, 3, truth.shape, generator=generator), truth)
        truth[:2] = 255
        samples.append(_sample(predicted, truth))
    return samples


def _sample(predicted, truth):
    return {"pred_sem_seg": {"data": predicted[None]}, "gt_sem_seg": {"data": truth[None]}}
