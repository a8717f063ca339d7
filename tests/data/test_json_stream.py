"""Large COCO-style files are read in pieces: the result, and every complaint, is that of reading them whole."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.conftest import SQUARE, image, write
from trainer.core.errors import DatasetError
from trainer.data import annotation_document as documents
from trainer.data import json_stream, labels
from trainer.data.convert.convert_dataset import convert
from trainer.data.load_records import find_source, load_records
from trainer.data.packed_labels import PackedImage
from trainer.data.prepare import prepare
from trainer.data.records import Annotation, ImageRecord, Problems
from trainer.schema import Dataset

TRICKY = 'q"u[o{t\\e]s},\\"'
RLE = {"size": [48, 64], "counts": [0, 48, 3024]}


def example(seed: int = 0, images: int = 9, labels: int = 40) -> dict[str, Any]:
    """Annotations in any order, of several shapes, some of them mended or left out, and text full of brackets."""
    draw = random.Random(seed)
    shapes: list[dict[str, Any]] = [
        {"bbox": [10, 10, 20, 20]},
        {"bbox": [50.5, 40, 20, 20.25], "segmentation": SQUARE},
        {"bbox": [1, 1, 0, 5]},
        {"segmentation": RLE, "iscrowd": 1},
        {"bbox": [3, 3, 9, 9], "keypoints": [5, 5, 2, 9, 9, 1]},
        {"segmentation": SQUARE, "area": 7.5, "note": TRICKY},
    ]
    annotations = [
        {
            "id": i + 1,
            "image_id": draw.randint(1, images),
            "category_id": draw.choice((3, 7)),
            **draw.choice(shapes),
        }
        for i in range(labels)
    ]
    return {
        "info": {"description": TRICKY, "lists": [[1], [{}]]},
        "images": [{"id": i, "file_name": f"ü {i}.png", "width": 64, "height": 48} for i in range(1, images + 1)],
        "annotations": annotations,
        "categories": [{"id": 3, "name": "a"}, {"id": 7, "name": "b"}],
    }  # fmt: skip


def both(
    root: Path, content: Any, task: str, monkeypatch: pytest.MonkeyPatch, **options: Any
) -> tuple[Any, Any]:
    """What preparing gives, or says, whole and in pieces of 64 bytes."""
    write(root / "annotations.json", content)
    results = []
    for number, large in enumerate((1 << 40, 0)):
        monkeypatch.setenv("TRAINER_CACHE", str(root.parent / f"cache{number}"))
        monkeypatch.setattr(json_stream, "LARGE", large)
        monkeypatch.setattr(json_stream, "CHUNK", 64)
        monkeypatch.setattr(documents, "_HELD", 5)
        results.append(outcome(root, task, options))
    return results[0], results[1]


def outcome(root: Path, task: str, options: dict[str, Any]) -> Any:
    try:
        bundle = prepare(Dataset(name="x", format="coco", path=str(root), **options), task)
    except DatasetError as error:
        return str(error)
    files = {name: split.ann_file.read_bytes() for name, split in bundle.splits.items()}
    return bundle.fingerprint, bundle.notes, bundle.classes, bundle.keypoints, files


def write_images(root: Path, count: int = 9) -> None:
    for i in range(1, count + 1):
        image(root / "images" / f"ü {i}.png", seed=i)


@pytest.mark.parametrize("task", ["detection", "instance_segmentation", "pose"])
@pytest.mark.parametrize("form", ["compact", "indented", "reversed", "escaped", "marked"])
def test_same_result(form: str, task: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_images(root)
    raw = example()
    if form == "reversed":
        raw = dict(reversed(raw.items()))
    content = {
        "indented": lambda: orjson.dumps(raw, option=orjson.OPT_INDENT_2),
        "escaped": lambda: json.dumps(raw).replace("/", "\\/").encode(),
        "marked": lambda: b"\xef\xbb\xbf" + orjson.dumps(raw),
    }.get(form, lambda: orjson.dumps(raw))()
    whole, pieces = both(root, content, task, monkeypatch)
    assert whole == pieces
    assert not isinstance(whole, str), whole


CHANGES = {
    "unlisted": lambda raw: raw["annotations"][5].update(image_id=99),
    "image without id": lambda raw: raw["images"][2].pop("id"),
    "annotation without id": lambda raw: [a.pop("id") for a in raw["annotations"]],
    "class": lambda raw: raw["annotations"][7].update(category_id=99),
    "box": lambda raw: [a.update(bbox=[1, 2, 3]) for a in raw["annotations"][::4]],
    "missing image": lambda raw: raw["images"][0].update(file_name="none.png"),
    "same id": lambda raw: raw["images"][1].update(id=1),
    "same file": lambda raw: raw["images"][1].update(file_name="ü 1.png"),
    "no objects": lambda raw: raw["annotations"].insert(3, 5),
    "images of numbers": lambda raw: raw.update(images=[1, 2]),
    "no images": lambda raw: raw.update(images=[]),
    "no list": lambda raw: raw.update(annotations={"a": 1}),
    "no annotations": lambda raw: raw.pop("annotations"),
    "size": lambda raw: [e.update(width=90, height=40) for e in raw["images"][::2]],
    "object twice": lambda raw: raw["annotations"].extend(raw["annotations"][:9]),
    "nested": lambda raw: raw["images"][0].update(annotations=[raw["annotations"][0]]),
    "splits": lambda raw: [e.update(split=("train", "val")[e["id"] % 2]) for e in raw["images"]],
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("policy", ["fail", "fix", "skip"])
def test_same_complaints(change: str, policy: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_images(root)
    raw = example()
    CHANGES[change](raw)
    whole, pieces = both(root, raw, "detection", monkeypatch, on_error=policy)
    assert whole == pieces


def test_same_complaints_about_what_is_not_json(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_images(root, 3)
    content = orjson.dumps(example(images=3, labels=4), option=orjson.OPT_INDENT_2)
    at = content.index(b'"annotations"')
    broken = [content[:cut] for cut in range(at - 30, at + 200, 9)]
    broken += [
        content.replace(b'"annotations": [', b'"annotations": [,'),
        content.replace(b'"annotations": [', b'"annotations": [NaN,'),
        content.replace(b"    },\n    {", b"    }\n    {"),
        content.replace(b"    }\n  ],", b"    },\n  ],"),
        content.replace(b"  ],\n", b"  },\n"),
        content + b"]",
        b"[" + content + b"]",
        content.decode().encode("utf-16"),
        b'{"images": [], "images": [}',
        b"",
    ]
    for text in broken:
        whole, pieces = both(root, text, "detection", monkeypatch)
        assert isinstance(whole, str) and whole == pieces


def test_a_key_given_twice_counts_as_when_read_whole(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_images(root)
    content = orjson.dumps(example()).replace(b'"info":{', b'"images":[],"info":{')
    whole, pieces = both(root, content, "detection", monkeypatch)
    assert whole == pieces and not isinstance(whole, str)


@settings(max_examples=150, deadline=None)
@given(
    st.recursive(
        st.none() | st.integers(-9, 9) | st.text('a"\\[]{},:é', max_size=5),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab\\\"[", max_size=3), inner, max_size=3),
        max_leaves=30,
    ),
    st.integers(1, 40),
    st.booleans(),
)  # fmt: skip
def test_any_document(tmp_path_factory: pytest.TempPathFactory, value: Any, chunk: int, indent: bool) -> None:
    raw = {
        "images": [{"v": value}, {"w": [value]}],
        "x": value,
        "annotations": [value, {"y": value}, {}],
        "z": [value],
    }
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_bytes(orjson.dumps(raw, option=orjson.OPT_INDENT_2 if indent else 0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "CHUNK", chunk)
        read = json_stream.open_large(path)
    assert read is not None and list(read) == list(raw)
    assert isinstance(read["images"], json_stream.JsonEntries) and bool(read["annotations"])
    assert {k: list(v) if isinstance(v, json_stream.JsonEntries) else v for k, v in read.items()} == raw


def test_pieces_are_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long a list is, no more than a chunk and an element of it is parsed at once."""
    monkeypatch.setattr(json_stream, "CHUNK", 1000)
    parsed: list[int] = []
    path = write(tmp_path / "a.json", example(images=200, labels=3000))
    stock = orjson.loads

    def loads(text: bytes) -> Any:
        parsed.append(len(text))
        return stock(text)

    monkeypatch.setattr(json_stream.orjson, "loads", loads)
    read = json_stream.open_large(path)
    assert read is not None and sum(1 for _ in read["annotations"]) == 3000
    assert max(parsed) < 1500 and path.stat().st_size > 200_000


