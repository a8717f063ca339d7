"""Bad input, made by hand and by mutation: a result or a DatasetError that names the place, and nothing else."""

from __future__ import annotations

import random
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.data.conftest import image, write
from tests.data.folders import CASES, FORMAT_OF, make
from trainer.core.errors import DatasetError
from trainer.data.convert.convert_dataset import convert
from trainer.data.prepare import prepare
from trainer.schema import Dataset

TEXTS = {".json", ".xml", ".txt", ".yaml"}


def refused(root: Path, form: str, task: str = "detection") -> str:
    with pytest.raises(DatasetError) as caught:
        prepare(Dataset(format=form, path=str(root)), task)
    return str(caught.value)


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


LABELS = {
    "coco": "annotations/instances_train2017.json",
    "dice": "annotations_detection.json",
    "yolo": "data.yaml",
    "voc": "Annotations/pic0.xml",
    "labelme": "train/pic0.json",
}
PICTURES = {
    "coco": "train2017/pic0.png", "dice": "images/pic0.png", "yolo": "images/train/pic0.png",
    "voc": "JPEGImages/pic0.jpg", "labelme": "train/pic0.png",
}  # fmt: skip


@pytest.mark.parametrize("form", ["coco", "dice", "voc", "labelme"])
def test_cut_off_files_are_named_with_their_line(form, root):
    make(form, root, "detection")
    file = root / LABELS[form]
    file.write_bytes(file.read_bytes()[:-20])
    text = refused(root, form)
    assert file.name in text and "line 1" in text


@pytest.mark.parametrize("form", LABELS)
def test_empty_images_are_named(form, root):
    make(form, root, "detection")
    (root / PICTURES[form]).write_bytes(b"")
    text = refused(root, form)
    assert "empty (0 bytes)" in text and Path(PICTURES[form]).name in text


@pytest.mark.parametrize("form", LABELS)
def test_links_out_of_the_folder_are_not_followed(form, root, tmp_path):
    make(form, root, "detection")
    secret = image(tmp_path / "elsewhere.png", 64, 48)
    linked = root / PICTURES[form]
    linked.unlink()
    linked.symlink_to(secret)
    text = refused(root, form)
    assert "links that lead out" in text and "dataset.follow_links=true" in text
    assert prepare(Dataset(format=form, path=str(root), follow_links=True), "detection").classes


@pytest.mark.parametrize("form", ["yolo", "voc"])
def test_linked_label_files_are_not_quoted(form, root, tmp_path):
    make(form, root, "detection")
    file = root / ("labels/train/pic0.txt" if form == "yolo" else LABELS["voc"])
    file.unlink()
    file.symlink_to(write(tmp_path / "secret", b"root:x:0:0\n"))
    assert "root:x" not in _outcome(Dataset(format=form, path=str(root)), "detection")


def test_links_inside_the_folder_are_followed(root):
    make("yolo", root, "detection")
    (root / "images").rename(root / "raw")
    (root / "images").symlink_to("raw")
    assert prepare(Dataset(format="yolo", path=str(root)), "detection").train.num_images == 4


@pytest.mark.parametrize("name", ["../out.png", "/etc/out.png", "C:\\out.png", "a\nb.png"])
def test_names_that_lead_out(name, root):
    make("labelme", root, "detection")
    import json

    file = root / LABELS["labelme"]
    document = json.loads(file.read_text())
    climb = name.replace("../", "../../")
    write(file, document | {"imagePath": climb})
    assert "imagePath must be a path inside" in refused(root, "labelme")
    if "\n" in name:
        return
    shutil.rmtree(root)
    make("voc", root, "detection")
    edit(root / LABELS["voc"], "pic0.jpg", name)
    assert "filename must be a path inside" in refused(root, "voc")


@pytest.mark.parametrize("listed", ["../../etc/x.png", "/etc/x.png"])
def test_yolo_lists_that_lead_out(listed, root):
    make("yolo", root, "detection")
    write(root / "train.txt", f"./images/train/pic0.png\n{listed}\n".encode())
    edit(root / "data.yaml", "train: images/train", "train: train.txt")
    text = refused(root, "yolo")
    assert "train.txt: images must be inside" in text and f"line 2: {listed}" in text


