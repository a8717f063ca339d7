"""Plain results, and what becomes of them in JSON."""

import json

import numpy as np

from trainer.predictions.prediction import Prediction, decode_mask, encode_mask

CLASSES = ("cat", "dog")


def _prediction(**more):
    boxes = np.array([[1, 2, 11, 22], [0, 0, 5, 5]], np.float32)
    scores, labels = np.array([0.2, 0.9], np.float32), np.array([1, 0])
    return Prediction("a.jpg", (40, 30), CLASSES, boxes, scores, labels, **more)


def test_above_keeps_the_best_first_and_everything_in_step():
    masks = np.zeros((2, 30, 40), bool)
    masks[1, 3, 4] = True
    kept = _prediction(masks=masks, keypoints=np.arange(12, dtype=np.float32).reshape(2, 2, 3))
    assert kept.above(0.0).names == ["cat", "dog"]
    best = kept.above(0.5)
    assert len(best) == 1 and best.names == ["cat"] and best.masks.sum() == 1
    assert best.keypoints[0, 0, 0] == 6
    assert len(kept.above(0.95)) == 0


def test_masks_survive_run_lengths():
    mask = np.random.default_rng(0).random((17, 23)) > 0.5
    assert (decode_mask(encode_mask(mask)) == mask).all()


def test_json_is_like_coco():
    mask = np.zeros((2, 30, 40), bool)
    mask[0, 5:9, 5:9] = True
    content = json.loads(json.dumps(_prediction(masks=mask).to_json()))
    assert (content["file"], content["width"], content["height"]) == ("a.jpg", 40, 30)
    first = content["predictions"][0]
    assert first["bbox"] == [1.0, 2.0, 10.0, 20.0]
    assert (first["category_id"], first["category_name"]) == (2, "dog")
    assert (decode_mask(first["segmentation"]) == mask[0]).all()


def test_a_segmentation_map_comes_as_segments():
    indices = np.full((4, 6), 255, np.uint8)
    indices[:2] = 1
    content = Prediction(None, (6, 4), CLASSES, segmentation=indices).to_json()
    assert [(one["category_name"], one["area"]) for one in content["segments"]] == [("dog", 12)]
    assert "predictions" not in content
