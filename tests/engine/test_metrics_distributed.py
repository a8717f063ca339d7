"""Two processes that each see half of the validation set give what one gives, for every task, to the last digit."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp

from trainer.engine import compat
from trainer.engine.metrics import BoxMetrics, MaskMetrics, PoseMetrics, SegMetrics

IMAGES = 7  # Odd: the second process is given one image again to have as many.
POINTS = 4


@pytest.mark.slow
def test_two_processes_give_what_one_gives(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ann_file = _write_truth(tmp_path)
    alone = json.loads(json.dumps(_values(ann_file, range(IMAGES))))
    meeting = f"file://{tmp_path / 'meeting'}"
    mp.spawn(_process, (meeting, ann_file, tmp_path), nprocs=2)
    for rank in range(2):
        assert json.loads((tmp_path / f"{rank}.json").read_text()) == alone
    for values, name in zip(alone, ("mAP50-95", "mask_mAP50-95", "mIoU", "mAP50-95"), strict=True):
        assert 0 < values[name] < 1, name
    assert not (tmp_path / ".dist_test").exists()  # where mmengine's own way leaves files


def _process(rank, meeting, ann_file, folder):
    compat.apply()
    torch.distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2)
    order = [*range(IMAGES), 0]
    values = _values(ann_file, order[rank::2])
    (folder / f"{rank}.json").write_text(json.dumps(values))
    torch.distributed.destroy_process_group()


def _values(ann_file, images):
    box, mask, seg = BoxMetrics(ann_file), MaskMetrics(ann_file), SegMetrics()
    pose = PoseMetrics(ann_file)
    box.dataset_meta = mask.dataset_meta = seg.dataset_meta = {"classes": ("a", "b")}
    pose.dataset_meta = {"sigmas": np.full(POINTS, 0.05), "num_keypoints": POINTS}
    for image in images:
        found = _instances(image)
        box.process({}, [{"img_id": image + 1, "pred_instances": found}])
        mask.process({}, [{"img_id": image + 1, "pred_instances": found}])
        predicted = torch.arange(16).reshape(1, 4, 4).remainder(2)
        truth = predicted.clone()
        truth[0, 0, :image] = 0
        seg.process({}, [{"pred_sem_seg": {"data": predicted}, "gt_sem_seg": {"data": truth}}])
        pose.process({}, [_person(image)])
    return [metric.evaluate(IMAGES) for metric in (box, mask, seg, pose)]


def _instances(image):
    bottom = 50 + image * 5
    bitmap = torch.zeros(1, 100, 100, dtype=torch.bool)
    bitmap[:, 10:bottom, 10:50] = True
    return {
        "bboxes": torch.tensor([[10.0, 10.0, 50.0, float(bottom)]]),
        "labels": torch.tensor([image % 2]),
        "scores": torch.tensor([0.5 + image / 20]),
        "masks": bitmap,
    }


def _person(image):
    points = _points() + np.array([image * 1.5, 0.0])
    return {
        "id": image + 1,
        "img_id": image + 1,
        "raw_ann_info": {"id": image + 1},
        "gt_instances": {
            "bboxes": np.array([[10.0, 10.0, 50.0, 60.0]]),
            "bbox_scores": np.ones(1),
            "bbox_scales": np.array([[50.0, 60.0]]),
        },
        "pred_instances": {"keypoints": points[None], "keypoint_scores": np.full((1, POINTS), 0.9)},
    }


def _points():
    return np.array([[15.0, 15.0], [45.0, 15.0], [15.0, 55.0], [45.0, 55.0]])


def _write_truth(folder):
    images = [{"id": i + 1, "file_name": f"{i}.png", "width": 100, "height": 100} for i in range(IMAGES)]
    annotations = [
        {
            "id": i + 1,
            "image_id": i + 1,
            "category_id": i % 2 + 1,
            "bbox": [10, 10, 40, 50],
            "segmentation": [[10, 10, 50, 10, 50, 60, 10, 60]],
            "keypoints": np.column_stack([_points(), np.full(POINTS, 2.0)]).ravel().tolist(),
            "num_keypoints": POINTS,
            "area": 2000,
            "iscrowd": 0,
        }
        for i in range(IMAGES)
    ]
    categories = [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]
    path = folder / "val.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path
