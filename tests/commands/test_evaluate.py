"""evaluate gives the values of training's own validation."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from trainer.checkpoints.safe_config_parser import parse_config
from trainer.cli.command_line import main
from trainer.schema import METRICS

TASKS = tuple(METRICS)
KIND = {"detection": "box", "instance_segmentation": "mask"}


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_the_values_are_those_of_training(trained_run, task, capsys):
    folder = trained_run(task)
    assert main(["evaluate", f"checkpoint={folder}", "device=cpu", f"plots={task == 'detection'}"]) == 0
    result = json.loads((folder / "result.json").read_text())
    evaluation = json.loads((folder / "evaluation-val.json").read_text())
    more = {"split", "checkpoint", "images", "thresholds", "speed", "worst"}
    assert set(evaluation) == set(result) | more
    assert evaluation["command"] == "evaluate" and evaluation["run_id"] == result["run_id"]
    assert evaluation["primary_metric"] == pytest.approx(result["primary_metric"])
    per_class, expected = evaluation["metrics"].pop("per_class"), result["metrics"].pop("per_class")
    assert evaluation["metrics"] == pytest.approx(result["metrics"], abs=1e-6)
    assert any(evaluation["metrics"].values()), "nothing but zeros would be equal too"
    assert per_class.keys() == expected.keys()
    for name, values in expected.items():
        assert per_class[name] == pytest.approx(values, abs=1e-6)
    shown = capsys.readouterr().out
    assert evaluation["primary_metric"]["name"] in shown and "evaluation-val.json" in shown
    assert "loading annotations" not in shown
    epoch = result["primary_metric"]["epoch"]
    curves, trained = (
        json.loads((folder / "curves" / f"{name}.json").read_text())
        for name in ("evaluation-val", f"epoch_{epoch}")
    )
    assert curves["split"] == "val"
    for key in ("parts", "confusion", "keypoints"):
        assert curves.get(key) == trained.get(key)
    speed = evaluation["speed"]
    assert min(speed.values()) >= 0 and speed["images_per_second"] > 0 and speed["model_ms"] > 0
    scores = [image["score"] for image in evaluation["worst"]["images"]]
    assert len(scores) == 8 and scores == sorted(scores) and 0 <= scores[0] <= scores[-1] <= 1
    if task in ("detection", "instance_segmentation"):
        assert set(evaluation["thresholds"]["per_class"]) == set(curves["parts"][KIND[task]]["classes"])
    worst = cv2.imread(str(folder / "plots" / "evaluation-val_worst.png"))
    assert worst.shape[1] > 4 * 300 and worst.std() > 10
    drawn = {path.stem for path in (folder / "plots").glob("evaluation-val_*.png")}
    names = ("pr", "f1", "confusion", "per_class") if task == "detection" else ()
    assert drawn == {f"evaluation-val_{name}" for name in (*names, "worst")}


@pytest.mark.slow
def test_another_split_and_batch(trained_run):
    folder = trained_run("semantic_segmentation")
    assert main(["evaluate", f"checkpoint={folder}", "device=cpu", "split=train", "batch_size=4"]) == 0
    train = json.loads((folder / "evaluation-train.json").read_text())
    val = json.loads((folder / "result.json").read_text())
    assert train["metrics"]["aAcc"] != val["metrics"]["aAcc"]


@pytest.mark.slow
@pytest.mark.parametrize("task", ["detection", "semantic_segmentation"])
def test_another_data_set_with_classes_in_another_order(trained_run, tmp_path, monkeypatch, capsys, task):
    """The run's own validation scenes as somebody else keeps them: the same values, less what isn't known."""
    folder = trained_run(task)
    monkeypatch.setenv("TRAINER_CACHE", str(tmp_path / "cache"))
    other = tmp_path / "other"
    words = (
        _as_coco(folder, other, unknown="7") if task == "detection" else _as_masks(folder, other, unknown="7")
    )
    assert main(["evaluate", f"checkpoint={folder}", "device=cpu", "plots=false", "worst=0", *words]) == 0
    told = capsys.readouterr().err
    assert "the model doesn't know seven" in told
    found = json.loads((folder / "evaluation-other-val.json").read_text())
    own = json.loads((folder / "result.json").read_text())
    assert found["dataset"] == "other" and found["split"] == "val"
    mine, its = own["metrics"]["per_class"], found["metrics"]["per_class"]
    same = [name for name in mine if name in its and name != "7" and task == "detection"]
    for name in same:
        assert its[name] == pytest.approx(mine[name], abs=1e-6)
    if task == "detection":
        assert same and "7" not in its, "what isn't there isn't asked for"
    else:
        assert found["metrics"]["aAcc"] == pytest.approx(own["metrics"]["aAcc"], abs=0.05)


@pytest.mark.slow
def test_a_data_set_without_any_of_the_classes(trained_run, tmp_path, monkeypatch, capsys):
    folder = trained_run("detection")
    monkeypatch.setenv("TRAINER_CACHE", str(tmp_path / "cache"))
    words = _as_coco(folder, tmp_path / "other", prefix="no ")
    assert main(["evaluate", f"checkpoint={folder}", "device=cpu", *words]) == 1
    assert "none of them is the same" in capsys.readouterr().err
    assert main(["evaluate", f"checkpoint={folder}", "device=cpu", "split=test", *words]) == 1
    assert "split=test: other has no such split" in capsys.readouterr().err


def _own(folder):
    """The run's validation: (image folder, annotation file or list, segmentation maps)."""
    config = parse_config((folder / "mmengine.py").read_text())
    leaf = config["val_dataloader"]["dataset"]
    return leaf["data_prefix"], Path(leaf["ann_file"])


