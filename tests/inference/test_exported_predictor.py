"""Exported files answer, and are evaluated, as their checkpoints."""

from __future__ import annotations

import json
import shutil
from itertools import islice

import numpy as np
import pytest

from trainer.cli.command_line import main
from trainer.core.errors import CheckpointError, DatasetError
from trainer.inference.load_model import load_model
from trainer.schema import METRICS, Export

ALIKE = 0.02
"""How far metrics may be apart: on eight images two detections whose scores tie can change places."""


def _export(predictor, folder):
    """An ONNX file and its metadata, without the proof that ``python -m trainer export`` makes."""
    from trainer.export.graph import GraphOptions, graph_for
    from trainer.export.inputs import input_of
    from trainer.export.metadata import build_metadata
    from trainer.export.onnx_file import write_onnx
    from trainer.export.outputs import outputs_of, thresholds_of

    given = input_of(predictor.config, None, batch=None, dynamic_size=False, preprocess=False)
    thresholds = thresholds_of(predictor, Export())
    options = GraphOptions(
        size=(given["size"][0], given["size"][1]),
        batch=None,
        dynamic_size=False,
        preprocess=False,
        score_threshold=None,
        nms_iou=None,
        max_detections=thresholds["max_detections"] or 1,
    )
    graph = graph_for(predictor, options)
    folder.mkdir(parents=True)
    write_onnx(folder / "m.onnx", graph, opset=17)
    metadata = build_metadata(
        predictor,
        "onnx",
        "m.onnx",
        {**given, "divisor": graph.multiple_of},
        outputs_of(graph),
        thresholds,
        precision="fp32",
        opset=17,
        settings={},
    )
    (folder / "metadata.json").write_text(json.dumps(metadata))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("task", tuple(METRICS))
def test_a_file_answers_and_is_measured_as_its_checkpoint(trained_run, tmp_path, task):
    from trainer.inference.evaluation import evaluate
    from trainer.inference.evaluation_data import own_samples

    run = tmp_path / "run"
    shutil.copytree(trained_run(task), run, ignore=shutil.ignore_patterns("export*", "plots", "profile"))
    checkpoint = load_model(run, "cpu")
    if task == "pose":
        checkpoint.model.test_cfg["flip_test"] = False  # a graph looks at an image once
    exported = load_model(_export(checkpoint, run / "export" / "onnx"), "cpu")
    assert (exported.task, exported.classes, exported.palette) == (
        task,
        checkpoint.classes,
        checkpoint.palette,
    )
    assert (exported.keypoints, exported.skeleton) == (checkpoint.keypoints, checkpoint.skeleton)
    assert (exported.flip_pairs, exported.mirrors) == (checkpoint.flip_pairs, checkpoint.mirrors)

    samples = list(islice(own_samples(checkpoint), 4))
    for one, other in zip(checkpoint.predict(samples), exported.predict(samples), strict=True):
        assert one.path == other.path and one.size == other.size
        if one.segmentation is not None:
            assert (one.segmentation == other.segmentation).mean() > 0.99
            continue
        count = min(len(one), len(other), 10)
        np.testing.assert_allclose(one.scores[:count], other.scores[:count], atol=2e-3)
        if task == "pose":
            np.testing.assert_array_equal(one.boxes, other.boxes)
            np.testing.assert_array_equal(one.labels, other.labels)
    for options in ({"tile": 64}, {"tta": True}):
        assert next(exported.predict(samples[0], threshold=0.05, **options)).size == (96, 96)

    ours, its = evaluate(checkpoint, worst=2), evaluate(exported, worst=2)
    assert its.metrics.keys() == ours.metrics.keys() and any(ours.metrics.values())
    assert its.metrics == pytest.approx(ours.metrics, abs=ALIKE)
    assert its.images == ours.images and len(its.worst) == 2
    if task == "detection":
        _from_the_command_line(run, tmp_path)
        _elsewhere(run, tmp_path)


def _from_the_command_line(run, tmp_path):
    words = ["device=cpu", "plots=false", "worst=0"]
    assert main(["evaluate", f"checkpoint={run}/export/onnx", *words]) == 0
    evaluated, trained = (
        json.loads((run / name).read_text())["primary_metric"]
        for name in ("evaluation-val-onnx.json", "result.json")
    )
    assert evaluated["name"] == trained["name"]
    assert evaluated["value"] == pytest.approx(trained["value"], abs=ALIKE)
    output = tmp_path / "predictions"
    words = ["device=cpu", "max_images=2", f"output={output}"]
    assert main(["predict", f"checkpoint={run}/export", *words]) == 0
    assert len(json.loads((output / "predictions.json").read_text())["images"]) == 2


def _elsewhere(run, tmp_path):
    """Away from its run a file still predicts, and says what it doesn't know."""
    alone = tmp_path / "alone"
    shutil.copytree(run / "export" / "onnx", alone)
    exported = load_model(alone, "cpu")
    assert len(list(exported.predict(np.zeros((50, 70, 3), np.uint8)))) == 1
    from trainer.inference.evaluation import evaluate

    with pytest.raises(DatasetError, match="outside of its run.*dataset="):
        evaluate(exported)
    words = ["dataset=digits", "dataset.scenes=4", "dataset.val_scenes=4", f"output={tmp_path / 'out'}"]
    assert main(["evaluate", f"checkpoint={alone}", "device=cpu", "plots=false", "worst=0", *words]) == 0
    (file,) = (tmp_path / "out").glob("evaluation-*.json")
    assert file.name == "evaluation-digits-val-onnx.json" and json.loads(file.read_text())["images"] == 4
    (alone / "m.onnx").write_bytes(b"no model")
    with pytest.raises(CheckpointError, match=r"m\.onnx can't be loaded"):
        load_model(alone, "cpu")


def test_a_gpu_that_is_not_there_is_said(tmp_path):
    from trainer.core.errors import ResourceError

    onnxruntime = pytest.importorskip("onnxruntime")
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("there is one")
    (tmp_path / "m.onnx").write_bytes(b"")
    with pytest.raises(ResourceError, match="device=gpu"):
        load_model(tmp_path / "m.onnx", "gpu")
