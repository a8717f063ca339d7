"""Which images train and validate: the order in which a data set's words count, and the draw when it has none."""

from __future__ import annotations

import pytest

from tests.data.conftest import everything, flat, image, names, write
from trainer.config.schema import Dataset
from trainer.data.prepare import prepare
from trainer.errors import DatasetError


def test_per_image_split_before_split_config(root, dice):
    document = flat(root, split_config={"splits": {"1": "val", "2": "val", "3": "test"}})
    document["images"][0]["split"] = "train"
    bundle = dice(document)
    assert names(bundle.val) == {"2.png"}
    assert names(bundle.splits["test"]) == {"3.png"}
    assert names(bundle.train) == {"1.png", "4.png", "5.png"}
    assert any("without a split put into train" in note for note in bundle.notes)


def test_ids_are_compared_as_text(root, dice):
    document = flat(root, splits={"1": "valid"})
    assert names(dice(document).val) == {"1.png"}
    document["images"][0]["id"] = "1"
    document["annotations"][0]["image_id"] = 1
    assert names(dice(document).val) == {"1.png"}


def test_counts_under_splits_assign_nothing(root, dice):
    bundle = dice(flat(root, splits={"train": 4, "val": 1}), val_ratio=0.4)
    assert bundle.val.num_images == 2


def test_partial_split_draws_the_rest(root, dice):
    config = {"method": "partial", "default_ratio": 0.5, "splits": {"1": "train", "2": "val", "3": None}}
    bundle = dice(flat(root, 9, split_config=config))
    assert "2.png" in names(bundle.val) and "1.png" in names(bundle.train)
    assert bundle.val.num_images == 1 + 4  # half of the seven that are free, rounded


@pytest.mark.parametrize(
    ("config", "val"),
    [
        ({"train_ratio": 0.5, "val_ratio": 0.5}, 5),
        ({"default_ratio": 0.7}, 3),
        ({"ratio": [0.6, 0.4]}, 4),
        ({"default_ratio": {"train": 0.9, "val": 0.1}}, 1),
        ({}, 2),
    ],
)
def test_ratio_of_the_file_before_the_option(root, dice, config, val):
    bundle = dice(flat(root, 10, split_config={"method": "auto", **config}), val_ratio=0.2)
    assert (bundle.train.num_images, bundle.val.num_images) == (10 - val, val)


def test_draw_follows_the_seed_and_not_the_order(root, dice):
    document = flat(root, 20)
    first = dice(document, seed=1)
    assert first.val.num_images == 4 and not names(first.val) & names(first.train)
    document["images"].reverse()
    assert names(dice(document, seed=1).val) == names(first.val)
    assert names(dice(document, seed=2).val) != names(first.val)
    assert any("seed 1: 16 train, 4 val" in note for note in first.notes)


def test_seed_of_the_file(root, dice):
    document = flat(root, 20)
    wanted = names(dice(document, seed=5).val)
    assert names(dice(document | {"split_config": {"method": "auto", "seed": 5}}, seed=1).val) == wanted


def test_validation_is_never_empty(root, dice):
    document = flat(root)
    for entry in document["images"]:
        entry["split"] = "train"
    bundle = dice(document)
    assert (bundle.train.num_images, bundle.val.num_images) == (4, 1)
    assert any("no image was assigned to val" in note for note in bundle.notes)


def test_test_images_are_not_taken_for_validation(root, dice):
    document = flat(root)
    for i, entry in enumerate(document["images"]):
        entry["split"] = "test" if i < 2 else "train"
    bundle = dice(document)
    assert names(bundle.splits["test"]) == {"1.png", "2.png"} and bundle.val.num_images == 1


def test_a_single_image_trains_and_validates(root, dice):
    bundle = dice(flat(root, 1))
    assert names(bundle.train) == names(bundle.val) == {"1.png"}


def test_nothing_to_train_on(root, dice):
    document = flat(root)
    for entry in document["images"]:
        entry["split"] = "val"
    with pytest.raises(DatasetError, match="no image is assigned to train"):
        dice(document)


def test_unknown_split_name(root, dice):
    document = flat(root, split_config={"splits": {"2": "hold-out"}})
    document["images"][0]["split"] = "dev"
    with pytest.raises(DatasetError, match=r"(?s)1\.png: 'dev'.*image 2: 'hold-out'"):
        dice(document)


def test_annotations_val_json(root, dice):
    document = flat(root)
    image(root / "images" / "v.png")
    extra = {
        # The same classes, otherwise numbered: names count.
        "categories": [{"id": 1, "name": "b"}, {"id": 2, "name": "a"}],
        "images": [
            {"id": 1, "file_name": "v.png", "width": 64, "height": 48},
            {"id": 2, "file_name": "5.png", "width": 64, "height": 48},
        ],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}],
    }
    write(root / "annotations_val.json", extra)
    bundle = dice(document)
    assert names(bundle.val) == {"v.png", "5.png"} and names(bundle.train) == {
        f"{i}.png" for i in range(1, 5)
    }
    assert everything(bundle)["v.png"][0]["category_id"] == 2
    assert any("taken out of train" in note for note in bundle.notes)

    document["images"][0]["split"] = "val"
    bundle = dice(document)
    assert names(bundle.val) == {"1.png"}
    assert any("annotations_val.json was not read" in note for note in bundle.notes)
    # Named by the user, it counts whatever the main file says.
    named = Dataset(name="toy", format="dice", path=str(root), val_annotations="annotations_val.json")
    assert {"v.png", "5.png"} <= names(prepare(named, "detection").val)