def _as_coco(folder, other, unknown="", prefix=""):
    prefixes, file = _own(folder)
    content = json.loads(file.read_text())
    # Other ids, another order, another name.
    count = len(content["categories"])
    for category in content["categories"]:
        category["id"] = 100 + count - category["id"]
        name = "seven" if category["name"] == unknown else category["name"]
        category["name"] = prefix + name
    content["categories"].reverse()
    for annotation in content["annotations"]:
        annotation["category_id"] = 100 + count - annotation["category_id"]
    other.mkdir()
    for image in content["images"]:
        shutil.copy(Path(prefixes["img"]) / image["file_name"], other / Path(image["file_name"]).name)
        image["file_name"] = Path(image["file_name"]).name
    for name in ("train.json", "val.json"):
        (other / name).write_text(json.dumps(content))
    images = [f"dataset.{split}_{what}" for split in ("train", "val") for what in ("annotations", "images")]
    values = ["train.json", ".", "val.json", "."]
    pairs = [f"{key}={value}" for key, value in zip(images, values, strict=True)]
    return ["dataset=coco", f"dataset.path={other}", "dataset.name=other", *pairs]


def _as_masks(folder, other, unknown=""):
    """Maps whose values are those of the run in reverse, but for the background."""
    prefixes, file = _own(folder)
    config = parse_config((folder / "mmengine.py").read_text())
    background, *others = config["val_dataloader"]["dataset"]["metainfo"]["classes"]
    classes = [background, *others[::-1]]
    for split in ("train", "val"):
        for name in file.read_text().split():
            image, labels = (
                other / "images" / split / Path(name).name,
                other / "masks" / split / Path(name).name,
            )
            image.parent.mkdir(parents=True, exist_ok=True)
            labels.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(Path(prefixes["img_path"]) / name, image)
            values = cv2.imread(str(Path(prefixes["seg_map_path"]) / f"{name}.png"), cv2.IMREAD_UNCHANGED)
            kept = (values == 255) | (values == 0)
            turned = np.where(kept, values, len(classes) - values.astype(int)).astype(np.uint8)
            cv2.imwrite(str(labels.with_suffix(".png")), turned)
    names = ["seven" if name == unknown else name for name in classes]
    return [
        "dataset=masks",
        f"dataset.path={other}",
        "dataset.name=other",
        f"dataset.classes=[{','.join(names)}]",
    ]


@pytest.mark.slow
def test_a_split_that_is_not_there(trained_run, capsys):
    folder = trained_run("semantic_segmentation")
    assert main(["evaluate", f"checkpoint={folder}", "device=cpu", "split=test"]) == 1
    assert "no test split" in capsys.readouterr().err


def test_mistakes_are_one_line(tmp_path, capsys):
    for words, code in (([], 2), (["checkpoint=nothing"], 2), (["checkpoint=a.pth"], 1)):
        assert main(["evaluate", f"output_dir={tmp_path}", *words]) == code
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and "Error: " in error
