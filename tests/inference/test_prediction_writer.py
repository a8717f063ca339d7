"""Files of answers: JSON that other tools read, pictures, a video."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from faster_coco_eval import COCO

from tests.inference.squares import Squares, scene
from tests.inference.test_sources import make_video
from trainer.inference.predict_options import PredictOptions
from trainer.inference.prediction_writer import Written, write
from trainer.inference.samples import Sample
from trainer.inference.sources import open_source
from trainer.inference.stream import answers
from trainer.predictions.formats import coco_results, yolo_lines
from trainer.predictions.prediction import Prediction, decode_mask

IMAGE = scene(40, 20, [(0, 2, 3, 12, 13), (2, 20, 5, 36, 15)])


def _write(folder, model, samples, video=None, **options):
    written = Written()
    stream = answers(model, samples, PredictOptions(on_error="skip"))
    for _ in write(model, stream, folder, 0.3, video=video, written=written, **options):
        pass
    return written


def _read(path):
    return json.loads(path.read_text())


@pytest.mark.parametrize("task", ["detection", "instance_segmentation", "pose"])
def test_results_are_read_by_coco(tmp_path, task):
    model = Squares(task)
    written = _write(
        tmp_path, model, [Sample(IMAGE, image_id=7), Sample(scene(40, 20, []), image_id=9)], pictures="none"
    )
    assert (written.images, written.instances, written.sheet) == (2, 2, None)
    results = _read(tmp_path / "results.json")
    assert [one["image_id"] for one in results] == [7, 7]
    truth = COCO()
    names = {
        "images": [{"id": number, "width": 40, "height": 20, "file_name": ""} for number in (7, 9)],
        "categories": [{"id": index + 1, "name": name} for index, name in enumerate(model.classes)],
        "annotations": [],
        "info": {},
    }
    truth.dataset = names
    truth.createIndex()
    loaded = truth.loadRes(results)
    assert {
        (one["category_id"], *(one["bbox"] if task == "detection" else ())) for one in loaded.anns.values()
    } == ({(1, 2, 3, 10, 10), (3, 20, 5, 16, 10)} if task == "detection" else {(1,), (3,)})
    if task == "instance_segmentation":
        assert sorted(int(decode_mask(one["segmentation"]).sum()) for one in results) == [100, 160]
    if task == "pose":
        assert sorted(one["keypoints"][0] for one in results) == [2, 20]
    assert not list(tmp_path.glob("*.png"))


def test_a_map_is_written_as_an_image_of_indices(tmp_path):
    _write(tmp_path, Squares("semantic_segmentation"), [Sample(IMAGE, label="scenes/first.png")])
    indices = cv2.imread(str(tmp_path / "maps" / "first.png"), cv2.IMREAD_UNCHANGED)
    assert indices.shape == (20, 40) and np.unique(indices).tolist() == [0, 1, 3]
    assert not (tmp_path / "results.json").exists()
    (image,) = _read(tmp_path / "predictions.json")["images"]
    assert [one["area"] for one in image["segments"]] == [800 - 260, 100, 160]


def test_yolo_labels_are_shares_of_the_image():
    (found,) = Squares().predict(IMAGE)
    assert yolo_lines(found) == ["0 0.175 0.4 0.25 0.5", "2 0.7 0.5 0.4 0.5"]
    assert yolo_lines(found, scores=True)[0].split()[-1] == "1"
    (posed,) = Squares("pose").predict(IMAGE)
    assert yolo_lines(posed)[0] == "0 0.175 0.4 0.25 0.5 0.05 0.4 2 0.275 0.4 2"
    (masked,) = Squares("instance_segmentation").predict(IMAGE)
    numbers = np.array([float(part) for part in yolo_lines(masked)[1].split()[1:]]).reshape(-1, 2) * (40, 20)
    assert yolo_lines(masked)[1].startswith("2 ") and numbers.min(0).tolist() == [20, 5]
    assert numbers.max(0).tolist() == [35, 14]
    empty = Prediction(
        None,
        (4, 4),
        ("a",),
        np.zeros((1, 4), np.float32),
        np.ones(1, np.float32),
        np.zeros(1, np.int64),
        np.zeros((1, 4, 4), bool),
    )
    assert yolo_lines(empty) == []
    (whole,) = Squares("semantic_segmentation").predict(IMAGE)
    assert yolo_lines(whole) == [] == coco_results(whole, 1)


def test_pictures_labels_and_what_cannot_be_read(tmp_path):
    for name in ("a/same.jpg", "b/same.jpg", "broken.jpg"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), IMAGE)
    (tmp_path / "in" / "broken.jpg").write_bytes(b"no image")
    source = open_source(tmp_path / "in")
    out = tmp_path / "out"
    written = _write(out, Squares(), source.samples(), labels=True, pictures="jpg")
    content = _read(out / "predictions.json")
    assert [image.get("picture") for image in content["images"]] == ["same.jpg", "same-2.jpg", None]
    assert [image["image_id"] for image in content["images"]] == [0, 1, 2]
    assert "can't be read" in content["images"][2]["error"] and written.unreadable == 1
    assert content["classes"] == ["blue", "green", "red"] and content["threshold"] == 0.3
    assert sorted(path.name for path in out.iterdir() if path.is_file()) == [
        "predictions.json",
        "results.json",
        "same-2.jpg",
        "same.jpg",
        "sheet.png",
    ]
    assert sorted(path.name for path in (out / "labels").iterdir()) == ["same-2.txt", "same.txt"]
    assert cv2.imread(str(out / "same.jpg")).shape == (240, 480, 3)


def test_a_video_comes_back_annotated(tmp_path):
    source = open_source(make_video(tmp_path / "a.mp4", frames=6))
    written = _write(tmp_path / "out", Squares(), source.samples(), video=source.video)
    assert written.video == tmp_path / "out" / "a.mp4"
    content = _read(tmp_path / "out" / "predictions.json")
    assert [(image["frame"], image["seconds"]) for image in content["images"]] == [
        (number, number / 5) for number in range(6)
    ]
    again = open_source(written.video)
    assert again.count == 6 and again.video.fps == 5
    frames = [sample.image for sample in again.samples()]
    assert frames[0].shape == (320, 480, 3) and np.abs(frames[0].astype(int) - frames[5]).max() > 100
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]


def test_a_failure_leaves_what_was_there(tmp_path):
    _write(tmp_path, Squares(), [Sample(IMAGE)])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.suffix == ".json"}

    def samples():
        yield Sample(IMAGE)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _write(tmp_path, Squares(), samples())
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.suffix == ".json"} == before
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
