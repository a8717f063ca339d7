"""Box and mask metrics against pycocotools, on random detections with crowds, empty images and equal scores."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import math

import numpy as np
import pytest
import torch
from mmengine.registry import METRICS, DefaultScope
from pycocotools import mask as mask_util
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from trainer.core.errors import DatasetError
from trainer.engine.metrics import split_per_class
from trainer.engine.metrics.matching import CONFIDENT
from trainer.engine.metrics.pr_curves import STEPS

CLASSES = ("cat", "dog", "a/b", "unicorn")  # No annotation ever shows a unicorn.
SIZE = 160


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """An annotation file whose categories are in another order than the classes, and predictions for it."""
    rng = np.random.default_rng(3)
    ids = {"unicorn": 1, "a/b": 2, "dog": 3, "cat": 4}
    images, annotations, samples = [], [], []
    for image in range(1, 41):
        images.append({"id": image, "file_name": f"{image}.png", "width": SIZE, "height": SIZE})
        truths = []
        for _ in range(rng.integers(0, 6) if image % 7 else 0):
            box, label = _box(rng), int(rng.integers(0, 3))
            mask = _ellipse(box)
            crowd = int(rng.random() < 0.15)
            encoded = mask_util.encode(np.asfortranarray(mask))
            segmentation = {"size": [SIZE, SIZE], "counts": encoded["counts"].decode()}
            truths.append((box, label))
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": ids[CLASSES[label]],
                    "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
                    "area": float(mask.sum()),
                    "segmentation": segmentation,
                    "iscrowd": crowd,
                }
            )
        boxes, labels = [], []
        for box, label in truths:
            for _ in range(rng.integers(0, 4)):
                boxes.append(_jitter(box, rng))
                labels.append(label if rng.random() < 0.85 else int(rng.integers(0, 4)))
        for _ in range(rng.integers(0, 3)):
            boxes.append(_box(rng))
            labels.append(int(rng.integers(0, 4)))
        masks = np.array([_ellipse(box) for box in boxes], dtype=bool).reshape(-1, SIZE, SIZE)
        scores = np.round(rng.random(len(boxes)), 1)  # One decimal: many scores are equal.
        samples.append(
            {
                "img_id": image,
                "ori_shape": (SIZE, SIZE),
                "pred_instances": {
                    "bboxes": torch.tensor(np.array(boxes).reshape(-1, 4), dtype=torch.float32),
                    "labels": torch.tensor(labels, dtype=torch.long),
                    "scores": torch.tensor(scores, dtype=torch.float32),
                    "masks": torch.tensor(masks),
                },
            }
        )
    ann_file = tmp_path_factory.mktemp("coco") / "val.json"
    categories = [{"id": number, "name": name} for name, number in ids.items()]
    ann_file.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return ann_file, samples, ids


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_equals_pycocotools_to_six_decimals(data, kind):
    ann_file, samples, ids = data
    metric = _build("BoxMetrics" if kind == "bbox" else "MaskMetrics", ann_file)
    metric.process({}, samples)
    flat, classes = split_per_class(metric.evaluate(len(samples)))

    reference = _pycocotools(ann_file, samples, ids, kind)
    for index, name in enumerate(["mAP50-95", "mAP50", "mAP75", "mAP_small", "mAP_medium", "mAP_large"]):
        assert flat[name] == pytest.approx(reference.stats[index], abs=1e-6), name
    assert flat["AR100"] == pytest.approx(reference.stats[8], abs=1e-6)
    assert 0.05 < flat["mAP50-95"] < flat["mAP50"] < 0.95
    assert set(classes) == {"cat", "dog", "a/b"}
    for name in classes:
        index = reference.params.catIds.index(ids[name])
        for key, values in (("mAP50-95", slice(None)), ("mAP50", 0)):
            precision = reference.eval["precision"][values, ..., index, 0, 2]
            assert classes[name][key] == pytest.approx(precision[precision > -1].mean(), abs=1e-6)
    assert all(math.isfinite(value) and 0 <= value <= 1 for value in flat.values())


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_curves_are_those_of_pycocotools(data, kind):
    """Precision over recall is COCO's array; F1 is counted from the matches of COCO's slow evaluation."""
    ann_file, samples, ids = data
    metric = _build("BoxMetrics" if kind == "bbox" else "MaskMetrics", ann_file)
    metric.process({}, samples)
    metric.evaluate(len(samples))
    found = metric.curves()
    part = found["parts"]["box" if kind == "bbox" else "mask"]
    reference = _pycocotools(ann_file, samples, ids, kind)
    assert part["classes"] == ["cat", "dog", "a/b"] and set(part["f1"]) == set(part["classes"])
    for name in part["classes"]:
        index = reference.params.catIds.index(ids[name])
        assert part["precision"][name] == pytest.approx(
            reference.eval["precision"][0, :, index, 0, 2], abs=1e-4
        )
        scores, right, truths = _matches_of(reference, ids[name])
        f1 = [2 * right[scores >= t].sum() / ((scores >= t).sum() + truths) for t in STEPS]
        assert part["f1"][name] == pytest.approx(f1, abs=1e-4)
        best, place = part["best"][name], np.argmax(f1)
        assert best["f1"] == pytest.approx(f1[place], abs=1e-4)
        kept = scores >= best["threshold"]
        assert best["precision"] == pytest.approx(right[kept].mean(), abs=1e-4)
        assert best["recall"] == pytest.approx(right[kept].sum() / truths, abs=1e-4)
    assert part["f1_overall"] == pytest.approx(np.mean([*part["f1"].values()], axis=0), abs=1e-4)
    assert 0.1 < part["best_overall"]["f1"] == pytest.approx(max(part["f1_overall"]), abs=1e-4)
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize("kind", ["BoxMetrics", "MaskMetrics"])
def test_the_confusion_matrix_counts_everything_once(data, kind):
    ann_file, samples, ids = data
    metric = _build(kind, ann_file)
    metric.process({}, samples)
    metric.evaluate(len(samples))
    found = metric.curves()["confusion"]
    matrix = np.array(found["matrix"])
    assert found["names"] == [*CLASSES, "background"] and matrix.dtype.kind == "i"
    truth = json.loads(ann_file.read_text())["annotations"]
    for row, name in enumerate(CLASSES):
        expected = sum(not a["iscrowd"] and a["category_id"] == ids[name] for a in truth)
        assert matrix[row].sum() == expected
        said = sum(
            int(((s["pred_instances"]["labels"] == row) & (s["pred_instances"]["scores"] >= CONFIDENT)).sum())
            for s in samples
        )
        assert matrix[:, row].sum() <= said  # Those on a crowd are left out.
    assert np.diag(matrix)[:3].all() and matrix[-1, :3].all() and matrix[:3, -1].all() and matrix[-1, -1] == 0
    assert matrix[:3, :3].sum() > np.diag(matrix).sum(), "some are called by another name"


def test_confusion_counted_by_hand(tmp_path):
    """Two detections on a cat: the surer one, a dog, has it; the other is nothing. A crowd swallows any number."""
    boxes = {"cat": [10, 10, 40, 40], "dog": [80, 80, 40, 40], "crowd": [10, 100, 50, 50]}
    truths = [
        {
            "id": i + 1,  # 0 means "unmatched" in COCO's evaluation
            "image_id": 1,
            "category_id": i % 2 + 1,
            "bbox": box,
            "area": 1600,
            "iscrowd": name == "crowd",
        }
        for i, (name, box) in enumerate(boxes.items())
    ]
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    image = {"id": 1, "file_name": "1.png", "width": SIZE, "height": SIZE}
    ann_file = tmp_path / "val.json"
    ann_file.write_text(json.dumps({"images": [image], "annotations": truths, "categories": categories}))
    said = [  # x, y, width, height, label, score
        ([10, 10, 40, 40], 1, 0.9),
        ([12, 12, 40, 40], 0, 0.8),
        ([12, 102, 20, 20], 0, 0.7),
        ([20, 110, 20, 20], 1, 0.7),
        ([80, 80, 40, 40], 1, CONFIDENT - 0.01),
        ([0, 60, 20, 20], 0, CONFIDENT),
    ]
    instances = {
        "bboxes": torch.tensor([[x, y, x + w, y + h] for (x, y, w, h), _, _ in said], dtype=torch.float32),
        "labels": torch.tensor([label for _, label, _ in said]),
        "scores": torch.tensor([score for _, _, score in said], dtype=torch.float64),
    }
    metric = METRICS.build({"type": "BoxMetrics", "ann_file": str(ann_file)})
    metric.dataset_meta = {"classes": ("cat", "dog")}
    metric.process({}, [{"img_id": 1, "pred_instances": instances}])
    metric.evaluate(1)
    assert metric.curves()["confusion"]["matrix"] == [[0, 1, 0], [0, 0, 1], [2, 0, 0]]


def test_mask_metrics_hold_the_boxes_too(data):
    ann_file, samples, ids = data
    metric = _build("MaskMetrics", ann_file)
    metric.process({}, samples)
    values = metric.evaluate(len(samples))
    boxes = _pycocotools(ann_file, samples, ids, "bbox").stats
    assert values["box_mAP50-95"] == pytest.approx(boxes[0], abs=1e-6)
    assert values["mask_mAP50-95"] == values["mAP50-95"] != values["box_mAP50-95"]


def test_equals_mmdets_metric(data):
    """The same samples through OpenMMLab's own metric, which rounds to three decimals."""
    from mmdet.evaluation.metrics import CocoMetric

    ann_file, samples, ids = data
    # mmdet takes categories in the file's order; its labels are made to fit.
    order = list(ids)
    relabelled = []
    for sample in samples:
        labels = [order.index(CLASSES[label]) for label in sample["pred_instances"]["labels"]]
        instances = {**sample["pred_instances"], "labels": torch.tensor(labels, dtype=torch.long)}
        relabelled.append({**sample, "pred_instances": instances})
    with contextlib.redirect_stdout(io.StringIO()):
        # 100 detections an image as COCO has it; mmdet's metric wants three limits.
        stock = CocoMetric(ann_file=str(ann_file), metric=["bbox", "segm"], proposal_nums=(100, 300, 1000))
        stock.dataset_meta = {"classes": tuple(order)}
        stock.process({}, relabelled)
        expected = stock.evaluate(len(relabelled))
    metric = _build("MaskMetrics", ann_file)
    metric.process({}, samples)
    values = metric.evaluate(len(samples))
    assert values["mAP50-95"] == pytest.approx(expected["coco/segm_mAP"], abs=6e-4)
    assert values["box_mAP50-95"] == pytest.approx(expected["coco/bbox_mAP"], abs=6e-4)
    assert values["mAP_small"] == pytest.approx(expected["coco/segm_mAP_s"], abs=6e-4)


