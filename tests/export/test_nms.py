"""NMS inside graphs answers as mmcv's, in eager torch, in ONNX and in TorchScript."""

from __future__ import annotations

import io

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from trainer.export.graph.nms import Duplicates, keep_best
from trainer.export.graph.options import GraphOptions
from trainer.export.graph.top_rows import best, finish, take


class Found(nn.Module):
    """Boxes, scores and labels -> those that stay, ``limit`` rows."""

    def __init__(self, duplicates: Duplicates, limit: int, rows: int) -> None:
        super().__init__()
        self.duplicates, self.limit, self.rows = duplicates, limit, rows

    def forward(self, boxes: Tensor, scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        scores = keep_best(boxes, scores, labels, self.duplicates, self.limit)
        scores, places = best(scores, self.rows, None)
        return finish(scores, take(labels, places), take(boxes, places))


def candidates(pictures: int, count: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(pictures, count, 2, generator=generator) * 60
    sides = torch.rand(pictures, count, 2, generator=generator) * 40
    boxes = torch.cat([corners, corners + sides], -1)
    boxes[:, :3] = boxes[:, 3:6]  # the same box several times
    boxes[:, 6, 2:] = boxes[:, 6, :2]  # an empty one
    scores = torch.rand(pictures, count, generator=generator)
    scores[:, ::7] = 0  # no candidates
    return boxes, scores, torch.randint(0, 4, (pictures, count), generator=generator)


def expected(boxes: Tensor, scores: Tensor, labels: Tensor, config: dict, limit: int) -> tuple[Tensor, ...]:
    """What mmcv keeps of one picture."""
    from mmcv.ops import batched_nms

    there = scores > 0
    dets, keep = batched_nms(boxes[there], scores[there], labels[there], dict(config))
    return dets[:limit, :4], dets[:limit, 4], labels[there][keep[:limit]]


@pytest.mark.parametrize("iou", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("agnostic", [False, True])
@pytest.mark.parametrize("limit", [5, 200])
def test_as_mmcv(iou, agnostic, limit):
    config = {"type": "nms", "iou_threshold": iou, "class_agnostic": agnostic}
    given = candidates(3, 120)
    boxes, scores, labels = Found(Duplicates.of(config), limit, limit)(*given)
    for picture in range(3):
        ours = expected(*(one[picture] for one in given), config, limit)
        count = len(ours[1])
        assert torch.equal(boxes[picture, :count], ours[0])
        assert torch.equal(scores[picture, :count], ours[1])
        assert torch.equal(labels[picture, :count], ours[2])
        assert not scores[picture, count:].any() and (labels[picture, count:] == -1).all()


def test_thousands_of_boxes_in_several_classes():
    config = {"type": "nms", "iou_threshold": 0.6}
    given = candidates(1, 4000, seed=1)
    found = Found(Duplicates.of(config), 300, 300)(*given)
    for ours, theirs in zip(found, expected(*(one[0] for one in given), config, 300), strict=True):
        assert torch.equal(ours[0], theirs)


def test_nothing_is_found_where_nothing_is():
    boxes, scores, labels = candidates(2, 30)
    scores[1] = 0
    found = Found(Duplicates(0.5), 10, 40)(boxes, scores, labels)
    assert found[1][0].count_nonzero() == 10 and not found[1][1].any()
    assert (found[2][1] == -1).all() and not found[0][1].any()


@pytest.fixture(scope="module", params=[13, 17, 20])
def written(request):
    buffer = io.BytesIO()
    names = ["boxes", "scores", "labels"]
    axes = {name: {0: "batch", 1: "count"} for name in names}
    module = Found(Duplicates(0.5), 20, 25)
    torch.onnx.export(
        module,
        candidates(2, 50),
        buffer,
        dynamo=False,
        opset_version=request.param,
        input_names=names,
        output_names=["b", "s", "l"],
        dynamic_axes=axes,
    )
    return module, buffer.getvalue()


def test_onnx_has_its_own_operator_and_the_same_answers(written):
    module, content = written
    kinds = {node.op_type for node in onnx.load_model_from_string(content).graph.node}
    assert "NonMaxSuppression" in kinds and "Loop" not in kinds
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    for pictures, count in ((1, 10), (3, 90), (2, 1000)):
        given = candidates(pictures, count, seed=count)
        answers = session.run(
            None, dict(zip(("boxes", "scores", "labels"), map(np.asarray, given), strict=True))
        )
        for ours, theirs in zip(module(*given), answers, strict=True):
            assert ours.shape == theirs.shape
            np.testing.assert_array_equal(ours.numpy(), theirs)


def test_torchscript_has_plain_operators_and_the_same_answers():
    module = Found(Duplicates(0.5), 20, 25)
    traced = torch.jit.trace(module, candidates(2, 50), check_trace=False)
    buffer = io.BytesIO()
    torch.jit.save(traced, buffer)
    buffer.seek(0)
    loaded = torch.jit.load(buffer)
    for pictures, count in ((1, 10), (3, 90)):
        given = candidates(pictures, count, seed=count)
        for ours, theirs in zip(module(*given), loaded(*given), strict=True):
            assert torch.equal(ours, theirs)


def test_settings_come_from_the_model_or_the_options():
    config = {"type": "nms", "iou_threshold": 0.65}
    assert Duplicates.of(config) == Duplicates(0.65)
    assert Duplicates.of(config, GraphOptions((8, 8), nms_iou=0.4)) == Duplicates(0.4)
    assert Duplicates.of({**config, "class_agnostic": True}).agnostic


@pytest.mark.parametrize(
    "config", [{"type": "soft_nms"}, {"type": "nms", "max_num": 10}, {"type": "nms", "offset": 1}]
)
def test_other_kinds_are_refused(config):
    with pytest.raises(ValueError, match="can be expressed|can't be expressed"):
        Duplicates.of(config)
