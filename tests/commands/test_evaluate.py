"""evaluate gives the values of training's own validation."""

import json

import pytest

from trainer.cli import main
from trainer.config.schema import METRICS

TASKS = tuple(METRICS)


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_the_values_are_those_of_training(trained_run, task, capsys):
    folder = trained_run(task)
    assert main(["evaluate", f"checkpoint={folder}", "device=cpu", f"plots={task == 'detection'}"]) == 0
    result = json.loads((folder / "result.json").read_text())
    evaluation = json.loads((folder / "evaluation-val.json").read_text())
    assert set(evaluation) == set(result)
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
    drawn = {path.stem for path in (folder / "plots").glob("evaluation-val_*.png")}
    names = ("pr", "f1", "confusion", "per_class") if task == "detection" else ()
    assert drawn == {f"evaluation-val_{name}" for name in names}


@pytest.mark.slow
def test_another_split_and_batch(trained_run):
    folder = trained_run("semantic_segmentation")
    assert main(["evaluate", f"checkpoint={folder}", "device=cpu", "split=train", "batch_size=4"]) == 0
    train = json.loads((folder / "evaluation-train.json").read_text())
    val = json.loads((folder / "result.json").read_text())
    assert train["metrics"]["aAcc"] != val["metrics"]["aAcc"]


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
