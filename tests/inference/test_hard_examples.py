"""Which images are the worst ones."""

from __future__ import annotations

import numpy as np

from tests.inference.squares import CLASSES, Squares, scene
from trainer.inference.hard_examples import HardExamples, box_score, map_score, pose_score
from trainer.predictions.prediction import Prediction


def _boxes(*boxes, scores=None):
    found = np.array([box[1:] for box in boxes], np.float32).reshape(-1, 4)
    labels = np.array([box[0] for box in boxes], np.int64)
    scores = np.full(len(boxes), 0.9) if scores is None else np.array(scores)
    return Prediction("a", (100, 100), CLASSES, found, scores.astype(np.float32), labels)


def test_boxes_are_judged_by_f1():
    true = _boxes((0, 0, 0, 10, 10), (1, 20, 20, 40, 40))
    assert box_score(true, true) == (1.0, 0)
    assert box_score(_boxes((0, 0, 0, 10, 10)), true) == (2 / 3, 1)
    assert box_score(_boxes((1, 0, 0, 10, 10), (0, 20, 20, 40, 40)), true) == (0.0, 4)
    assert box_score(_boxes(), _boxes()) == (1.0, 0)
    assert box_score(_boxes(), true) == (0.0, 2)
    assert box_score(_boxes((0, 0, 0, 1, 1)), _boxes()) == (0.0, 1)
    # Of two on the same thing one is right.
    assert box_score(_boxes((0, 0, 0, 10, 10), (0, 0, 0, 10, 9)), _boxes((0, 0, 0, 10, 10))) == (2 / 3, 1)


def test_maps_are_judged_by_the_mean_iou_of_their_classes():
    true = np.array([[0, 0, 1, 255]], np.uint8)
    assert map_score(true, true) == (1.0, 0)
    assert map_score(np.array([[0, 1, 1, 2]], np.uint8), true) == (0.5, 1)
    assert map_score(np.array([[0]], np.uint8), np.array([[255]], np.uint8)) == (1.0, 0)


def test_poses_are_judged_by_their_similarity():
    true = np.array([[[10, 10, 1], [20, 20, 0]], [[50, 50, 1], [60, 60, 1]]], float)
    sigmas, areas = np.array([0.1, 0.1]), np.array([100.0, 100.0])
    assert pose_score(true, true, areas, sigmas) == (1.0, 0)
    assert pose_score(true[:0], true, areas, sigmas) == (0.0, 2)
    half, wrong = pose_score(true[:1], true, areas, sigmas)
    assert half == 0.5 and wrong == 1
    assert pose_score(true[:1], true[:0], areas[:0], sigmas) == (1.0, 1)


def test_the_worst_are_kept_worst_first():
    worst = HardExamples("detection", 3)
    model = Squares()
    for number in range(20):
        image = scene(100, 10, [(0, 5 * k, 0, 5 * k + 3, 5) for k in range(number % 7)])
        (said,) = model.predict(image)
        truth = _boxes(*((0, 5 * k, 0, 5 * k + 3, 5) for k in range(6)))
        worst.look(f"{number:02}", said, truth)
    assert [(one.path, one.score) for one in worst.images()] == [("00", 0), ("07", 0), ("14", 0)]
    assert len(worst.images()[0].truth) == 6
    nothing = HardExamples("detection", 0)
    nothing.look("a", _boxes(), truth)
    assert nothing.images() == []


def test_unsure_boxes_do_not_count():
    worst = HardExamples("detection", 1)
    worst.look("a", _boxes((0, 0, 0, 9, 9), (1, 0, 0, 9, 9), scores=[0.9, 0.1]), _boxes((0, 0, 0, 9, 9)))
    assert worst.images()[0].score == 1.0 and len(worst.images()[0].prediction) == 1
