"""Curves and sample predictions that a training leaves, and what it says about them."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from trainer.engine.background_queue import BackgroundQueue
from trainer.engine.hooks.metric_curves_hook import CurvesHook
from trainer.engine.hooks.sample_predictions import IMAGES, THRESHOLD, SamplesHook
from trainer.engine.validation_point import validation_point
from trainer.plots.run_plots import RunPlots
from trainer.runs.events.reader import events


@pytest.mark.slow
@pytest.mark.parametrize("task", ["detection", "semantic_segmentation"])
def test_a_training_leaves_curves_that_agree_with_its_metrics(trained_run, task):
    run = trained_run(task)
    result = json.loads((run / "result.json").read_text())
    epoch = result["primary_metric"]["epoch"]
    curves = json.loads((run / "curves" / f"epoch_{epoch}.json").read_text())
    assert (curves["task"], curves["epoch"]) == (task, epoch)
    assert curves["value"] == pytest.approx(result["primary_metric"]["value"])
    matrix = np.array(curves["confusion"]["matrix"])
    if task == "detection":
        part = curves["parts"]["box"]
        assert np.mean(part["precision_overall"]) == pytest.approx(result["metrics"]["mAP50"], abs=1e-4)
        for name, curve in part["precision"].items():
            expected = result["metrics"]["per_class"][name]["mAP50"]
            assert np.mean(curve) == pytest.approx(expected, abs=1e-4)
    else:
        right, union = np.diag(matrix), matrix.sum(0) + matrix.sum(1) - np.diag(matrix)
        assert matrix.sum() == 8 * 96 * 96
        assert np.mean((right / np.maximum(union, 1))[union > 0]) == pytest.approx(result["metrics"]["mIoU"])
    assert len(list((run / "curves").glob("epoch_*.json"))) <= 2


@pytest.mark.slow
@pytest.mark.parametrize("task", ["detection", "semantic_segmentation"])
def test_pictures_are_there_and_told_before_the_last_word(trained_run, task):
    run = trained_run(task)
    log = list(events(run / "events.jsonl"))
    assert log[-1]["type"] == "finished"
    told = {event["path"] for event in log if event["type"] == "artifact"}
    last = max(event["epoch"] for event in log if event["type"] == "validation")
    assert f"curves/epoch_{last}.json" in told
    assert "wrote" not in (run / "train.log").read_text()
    # What isn't finished within seconds on a busy machine is drawn when the run has ended.
    RunPlots(run).draw(), RunPlots(run).draw_sheets()
    plots = {"losses", "metrics", "per_class", "confusion"} | ({"pr", "f1"} if task == "detection" else set())
    assert {path.stem for path in (run / "plots").glob("*.png")} >= plots
    assert (run / "predictions" / f"epoch_{last}.jpg").stat().st_size > 10_000


@pytest.mark.slow
def test_samples_are_the_checkpoints_answers_beside_the_annotations(trained_run):
    from trainer.inference.load_model import load_model
    from trainer.inference.samples import split_samples

    run = trained_run("detection")
    predictor = load_model(run / "checkpoints" / "last.pth", device="cpu")
    content = json.loads((run / "predictions" / f"epoch_{predictor.epoch}.json").read_text())
    assert len(content["images"]) == IMAGES
    truths = {
        s.image: s.truth for s in split_samples(predictor.config, "val", "detection", predictor.classes)
    }
    for entry in content["images"]:
        file = Path(entry["prediction"]["file"])
        assert entry["truth"]["predictions"] == [
            {**one, "score": None} for one in truths[file].to_json()["predictions"]
        ]
        (answer,) = predictor.predict(file, threshold=THRESHOLD)
        expected = answer.to_json()["predictions"]
        found = entry["prediction"]["predictions"]
        assert [one["category_name"] for one in found] == [one["category_name"] for one in expected]
        for one, other in zip(found, expected, strict=True):
            assert one["score"] == pytest.approx(other["score"], abs=1e-3)
            assert one["bbox"] == pytest.approx(other["bbox"], abs=0.1)


class _Metric:
    def __init__(self) -> None:
        self.curves = None

    def evaluate(self) -> None:
        self.curves = lambda: {"confusion": {"matrix": [[1]]}}


def test_curves_of_the_best_and_the_newest_are_kept(tmp_path):
    told, drawn = [], []
    log = SimpleNamespace(emit=lambda word, /, **fields: told.append((word, fields)))
    aside, metric = BackgroundQueue("test"), _Metric()
    folder = tmp_path / "curves"
    hook = CurvesHook(folder, aside, log, {"task": "x"}, "mAP", "max", lambda: drawn.append(1))
    values = [0.1, 0.5, 0.5, None, 0.3, 0.4]
    kept = []
    for epoch, value in enumerate(values, 1):
        metric.evaluate()
        hook.after_val_epoch(_runner(epoch, metric), {} if value is None else {"mAP": value})
        done = threading.Event()
        aside.submit(done.set)
        assert done.wait(60)
        kept.append({path.stem for path in folder.glob("*.json")})
    two, last = "epoch_2", [f"epoch_{epoch}" for epoch in range(1, 7)]
    assert kept == [{last[0]}, {two}, {two, last[2]}, {two, last[3]}, {two, last[4]}, {two, last[5]}]
    assert len(told) == len(drawn) == len(values) and metric.curves is None
    assert told[0] == ("artifact", {"path": "curves/epoch_1.json", "kind": "curves"})
    hook.before_train(_runner(2, metric))  # as resumed after the second epoch
    assert {path.stem for path in folder.glob("*.json")} == {two}
    hook.after_val_epoch(_runner(7, SimpleNamespace()), {})  # a metric of the user's own
    assert aside.finish(60) and len(told) == len(values) and len(drawn) == len(values) + 1


@pytest.mark.parametrize(
    "every, epochs, expected",
    [
        (None, 4, [1, 2, 3, 4]),
        (None, 100, [*range(10, 101, 10)]),
        (3, 10, [3, 6, 9]),
        (0, 5, []),
    ],
)
def test_how_often_samples_are_taken(tmp_path, every, epochs, expected):
    about = {"task": "detection", "classes": ["a"]}
    hook = SamplesHook(tmp_path, BackgroundQueue("test"), about, every, lambda: None)
    taken = []
    for epoch in range(1, epochs + 1):
        hook.before_val_epoch(_runner(epoch, max_epochs=epochs))
        if hook._due:
            taken.append(epoch)
    assert [epoch for epoch in taken if epoch > 1 or 1 in expected] == expected
    assert len(taken) <= 11


def test_answers_in_another_form_cost_no_training(tmp_path):
    hook = SamplesHook(
        tmp_path, BackgroundQueue("test"), {"task": "detection", "classes": ["a"]}, 1, lambda: None
    )
    runner = _runner(1, SimpleNamespace())
    hook.before_val_epoch(runner)
    hook.after_val_iter(runner, 0, outputs=[(1, 2)])
    hook.after_val_iter(runner, 0, outputs=[SimpleNamespace(img_path="a.png")])
    hook.after_val_epoch(runner)
    assert not list(tmp_path.iterdir())


def test_a_job_that_fails_costs_only_itself(caplog):
    aside, done = BackgroundQueue("test"), []
    aside.submit(lambda: 1 / 0)
    aside.submit(lambda: done.append(1))
    assert aside.finish(60) and done == [1]
    assert "ZeroDivisionError" in caplog.text
    stuck, free = BackgroundQueue("test"), threading.Event()
    stuck.submit(free.wait)
    assert not stuck.finish(0.01)
    free.set()
    assert BackgroundQueue("never used").finish(0)


def test_loops_that_count_iterations_name_files_so():
    loop = SimpleNamespace(dataloader_iterator=None)
    at = validation_point(SimpleNamespace(train_loop=loop, iter=25, epoch=0, train_dataloader=range(10)))
    assert (at.epoch, at.name) == (3, "iter_25")


def _runner(epoch, *metrics, max_epochs=10):
    return SimpleNamespace(
        train_loop=SimpleNamespace(),
        epoch=epoch,
        iter=epoch * 10,
        max_iters=max_epochs * 10,
        val_evaluator=SimpleNamespace(metrics=list(metrics)),
    )
