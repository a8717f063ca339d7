"""What is wrong with data: found at once, and stopped at, mended or left out as the table says."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.data.conftest import everything, flat, image, names, write
from trainer.core.errors import DatasetError
from trainer.data.bundle import DataBundle
from trainer.data.checks.rules import POLICIES, RULES, rules_table
from trainer.data.load_records import find_source, read_records
from trainer.data.prepare import prepare
from trainer.schema import Dataset

ROOT = Path(__file__).parents[3]


@pytest.fixture
def files(root: Path) -> dict[str, Any]:
    """Ten images of their own, the first eight trained on."""
    document = flat(root, 10)
    for i, entry in enumerate(document["images"]):
        image(root / "images" / entry["file_name"], 64, 48, seed=i)
        entry["split"] = "train" if i < 8 else "val"
    return document


def rules(root: Path, document: Any, task: str = "detection", **options: Any) -> dict[str, Any]:
    """Rule -> finding of a document."""
    write(root / "annotations.json", document)
    found = read_records(
        find_source(Dataset(name="toy", format="dice", path=str(root), **options), task)
    ).problems.findings
    return {finding.rule: finding for finding in found if finding.rule}


def header_only(width: int, height: int) -> bytes:
    """A PNG that says how large it is and holds nothing."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    )


def damage(root: Path, document: dict[str, Any]) -> None:
    """One image of each kind that can't be trained on: 1.png to 7.png."""
    folder = root / "images"
    (folder / "1.png").unlink()
    (folder / "2.png").write_bytes(b"")
    (folder / "3.png").write_bytes(b"not an image")
    (folder / "4.png").write_bytes(header_only(60_000, 60_000))
    (folder / "5.png").write_bytes((folder / "5.png").read_bytes()[:-40])
    document["images"][5] |= {"width": 48, "height": 64}
    Image.new("RGB", (64, 48)).save(folder / "7.png", format="ICO")


FAULTS = ("image_missing", "image_empty", "image_unreadable", "image_huge", "image_cut", "size_differs")


def test_all_damaged_images_are_told_of_at_once(root, dice, files):
    damage(root, files)
    with pytest.raises(DatasetError) as caught:
        dice(files)
    text = str(caught.value)
    for part in (
        "(1): 1.png", "empty (0 bytes) (1): 2.png", "OpenCV can't read (2): 3.png, 7.png",
        "more pixels than can be read (1): 4.png", "end too early (1): 5.png",
        "(turned) (1): 6.png: 48 x 64, file 64 x 48", "dataset.on_error=skip leaves out",
    ):  # fmt: skip
        assert part in text, part
    assert "6 mistakes" in text


def test_skip_trains_on_the_rest_and_says_what_is_missing(root, dice, files):
    damage(root, files)
    bundle = dice(files, on_error="skip")
    assert names(bundle.train) == {"8.png"} and names(bundle.val) == {"9.png", "10.png"}
    assert sum("the image is left out" in note for note in bundle.notes) == 6


def test_skipping_everything_is_an_error(root, dice):
    document = flat(root, 3)
    for i in range(1, 4):
        (root / "images" / f"{i}.png").write_bytes(b"nothing")
    with pytest.raises(DatasetError, match="no image is left to train on"):
        dice(document, on_error="skip")


def test_fix_takes_the_size_of_the_file(root, dice, files):
    files["images"][0] |= {"width": 100, "height": 90}
    files["annotations"][0] |= {"bbox": [50, 10, 40, 70], "segmentation": []}
    files["images"][1] |= {"width": 100, "height": 90}
    files["annotations"][1] |= {"bbox": [70, 60, 5, 5], "segmentation": []}
    bundle = dice(files, on_error="fix")
    found = everything(bundle)
    assert found["1.png"][0]["bbox"] == [50, 10, 14, 38] and found["2.png"] == []
    assert any("the file's size counts" in note for note in bundle.notes)
    # What has no remedy stays a mistake.
    (root / "images" / "3.png").unlink()
    with pytest.raises(DatasetError, match=r"3\.png\n\(dataset\.on_error=skip"):
        dice(files, on_error="fix")


def test_a_photograph_on_its_side_has_the_size_that_opencv_gives_it(root, files):
    taken = io.BytesIO()
    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGB", (48, 64)).save(taken, format="JPEG", exif=exif)
    (root / "images" / "1.png").write_bytes(taken.getvalue())
    assert "size_differs" not in rules(root, files)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (lambda d: d["images"].append(dict(d["images"][0], id=77)), "image_twice"),
        (lambda d: d["images"][1].update(id=1), "id_twice"),
        (lambda d: d["annotations"][0].update(bbox=[1, 2, "x", 4]), "annotation_invalid"),
        (lambda d: d["annotations"][0].update(image_id=99), "annotation_unlisted"),
        (lambda d: d["annotations"][0].update(category_id=99), "category_unknown"),
        (lambda d: d["annotations"][0].update(bbox=[50, 10, 40, 10]), "box_outside"),
        (lambda d: d["annotations"][0].update(bbox=[10, 10, 0, 5]), "box_degenerate"),
        (lambda d: d["annotations"][0].update(segmentation=[[1, 1, 2, 2]]), "polygon_short"),
        (lambda d: d["annotations"][0].update(bbox=None, segmentation=[], keypoints=[]), "mask_empty"),
        (lambda d: d["annotations"].append(dict(d["annotations"][0], id=999)), "annotation_twice"),
        (lambda d: d["categories"].append({"id": 9, "name": "c"}), "category_empty"),
        (lambda d: d["annotations"].__delitem__(slice(8, 10)), "split_unlabelled"),
    ],
)
def test_labels(root, files, change, rule):
    assert not rules(root, files)
    change(files)
    found = rules(root, files)[rule]
    assert found.level == RULES[rule].level and (found.count or rule == "split_unlabelled")
    if RULES[rule].level == "error":
        policy = "skip" if RULES[rule].skip else "fix"
        assert rules(root, files, on_error=policy)[rule].level == "fix"


