"""The names under which charts and validation views read a value."""

from __future__ import annotations

import pytest

from trainer.platform.callbacks.image_results import MOST_BOXES, MOST_IMAGES, image_results
from trainer.platform.callbacks.metric_names import MOST_CLASSES, Scores, headline

STEPS = [0.0, 0.5, 1.0]


def part(precision: float, recall: float, f1: float = 0.5) -> dict:
    best = {"threshold": 0.4, "f1": f1, "precision": precision, "recall": recall}
    return {
        "iou": 0.5, "steps": STEPS, "classes": ["scratch"], "precision": {"scratch": [1.0, 0.5, 0.3]},
        "best": {"scratch": best}, "best_overall": best,
    }  # fmt: skip


def confusion(of: str = "instances") -> dict:
    names = ["scratch", "dent", "background"] if of == "instances" else ["scratch", "dent"]
    matrix = [[30, 3, 8], [0, 0, 0], [5, 4, 0]] if of == "instances" else [[90, 10], [30, 70]]
    return {"of": of, "names": names, "matrix": matrix}


def detection() -> Scores:
    return Scores(
        "detection", ["scratch", "dent"], {"mAP50-95": 0.31, "mAP50": 0.55},
        {"scratch": {"mAP50-95": 0.35, "mAP50": 0.6}},
        {"parts": {"box": part(0.66, 0.58)}, "confusion": confusion()},
    )  # fmt: skip


def test_detection_is_given_under_all_names_of_its_view():
    found = detection().aliased
    for name in ("mAP50", "mAP@0.5", "mAP50_B_", "mAP50(B)"):
        assert found[name] == 0.55
    for name in ("mAP50-95", "mAP@0.5:0.95", "mAP50-95_B_", "mAP50-95(B)"):
        assert found[name] == 0.31
    for name in ("precision", "precision_B_", "precision(B)"):
        assert found[name] == 0.66
    for name in ("recall", "recall_B_", "recall(B)"):
        assert found[name] == 0.58


def test_classes_are_an_object_with_what_the_view_reads():
    found = detection().classwise
    assert list(found) == ["scratch", "dent"]
    scratch = found["scratch"]
    assert (scratch["ap_50"], scratch["ap_50_95"], scratch["precision"], scratch["recall"]) == (
        0.6,
        0.35,
        0.66,
        0.58,
    )
    assert (scratch["class_id"], scratch["support"]) == (0, 41)
    assert found["dent"] == {"class_id": 1, "support": 0}


def test_instances_have_boxes_and_masks():
    metrics = {"mAP50-95": 0.3, "mAP50": 0.5, "box_mAP50-95": 0.4, "box_mAP50": 0.6}
    parts = {"mask": part(0.7, 0.6), "box": part(0.8, 0.65)}
    scores = Scores("instance_segmentation", ["scratch"], metrics, {}, {"parts": parts})
    found = scores.aliased
    assert (found["mAP50"], found["mAP50(M)"], found["mAP50_M_"], found["mAP50(B)"]) == (0.5, 0.5, 0.5, 0.6)
    assert (found["mAP50-95_M_"], found["mAP@0.5:0.95"]) == (0.3, 0.4)
    assert (found["precision"], found["precision_M_"], found["precision(B)"]) == (0.7, 0.7, 0.8)
    assert (found["recall_B_"], found["recall(M)"]) == (0.65, 0.6)
    each = scores.classwise["scratch"]
    assert (each["precision(B)"], each["precision_M_"]) == (0.8, 0.7)
    assert each["ap_50(B)"] == pytest.approx(0.6)


def test_pixels_and_poses():
    pixels = Scores("semantic_segmentation", ["scratch", "dent"], {"mIoU": 0.6, "mAcc": 0.8}, {
        "scratch": {"IoU": 0.7}}, {"confusion": confusion("pixels")})  # fmt: skip
    assert pixels.aliased["mIoU"] == 0.6
    assert pixels.aliased["precision"] == pytest.approx((90 / 120 + 70 / 80) / 2)
    assert pixels.classwise["scratch"]["support"] == 100
    assert pixels.classwise["scratch"]["recall"] == pytest.approx(0.9)
    assert pixels.matrix == [[90, 10], [30, 70]]
    confused = {"of": "pixels", "names": ["scratch", "dent"], "matrix": [[90, 0], [10, 0]]}
    missed = Scores("semantic_segmentation", ["scratch", "dent"], {}, {}, {"confusion": confused})
    assert missed.named == pytest.approx({"precision": 0.45, "recall": 0.5})
    pose = Scores(
        "pose", ["person"], {"mAP50-95": 0.5, "PCK": 0.9}, {}, {"parts": {"keypoints": part(0.9, 0.8)}}
    )
    assert (pose.aliased["OKS"], pose.aliased["PCK"], pose.aliased["precision"]) == (0.5, 0.9, 0.9)
    assert pose.matrix is None


