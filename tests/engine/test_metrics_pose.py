"""Pose metrics against pycocotools, mmpose's own metric, and keypoints counted by hand."""

from __future__ import annotations

import contextlib
import io
import json

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from trainer.core.errors import ConfigError
from trainer.engine.metrics import PoseMetrics

SIGMAS = np.array([0.05, 0.08, 0.1, 0.06])  # Four points, not COCO's seventeen.


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    rng = np.random.default_rng(5)
    images, annotations = [], []
    for image in range(1, 31):
        images.append({"id": image, "file_name": f"{image}.png", "width": 400, "height": 400})
        for _ in range(rng.integers(0, 4)):
            width, height = rng.uniform(40, 180, 2)
            x, y = rng.uniform(0, 200, 2)
            visible = (rng.random(4) < 0.8) * 2 if rng.random() < 0.9 else np.zeros(4, dtype=int)
            points = np.column_stack([x + rng.random(4) * width, y + rng.random(4) * height, visible])
            points[visible == 0, :2] = 0
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": int(rng.integers(1, 4)),
                    "bbox": [x, y, width, height],
                    "area": 0.6 * width * height,
                    "iscrowd": 0,
                    "num_keypoints": int((visible > 0).sum()),
                    "keypoints": points.ravel().tolist(),
                }
            )
    ann_file = tmp_path_factory.mktemp("pose") / "val.json"
    categories = [{"id": i, "name": str(i), "keypoints": list("abcd"), "skeleton": []} for i in (1, 2, 3)]
    ann_file.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return ann_file, annotations, images


def test_top_down_equals_pycocotools_and_mmpose(data, tmp_path):
    ann_file, annotations, _ = data
    samples = _top_down(annotations)
    values = _evaluate(ann_file, samples, nms_mode="none")
    reference = _pycocotools(ann_file, samples, tmp_path)
    for name, index in (("mAP50-95", 0), ("mAP50", 1), ("mAP75", 2), ("AR", 5)):
        assert values[name] == pytest.approx(reference[index], abs=1e-6), name
    assert 0.1 < values["mAP50-95"] < values["mAP50"] < 0.99

    for mode in ("oks_nms", "none"):
        values = _evaluate(ann_file, samples, nms_mode=mode)
        theirs = _mmpose(ann_file, samples, tmp_path, nms_mode=mode)
        for name, key in (("mAP50-95", "AP"), ("mAP50", "AP .5"), ("mAP75", "AP .75"), ("AR", "AR")):
            assert values[name] == pytest.approx(theirs[f"coco/{key}"], abs=1e-6), (mode, name)


@pytest.mark.parametrize("mode", ["bbox", "keypoint", "bbox_keypoint", "bbox_rle"])
def test_bottom_up_equals_mmpose_in_every_score_mode(data, tmp_path, mode):
    ann_file, annotations, images = data
    samples = _bottom_up(annotations, images)
    values = _evaluate(ann_file, samples, score_mode=mode, nms_mode="soft_oks_nms")
    theirs = _mmpose(ann_file, samples, tmp_path, score_mode=mode, nms_mode="soft_oks_nms")
    assert values["mAP50-95"] == pytest.approx(theirs["coco/AP"], abs=1e-6)
    assert values["AR"] == pytest.approx(theirs["coco/AR"], abs=1e-6)


def test_duplicates_are_removed_as_mmpose_removes_them(data, tmp_path):
    ann_file, annotations, images = data
    samples = _bottom_up(annotations, images)
    doubled = []
    for sample in samples:
        predicted = {key: np.concatenate([value, value]) for key, value in sample["pred_instances"].items()}
        doubled.append({**sample, "pred_instances": predicted})
    for mode in ("oks_nms", "none"):
        values = _evaluate(ann_file, doubled, nms_mode=mode)
        theirs = _mmpose(ann_file, doubled, tmp_path, nms_mode=mode)
        assert values["mAP50-95"] == pytest.approx(theirs["coco/AP"], abs=1e-6)
    without = _evaluate(ann_file, samples, nms_mode="none")
    assert _evaluate(ann_file, doubled, nms_mode="oks_nms") == pytest.approx(without)
    assert values["mAP50-95"] < without["mAP50-95"]


def test_pck_counts_labelled_points_within_a_fifth_of_the_larger_side(tmp_path):
    ann_file, truth = _one(tmp_path)
    points = np.array(truth["keypoints"]).reshape(4, 3)[:, :2]
    # The box is 100 x 50: 20 px are near, 20.1 px aren't; the last point isn't labelled.
    predicted = points + np.array([[20, 0], [0, 20.1], [12, 16], [0, 0]])
    sample = _sample(truth, predicted)
    assert _evaluate(ann_file, [sample])["PCK"] == pytest.approx(2 / 3)
    assert _evaluate(ann_file, [_bottom_up_sample(1, [predicted])])["PCK"] == pytest.approx(2 / 3)


