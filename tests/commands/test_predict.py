"""predict leaves pictures and predictions.json."""

import json
import shutil

import cv2
import numpy as np
import pytest

from trainer.cli.command_line import main
from trainer.predictions.prediction import decode_mask
from trainer.schema import METRICS

TASKS = tuple(METRICS)


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_the_validation_images_of_a_run(trained_run, tmp_path, task, capsys):
    folder = trained_run(task)
    words = [f"checkpoint={folder}", "device=cpu", f"output={tmp_path}", "threshold=0.01"]
    assert main(["predict", *words]) == 0
    content = json.loads((tmp_path / "predictions.json").read_text())
    assert content["task"] == task and content["run_id"] == folder.name
    assert len(content["images"]) == 8
    entries = [
        entry for image in content["images"] for entry in image.get("predictions", image.get("segments"))
    ]
    assert entries
    for entry in entries:
        assert 1 <= entry["category_id"] <= len(content["classes"])
        assert entry["category_name"] == content["classes"][entry["category_id"] - 1]
        if task != "semantic_segmentation":
            assert len(entry["bbox"]) == 4 and entry["score"] >= 0
        if task.endswith("segmentation"):
            assert decode_mask(entry["segmentation"]).shape == (96, 96)
        if task == "pose":
            assert len(entry["keypoints"]) == 4 * 3 and content["keypoints"] == [
                "top",
                "right",
                "bottom",
                "left",
            ]
    for image in content["images"]:
        picture, plain = cv2.imread(str(tmp_path / image["picture"])), cv2.imread(image["file"])
        assert picture.shape == (480, 480, 3)
        drawn = (cv2.absdiff(picture, cv2.resize(plain, (480, 480), interpolation=cv2.INTER_CUBIC)) > 20).any(
            -1
        )
        if image.get("predictions"):
            assert drawn.any(), image["picture"]
    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    assert sheet.shape[1] > 4 * 300 and sheet.std() > 10
    assert "sheet.png" in capsys.readouterr().out


@pytest.mark.slow
def test_a_folder_of_images(trained_run, tmp_path, capsys):
    folder = trained_run("detection")
    main(["predict", f"checkpoint={folder}", "device=cpu", f"output={tmp_path / 'first'}", "max_images=3"])
    files = [
        image["file"] for image in json.loads((tmp_path / "first" / "predictions.json").read_text())["images"]
    ]
    for number, file in enumerate(files):
        (tmp_path / "in" / str(number)).mkdir(parents=True)
        shutil.copy(file, tmp_path / "in" / str(number) / "same.jpg")
    words = [f"checkpoint={folder}", f"source={tmp_path / 'in'}", f"output={tmp_path / 'out'}", "threshold=0"]
    assert main(["predict", *words, "device=cpu"]) == 0
    content = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert [image["picture"] for image in content["images"]] == ["same.png", "same-2.png", "same-3.png"]
    assert all((tmp_path / "out" / image["picture"]).is_file() for image in content["images"])

    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert {result["image_id"] for result in results} <= {0, 1, 2} and results

    (tmp_path / "in" / "broken.jpg").write_bytes(b"no image")
    capsys.readouterr()
    assert main(["predict", *words, "device=cpu", "on_error=fail"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "broken.jpg" in error
    kept = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert kept == content, "a failure leaves what was there"

    assert main(["predict", *words, "device=cpu", "labels=true", "max_detections=1", "classes=1,2"]) == 0
    error = capsys.readouterr().err
    assert "note: skipped:" in error and "broken.jpg" in error
    images = json.loads((tmp_path / "out" / "predictions.json").read_text())["images"]
    assert [("error" in image) for image in images] == [False, False, False, True]
    found = [entry for image in images[:3] for entry in image["predictions"]]
    assert {entry["category_name"] for entry in found} <= {"1", "2"} and len(found) <= 3
    assert len(list((tmp_path / "out" / "labels").glob("*.txt"))) == 3
    broken = tmp_path / "in" / "broken.jpg"
    assert main(["predict", f"checkpoint={folder}", f"source={broken}", f"output={tmp_path / 'x'}"]) == 1
    assert "broken.jpg can't be read" in capsys.readouterr().err and not list((tmp_path / "x").glob("*"))


@pytest.mark.slow
def test_a_video(trained_run, tmp_path, capsys):
    folder = trained_run("semantic_segmentation")
    writer = cv2.VideoWriter(str(tmp_path / "a.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (96, 96))
    for number in range(5):
        writer.write(np.full((96, 96, 3), 40 * number, np.uint8))
    writer.release()
    words = [f"checkpoint={folder}", f"source={tmp_path / 'a.avi'}", f"output={tmp_path}", "device=cpu"]
    assert main(["predict", *words, "max_images=4"]) == 0
    assert "4 frames" in (said := capsys.readouterr().out) and "a.mp4" in said
    assert len(json.loads((tmp_path / "predictions.json").read_text())["images"]) == 4
    capture = cv2.VideoCapture(str(tmp_path / "a.mp4"))
    assert (capture.get(cv2.CAP_PROP_FRAME_COUNT), capture.get(cv2.CAP_PROP_FPS)) == (4, 10)
    capture.release()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["checkpoint=nothing"], "nothing"),
        (["checkpoint=a.pth"], "a.pth"),
        (["checkpoint=latest"], "no run yet"),
        ([], "checkpoint is missing"),
    ],
)
def test_mistakes_are_one_line(tmp_path, capsys, words, told):
    assert main(["predict", f"output_dir={tmp_path}", *words]) in (1, 2)
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and told in error
