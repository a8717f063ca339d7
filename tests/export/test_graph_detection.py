"""Detectors' graphs answer as the model's own ``predict``, in eager torch, in onnxruntime and in plain TorchScript."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from tests.export.models import make_predictor, pictures
from tests.export.plain_torch import PlainTorch
from tests.export.same import Rows, detections, share_found
from trainer.core.errors import FrameworkError
from trainer.export.graph import Graph, GraphOptions, graph_for
from trainer.export.onnx_file import write_onnx
from trainer.export.torchscript_file import write_torchscript
from trainer.inference.samples import Sample

SIZE = (128, 96)
# The family's decoding is the same on a smaller network.
R18: dict[str, Any] = {
    "model": {"backbone": {"depth": 18, "init_cfg": None}, "neck": {"in_channels": [64, 128, 256, 512]}}
}
FEW: dict[str, Any] = {"rpn": {"nms_pre": 100, "max_per_img": 60}, "rcnn": {"max_per_img": 20}}


@dataclass(frozen=True)
class Case:
    """A model to export.

    Attributes:
        mm: differences to its config that make it small.
        opset: the lowest that it can be written in.
        shift: where the graph's coordinates begin in the model's own answers, px.
        rows: of the answer; more than the model finds.
    """

    model: str
    mm: dict[str, Any] = field(default_factory=dict)
    size: tuple[int, int] = SIZE
    opset: int = 13
    shift: float = 0
    rows: int = 300
    slow: bool = False


def _two_stage(backbone: dict[str, Any] = R18) -> dict[str, Any]:
    return {"model": {**backbone.get("model", {}), "test_cfg": FEW}}


CASES = (
    Case("rtmdet-tiny"),
    Case("yolox-nano", rows=400),
    Case("retinanet-r50", R18),
    Case("rtmdet-ins-tiny", rows=110),
    Case("mask-rcnn-r50", _two_stage(), opset=16, rows=24),
    Case("fcos-r50", R18, slow=True),
    Case("atss-r50", R18, slow=True),
    Case("gfl-r50", R18, slow=True),
    Case("tood-r50", R18, opset=16, slow=True),
    Case("ssd300", size=(300, 300), slow=True),
    Case("centernet-r18", size=(96, 96), opset=16, shift=16, slow=True),
    Case("faster-rcnn-r50", _two_stage(), opset=16, rows=24, slow=True),
    Case("cascade-rcnn-r50", _two_stage(), opset=16, rows=24, slow=True),
    Case("cascade-mask-rcnn-r50", _two_stage(), opset=16, rows=24, slow=True),
    Case("rtmdet-m", slow=True),
    Case("yolox-tiny", rows=400, slow=True),
    Case("detection:mmdet::fsaf/fsaf_r50_fpn_1x_coco.py", R18, slow=True),
    Case(
        "detection:mmdet::dcnv2/faster-rcnn_r50-mdconv-c3-c5_fpn_1x_coco.py",
        _two_stage({}),
        opset=16,
        slow=True,
    ),
)
PARAMS = [
    pytest.param(case, id=case.model.rpartition("/")[2], marks=[pytest.mark.slow] if case.slow else [])
    for case in CASES
]


@dataclass
class Made:
    """A model's graph and what it was asked."""

    case: Case
    graph: Graph
    inputs: torch.Tensor
    eager: list[np.ndarray]
    expected: list[Rows]


@pytest.fixture(scope="module", params=PARAMS)
def made(request: pytest.FixtureRequest) -> Made:
    case: Case = request.param
    predictor = make_predictor(case.model, case.size, case.mm)
    images = pictures(case.size, 2, seed=1)
    inputs = predictor.network_input([Sample(image) for image in images])
    options = GraphOptions((inputs.shape[3], inputs.shape[2]), max_detections=case.rows)
    graph = graph_for(predictor, options)
    with torch.no_grad():
        eager = [one.numpy() for one in graph(inputs)]
    expected = []
    for answer in predictor.predict(images, batch_size=2):
        rows = {"boxes": answer.boxes + case.shift, "scores": answer.scores, "labels": answer.labels}
        expected.append(rows if answer.masks is None else {**rows, "masks": answer.masks})
    return Made(case, graph, inputs, eager, expected)


@pytest.fixture(scope="module")
def plain_torch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlainTorch]:
    plain = PlainTorch(tmp_path_factory.mktemp("plain"))
    yield plain
    plain.close()


def test_the_graph_answers_as_the_model(made: Made) -> None:
    for picture, theirs in enumerate(made.expected):
        ours = detections(made.eager, picture)
        assert len(theirs["scores"]) >= 5, "nothing to compare"
        assert len(ours["scores"]) == len(theirs["scores"])
        assert share_found(theirs, ours) >= 0.99


def test_rows_are_filled_up_and_sorted(made: Made) -> None:
    boxes, scores, labels, *masks = made.eager
    rows = made.case.rows
    assert boxes.shape == (2, rows, 4) and boxes.dtype == scores.dtype == np.float32
    assert scores.shape == labels.shape == (2, rows) and labels.dtype == np.int64
    assert (np.diff(scores, axis=1) <= 0).all()
    for mask in masks:
        assert mask.shape == (2, rows, *made.inputs.shape[2:]) and mask.dtype == np.uint8
        assert not mask[scores == 0].any()


def test_onnx_answers_the_same(made: Made, tmp_path: Path) -> None:
    written = write_onnx(tmp_path / "m.onnx", made.graph, opset=max(made.case.opset, 17))
    assert written.dynamic_batch and not written.dynamic_size
    assert list(written.outputs) == list(made.graph.output_names)
    session = onnxruntime.InferenceSession(str(written.path), providers=["CPUExecutionProvider"])
    _agree(lambda inputs: session.run(None, {"images": inputs}), made)


def test_torchscript_answers_the_same_where_only_torch_is(
    made: Made, tmp_path: Path, plain_torch: PlainTorch
) -> None:
    written = write_torchscript(tmp_path / "m.pt", made.graph)
    _agree(lambda inputs: plain_torch.run(written.path, inputs), made)


def _agree(run: Any, made: Made) -> None:
    """A file answers as the graph, for both pictures at once and for one."""
    inputs = made.inputs.numpy()
    for first, last in ((0, 2), (1, 2)):
        answers = run(inputs[first:last])
        assert [(one.shape[1:], one.dtype) for one in answers] == [(x.shape[1:], x.dtype) for x in made.eager]
        for picture in range(first, last):
            ours, theirs = detections(made.eager, picture), detections(answers, picture - first)
            assert abs(len(ours["scores"]) - len(theirs["scores"])) <= 2
            assert share_found(ours, theirs) >= 0.98 and share_found(theirs, ours) >= 0.98


def test_what_has_no_graph_is_refused_by_its_name() -> None:
    predictor = make_predictor("detection:mmdet::yolo/yolov3_mobilenetv2_8xb24-320-300e_coco.py", (96, 96))
    with pytest.raises(FrameworkError, match="YOLOV3 with YOLOV3Head"):
        graph_for(predictor, GraphOptions((96, 96)))


def test_another_way_to_remove_duplicates_is_refused() -> None:
    mm = {"model": {"test_cfg": {"nms": {"type": "soft_nms", "iou_threshold": 0.5}}}}
    predictor = make_predictor("rtmdet-tiny", (96, 96), mm)
    with pytest.raises(FrameworkError, match="soft_nms"):
        graph_for(predictor, GraphOptions((96, 96)))
