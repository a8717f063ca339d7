"""dataset=auto: what is said when a folder is nothing, or several things, or good for another task."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.data.conftest import image, write
from tests.data.folders import make
from trainer.core.errors import DatasetError
from trainer.data.prepare import prepare
from trainer.schema import Dataset


def refused(root: Path, task: str = "detection", form: str = "auto") -> str:
    with pytest.raises(DatasetError) as caught:
        prepare(Dataset(format=form, path=str(root)), task)
    return str(caught.value)


def test_several_formats_are_listed(root):
    make("coco", root, "detection")
    make("yolo", root, "detection")
    text = refused(root)
    assert "coco (annotations/instances_train2017.json)" in text and "yolo (data.yaml)" in text
    assert "Choose one with dataset=coco or dataset=yolo." in text
    assert prepare(Dataset(format="yolo", path=str(root)), "detection").classes == ("cat", "dog")


def test_nothing_found_says_what_was_looked_for_and_what_is_there(root):
    write(root / "notes.txt", b"x")
    text = refused(root)
    assert "it contains notes.txt" in text
    for word in ("dice: annotations_detection.json", "yolo: data.yaml", "voc: Annotations/*.xml"):
        assert word in text
    assert "masks:" not in text  # can't carry detection


def test_good_for_another_task(root):
    make("masks", root, "semantic_segmentation")
    assert "mask PNG data set for task=semantic_segmentation" in refused(root)
    assert "can't hold labels for task=detection; it is for semantic_segmentation" in refused(
        root, form="masks"
    )


@pytest.mark.parametrize("base", ["", "train/"])
def test_image_folders_by_class_are_refused_with_a_word(root, base):
    for name in ("cats", "dogs"):
        image(root / f"{base}{name}" / "1.png")
    text = refused(root)
    assert f"a folder of images for each class ({base}cats, {base}dogs)" in text and "not where" in text


def test_a_dice_file_named_like_coco(root):
    make("dice_singular", root, "detection")
    assert any("DICE" in note for note in prepare(Dataset(format="auto", path=str(root)), "detection").notes)


def test_masks_that_a_document_names_are_no_second_format(root):
    make("dice_singular", root, "semantic_segmentation")
    for i in range(6):
        (root / "masks" / f"pic{i}_mask.png").rename(root / "masks" / f"pic{i}.png")
    text = (root / "annotations.json").read_text().replace("_mask.png", ".png")
    write(root / "annotations.json", text.encode())
    notes = prepare(Dataset(format="auto", path=str(root)), "semantic_segmentation").notes
    assert any("is a DICE data set" in note for note in notes)


def test_a_changed_label_file_is_read_again(root):
    make("yolo", root, "detection")
    options = Dataset(format="yolo", path=str(root))
    first = prepare(options, "detection").fingerprint
    write(root / "labels" / "train" / "pic0.txt", b"1 0.5 0.5 0.25 0.25\n")
    assert prepare(options, "detection").fingerprint != first