def test_curves_of_each_keypoint_and_of_instances(data, tmp_path):
    ann_file, truth = _one(tmp_path, other_at=150)
    points = np.array(truth["keypoints"]).reshape(4, 3)[:, :2]
    metric = _metric(ann_file, [_sample(truth, points + np.array([[20, 0], [0, 40], [0, 0], [0, 0]]))])
    values = metric.evaluate(1)
    found = metric.curves()["keypoints"]
    # The box's larger side is 100 px; the second instance isn't found, the last point never labelled.
    assert found["names"] == ["top", "2", "3", "4"] and found["labelled"] == [2, 2, 2, 0]
    assert found["error"] == [0.2, 0.4, 0.0, None] and found["missed"] == [1, 1, 1, 0]
    assert found["pck"] == [0.5, 0.0, 0.5, None]
    assert values["PCK"] == pytest.approx(2 / 6)
    expected = np.exp(-(20**2) / (2 * (2 * SIGMAS[0]) ** 2 * truth["area"])) / 2
    assert found["similarity"][0] == pytest.approx(expected, abs=1e-4)

    _, annotations, _ = data
    samples = _top_down(annotations)
    metric = _metric(data[0], samples, nms_mode="none")
    metric.evaluate(len(samples))
    part = metric.curves()["parts"]["keypoints"]
    reference = _pycocotools(data[0], samples, tmp_path, whole=True)
    assert part["precision_overall"] == pytest.approx(reference.eval["precision"][0, :, 0, 0, 0], abs=1e-4)
    assert 0.1 < part["best_overall"]["f1"] < 1


def test_pck_of_a_bottom_up_model_matches_instances(tmp_path):
    ann_file, truth = _one(tmp_path, other_at=150)
    points = np.array(truth["keypoints"]).reshape(4, 3)[:, :2]
    both = [points + [150, 0], points]
    assert _evaluate(ann_file, [_bottom_up_sample(1, both)])["PCK"] == 1.0
    assert _evaluate(ann_file, [_bottom_up_sample(1, both[:1])])["PCK"] == 0.5  # One wasn't found.
    twice = [points, points + 1]
    assert _evaluate(ann_file, [_bottom_up_sample(1, twice)])["PCK"] == 0.5


def test_a_detectors_box_is_matched_though_its_number_is_an_annotations(tmp_path):
    """Samples of a detector's boxes are numbered from 0 and carry made-up keypoints."""
    ann_file, truth = _one(tmp_path, other_at=150)
    points = np.array(truth["keypoints"]).reshape(4, 3)[:, :2]
    samples = [_sample(truth, points + [150, 0]), _sample({**truth, "id": 2}, points)]
    for sample in samples:
        del sample["raw_ann_info"]
    assert _evaluate(ann_file, samples)["PCK"] == 1.0


def test_no_predictions_are_zeros_and_images_without_people_are_fine(data):
    ann_file, _, images = data
    samples = [_bottom_up_sample(image["id"], []) for image in images]
    assert _evaluate(ann_file, samples) == dict.fromkeys(("mAP50-95", "mAP50", "mAP75", "AR", "PCK"), 0.0)


def test_a_sample_twice_counts_once(data):
    """Distributed batches are filled up with samples that were already there."""
    ann_file, annotations, _ = data
    samples = _top_down(annotations)
    once = _evaluate(ann_file, samples, nms_mode="none")
    assert _evaluate(ann_file, samples + samples[:5], nms_mode="none") == once


def test_annotations_without_area_and_count(data, tmp_path):
    ann_file, annotations, _ = data
    bare = json.loads(ann_file.read_text())
    for annotation in bare["annotations"]:
        del annotation["area"], annotation["num_keypoints"], annotation["iscrowd"]
    (tmp_path / "bare.json").write_text(json.dumps(bare))
    values = _evaluate(tmp_path / "bare.json", _top_down(annotations))
    assert 0.1 < values["mAP50-95"] < 1 and values["PCK"] > 0.5


def test_an_unknown_mode_is_named(data):
    with pytest.raises(ConfigError, match="nms_mode=oks_mns.*Did you mean 'oks_nms'"):
        PoseMetrics(data[0], nms_mode="oks_mns")


def test_nothing_on_the_console(data, capfd, caplog):
    ann_file, annotations, _ = data
    _evaluate(ann_file, _top_down(annotations))
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


def _evaluate(ann_file, samples, **arguments):
    return _metric(ann_file, samples, **arguments).evaluate(len(samples))


def _metric(ann_file, samples, **arguments):
    metric = PoseMetrics(ann_file, **arguments)
    metric.dataset_meta = {"sigmas": SIGMAS, "num_keypoints": 4, "keypoint_id2name": {0: "top"}}
    metric.process({}, samples)
    return metric


