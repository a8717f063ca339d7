"""Validation in a proof: what is asked together."""

import numpy as np
import pytest

from trainer.export.proof.metric import _box_scores, batches
from trainer.export.runtimes.python.model_wrapper import Result


def test_items_of_one_shape_are_asked_together():
    words = ["a", "b", "ccc", "dd", "ee", "ff", "g"]
    assert list(batches(words, 2, len)) == [["a", "b"], ["ccc"], ["dd", "ee"], ["ff"], ["g"]]
    assert list(batches(words, 3, lambda word: None)) == [words[:3], words[3:6], words[6:]]
    assert list(batches([], 3, len)) == []


def test_a_pose_models_boxes_have_scores_of_their_own():
    points = np.zeros((2, 4, 3), np.float32)
    points[0, :, 2] = 0.5
    nothing = np.zeros(2, np.int64)
    answer = Result((9, 9), np.zeros((2, 4), np.float32), np.float32([0.4, 0]), nothing, keypoints=points)
    assert _box_scores(answer).tolist() == pytest.approx([0.8, 0.0])
