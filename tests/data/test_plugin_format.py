"""A format that an installed package brings: chosen by name, found by ``auto``, checked, prepared and converted."""

from __future__ import annotations

import doctest
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.data.conftest import coco_of, image, write
from trainer.core.errors import ConfigError, DatasetError
from trainer.data.convert.convert_dataset import convert
from trainer.data.dataset_report import describe_dataset
from trainer.data.formats import data_format
from trainer.data.formats.format_registry import format_names, load_format
from trainer.data.load_records import find_source, read_records
from trainer.data.prepare import prepare
from trainer.schema import Dataset

MODULE = '''
from trainer.data.formats import Category, DataFormat, new_records, open_image, opened, read_annotation


class TinyFormat(DataFormat):
    """``boxes.txt`` with lines of ``file class x y width height``."""

    title = "Tiny data set"
    layout = "boxes.txt"
    tasks = writable_tasks = ("detection",)

    def matches(self, folder, task):
        return "boxes.txt" if folder.has("boxes.txt") else None

    def read_records(self, parts, dataset, task, problems):
        folder = opened(dataset)
        records = new_records(folder, dataset, source="boxes.txt")
        rows = [line.split() for line in (folder.root / "boxes.txt").read_text().splitlines()]
        names = sorted({row[1] for row in rows})
        records.categories = [Category(name, i) for i, name in enumerate(names)]
        for number, (file, name, *box) in enumerate(rows, 1):
            image = open_image(folder, file, problems)
            if image is not None:
                records.images.append(image)
                raw = {"id": number, "bbox": [float(side) for side in box]}
                annotation = read_annotation(raw, names.index(name), image, f"line {number}", problems)
                image.annotations += [annotation] if annotation else []
        return records

    def write_records(self, folder, task, loaded, copier):
        names = [category.name for category in loaded.records.categories]
        lines, counts = [], {}
        for split, images in loaded.splits.items():
            copied = copier.place(split, images, lambda split, image: image.name)
            for image in copied:
                for a in image.annotations:
                    box = " ".join(str(side) for side in a.bbox)
                    lines.append(f"images/{image.file_name} {names[a.label]} {box}")
            counts[split] = len(lines) - sum(counts.values())
        (folder / "boxes.txt").write_text("\\n".join(lines))
        return counts
'''


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """``install(module, entry)``: a package ``tiny_format`` with this source and entry point on ``sys.path``."""

    def install(module: str, entry: str) -> None:
        site = tmp_path / "site"
        write(site / "tiny_format.py", module.encode())
        metadata = site / "tiny_format-1.0.dist-info"
        write(metadata / "entry_points.txt", f"[trainer.formats]\n{entry}\n".encode())
        monkeypatch.syspath_prepend(str(site))
        monkeypatch.delitem(sys.modules, "tiny_format", raising=False)

    yield install
    sys.modules.pop("tiny_format", None)


@pytest.fixture
def tiny(install: Callable[[str, str], None], root: Path) -> Path:
    """A data set of that format."""
    install(MODULE, "tiny = tiny_format:TinyFormat")
    lines = []
    for i in range(5):
        image(root / f"{i}.png", seed=i)
        lines.append(f"{i}.png {('cat', 'dog')[i % 2]} {i} 2 20 10")
    write(root / "boxes.txt", "\n".join(lines).encode())
    return root


def test_it_is_chosen_by_name_and_found_by_auto(tiny: Path) -> None:
    assert format_names()[-1] == "tiny" and "tiny_format" not in sys.modules
    chosen = prepare(Dataset(format="tiny", path=str(tiny)), "detection")
    assert chosen.classes == ("cat", "dog") and chosen.train.num_images + chosen.val.num_images == 5
    boxes = {a["bbox"][0]: a["bbox"] for s in chosen.splits.values() for a in coco_of(s)["annotations"]}
    assert boxes == {float(i): [float(i), 2.0, 20.0, 10.0] for i in range(5)}
    found = prepare(Dataset(format="auto", path=str(tiny)), "detection")
    assert found.fingerprint == chosen.fingerprint
    assert any("is a Tiny data set: found boxes.txt" in note for note in found.notes)