@pytest.mark.parametrize("kind", ["BoxMetrics", "MaskMetrics"])
def test_no_detections_are_zeros(data, kind):
    ann_file, samples, _ = data
    metric = _build(kind, ann_file)
    metric.process({}, [_empty(sample) for sample in samples])
    flat, classes = split_per_class(metric.evaluate(len(samples)))
    assert flat and set(flat.values()) == {0.0}
    assert set(classes) == {"cat", "dog", "a/b"}


def test_perfect_detections_are_one_and_the_next_evaluation_starts_anew(data):
    ann_file, samples, ids = data
    truth = json.loads(ann_file.read_text())
    names = {number: name for name, number in ids.items()}
    perfect = []
    for image in truth["images"]:
        annotations = [a for a in truth["annotations"] if a["image_id"] == image["id"] and not a["iscrowd"]]
        boxes = np.array([a["bbox"] for a in annotations], dtype=np.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        labels = [CLASSES.index(names[a["category_id"]]) for a in annotations]
        instances = {
            "bboxes": torch.tensor(boxes),
            "labels": torch.tensor(labels, dtype=torch.long),
            "scores": torch.ones(len(labels)),
        }
        perfect.append({"img_id": image["id"], "pred_instances": instances})
    metric = _build("BoxMetrics", ann_file)
    metric.process({}, perfect)
    flat, _ = split_per_class(metric.evaluate(len(perfect)))
    assert set(flat.values()) == {1.0}
    metric.process({}, [_empty(sample) for sample in samples])
    assert metric.evaluate(len(samples))["mAP50-95"] == 0.0


def test_only_validated_images_count(data):
    """A debugging run that validates a few images isn't held to the ground truth of the others."""
    ann_file, samples, ids = data
    few = samples[:10]
    metric = _build("BoxMetrics", ann_file)
    metric.process({}, few)
    values = metric.evaluate(len(few))
    reference = _pycocotools(ann_file, few, ids, "bbox", images=[sample["img_id"] for sample in few])
    assert values["mAP50-95"] == pytest.approx(reference.stats[0], abs=1e-6)


def test_a_diverged_model_is_bad_not_a_crash(data):
    ann_file, samples, _ = data
    broken = []
    for sample in samples:
        instances = sample["pred_instances"]
        broken.append({**sample, "pred_instances": {**instances, "bboxes": instances["bboxes"] * math.nan}})
    metric = _build("BoxMetrics", ann_file)
    metric.process({}, broken)
    assert metric.evaluate(len(broken))["mAP50-95"] == 0.0


def test_mistakes_are_named(data, tmp_path):
    ann_file, samples, _ = data
    with pytest.raises(DatasetError, match="nowhere.json"):
        _build("BoxMetrics", tmp_path / "nowhere.json")
    metric = _build("BoxMetrics", ann_file)
    metric.dataset_meta = {"classes": ("cat", "dgo")}
    metric.process({}, samples)
    with pytest.raises(DatasetError, match="'dgo'.*Did you mean 'dog'"):
        metric.evaluate(len(samples))
    metric = _build("BoxMetrics", ann_file)
    metric.process({}, [{**samples[0], "img_id": 999}])
    with pytest.raises(DatasetError, match="999"):
        metric.evaluate(1)


def test_nothing_on_the_console(data, capfd, caplog):
    ann_file, samples, _ = data
    caplog.set_level(logging.INFO)
    metric = _build("MaskMetrics", ann_file)
    metric.process({}, samples)
    metric.evaluate(len(samples))
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


@pytest.mark.parametrize("scope", ["mmengine", "mmdet", "mmseg", "mmpose"])
def test_found_under_every_default_scope(data, scope):
    with DefaultScope.overwrite_default_scope(scope):
        assert type(METRICS.build({"type": "BoxMetrics", "ann_file": data[0]})).__name__ == "BoxMetrics"
        assert type(METRICS.build({"type": "SegMetrics"})).__name__ == "SegMetrics"


def _build(kind, ann_file):
    metric = METRICS.build({"type": kind, "ann_file": str(ann_file)})
    metric.dataset_meta = {"classes": CLASSES}
    return metric


def _box(rng):
    width, height = rng.uniform(8, 150, 2)
    x, y = rng.uniform(0, SIZE - width), rng.uniform(0, SIZE - height)
    return [float(x), float(y), float(x + width), float(y + height)]


def _jitter(box, rng):
    size = np.array([box[2] - box[0], box[3] - box[1]] * 2)
    moved = np.clip(np.array(box) + rng.normal(0, 0.08, 4) * size, 0, SIZE)
    return [*np.minimum(moved[:2], moved[2:] - 1), *moved[2:]]


def _ellipse(box):
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    x0, y0, x1, y1 = box
    return (((2 * x - x0 - x1) / (x1 - x0)) ** 2 + ((2 * y - y0 - y1) / (y1 - y0)) ** 2 <= 1).astype(np.uint8)


def _empty(sample):
    return {**sample, "pred_instances": {key: value[:0] for key, value in sample["pred_instances"].items()}}


def _matches_of(evaluation, category):
    """Scores, whether right, and the number of ground truths of a category, from pycocotools' own matching."""
    everything = evaluation.params.areaRng[0]
    images = [
        e for e in evaluation.evalImgs if e and e["category_id"] == category and e["aRng"] == everything
    ]
    scores = np.concatenate([e["dtScores"] for e in images])
    right = np.concatenate([e["dtMatches"][0] > 0 for e in images])
    kept = ~np.concatenate([e["dtIgnore"][0].astype(bool) for e in images])
    return scores[kept], right[kept], sum(int((e["gtIgnore"] == 0).sum()) for e in images)


def _pycocotools(ann_file, samples, ids, kind, images=None):
    detections = []
    for sample in samples:
        instances = sample["pred_instances"]
        for box, label, score, mask in zip(
            *(instances[k] for k in ("bboxes", "labels", "scores", "masks")), strict=True
        ):
            x1, y1, x2, y2 = box.double().tolist()
            detection = {
                "image_id": sample["img_id"],
                "category_id": ids[CLASSES[label]],
                "score": float(score),
            }
            if kind == "bbox":
                detection["bbox"] = [x1, y1, x2 - x1, y2 - y1]
            else:
                detection["segmentation"] = mask_util.encode(np.asfortranarray(mask.numpy().astype(np.uint8)))
            detections.append(detection)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(ann_file))
        evaluation = COCOeval(truth, truth.loadRes(detections), kind)
        if images:
            evaluation.params.imgIds = images
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation
