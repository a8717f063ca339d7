"""How well keypoints are found (pose)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from faster_coco_eval import COCO
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS

from trainer.core.errors import ConfigError, DatasetError, did_you_mean
from trainer.engine.metrics.coco_scores import CocoScores, evaluate_coco, load_ground_truth
from trainer.engine.metrics.keypoint_errors import KeypointErrors, measure
from trainer.engine.metrics.pr_curves import Curves, coco_curves

SCORE_MODES = ("bbox", "keypoint", "bbox_keypoint", "bbox_rle")
NMS_MODES = ("oks_nms", "soft_oks_nms", "none")


@METRICS.register_module()
class PoseMetrics(BaseMetric):
    """COCO's keypoint average precision ``mAP50-95 mAP50 mAP75 AR`` and ``PCK``, from 0 to 1.

    PCK is the share of labelled keypoints that lie within 0.2 of their box's larger side. In a top-down model each
    ground truth has its own prediction. A bottom-up model's instance speaks for the ground truth it is most similar
    to, and of several the one with the best score counts. A ground truth without prediction counts as missed.

    Categories don't count, only where the points are: mmpose's models don't classify. Ground truth counts on the
    images that were validated. The scores are computed as mmpose's ``CocoMetric`` computes them.

    Args:
        ann_file: COCO keypoint annotations of the validation split. The sigmas come from ``dataset_meta``.
        score_mode: an instance's score: its box's, its keypoints' mean, the product, or the sum with the largest.
        keypoint_score_thr: lowest keypoint score that counts for ``bbox_keypoint``.
        nms_mode: how an image's duplicates are removed: ``oks_nms``, ``soft_oks_nms``, ``none``.
        nms_thr: similarity from which two instances are duplicates.
        collect_device: where results of several processes meet, ``cpu`` or ``gpu``.

    Raises:
        ConfigError: an unknown mode.
        DatasetError: the annotation file is not there.
    """

    default_prefix = ""

    def __init__(
        self,
        ann_file: str | Path,
        score_mode: str = "bbox_keypoint",
        keypoint_score_thr: float = 0.2,
        nms_mode: str = "oks_nms",
        nms_thr: float = 0.9,
        collect_device: str = "cpu",
    ) -> None:
        super().__init__(collect_device=collect_device)
        self.curves: Callable[[], Curves] | None = None
        self.ann_file = Path(ann_file)
        if not self.ann_file.is_file():
            raise DatasetError(f"{self.ann_file}: no such annotation file (val_evaluator.ann_file)")
        for key, value, choices in (
            ("score_mode", score_mode, SCORE_MODES),
            ("nms_mode", nms_mode, NMS_MODES),
        ):
            if value not in choices:
                known = ", ".join(choices)
                hint = did_you_mean(value, choices)
                raise ConfigError(f"val_evaluator.{key}={value}: expected one of {known}.{hint}")
        self.score_mode, self.keypoint_score_thr = score_mode, keypoint_score_thr
        self.nms_mode, self.nms_thr = nms_mode, nms_thr

    @cached_property
    def coco(self) -> COCO:
        coco = load_ground_truth(self.ann_file)
        for annotation in coco.dataset["annotations"]:
            annotation["category_id"] = 1
        coco.dataset["categories"] = [{"id": 1, "name": "any"}]
        coco.createIndex()
        return coco

    @property
    def sigmas(self) -> np.ndarray:
        assert self.dataset_meta is not None
        return np.asarray(self.dataset_meta["sigmas"], dtype=float)

    def process(self, data_batch: Any, data_samples: Sequence[Mapping[str, Any]]) -> None:
        """Keep each sample's instances: keypoints (K, 2) in original pixels, their scores (K,), box score, area."""
        for sample in data_samples:
            predicted, truth = sample["pred_instances"], sample["gt_instances"]
            keypoints = _array(predicted["keypoints"])[..., :2]
            # A top-down sample is one annotation; a detector's box (without annotation) and a bottom-up image aren't.
            annotation = sample.get("raw_ann_info")
            instances = {
                "image": int(sample["img_id"]),
                "annotation": annotation["id"] if isinstance(annotation, Mapping) else None,
                "sample": sample["id"] if isinstance(sample["id"], (int, np.integer)) else None,
                "keypoints": keypoints,
                "keypoint_scores": _array(predicted["keypoint_scores"]),
                "box_scores": _box_scores(predicted, truth, len(keypoints)),
                "areas": _areas(truth, keypoints),
            }
            self.results.append(instances)

    def compute_metrics(self, results: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        images = {result["image"] for result in results}
        instances = [
            instance
            for image in _by_image(_instances(results, self._score)).values()
            for instance in self._without_duplicates(image)
        ]
        detections = [
            {
                "image_id": instance["image"],
                "category_id": 1,
                "keypoints": np.column_stack([instance["keypoints"], instance["keypoint_scores"]])
                .ravel()
                .tolist(),
                "score": instance["score"],
            }
            for instance in instances
        ]
        scores = evaluate_coco(
            self.coco, detections, "keypoints", images=images, categories=[1], sigmas=self.sigmas
        )
        # Before duplicates are removed: a top-down model's answer for one box is not a duplicate of another's.
        candidates = list(_instances(results, self._score))
        errors = measure(self._truths(images), candidates, self.sigmas)
        self._keep_curves(scores, errors)
        return {
            "mAP50-95": scores.ap() or 0.0,
            "mAP50": scores.ap(iou=0.5) or 0.0,
            "mAP75": scores.ap(iou=0.75) or 0.0,
            "AR": scores.ar() or 0.0,
            "PCK": errors.correct,
        }

    def _keep_curves(self, scores: CocoScores, errors: KeypointErrors) -> None:
        assert self.dataset_meta is not None
        known = self.dataset_meta.get("keypoint_id2name") or {}
        names = [str(known.get(index, index + 1)) for index in range(len(self.sigmas))]

        def compute() -> Curves:
            return {
                "parts": {"keypoints": coco_curves(scores, {1: "instance"})},
                "keypoints": errors.each(names),
            }

        self.curves = compute

    def _truths(self, images: Iterable[int]) -> list[dict[str, Any]]:
        annotations = (annotation for image in sorted(images) for annotation in self.coco.imgToAnns[image])
        return [a for a in annotations if "keypoints" in a and not a["iscrowd"] and a["num_keypoints"]]

    def _score(self, box_score: float, keypoint_scores: np.ndarray) -> float:
        if self.score_mode == "bbox":
            return box_score
        if self.score_mode == "keypoint":
            return float(keypoint_scores.mean())
        if self.score_mode == "bbox_rle":
            return float(box_score + keypoint_scores.mean() + keypoint_scores.max())
        sure = keypoint_scores[keypoint_scores > self.keypoint_score_thr]
        return float(box_score * sure.mean()) if sure.size else 0.0

    def _without_duplicates(self, instances: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if self.nms_mode == "none":
            return instances
        from mmpose.evaluation.functional import oks_nms, soft_oks_nms

        # mmpose flattens x, y and the score of each point.
        flat = [
            {**instance, "keypoints": np.column_stack([instance["keypoints"], instance["keypoint_scores"]])}
            for instance in instances
        ]
        nms = oks_nms if self.nms_mode == "oks_nms" else soft_oks_nms
        return [instances[index] for index in nms(flat, self.nms_thr, sigmas=self.sigmas)]


def _instances(results: Sequence[Mapping[str, Any]], score: Any) -> Iterable[dict[str, Any]]:
    """One dict an instance; a top-down sample that was evaluated twice (padding of a distributed batch) once."""
    seen: set[tuple[int, int]] = set()
    for result in results:
        if result["sample"] is not None:
            key = (result["image"], int(result["sample"]))
            if key in seen:
                continue
            seen.add(key)
        for index, keypoints in enumerate(result["keypoints"]):
            keypoint_scores = result["keypoint_scores"][index]
            value = score(float(result["box_scores"][index]), keypoint_scores)
            if np.isfinite(keypoints).all() and np.isfinite(value):
                yield {
                    "image": result["image"],
                    "annotation": result["annotation"],
                    "keypoints": keypoints,
                    "keypoint_scores": keypoint_scores,
                    "score": value,
                    "area": float(result["areas"][index]),
                }


def _by_image(instances: Iterable[dict[str, Any]]) -> dict[int, list[dict[str, Any]]]:
    images: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for instance in instances:
        images[instance["image"]].append(instance)
    return images


def _box_scores(predicted: Mapping[str, Any], truth: Mapping[str, Any], count: int) -> np.ndarray:
    if "bbox_scores" in predicted:
        return _array(predicted["bbox_scores"])
    if "bbox_scores" in truth and len(truth["bbox_scores"]) == count:
        return _array(truth["bbox_scores"])
    return np.ones(count)  # A bottom-up model's number of instances is its own.


def _areas(truth: Mapping[str, Any], keypoints: np.ndarray) -> np.ndarray:
    if "bbox_scales" in truth and len(truth["bbox_scales"]) == len(keypoints):
        return _array(truth["bbox_scales"]).prod(axis=1)
    if not len(keypoints):
        return np.empty(0)
    return np.ptp(keypoints, axis=1).prod(axis=1)


def _array(values: Any) -> np.ndarray:
    """A numpy array of what is a tensor in some of mmpose's models and an array in others."""
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values, dtype=float)