def test_yolo_folders_that_lead_out(root):
    make("yolo", root, "detection")
    image(root.parent / "out" / "1.png")
    edit(root / "data.yaml", "train: images/train", "train: ../out")
    assert "data.yaml: train: no such folder or .txt file inside" in refused(root, "yolo")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"0 0.5 0.5 nan 0.2\n", "must hold numbers"),
        (b"0 0.5 0.5 0.1 inf\n", "must hold numbers"),
        (b"0 0.5 0.5\n", "5 numbers (a box)"),
        (b"0 5 5 2 2\n", "shares of the image's sides"),
        (b"9 0.5 0.5 0.1 0.1\n", "class that is not declared"),
        (b"cat 0.5 0.5 0.1 0.1\n", "class that is not declared"),
        (b"\xff\xfe0\x00", "not UTF-8"),
    ],
)
def test_yolo_lines(line, message, root):
    make("yolo", root, "detection")
    write(root / "labels/train/pic0.txt", b"0 0.5 0.5 0.1 0.1\n" + line)
    text = refused(root, "yolo")
    assert message in text and "labels/train/pic0.txt, line 2" in text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"names: [a, b\ntrain: x", "data.yaml is not YAML"),
        (b"a: &a [x, x]\nb: &b [*a, *a]\nnames: [*b, *b]\ntrain: images/train", "aliases are not read"),
        (b"names: !!python/object/apply:os.system ['true']\ntrain: images/train", "data.yaml is not YAML"),
        (b"[" * 5000, "data.yaml is not YAML"),
        (b"names: [cat, dog]\nnc: 7\ntrain: images/train\nval: images/val", "nc is 7, names has 2"),
        (b"names: []\ntrain: images/train", "names is missing or empty"),
    ],
)
def test_yolo_yaml(content, message, root):
    make("yolo", root, "detection")
    write(root / "data.yaml", content)
    assert message in refused(root, "yolo")


BOMB = b"""<?xml version="1.0"?>
<!DOCTYPE lolz [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]>
<annotation><filename>&c;</filename></annotation>"""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (BOMB, "line 2: document types and entities are not read"),
        (b'<!DOCTYPE x SYSTEM "file:///etc/passwd"><x/>', "document types and entities are not read"),
        (b"<a>" * 60 + b"</a>" * 60, "nested more than 50 deep"),
        (b'<?xml version="1.0" encoding="klingon"?><a/>', "files that are not XML"),
        (b"", "files that are not XML"),
        (b"<annotation>&nbsp;</annotation>", "files that are not XML"),
    ],
)
def test_voc_xml(content, message, root):
    make("voc", root, "detection")
    write(root / LABELS["voc"], content)
    text = refused(root, "voc")
    assert message in text and "pic0.xml" in text


@pytest.mark.parametrize("value", ["nan", "1e999", "x", ""])
def test_voc_corners(value, root):
    make("voc", root, "detection")
    edit(root / LABELS["voc"], "<xmin>11", f"<xmin>{value}")
    assert "Annotations/pic0.xml, object 1" in refused(root, "voc")


def test_json_of_great_depth_and_other_encodings(root):
    make("dice", root, "detection")
    file = root / LABELS["dice"]
    good = file.read_text()
    write(file, b"[" * 100_000)
    assert "is not JSON" in refused(root, "dice")
    write(file, good.encode("utf-16"))
    assert "UTF-16" in refused(root, "dice")
    write(file, good.replace('"cat"', '"k\u00e4tzchen"').encode("latin-1"))
    assert "is not JSON" in refused(root, "dice")
    write(file, good.encode("utf-8-sig"))
    assert prepare(Dataset(format="dice", path=str(root)), "detection").classes == ("cat", "dog")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"width":64', '"width":9000000000', "sizes that no image has"),
        ('"bbox":[10.0', '"bbox":[NaN', "is not JSON"),
        ('"annotations":[', '"annotations":7,"x":[', "'annotations' must be a list"),
        (
            '"iscrowd":0',
            '"segmentation":{"size":[900000000,900000000],"counts":[810000000000000000]}',
            "no valid RLE",
        ),
        ('"iscrowd":0', '"segmentation":{"size":[48,64],"counts":"oooooooooooooooooooo"}', "no valid RLE"),
        ('"iscrowd":0', '"keypoints":[1,2,7]', "visibility of a keypoint"),
    ],
)
def test_dice_values(old, new, message, root):
    make("dice", root, "detection")
    edit(root / LABELS["dice"], old, new)
    assert message in refused(root, "dice")


def _outcome(dataset: Dataset, task: str) -> str:
    try:
        return " ".join(prepare(dataset, task).notes)
    except DatasetError as error:
        return str(error)


def _snapshot(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file() and not p.is_symlink()}


