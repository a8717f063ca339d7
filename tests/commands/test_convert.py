"""The convert command: what lies in the target, that it is whole or not there, and what it doesn't replace."""

from __future__ import annotations

import json
import os
from pathlib import Path

import orjson
import pytest

from tests.data.conftest import image
from tests.data.folders import THINGS, make
from trainer.cli.command_line import main
from trainer.data.convert import convert_dataset
from trainer.data.formats.dice import DiceFormat


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINER_CACHE", str(tmp_path / "cache"))


def convert(source: Path, target: Path, *words: str) -> int:
    return main(["convert", f"source={source}", f"target={target}", *words])


def test_coco_with_original_ids(tmp_path, capsys):
    source = make("dice", tmp_path / "src", "detection")
    assert convert(source, tmp_path / "out", "to=coco") == 0
    out = capsys.readouterr()
    assert "coco for detection, 2 classes; images: 4 train (4 labels), 2 val (2 labels)" in out.out
    assert "the images are hard links" in out.out and "is a DICE data set" in out.err
    document = orjson.loads((tmp_path / "out/annotations/train.json").read_bytes())
    assert [c["id"] for c in document["categories"]] == [1, 2]
    assert [c["original_id"] for c in document["categories"]] == [5, 6]
    assert {a["original_id"] for a in document["annotations"]} == {70, 71, 72, 73}
    for entry in document["images"]:
        assert os.path.samefile(
            tmp_path / "out/images" / entry["file_name"], source / "images" / entry["file_name"]
        )


def test_copies_and_json(tmp_path, capsys):
    source = make("yolo", tmp_path / "src", "pose")
    assert convert(source, tmp_path / "out", "to=dice", "task=pose", "--copy", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (
        told["images"] == "copies" and told["source_format"] == "yolo" and told["classes"] == ["cat", "dog"]
    )
    assert not os.path.samefile(tmp_path / "out/images/pic0.png", source / "images/train/pic0.png")
    category = orjson.loads((tmp_path / "out/annotations_pose.json").read_bytes())["categories"][0]
    assert category["keypoints"] == ["left_ear", "right_ear", "nose"] and category["flip_idx"] == [1, 0, 2]
    assert category["skeleton"] == [[1, 3], [2, 3]] and category["sigmas"] == [0.05] * 3


def test_yolo_keeps_original_ids_beside(tmp_path):
    source = make("coco", tmp_path / "src", "detection")
    assert convert(source, tmp_path / "out", "to=yolo") == 0
    ids = orjson.loads((tmp_path / "out/original_ids.json").read_bytes())
    assert ids["classes"] == [5, 6]
    assert ids["images"]["images/train/pic0.png"] == {"id": 30, "file_name": "pic0.png", "annotations": [70]}


def test_masks_are_index_pngs(tmp_path):
    source = make("voc", tmp_path / "src", "semantic_segmentation")
    assert convert(source, tmp_path / "out", "task=semantic_segmentation") == 0
    document = orjson.loads((tmp_path / "out/annotations/val.json").read_bytes())
    assert [(c["id"], c["name"]) for c in document["categories"]] == [
        (0, "background"),
        (1, "cat"),
        (2, "dog"),
    ]
    assert all((tmp_path / "out" / entry["mask_file"]).is_file() for entry in document["images"])


def test_names_that_clash_get_their_split(tmp_path):
    source = make("coco", tmp_path / "src", "detection")
    for file in ("train2017", "val2017"):
        text = (source / f"annotations/instances_{file}.json").read_text()
        (source / f"annotations/instances_{file}.json").write_text(text.replace("pic4.png", "pic0.png"))
    image(source / "val2017" / "pic0.png")
    assert convert(source, tmp_path / "out") == 0
    found = {
        p.relative_to(tmp_path / "out/images").as_posix() for p in (tmp_path / "out/images").rglob("*.png")
    }
    assert {"pic0.png", "val/pic0.png"} <= found and len(found) == len(THINGS)


def test_images_that_differ_in_their_suffix_only_have_labels_of_their_own(tmp_path):
    source = make("coco", tmp_path / "src", "detection")
    file = source / "annotations/instances_train2017.json"
    file.write_text(file.read_text().replace("pic1.png", "pic0.jpg"))
    image(source / "train2017" / "pic0.jpg", 64, 48)
    assert convert(source, tmp_path / "out", "to=yolo") == 0
    labels = {p.name for p in (tmp_path / "out/labels/train").iterdir()}
    assert labels == {"pic0.txt", "pic0_jpg.txt", "pic2.txt", "pic3.txt"}


def test_what_is_there_is_not_replaced(tmp_path, capsys):
    source, target = make("yolo", tmp_path / "src", "detection"), tmp_path / "out"
    (target / "mine").mkdir(parents=True)
    assert convert(source, target) == 2 and "holds something" in capsys.readouterr().err
    assert convert(source, target, "overwrite=true") == 2
    assert "was not written by this command" in capsys.readouterr().err and (target / "mine").is_dir()
    (target / "mine").rmdir()
    assert convert(source, target) == 0  # an empty folder is no loss
    assert convert(source, target) == 2 and "overwrite=true replaces it" in capsys.readouterr().err
    assert convert(source, target, "to=dice", "--overwrite") == 0
    assert (target / "annotations_detection.json").is_file() and not (target / "annotations").exists()


@pytest.mark.parametrize("place", ["src", "src/inner", "."])
def test_source_and_target_apart(tmp_path, capsys, place):
    source = make("yolo", tmp_path / "src", "detection")
    assert convert(source, tmp_path / place, "overwrite=true") == 2
    assert "must not lie in each other" in capsys.readouterr().err


def test_a_failure_leaves_nothing(tmp_path, capsys, monkeypatch):
    source, target = make("yolo", tmp_path / "src", "detection"), tmp_path / "out"
    assert convert(source, target, "to=coco") == 0
    before = (target / convert_dataset.MARKER).read_bytes()

    def fail(*_: object) -> dict[str, int]:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(DiceFormat, "write_records", fail)
    assert convert(source, target, "to=dice", "overwrite=true") == 1
    assert "can't be written: No space left" in capsys.readouterr().err
    assert (target / convert_dataset.MARKER).read_bytes() == before
    assert {p.name for p in tmp_path.iterdir()} - {"cache"} == {"src", "out"}


def test_what_is_missing_or_impossible(tmp_path, capsys):
    assert main(["convert", "to=coco"]) == 2
    assert "source and target is missing" in capsys.readouterr().err
    source = make("masks", tmp_path / "src", "semantic_segmentation")
    assert convert(source, tmp_path / "out", "to=yolo", "task=semantic_segmentation") == 2
    assert "to=yolo can't hold labels for task=" in capsys.readouterr().err
    assert main(["convert", "--help"]) == 0 and "overwrite" in capsys.readouterr().out
