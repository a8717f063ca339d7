"""Two processes that each see half of the validation set give what one gives."""

from __future__ import annotations

import json

import pytest
import torch
import torch.multiprocessing as mp

from trainer.engine.metrics import BoxMetrics, SegMetrics

IMAGES = 7  # Odd: the second process is given one image again to have as many.


@pytest.mark.slow
def test_two_processes_give_what_one_gives(tmp_path):
    ann_file = _write_truth(tmp_path)
    alone = [_values(ann_file, range(IMAGES))]
    meeting = f"file://{tmp_path / 'meeting'}"
    mp.spawn(_process, (meeting, ann_file, tmp_path), nprocs=2)
    for rank in range(2):
        assert json.loads((tmp_path / f"{rank}.json").read_text()) == json.loads(json.dumps(alone[0]))
    assert 0 < alone[0][0]["mAP50-95"] < 1


def _process(rank, meeting, ann_file, folder):
    torch.distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2)
    order = [*range(IMAGES), 0]
    values = _values(ann_file, order[rank::2])
    (folder / f"{rank}.json").write_text(json.dumps(values))
    torch.distributed.destroy_process_group()


def _values(ann_file, images):
    box, seg = BoxMetrics(ann_file), SegMetrics()
    box.dataset_meta = seg.dataset_meta = {"classes": ("a", "b")}
    for image in images:
        boxes = torch.tensor([[10.0, 10.0, 50.0, 50.0 + image * 5]])
        instances = {
            "bboxes": boxes,
            "labels": torch.tensor([image % 2]),
            "scores": torch.tensor([0.5 + image / 20]),
        }
        box.process({}, [{"img_id": image + 1, "pred_instances": instances}])
        predicted = torch.arange(16).reshape(1, 4, 4).remainder(2)
        truth = predicted.clone()
        truth[0, 0, :image] = 0
        seg.process({}, [{"pred_sem_seg": {"data": predicted}, "gt_sem_seg": {"data": truth}}])
    return box.evaluate(IMAGES), seg.evaluate(IMAGES)


def _write_truth(folder):
    images = [{"id": i + 1, "file_name": f"{i}.png", "width": 100, "height": 100} for i in range(IMAGES)]
    annotations = [
        {
            "id": i + 1,
            "image_id": i + 1,
            "category_id": i % 2 + 1,
            "bbox": [10, 10, 40, 50],
            "area": 2000,
            "iscrowd": 0,
        }
        for i in range(IMAGES)
    ]
    categories = [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]
    path = folder / "val.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path
