"""Which images, or boxes of them, an export is proven on."""

import json
from types import SimpleNamespace

import pytest

from trainer.export.proof.images import calibration_images, proof_images


@pytest.mark.parametrize("top_down", [True, False])
def test_only_top_down_pose_models_look_at_boxes(tmp_path, top_down):
    images = [{"id": number, "file_name": f"{number}.png", "width": 96, "height": 64} for number in (1, 2)]
    person = {"bbox": [10, 20, 30, 40], "keypoints": [20, 30, 2], "category_id": 1, "area": 1200}
    annotations = [{**person, "id": number, "image_id": 1 + number // 2} for number in range(4)]
    categories = [{"id": 1, "name": "person"}]
    (tmp_path / "val.json").write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": categories})
    )
    for image in images:
        (tmp_path / image["file_name"]).touch()
    leaf = {"data_root": str(tmp_path), "ann_file": "val.json", "data_prefix": {"img": ""}}
    loader = {"dataset": leaf}
    predictor = SimpleNamespace(
        config={"val_dataloader": loader, "train_dataloader": loader},
        task="pose", classes=("person",), top_down=top_down,
    )  # fmt: skip
    found, origin = proof_images(predictor, None, tmp_path)
    assert origin == "validation images"
    paths = [tmp_path / "1.png", tmp_path / "2.png"]
    if top_down:
        assert [(image.path, image.box) for image in found] == [
            (path, (10, 20, 40, 60)) for path in paths for _ in range(2)
        ]
    else:
        assert [(image.path, image.box) for image in found] == [(path, None) for path in paths]
    assert calibration_images(predictor, 9) == found