def test_its_mistakes_are_checked_like_any_others(tiny: Path) -> None:
    (tiny / "1.png").write_bytes(b"")
    write(tiny / "boxes.txt", (tiny / "boxes.txt").read_bytes() + b"\n4.png cat 60 2 20 10")
    source = find_source(Dataset(format="tiny", path=str(tiny)), "detection")
    loaded = read_records(source)
    report = describe_dataset(source.name, source.task, loaded)
    rules = {finding["rule"] for finding in report["findings"]}
    assert {"image_empty", "box_outside", "leak"} & rules >= {"image_empty", "box_outside"}
    with pytest.raises(DatasetError, match="a Tiny data set can't hold labels for task=pose"):
        find_source(Dataset(format="tiny", path=str(tiny)), "pose")
    (tiny / "boxes.txt").unlink()
    with pytest.raises(DatasetError, match=r"is no Tiny data set for task=detection: it needs boxes\.txt"):
        find_source(Dataset(format="tiny", path=str(tiny)), "detection")


def test_it_converts_in_both_directions(tiny: Path, tmp_path: Path) -> None:
    coco = convert(Dataset(format="tiny", path=str(tiny)), "detection", "coco", tmp_path / "coco")
    assert coco.source_format == "tiny" and sum(n["annotations"] for n in coco.splits.values()) == 5
    back = convert(Dataset(format="coco", path=str(coco.target)), "detection", "tiny", tmp_path / "back")
    lines = (tmp_path / "back" / "boxes.txt").read_text().splitlines()
    assert back.to == "tiny" and len(lines) == 5 and sorted(lines)[0] == "images/0.png cat 0.0 2.0 20.0 10.0"
    with pytest.raises(ConfigError, match=r"to=voc can be read, but not written\. Write to=dice or to=coco"):
        convert(Dataset(format="tiny", path=str(tiny)), "detection", "voc", tmp_path / "voc")


def test_another_version_of_its_reader_prepares_again(tiny: Path, cache: Path) -> None:
    prepare(Dataset(format="tiny", path=str(tiny)), "detection")
    sys.modules["tiny_format"].TinyFormat.version = 2
    prepare(Dataset(format="tiny", path=str(tiny)), "detection")
    assert len(list((cache / "prepared").iterdir())) == 2


@pytest.mark.parametrize(
    ("module", "message"),
    [
        ("class TinyFormat: pass", "expected a subclass of trainer.data.formats.DataFormat"),
        ("import no_such_module", "No module named 'no_such_module'"),
        (MODULE.replace("def matches", "def matched"), "abstract"),
    ],
)
def test_a_broken_one_is_named_and_auto_looks_past_it(module, message, install, root, caplog) -> None:
    install(module, "tiny = tiny_format:TinyFormat")
    with pytest.raises(ConfigError, match=r"tiny: the plug-in tiny_format can't be used") as caught:
        load_format("tiny")
    assert message in str(caught.value)
    image(root / "a.png")
    with pytest.raises(DatasetError, match="no data set for task=detection found"):
        prepare(Dataset(format="auto", path=str(root)), "detection")
    assert "dataset=auto looks past a format: tiny: the plug-in tiny_format" in caplog.text


def test_only_the_chosen_format_is_imported(root: Path) -> None:
    code = (
        "import sys; from trainer.data.formats.format_registry import format_names, load_format; format_names(); "
        "load_format('yolo'); print([n for n in ('coco', 'voc', 'labelme', 'masks', 'dice') "
        "if f'trainer.data.formats.{n}' in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_example_of_the_interface_runs() -> None:
    failed, attempted = doctest.testmod(data_format)
    assert attempted > 5 and not failed