def test_boxes_that_overhang_by_less_than_a_pixel_are_nothing(root, files):
    files["annotations"][0]["bbox"] = [50, 10, 14.9, 10]
    assert not rules(root, files)


def test_the_same_object_twice_counts_once_where_that_is_wanted(root, dice, files):
    files["annotations"].append(dict(files["annotations"][0], id=999))
    assert len(everything(dice(files))["1.png"]) == 2
    assert len(everything(dice(files, on_error="fix"))["1.png"]) == 1


def test_keypoints_outside_their_box(root, files):
    for annotation in files["annotations"]:
        annotation["keypoints"] = [
            20,
            20,
            2,
            31,
            31,
            2,
            60,
            40,
            0,
        ]  # a pixel out is no matter, nor what isn't seen
    assert not rules(root, files, "pose")
    files["annotations"][0]["keypoints"] = [20, 20, 2, 40, 31, 2, 60, 40, 0]
    found = rules(root, files, "pose")["keypoint_outside"]
    assert found.examples == ["1.png#101"]


def test_copies_within_and_across_splits(root, dice, files):
    folder = root / "images"
    (folder / "2.png").write_bytes((folder / "1.png").read_bytes())
    (folder / "9.png").write_bytes((folder / "3.png").read_bytes())
    found = rules(root, files)
    assert found["same_content"].examples == ["2.png = 1.png"]
    assert found["leak"].examples == ["3.png = 9.png"] and found["leak"].level == "warning"
    assert "3.png" in names(dice(files).train)
    for policy in ("fix", "skip"):
        bundle = dice(files, on_error=policy)
        assert "3.png" not in names(bundle.train) and "9.png" in names(bundle.val)
    # A file of the same size and the same ends, but other bytes between, is no copy.
    middle = bytearray((folder / "4.png").read_bytes() + bytes(200_000))
    (folder / "4.png").write_bytes(middle)
    middle[100_000] = 1
    (folder / "10.png").write_bytes(middle)
    assert rules(root, files)["leak"].count == 1


def test_validation_equal_to_train_is_said(root, dice, files):
    for i in range(1, 9):
        source = (root / "images" / f"{8 + i % 2 + 1}.png").read_bytes()
        (root / "images" / f"{i}.png").write_bytes(source)
    found = rules(root, files)
    assert "val_is_train" in found and "leak" not in found
    assert names(dice(files, on_error="fix").train)  # nothing would be left


def test_a_group_that_the_data_set_parts_is_told_of(root, files):
    for entry in files["images"]:
        entry["video"] = entry["id"] // 4
    found = rules(root, files, group_by="video")["group_parted"]
    assert found.examples == ["2: train, val"]


def test_a_second_look_reads_no_file_that_has_not_changed(root, files, monkeypatch):
    rules(root, files)
    looked: list[Path] = []  # files whose header is read
    monkeypatch.setattr(
        "trainer.data.checks.image_files.image_header", lambda path: looked.append(path) or (64, 48)
    )
    assert not rules(root, files) and not looked
    image(root / "images" / "3.png", 64, 48, seed=99)
    rules(root, files)
    assert [path.name for path in looked] == ["3.png"]


def test_a_damaged_memory_of_files_is_made_again(root, files, cache):
    rules(root, files)
    [store] = (cache / "checks").glob("*.json")
    whole = store.read_bytes()
    store.write_bytes(b'{"version": 1, "files": {"a": 5}}')
    assert not rules(root, files) and store.read_bytes() == whole


def test_digits_are_known_to_be_good(monkeypatch):
    def refuse(*args: Any) -> DataBundle:
        raise AssertionError("the built-in data set was checked")

    monkeypatch.setattr("trainer.data.load_records.check_files", refuse)
    assert prepare(Dataset(scenes=4, val_scenes=2), "detection").train.num_images == 4


def test_the_manual_has_the_table():
    assert rules_table() in (ROOT / "docs" / "data.md").read_text()


def test_every_error_that_has_a_remedy_is_one_that_somebody_reports():
    source = "".join(
        path.read_text() for path in (ROOT / "trainer" / "data").rglob("*.py") if path.name != "rules.py"
    )
    assert [name for name in RULES if f'"{name}"' not in source] == []
    assert all(rule.remedy("fail") is None for rule in RULES.values() if rule.level != "fix")
    assert {rule.level for rule in RULES.values()} == {"error", "fix", "warning"} and POLICIES[0] == "fail"