def _mutate(content: bytes, rng: random.Random) -> bytes:
    """One of the ways in which files are wrong."""
    data = bytearray(content or b" ")
    way = rng.randrange(7)
    at = rng.randrange(len(data))
    if way == 0:
        del data[at:]
    elif way == 1:
        data[at] = rng.randrange(256)
    elif way == 2:
        data[at:at] = rng.choice(WORDS)
    elif way == 3:
        end = min(len(data), at + rng.randrange(1, 40))
        data[at:at] = data[at:end]
    elif way == 4:
        del data[at : at + rng.randrange(1, 30)]
    else:
        digits = [i for i, byte in enumerate(data) if chr(byte).isdigit()]
        if digits:
            at = rng.choice(digits)
            data[at : at + 1] = rng.choice(WORDS)
    return bytes(data)


WORDS = (
    b"-1", b"1e999", b"NaN", b"null", b"[]", b"{}", b'""', b"true", b"99999999999999999999", b"../../x", b"\x00",
    b"\xff\xfe", b"\xed\xa0\x80", b"<!DOCTYPE a>", b"&b;", b"*a", b"!!python/name:os", b"1e308", b"[[[]]]", b"\n",
    b'"a":1,', b"-0.0", b"0.00001", b"\xe2\x80\xae",
)  # fmt: skip


@pytest.mark.parametrize(("name", "task"), CASES)
def test_mutated_folders_end_in_a_result_or_a_dataset_error(name, task, tmp_path):
    """Label files, masks and images with a few bytes changed, and then the conversion of what is still readable."""
    rng = random.Random(f"{name} {task}")
    clean = make(name, tmp_path / "clean", task)
    outside = _snapshot(clean)
    form = FORMAT_OF.get(name, name)
    for round_ in range(25):
        root = tmp_path / f"box{round_}" / "set"
        shutil.copytree(clean, root)
        files = [p for p in sorted(root.rglob("*")) if p.is_file()]
        labels = [p for p in files if p.suffix in TEXTS] or files
        for _ in range(rng.randrange(1, 4)):
            file = rng.choice(labels if rng.random() < 0.8 else files)
            file.write_bytes(_mutate(file.read_bytes(), rng))
        before = _snapshot(root)
        dataset = Dataset(format=form if round_ % 2 else "auto", path=str(root))
        try:
            convert(dataset, task, ("coco", "dice")[round_ % 2], root.parent / "out", link=False)
        except DatasetError as error:
            assert str(error)
        assert _snapshot(root) == before
        assert {p.name for p in root.parent.iterdir()} <= {"set", "out"}
        shutil.rmtree(root.parent)
    assert _snapshot(clean) == outside


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
KEYS = {
    "image": ["id", "file_name", "width", "height", "split", "annotations", "annotation", "mask_file"],
    "annotation": [
        "id", "image_id", "category_id", "class_id", "class_name", "bbox", "bbox_format", "segmentation", "keypoints",
        "area", "iscrowd", "mask_file", "segments_info",
    ],
    "top": ["images", "annotations", "categories", "classes", "splits", "split_config", "storage_info"],
    "category": ["id", "name", "keypoints", "skeleton", "sigmas", "flip_idx", "color", "isthing"],
}  # fmt: skip


@pytest.mark.parametrize("task", ["detection", "instance_segmentation", "semantic_segmentation", "pose"])
@pytest.mark.parametrize("form", ["coco", "dice"])
def test_any_value_under_any_key(form, task):
    folder = Path(tempfile.mkdtemp())
    make("dice", folder, task)
    import json

    source = next(folder.glob("annotations_*.json"))
    good = json.loads(source.read_text())
    source.unlink()

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from([(kind, key) for kind, keys in KEYS.items() for key in keys]), anything)
    def check(place: tuple[str, str], value: object) -> None:
        kind, key = place
        document = json.loads(json.dumps(good))
        entry = {
            "top": document, "image": document["images"][0], "annotation": document["annotations"][0],
            "category": document["categories"][1],
        }[kind]  # fmt: skip
        entry[key] = value
        write(folder / "annotations.json", document)
        _outcome(Dataset(format=form, path=str(folder)), task)

    try:
        check()
    finally:
        shutil.rmtree(folder)


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.binary(max_size=200), st.sampled_from(sorted(LABELS)))
def test_any_bytes_as_a_label_file(content: bytes, form: str):
    with tempfile.TemporaryDirectory() as name:
        root = make(form, Path(name) / "set", "detection")
        (root / LABELS[form]).write_bytes(content)
        _outcome(Dataset(format=form, path=str(root)), "detection")
        _outcome(Dataset(format="auto", path=str(root)), "detection")
