"""The forms that a detector's graph can take: open sizes, a fixed batch, each opset, thresholds, pixels as they are."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch

from tests.export.models import make_predictor, pictures
from tests.export.same import detections, share_found
from tests.export.test_graph_detection import R18, _two_stage
from trainer.core.errors import ConfigError
from trainer.export.graph import GraphOptions, graph_for
from trainer.export.onnx_file import write_onnx
from trainer.export.torchscript_file import write_torchscript
from trainer.inference.samples import Sample

SLOW = [pytest.mark.slow]
MM = {"rtmdet-tiny": {}, "yolox-nano": {}, "rtmdet-ins-tiny": {}, "ssd300": {}, "centernet-r18": {}}
MM |= {"retinanet-r50": R18, "tood-r50": R18, "gfl-r50": R18, "mask-rcnn-r50": _two_stage()}
ROWS = 20


@pytest.fixture(scope="module")
def predictors():
    made = {}

    def predictor(name):
        if name not in made:
            made.clear()  # one at a time in memory
            made[name] = make_predictor(name, (128, 96), MM[name])
        return made[name]

    return predictor


def open_file(path):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda inputs: session.run(None, {"images": inputs.numpy()})


def agree(ours, theirs):
    for picture in range(len(ours[0])):
        one, other = detections(ours, picture), detections(theirs, picture)
        assert len(one["scores"]) >= 5
        assert share_found(one, other) >= 0.95 and share_found(other, one) >= 0.95


def eager(graph, inputs):
    with torch.no_grad():
        return [one.numpy() for one in graph(inputs)]


@pytest.mark.parametrize(
    "name",
    [
        "rtmdet-tiny",
        *(pytest.param(name, marks=SLOW) for name in MM if name not in ("rtmdet-tiny", "ssd300")),
    ],
)
def test_open_sizes(predictors, tmp_path, name):
    predictor = predictors(name)
    graph = graph_for(predictor, GraphOptions((128, 96), dynamic_size=True, max_detections=ROWS))
    written = write_onnx(tmp_path / "m.onnx", graph, opset=17)
    assert written.inputs["images"] == ("batch", 3, "height", "width")
    run = open_file(written.path)
    script = torch.jit.load(write_torchscript(tmp_path / "m.pt", graph).path)
    for wide, high, count in ((128, 96, 2), (192, 160, 1), (64, 128, 2)):
        fixed = graph_for(predictor, GraphOptions((wide, high), max_detections=ROWS))
        images = [Sample(one) for one in pictures((wide, high), count)]
        inputs = fixed.example(count) if name == "centernet-r18" else as_network(predictor, images)
        ours = eager(fixed, inputs)
        agree(ours, run(inputs))
        agree(ours, eager(script, inputs))


def as_network(predictor, samples):
    """Normalised, without the pipeline's resizing."""
    arrays = np.stack([one.image for one in samples]).transpose(0, 3, 1, 2)
    inputs = [torch.from_numpy(array) for array in arrays]
    return predictor.model.data_preprocessor({"inputs": inputs}, False)["inputs"]


@pytest.mark.parametrize(
    "name, opset",
    [
        ("rtmdet-tiny", 13),
        *(pytest.param("rtmdet-tiny", opset, marks=SLOW) for opset in range(14, 21)),
        *(pytest.param("mask-rcnn-r50", opset, marks=SLOW) for opset in (16, 18, 19, 20)),
        *(pytest.param("tood-r50", opset, marks=SLOW) for opset in (16, 20)),
    ],
)
def test_opsets(predictors, tmp_path, name, opset):
    graph = graph_for(predictors(name), GraphOptions((128, 96), batch=1, max_detections=ROWS))
    written = write_onnx(tmp_path / "m.onnx", graph, opset=opset)
    assert written.inputs["images"] == (1, 3, 96, 128) and not written.dynamic_batch
    inputs = graph.example()
    agree(eager(graph, inputs), open_file(written.path)(inputs))


@pytest.mark.slow
def test_older_opsets_are_refused_where_an_operator_is_missing(predictors, tmp_path):
    for name, why in (("mask-rcnn-r50", "RoiAlign"), ("tood-r50", "GridSample")):
        graph = graph_for(predictors(name), GraphOptions((128, 96)))
        with pytest.raises(ConfigError, match=why):
            write_onnx(tmp_path / "m.onnx", graph, opset=15)
    assert not list(tmp_path.iterdir())


def test_thresholds_of_the_options_count(predictors):
    predictor = predictors("rtmdet-tiny")
    inputs = as_network(predictor, [Sample(one) for one in pictures((128, 96), 1)])

    def rows(**options):
        return detections(eager(graph_for(predictor, GraphOptions((128, 96), **options)), inputs), 0)

    usual = rows(max_detections=300)
    middle = float(np.median(usual["scores"]))
    above = rows(max_detections=300, score_threshold=middle)
    assert 0 < len(above["scores"]) < len(usual["scores"]) and above["scores"].min() > middle
    # Where more are duplicates, the rows reach further down.
    few, many = (rows(max_detections=300, nms_iou=iou)["scores"] for iou in (0.2, 0.7))
    assert few.min() < many.min()
    assert len(rows(max_detections=7)["scores"]) == 7


def test_pixels_as_they_are(predictors):
    predictor = predictors("rtmdet-tiny")
    images = pictures((128, 96), 2)
    plain = graph_for(predictor, GraphOptions((128, 96), max_detections=ROWS))
    pixels = graph_for(predictor, GraphOptions((128, 96), max_detections=ROWS, preprocess=True))
    rgb = torch.from_numpy(np.stack(images)[..., ::-1].copy()).permute(0, 3, 1, 2)
    agree(eager(plain, as_network(predictor, [Sample(one) for one in images])), eager(pixels, rgb))


def test_the_predictor_stays_as_it_was(predictors):
    predictor = predictors("rtmdet-tiny")
    before = {name: value.clone() for name, value in predictor.model.state_dict().items()}
    kinds = [type(layer) for layer in predictor.model.modules()]
    graph_for(predictor, GraphOptions((128, 96)))
    assert kinds == [type(layer) for layer in predictor.model.modules()]
    assert all(torch.equal(before[name], value) for name, value in predictor.model.state_dict().items())


@pytest.mark.parametrize("name", ["retinanet-r50", pytest.param("mask-rcnn-r50", marks=SLOW)])
def test_boxes_of_a_padded_picture_end_where_it_does(predictors, name):
    """mmdet cuts them before it looks for duplicates, and before it looks at proposed regions."""
    predictor = predictors(name)
    images = [one[:70] for one in pictures((128, 96), 2, seed=1)]  # padded below
    inputs = predictor.network_input([Sample(one) for one in images])
    assert tuple(inputs.shape[2:]) == (96, 128)
    graph = graph_for(predictor, GraphOptions((128, 96), max_detections=100))
    assert graph.padded_later and graph.cut_at_edges
    found = eager(graph, inputs)
    for picture, theirs in enumerate(predictor.predict(images, batch_size=2)):
        ours = detections(found, picture)
        assert len(theirs.scores) >= 5 and (ours["boxes"][:, 3] <= 70).all()
        rows = {"boxes": theirs.boxes, "scores": theirs.scores, "labels": theirs.labels}
        ours.pop("masks", None)
        assert share_found(rows, ours) >= 0.98 and share_found(ours, rows) >= 0.98


def test_a_pipeline_that_pads_cuts_at_the_padded_edge(predictors):
    graph = graph_for(predictors("rtmdet-tiny"), GraphOptions((128, 96)))
    assert not graph.padded_later and not graph.cut_at_edges and not graph.drop_empty