def _top_down(annotations):
    rng = np.random.default_rng(9)
    samples = []
    for annotation in annotations:
        if annotation["num_keypoints"]:
            points = np.array(annotation["keypoints"]).reshape(4, 3)[:, :2]
            size = max(annotation["bbox"][2:])
            noise = rng.normal(0, rng.choice([0.01, 0.05, 0.3]), (4, 2)) * size
            samples.append(_sample(annotation, points + noise, rng.random(4)))
    return samples


def _bottom_up(annotations, images):
    rng = np.random.default_rng(9)
    samples = []
    for image in images:
        people = [sample for sample in _top_down(annotations) if sample["img_id"] == image["id"]]
        points = [sample["pred_instances"]["keypoints"][0] for sample in people]
        points += [rng.uniform(0, 400, (4, 2)) for _ in range(rng.integers(0, 2))]
        samples.append(_bottom_up_sample(image["id"], points, rng.random((len(points), 4)) * 0.99 + 0.005))
    return samples


def _sample(annotation, points, scores=None):
    x, y, width, height = annotation["bbox"]
    return {
        "id": annotation["id"],
        "img_id": annotation["image_id"],
        "raw_ann_info": annotation,
        "category_id": 1,
        "gt_instances": {
            "bboxes": np.array([[x, y, x + width, y + height]]),
            "bbox_scores": np.ones(1, dtype=np.float32),
            "bbox_scales": np.array([[width * 1.25, height * 1.25]]),
        },
        "pred_instances": {
            "keypoints": np.asarray(points, dtype=float)[None],
            "keypoint_scores": np.ones((1, 4)) if scores is None else scores[None],
        },
    }


def _bottom_up_sample(image, points, scores=None):
    points = np.asarray(points, dtype=float).reshape(-1, 4, 2)
    return {
        "id": [],
        "img_id": image,
        "raw_ann_info": None,
        "gt_instances": {},
        "pred_instances": {
            "keypoints": points,
            "keypoint_scores": np.ones(points.shape[:2]) if scores is None else scores,
        },
    }


def _one(tmp_path, other_at=None):
    truth = {
        "id": 1,
        "image_id": 1,
        "category_id": 1,
        "bbox": [10, 10, 100, 50],
        "area": 3000,
        "iscrowd": 0,
        "num_keypoints": 3,
        "keypoints": [20, 20, 2, 60, 30, 1, 100, 50, 2, 0, 0, 0],
    }
    annotations = [truth]
    if other_at is not None:
        shifted = np.array(truth["keypoints"]) + np.array([other_at, 0, 0] * 4)
        annotations.append(
            {**truth, "id": 2, "bbox": [10 + other_at, 10, 100, 50], "keypoints": shifted.tolist()}
        )
    image = {"id": 1, "file_name": "1.png", "width": 400, "height": 200}
    content = {"images": [image], "annotations": annotations, "categories": [{"id": 1, "name": "x"}]}
    ann_file = tmp_path / "one.json"
    ann_file.write_text(json.dumps(content))
    return ann_file, truth


def _one_category(ann_file, folder):
    """Category doesn't count here; the references want it told so."""
    content = json.loads(ann_file.read_text())
    for annotation in content["annotations"]:
        annotation["category_id"] = 1
    content["categories"] = content["categories"][:1]
    (folder / "one_category.json").write_text(json.dumps(content))
    return str(folder / "one_category.json")


def _pycocotools(ann_file, samples, folder, whole=False):
    detections = []
    for sample in samples:
        points, scores = (
            sample["pred_instances"]["keypoints"][0],
            sample["pred_instances"]["keypoint_scores"][0],
        )
        sure = scores[scores > 0.2]
        detections.append(
            {
                "image_id": sample["img_id"],
                "category_id": 1,
                "keypoints": np.column_stack([points, scores]).ravel().tolist(),
                "score": float(sure.mean()) if sure.size else 0.0,
            }
        )
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(_one_category(ann_file, folder))
        evaluation = COCOeval(truth, truth.loadRes(detections), "keypoints")
        evaluation.params.kpt_oks_sigmas = SIGMAS
        evaluation.params.imgIds = sorted({sample["img_id"] for sample in samples})
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation if whole else evaluation.stats


def _mmpose(ann_file, samples, folder, **arguments):
    from mmpose.evaluation.metrics import CocoMetric

    with contextlib.redirect_stdout(io.StringIO()):
        metric = CocoMetric(ann_file=_one_category(ann_file, folder), **arguments)
        metric.dataset_meta = {"sigmas": SIGMAS, "num_keypoints": 4, "dataset_name": "test"}
        metric.process({}, samples)
        return metric.evaluate(len(samples))
