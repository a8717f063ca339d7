"""Plots of made-up runs: which are there, what is drawn again, and that nothing lies on anything else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from made_up import append, epoch_of, started, write_curves

from trainer.plots import metric_curves, style
from trainer.plots.__main__ import main
from trainer.plots.prediction_sheet import draw_sheet, from_json
from trainer.plots.run_plots import RunPlots
from trainer.predictions.prediction import Prediction
from trainer.runs.run import Run

ALL = {"losses", "metrics", "per_class", "pr", "f1", "pr_box", "f1_box", "confusion", "keypoints"}


def test_all_plots_are_drawn_once_and_again_where_something_is_new(made_up):
    run = made_up(classes=3)
    drawing = RunPlots(run.dir)
    assert {path.stem for path in drawing.draw()} == ALL
    assert {path.stem for path in (run.dir / "plots").glob("*.png")} == ALL
    assert all(_ink(path) > 0.02 for path in (run.dir / "plots").glob("*.png"))
    assert drawing.draw() == []
    append(run, epoch_of(4, ["a", "b"], value=0.05))  # worse: curves and bars of the best stay
    assert {path.stem for path in drawing.draw()} == {"losses", "metrics"}
    append(run, epoch_of(5, ["a", "b"], value=0.9))
    write_curves(run, ["a", "b"], 5)
    assert {path.stem for path in drawing.draw()} == ALL


def test_a_run_that_has_just_begun_has_what_there_is(tmp_path):
    run = Run.create(tmp_path / "runs", "e", "m")
    assert RunPlots(run.dir).draw() == []
    append(run, [started(), {"type": "train", "epoch": 1, "iter": 1, "lr": None, "losses": {"loss": None}}])
    assert RunPlots(run.dir).draw() == []
    append(run, [{"type": "train", "epoch": 1, "iter": 2, "lr": 0.1, "losses": {"loss": -0.5}}])
    assert [path.stem for path in RunPlots(run.dir).draw()] == ["losses"]


def test_a_diverged_run_and_a_damaged_file_cost_only_their_own_plots(made_up, caplog):
    run = made_up()
    append(run, [{"type": "train", "epoch": 4, "iter": 35, "lr": 0.1, "losses": {"loss": None}}])
    empty = {**epoch_of(4, ["a"])[-1], "metrics": {"mAP50-95": None}, "per_class": {}}
    append(run, [empty])
    damaged = json.loads((run.dir / "curves" / "epoch_3.json").read_text())
    damaged["parts"]["mask"]["precision_overall"] = "?"
    (run.dir / "curves" / "epoch_3.json").write_text(json.dumps(damaged))
    assert {path.stem for path in RunPlots(run.dir).draw()} == ALL - {"pr"}
    assert "pr.png can't be drawn" in caplog.text


@pytest.mark.parametrize("classes", [1, 10, 80])
def test_no_label_lies_on_another(made_up, classes, monkeypatch):
    run = made_up(classes=classes)
    figures = _figures(monkeypatch)
    content = json.loads((run.dir / "curves" / "epoch_3.json").read_text())
    names = content["parts"]["mask"]["classes"]
    bars = {name: {"mAP50-95": i / classes, "mAP50": i / classes} for i, name in enumerate(names)}
    folder = run.dir / "plots"
    assert metric_curves.draw_confusion(content["confusion"], folder / "confusion.png", "below")
    assert metric_curves.draw_per_class(bars, folder / "bars.png", "below")
    assert metric_curves.draw_precision(content["parts"]["mask"], "mask", folder / "pr.png", "below")
    assert len(figures) == 3
    for figure in figures:
        for axis in (figure.axes[0].yaxis, *([] if figure is figures[0] else [figure.axes[0].xaxis])):
            boxes = [tick.get_window_extent() for tick in axis.get_ticklabels() if tick.get_text()]
            assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[i + 1 :])
        whole = figure.bbox
        shown = [tick.get_window_extent() for tick in figure.axes[0].get_yticklabels() if tick.get_text()]
        shown += [one.get_window_extent() for one in figure.legends + figure.texts]
        legend = figure.axes[0].get_legend()
        shown += [legend.get_window_extent()] if legend else []
        assert all(b.x0 >= 0 and b.y0 >= 0 and b.x1 <= whole.x1 and b.y1 <= whole.y1 for b in shown)


def test_many_classes_are_put_together_without_losing_a_count():
    rng = np.random.default_rng(0)
    matrix = rng.integers(0, 9, (81, 81))
    table = {"of": "instances", "names": [*map(str, range(80)), "background"], "matrix": matrix.tolist()}
    names, small, rest = metric_curves._shown(table)
    assert (len(names), rest, names[-2:]) == (22, 60, ["(others)", "background"])
    assert small.sum() == matrix.sum() and small[:, -1].sum() == matrix[:, -1].sum()
    wrong = matrix.sum(0) + matrix.sum(1) - 2 * np.diag(matrix)
    assert set(map(int, names[:20])) == set(np.argsort(-wrong[:80], kind="stable")[:20].tolist())


def test_samples_are_drawn_beside_the_truth(tmp_path):
    image = np.full((40, 60, 3), 90, np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), image)
    box = np.array([[5, 5, 30, 35]], np.float32)
    said = Prediction(str(tmp_path / "a.png"), (60, 40), ("x", "y"), box, np.array([0.9]), np.array([1]))
    gone = {**said.to_json(), "file": str(tmp_path / "gone.png")}
    truth = {**said.to_json(), "predictions": [{**said.to_json()["predictions"][0], "score": None}]}
    file = tmp_path / "epoch_1.json"

    def write(*images):
        about = {"classes": ["x", "y"], "palette": [[255, 0, 0], [0, 255, 0]], "skeleton": []}
        file.write_text(json.dumps({**about, "images": list(images)}))

    write({"prediction": gone, "truth": None})
    assert not draw_sheet(file, tmp_path / "epoch_1.jpg")
    write({"prediction": said.to_json(), "truth": truth}, {"prediction": gone, "truth": truth})
    assert draw_sheet(file, tmp_path / "epoch_1.jpg")
    sheet = cv2.imread(str(tmp_path / "epoch_1.jpg"))
    assert sheet.shape[1] > 2 * 250
    half = sheet.shape[1] // 2
    assert _green(sheet[:, :half]) > 50 and _green(sheet[:, half:]) > 50


@pytest.mark.parametrize("kind", ["boxes", "masks", "keypoints", "segmentation"])
def test_what_was_written_is_read_back(kind):
    rng = np.random.default_rng(1)
    boxes = np.array([[1, 2, 10, 12], [3, 3, 9, 20]], np.float32)
    arrays = (boxes, np.array([0.75, 0.5], np.float32), np.array([1, 0]))
    made = {
        "boxes": lambda: Prediction("a", (30, 20), ("x", "y"), *arrays),
        "masks": lambda: Prediction("a", (30, 20), ("x", "y"), *arrays, rng.random((2, 20, 30)) > 0.5),
        "keypoints": lambda: Prediction("a", (30, 20), ("x",), *arrays[:2], np.array([-1, -1]),
                                        keypoints=rng.random((2, 4, 3)).round(3).astype(np.float32)),
        "segmentation": lambda: Prediction(
            "a", (30, 20), ("x", "y"), segmentation=rng.choice([0, 1, 255], (20, 30)).astype(np.uint8)
        ),
    }[kind]()  # fmt: skip
    read = from_json(json.loads(json.dumps(made.to_json())), made.classes)
    for name in ("boxes", "scores", "labels", "masks", "keypoints", "segmentation"):
        expected, found = getattr(made, name), getattr(read, name)
        assert (expected is None) == (found is None)
        assert expected is None or np.allclose(expected, found)


def test_the_command_draws_without_torch(made_up, capsys):
    run = made_up()
    code = (
        "import sys; from trainer.plots.__main__ import main; code = main(sys.argv[1:]);"
        "assert not {'torch', 'mmengine', 'mlflow'} & set(sys.modules); sys.exit(code)"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code, run.dir], cwd=root, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("wrote ") == len(ALL)
    assert main([str(run.dir.parent)]) == 2
    assert "run.json" in capsys.readouterr().err


def _figures(monkeypatch) -> list:
    """The figures that are written from now on."""
    figures, write = [], style.atomic_write

    def keep(path, content):
        figures.append(content.__closure__[0].cell_contents.figure)
        return write(path, content)

    monkeypatch.setattr(style, "atomic_write", keep)
    return figures


def _ink(path: Path) -> float:
    """The share of a picture that isn't white."""
    return float((cv2.imread(str(path)).min(axis=2) < 245).mean())


def _green(picture: np.ndarray) -> int:
    blue, green, red = (picture[..., i].astype(int) for i in range(3))
    return int(((green > 180) & (red < 90) & (blue < 90)).sum())