def test_a_file_that_changes_meanwhile(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", example())
    read = json_stream.open_large(path)
    assert read is not None
    path.write_bytes(path.read_bytes()[:-900])
    with pytest.raises(DatasetError, match=r"a\.json was changed while it was read"):
        list(read["annotations"])


def test_labels_are_packed_and_packed_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_images(root)
    write(root / "annotations.json", example())
    monkeypatch.setattr(json_stream, "LARGE", 0)
    loaded = load_records(find_source(Dataset(format="coco", path=str(root)), "detection"))
    assert all(type(image) is PackedImage for image in loaded.records.images)
    annotation = Annotation(1, (0.1, 2.0, 3.0, 4.0), 5.0, 1, [[1.0, 2.0]], [1.0, 2.0, 2.0], "id ü")
    plain = ImageRecord(1, "a", root, "a", 4, 4, annotations=[annotation])
    packed = PackedImage(1, "a", root, "a", 4, 4, annotations=[annotation])
    assert list(packed.annotations) == plain.annotations
    packed.annotations = [*packed.annotations, annotation]
    assert list(packed.annotations) == [annotation, annotation]
    with pytest.raises(AttributeError):  # it would be lost
        packed.annotations.append(annotation)


def test_converted_alike(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_images(root)
    write(root / "annotations.json", example())
    written = []
    for large in (1 << 40, 0):
        monkeypatch.setattr(json_stream, "LARGE", large)
        target = tmp_path / f"made{large}"
        convert(Dataset(format="coco", path=str(root)), "instance_segmentation", "coco", target)
        written.append([(target / "annotations" / f"{s}.json").read_bytes() for s in ("train", "val")])
    assert written[0] == written[1]
    assert orjson.loads(written[0][0])["annotations"]


NUMBERS = st.sampled_from(
    [0, 1, 2.5, -1, 40, 48, 64, 64.0, 1e-20, float("nan"), float("inf"), True, "3", None, 1e300]
)


@given(st.lists(NUMBERS, min_size=3, max_size=5), NUMBERS, st.sampled_from([0, 1, True, "1", "0", None]))
@settings(max_examples=400, deadline=None)
def test_plain_boxes_are_read_as_with_a_closer_look(box: list[Any], area: Any, crowd: Any) -> None:
    image = ImageRecord(1, "a", Path(), "a", 64, 48)
    raw = {"id": 5, "bbox": box, "area": area, "iscrowd": crowd}
    quick = labels._plain(raw, 3, image)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(labels, "_plain", lambda *_: None)
        whole = labels.read_annotation(raw, 3, image, "x", Problems())
    assert quick is None or repr(quick) == repr(whole)