def test_curves_are_an_object_and_left_out_of_many_classes():
    assert detection().precision_curves == {"scratch": {"precision": [1.0, 0.5, 0.3], "recall": STEPS}}
    names = [f"class {number}" for number in range(MOST_CLASSES + 1)]
    many = {"parts": {"box": {**part(1, 1), "precision": dict.fromkeys(names, STEPS)}}}
    many["confusion"] = {"names": names, "matrix": [[0] * len(names)] * len(names)}
    scores = Scores("detection", names, {}, {}, many)
    assert scores.precision_curves is None
    assert scores.matrix is None


def test_without_curves_there_is_what_the_event_says():
    scores = Scores("detection", ["scratch"], {"mAP50": 0.5}, {"scratch": {"mAP50": 0.5}})
    assert "precision" not in scores.aliased
    assert scores.classwise == {"scratch": {"class_id": 0, "mAP50": 0.5, "ap_50": 0.5}}


def test_the_headline_is_a_share_where_larger_is_better():
    metrics = {"mAP50-95": 0.3, "mAP50": 0.5, "loss": 3.0, "mIoU": 0.6}
    assert headline("detection", metrics, "mAP50", "max") == ("mAP50", 0.5)
    assert headline("detection", metrics, "loss", "min") == ("mAP50-95", 0.3)
    assert headline("semantic_segmentation", metrics, "loss", "min") == ("mIoU", 0.6)
    assert headline("detection", {}, "mAP50", "max") == ("mAP50-95", None)


def box(x: float, score: float | None = None, category: int = 1) -> dict:
    return {"category_id": category, "category_name": "scratch", "bbox": [x, 0.0, 10.0, 10.0], "score": score}


def image(said: list, true: list, name: str = "a.png") -> dict:
    return {"prediction": {"file": f"/data/{name}", "predictions": said}, "truth": {"predictions": true}}


def test_pictures_are_judged_by_all_their_boxes():
    right = image([box(0, 0.9), box(51, 0.8)], [box(50), box(0)])
    wrong_class = image([box(0, 0.9, 2)], [box(0)])
    one_too_many = image([box(0, 0.9), box(1, 0.5)], [box(0)])
    results = [one.content() for one in image_results({"images": [right, wrong_class, one_too_many]})]
    assert [one["is_correct"] for one in results] == [True, False, False]
    assert results[0]["image_name"] == "a.png"
    assert results[0]["iou"] == pytest.approx((1 + 9 / 11) / 2)
    assert results[0]["confidence"] == pytest.approx(0.85)
    assert results[0]["extra_data"] == {"num_tp": 2, "num_fp": 0, "num_fn": 0}
    assert results[1]["extra_data"] == {"num_tp": 0, "num_fp": 1, "num_fn": 1}
    assert results[0]["predicted_boxes"][0] == {
        "class_id": 0, "bbox": [0.0, 0.0, 10.0, 10.0], "confidence": 0.9, "format": "coco",
    }  # fmt: skip
    assert "confidence" not in results[0]["true_boxes"][0]


def test_pictures_are_few_and_so_are_their_boxes():
    crowd = [box(20.0 * number, 0.5) for number in range(MOST_BOXES + 20)]
    results = image_results({"images": [image(crowd, crowd)] * (MOST_IMAGES + 5)})
    assert len(results) == MOST_IMAGES
    content = results[0].content()
    assert len(content["true_boxes"]) == len(content["predicted_boxes"]) == MOST_BOXES
    assert content["is_correct"]


def test_pictures_of_points_and_of_pixels():
    point = {**box(0, 0.9), "keypoints": [1.0, 2.0, 0.9, 3.0, 4.0, 0.8]}
    result = image_results({"images": [image([point], [point])]})[0].content()
    assert result["extra_data"]["predicted_keypoints"] == [[[1.0, 2.0, 0.9], [3.0, 4.0, 0.8]]]

    import numpy as np

    from trainer.predictions.prediction import encode_mask

    left, all_of_it = np.zeros((4, 4), bool), np.ones((4, 4), bool)
    left[:, :2] = True
    sides = [
        {
            "file": "/b.png",
            "segments": [{"category_id": 1, "category_name": "scratch", "segmentation": encode_mask(one)}],
        }
        for one in (left, all_of_it)
    ]
    result = image_results({"images": [{"prediction": sides[0], "truth": sides[1]}]})[0].content()
    assert result["iou"] == 0.5
    assert result["is_correct"]
    assert result["extra_data"] == {"class_iou": {"scratch": 0.5}}
