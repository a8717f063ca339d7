"""Which images train and validate: the order in which a data set's words count, and the draw when it has none."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.conftest import everything, flat, image, names, write
from trainer.core.errors import ConfigError, DatasetError
from trainer.data.prepare import prepare
from trainer.data.records import Annotation, ImageRecord, Problems, Records, SplitRule
from trainer.data.splits import assign
from trainer.schema import Dataset


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


def test_a_ratio_that_leaves_something_leaves_it_to_test(root, dice):
    config = {"method": "auto", "train_ratio": 0.6, "val_ratio": 0.3}
    bundle = dice(flat(root, 10, split_config=config))
    assert [bundle.splits[name].num_images for name in ("train", "val", "test")] == [6, 3, 1]
    bundle = dice(flat(root, 10), test_ratio=0.3)
    assert [bundle.splits[name].num_images for name in ("train", "val", "test")] == [5, 2, 3]
    with pytest.raises(ConfigError, match="leave nothing to train on"):
        dice(flat(root, 10), val_ratio=0.5, test_ratio=0.5)


@pytest.mark.parametrize(
    "content",
    [
        {"val": [1, "2.png"], "test": ["3"]},
        {"1": "val", "images/2.png": "valid", "3": "test"},
        {"splits": {"1": "val", "2": "val", "3": "test", "4": None}},
        {"split_config": {"method": "custom", "custom_splits": {"1": "val", "2.png": "val", "3": "test"}}},
    ],
)
def test_split_file_before_all_that_the_data_set_says(root, dice, content):
    write(root / "mine.json", content)
    document = flat(root, split_config={"splits": {"4": "val"}})
    document["images"][4]["split"] = "test"
    bundle = dice(document, split_file="mine.json")
    assert names(bundle.val) == {"1.png", "2.png"} and names(bundle.splits["test"]) == {"3.png"}
    assert names(bundle.train) == {"4.png", "5.png"}


def test_split_file_with_shares_and_left_out_images(root, dice):
    write(
        root / "mine.json", {"train_ratio": 0.5, "val_ratio": 0.5, "seed": 3, "exclude_images": [1, "2.png"]}
    )
    bundle = dice(flat(root, 10), split_file="mine.json")
    assert (bundle.train.num_images, bundle.val.num_images) == (4, 4)
    assert not {"1.png", "2.png"} & (names(bundle.train) | names(bundle.val))
    # The prepared data follow the file's content, not only its name.
    write(root / "mine.json", {"val": [1]})
    assert names(dice(flat(root, 10), split_file="mine.json").val) == {"1.png"}


def test_mistakes_in_a_split_file_come_at_once(root, dice):
    write(root / "mine.json", {"val": [1, 99], "train": ["1.png"], "hold-out": ["2"]})
    with pytest.raises(DatasetError) as caught:
        dice(flat(root), split_file="mine.json")
    for text in ("doesn't have (1): 99", "in two splits (1): 1.png: val, train", "hold-out"):
        assert text in str(caught.value)
    with pytest.raises(DatasetError, match=r"not-there\.json can't be read"):
        dice(flat(root), split_file="not-there.json")


def test_folds_part_the_data_whatever_its_own_splits(root, dice):
    document = flat(root, 10)
    for entry in document["images"]:
        entry["split"] = "test" if entry["id"] == 10 else "train"
    seen = []
    for fold in range(3):
        bundle = dice(document, fold=f"{fold}/3")
        assert names(bundle.splits["test"]) == {"10.png"}
        assert not names(bundle.val) & names(bundle.train)
        seen += sorted(names(bundle.val))
    assert sorted(seen) == [f"{i}.png" for i in range(1, 10)]
    for wrong in ("3/3", "0/1", "1", "a/b"):
        with pytest.raises(ConfigError, match="folds counted from 0"):
            dice(document, fold=wrong)
    with pytest.raises(ConfigError, match="20 folds need 20 images"):
        dice(document, fold="0/20")


def test_resplit_draws_anew_and_leaves_test(root, dice):
    document = flat(root, 10)
    for entry in document["images"]:
        entry["split"] = {1: "val", 2: "test"}.get(entry["id"], "train")
    bundle = dice(document, resplit=True, val_ratio=0.5)
    assert names(bundle.splits["test"]) == {"2.png"} and bundle.val.num_images == 4


def test_frames_of_one_video_stay_together(root, dice):
    document = flat(root, 12)
    for i, entry in enumerate(document["images"]):
        image(root / "images" / f"clip{i // 4}_{i}.png")
        entry |= {"file_name": f"clip{i // 4}_{i}.png", "video": i // 4}
    for group_by in (r"clip(\d+)_", "video"):
        bundle = dice(document, group_by=group_by)
        clips = [{name[:5] for name in names(split)} for split in (bundle.train, bundle.val)]
        assert len(clips[0]) == 2 and len(clips[1]) == 1 and not clips[0] & clips[1]
    bundle = dice(document, group_by=r"^(clip)")
    assert names(bundle.val) == names(bundle.train)
    assert any("one training group of images only" in note for note in bundle.notes)
    with pytest.raises(DatasetError, match=r"no image has the field 'scene' \(1\): clip0_0.png"):
        dice(document, group_by="scene")
    for wrong in ("clip(", r"clip\d+_", r"(clip)(\d)"):
        with pytest.raises(ConfigError, match=r"dataset\.group_by"):
            dice(document, group_by=wrong)


def test_a_class_in_a_thousand_comes_into_each_split_by_class(root, dice):
    document = flat(root, 50)
    for annotation in document["annotations"]:
        annotation["category_id"] = 7 if annotation["image_id"] > 45 else 3
    bundle = dice(document, stratify=True)
    rare = {f"{i}.png" for i in range(46, 51)}
    assert bundle.val.num_images == 10 and len(rare & names(bundle.val)) == 1
    document["images"].reverse()
    assert names(dice(document, stratify=True).val) == names(bundle.val)
    assert any("seed 42, by class: 40 train, 10 val" in note for note in bundle.notes)


images = st.lists(
    st.tuples(st.sets(st.integers(0, 4), max_size=3), st.integers(0, 6)), min_size=2, max_size=40
).map(
    lambda drawn: [
        ImageRecord(
            i,
            f"v{group}_{i}.png",
            Path("/"),
            f"{i}.png",
            9,
            9,
            annotations=[Annotation(n, (0, 0, 1, 1), 1) for n in labels],
        )
        for i, (labels, group) in enumerate(drawn)
    ]
)
options = st.builds(
    Dataset,
    val_ratio=st.floats(0.05, 0.6),
    test_ratio=st.sampled_from([0.0, 0.2]),
    stratify=st.booleans(),
    group_by=st.sampled_from([None, r"v(\d+)_"]),
    seed=st.integers(0, 3),
    fold=st.sampled_from([None, "0/2", "1/2"]),
)


def drawn(given: list[ImageRecord], dataset: Dataset) -> dict[str, set[str]]:
    records = Records(Path("/"), [], [], SplitRule(dataset.val_ratio, dataset.seed))
    records.images = [dataclasses.replace(image, split=None) for image in given]
    splits = assign(records, dataset, Problems())
    return {name: {image.name for image in members} for name, members in splits.items()}


@given(images, options, st.randoms())
@settings(max_examples=150, deadline=None)
def test_any_draw_parts_the_pictures_and_their_order_changes_nothing(given, dataset, random):
    groups = {image.name.split("_")[0] for image in given}
    if dataset.group_by and len(groups) < 2:
        dataset = dataclasses.replace(dataset, group_by=None)
    splits = drawn(given, dataset)
    assert splits["train"] and splits["val"]
    assert set().union(*splits.values()) == {image.name for image in given}
    assert sum(map(len, splits.values())) == len(given)
    if dataset.group_by:
        for group in groups:
            assert sum(any(name.startswith(f"{group}_") for name in s) for s in splits.values()) == 1
    elif dataset.fold is None and not dataset.stratify and not dataset.test_ratio:
        assert len(splits["val"]) == min(max(1, round(dataset.val_ratio * len(given))), len(given) - 1)
    random.shuffle(given)
    assert drawn(given, dataset) == splits


@given(images, st.integers(2, 5), st.booleans(), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_each_picture_validates_in_one_fold(listed, count, stratify, seed):
    count = min(count, len(listed))
    parts = [
        drawn(listed, Dataset(fold=f"{i}/{count}", stratify=stratify, seed=seed))["val"] for i in range(count)
    ]
    assert sorted(name for part in parts for name in part) == sorted(image.name for image in listed)
    if not stratify:
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


@given(
    st.lists(st.sets(st.integers(0, 3), min_size=1, max_size=1), min_size=20, max_size=60), st.integers(0, 9)
)
@settings(max_examples=60, deadline=None)
def test_each_class_has_its_share_by_class(labels, seed):
    given = [
        ImageRecord(
            i,
            f"{i}.png",
            Path("/"),
            f"{i}.png",
            9,
            9,
            annotations=[Annotation(n, (0, 0, 1, 1), 1) for n in shown],
        )
        for i, shown in enumerate(labels)
    ]
    val = drawn(given, Dataset(stratify=True, val_ratio=0.3, seed=seed))["val"]
    for label in range(4):
        members = {f"{i}.png" for i, shown in enumerate(labels) if label in shown}
        assert abs(len(val & members) - 0.3 * len(members)) <= 1
