"""predict leaves pictures and predictions.json."""

import json
import shutil

import cv2
import pytest

from trainer.cli import main
from trainer.config.schema import METRICS
from trainer.inference.results import decode_mask

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

    (tmp_path / "in" / "broken.jpg").write_bytes(b"no image")
    capsys.readouterr()
    assert main(["predict", *words, "device=cpu"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "broken.jpg" in error
    kept = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert kept == content, "a failure leaves what was there"


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
