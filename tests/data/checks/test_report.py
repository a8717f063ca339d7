"""The report on a data set: its numbers, its picture, the command that makes it, and its way into a run."""

from __future__ import annotations

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.data.conftest import flat, image, write
from tests.data.folders import make
from trainer.cli.command_line import main
from trainer.data.dataset_report import write_report
from trainer.data.prepare import prepare
from trainer.engine.visualization import FOLDERS
from trainer.plots.data_report import draw_data_report
from trainer.plots.draw_client import start_drawing
from trainer.plots.run_plots import RunPlots
from trainer.runs.run import Run
from trainer.schema import Dataset
from trainer.tracking.mlflow_sink import ALONG, AT_START


@pytest.fixture
def cats(root: Path) -> Path:
    document = flat(root, 10)
    for i, entry in enumerate(document["images"]):
        image(root / "images" / entry["file_name"], 64, 48, seed=i)
        entry["split"] = "train" if i < 8 else "val"
    document["annotations"][0]["bbox"] = [50, 10, 40, 20]
    write(root / "annotations.json", document)
    return root


def test_numbers(cats, tmp_path):
    bundle = prepare(Dataset(name="cats", format="dice", path=str(cats)), "detection")
    write_report(tmp_path, bundle)
    content = json.loads((tmp_path / "data_report.json").read_text())
    train, val = content["splits"]["train"], content["splits"]["val"]
    assert (train["images"], train["objects"], train["classes"]) == (8, 8, {"a": 4, "b": 4})
    assert (val["images"], val["classes"]) == (2, {"a": 1, "b": 1})
    assert sum(train["boxes"]) == 8 and content["image_sizes"] == [[64, 48, 10]]
    # 20 x 20 px, and one cut to 14 x 20: the square roots are 20 and 16.7.
    edges = content["box_edges"]
    held = {edges[i]: n for i, n in enumerate(train["boxes"]) if n}
    assert held == {16.0: 8}
    assert [f["rule"] for f in content["findings"]] == ["box_outside"]
    assert [sample["split"] for sample in content["samples"]] == ["train"] * 5 + ["val"] * 2


def test_shares_of_pixels_where_classes_are_painted(cats):
    bundle = prepare(Dataset(name="cats", format="dice", path=str(cats)), "semantic_segmentation")
    assert bundle.report is not None
    pixels = json.loads(bundle.report.read_bytes())["splits"]["train"]["pixels"]
    square = 20 * 20 / (64 * 48)
    assert pixels == pytest.approx({"background": 1 - square, "a": square / 2, "b": square / 2}, abs=1e-4)


def test_samples_show_all_classes_between_them(root, dice):
    document = flat(root, 40)
    document["categories"] = [{"id": i, "name": str(i)} for i in range(3)]
    for annotation in document["annotations"]:
        annotation["category_id"] = {17: 1, 33: 2}.get(annotation["image_id"], 0)
    for entry in document["images"]:
        entry["split"] = "val" if entry["id"] > 35 else "train"
    samples = json.loads(dice(document).report.read_bytes())["samples"]
    assert {o["label"] for s in samples if s["split"] == "train" for o in s["objects"]} == {0, 1, 2}


@pytest.mark.parametrize(
    ("form", "task"),
    [
        ("coco", "detection"),
        ("coco", "instance_segmentation"),
        ("masks", "semantic_segmentation"),
        ("labelme", "pose"),
    ],
)
def test_picture_of_every_task(root, tmp_path, form, task):
    make(form, root, task)
    bundle = prepare(Dataset(name=form, format=form, path=str(root)), task)
    assert draw_data_report(bundle.report, tmp_path / "report.png")
    drawn = cv2.imread(str(tmp_path / "report.png"))
    assert drawn.shape[1] == 1560 and len(np.unique(drawn.reshape(-1, 3), axis=0)) > 500


def test_picture_without_images_that_can_be_read_and_with_a_thousand_classes(cats, tmp_path):
    document = json.loads((cats / "annotations.json").read_bytes())
    document["categories"] += [{"id": i, "name": f"class {i} $"} for i in range(100, 1100)]
    write(cats / "annotations.json", document)
    report = prepare(Dataset(name="cats", format="dice", path=str(cats)), "detection").report
    for file in (cats / "images").iterdir():
        file.unlink()
    assert draw_data_report(report, tmp_path / "report.png")
    assert cv2.imread(str(tmp_path / "report.png")).shape[0] < 2000


def test_check_reports_and_leaves_with_one_where_there_are_mistakes(cats, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["check", "dataset=auto", f"dataset.path={cats}", "dataset.train_annotations=annotations.json"]
    words += ["dataset.name=cats", "output_dir=out"]
    assert main(words) == 0
    told = capsys.readouterr().out
    assert "train 8 images, 8 objects" in told and "fixed: boxes that reach out" in told
    folder = tmp_path / "out" / "cats-detection"
    assert sorted(path.name for path in folder.iterdir()) == ["data_report.json", "data_report.png"]
    (cats / "images" / "3.png").write_bytes(b"")
    assert main(words) == 1
    out, error = capsys.readouterr()
    assert "0 bytes" in error and "training can start" not in out
    findings = json.loads((folder / "data_report.json").read_bytes())["findings"]
    assert findings[0]["rule"] == "image_empty" and findings[0]["examples"] == ["3.png"]
    assert main([*words, "dataset.on_error=skip"]) == 0
    assert "train 7 images" in capsys.readouterr().out


def test_a_run_draws_its_report_once(cats, tmp_path):
    run = Run.create(tmp_path / "runs", "cats-detection", "rtmdet-s")
    write_report(run.dir, prepare(Dataset(name="cats", format="dice", path=str(cats)), "detection"))
    run.events.write_text(
        '{"v": 1, "time": 0.0, "type": "run_started", "model": "rtmdet-s", "dataset": "cats"}\n'
    )
    assert start_drawing(run.dir).finish(60)  # ended before any validation
    assert (run.dir / "data_report.png").stat().st_size > 20_000
    drawing = RunPlots(run.dir)
    assert drawing.draw_data() == []
    os.utime(run.dir / "data_report.json", ns=(2**62, 2**62))  # a resumed run whose data have changed
    assert drawing.draw_data() == [run.dir / "data_report.png"]


def test_the_picture_is_announced_and_uploaded():
    assert ("", "data_report.png", "data") in FOLDERS
    assert "data_report.json" in AT_START and "data_report.png" in ALONG
