"""Graphs of pose models put every keypoint where the model puts it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.export.graphs import (
    Arrays,
    Case,
    Made,
    check_onnx,
    check_refusals,
    check_torchscript,
    make,
    params,
)
from tests.export.models import make_predictor
from tests.export.plain_torch import PlainTorch
from trainer.core.errors import FrameworkError
from trainer.export.graph import GraphOptions, graph_for

TOP = "mmpose::body_2d_keypoint/topdown_heatmap/coco"
ONE, PLACES = "decoded for", "knows the places of one size"
CROP, SQUARE = (192, 256), (128, 128)


def _small_boxes(model: Any) -> None:
    """RTMO looks for keypoints in all of a box; in one of a thousand px each bit of it is worth a px."""
    for layer in model.head.head_module.out_bbox:
        layer.weight.data *= 0.2
        layer.bias.data *= 0.2


def _positive(model: Any) -> None:
    """As trained models' are: the logarithm of nothing has no slope to go by."""
    model.head.final_layer.bias.data += 3


CASES = (
    Case("rtmpose-t", size=CROP, fixed=ONE),
    Case(f"pose:{TOP}/td-hm_mobilenetv2_8xb64-210e_coco-256x192.py", size=CROP, fixed=ONE),
    Case("rtmo-s", size=SQUARE, fixed=PLACES, calm=_small_boxes),
    Case("yoloxpose-s", size=SQUARE, slow=True),
    Case("rtmo-s", size=(128, 96), fixed=PLACES, calm=_small_boxes, slow=True),
    Case("hrnet-w32", size=CROP, fixed=ONE, slow=True),
    Case("simplebaseline-r50", size=CROP, fixed=ONE, slow=True),
    Case(
        f"pose:{TOP}/td-hm_res50_dark-8xb64-210e_coco-256x192.py",
        size=CROP,
        fixed=ONE,
        calm=_positive,
        slow=True,
    ),
    Case(
        f"pose:{TOP}/cspnext-tiny_udp_8xb256-210e_coco-256x192.py",
        size=CROP,
        fixed=ONE,
        calm=_positive,
        slow=True,
    ),
    Case(
        f"pose:{TOP}/td-hm_hrnet-w32_udp-regress-8xb64-210e_coco-256x192.py",
        size=CROP,
        fixed=ONE,
        calm=_positive,
        slow=True,
    ),
    Case(f"pose:{TOP}/td-hm_mspn50_8xb32-210e_coco-256x192.py", size=CROP, fixed=ONE, slow=True),
    Case(f"pose:{TOP}/td-hm_cpm_8xb64-210e_coco-256x192.py", size=CROP, fixed=ONE, slow=True),
)


@pytest.fixture(scope="module", params=params(*CASES))
def made(request: pytest.FixtureRequest) -> Made:
    return make(request.param)


@pytest.fixture(scope="module")
def plain_torch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlainTorch]:
    plain = PlainTorch(tmp_path_factory.mktemp("plain"))
    yield plain
    plain.close()


def test_the_graph_answers_as_the_model(made: Made) -> None:
    if made.predictor.top_down:
        theirs = [np.stack([_keypoints(one)[0] for one in made.outputs])]
    else:
        theirs = _people(made)
        assert [(one > 0).sum() >= 5 for one in theirs[1]] == [True, True], "nothing to compare"
    assert [one.shape for one in made.eager] == [one.shape for one in theirs]
    _agree(made.eager, theirs)


def test_onnx_answers_the_same(made: Made, tmp_path: Path) -> None:
    check_onnx(made, tmp_path, _agree)


def test_torchscript_answers_the_same_where_only_torch_is(
    made: Made, tmp_path: Path, plain_torch: PlainTorch
) -> None:
    check_torchscript(made, tmp_path, _agree, plain_torch)


def test_what_can_not_be_is_refused(made: Made) -> None:
    check_refusals(made)
    if made.predictor.top_down:
        with pytest.raises(FrameworkError, match="made for 192 x 256 px, not 96 x 96 px"):
            graph_for(made.predictor, GraphOptions((96, 96)))


REGRESSION = "pose:mmpose::body_2d_keypoint/topdown_regression/coco/td-reg_res50_8xb64-210e_coco-256x192.py"


@pytest.mark.parametrize(
    ("model", "size", "words"),
    [("dekr-w32", SQUARE, "put together from heat maps"), (REGRESSION, CROP, "RegressionHead")],
    ids=["dekr", "regression"],
)
def test_what_has_no_graph_is_refused_by_its_name(model: str, size: tuple[int, int], words: str) -> None:
    predictor = make_predictor(model, size, {"model": {"backbone": {"init_cfg": None}}})
    with pytest.raises(FrameworkError, match=words):
        graph_for(predictor, GraphOptions(size))


def _keypoints(output: Any) -> np.ndarray:
    """What the model answers, (N, K, 3), in px of its input again."""
    found = output.pred_instances
    points = _to_input(output, np.asarray(found.keypoints))
    return np.concatenate([points, np.asarray(found.keypoint_scores)[..., None]], -1)


def _to_input(output: Any, points: np.ndarray) -> np.ndarray:
    centre, scale, size = (np.asarray(output.metainfo[f"input_{key}"]) for key in ("center", "scale", "size"))
    return (points - centre + 0.5 * scale) / scale * size


def _people(made: Made) -> Arrays:
    """The model's answers as a graph gives them: the best score first, in px of the input."""
    rows = made.case.rows
    boxes, scores = np.zeros((2, rows, 4), np.float32), np.zeros((2, rows), np.float32)
    keypoints = np.zeros((2, rows, 4, 3), np.float32)
    for picture, output in enumerate(made.outputs):
        found = output.pred_instances
        box_scores, points = np.asarray(found.bbox_scores), _keypoints(output)
        kept = np.argsort(-box_scores, kind="stable")[:rows]
        score = box_scores[kept] * points[kept, :, 2].mean(1)
        kept = kept[np.argsort(-score, kind="stable")]
        corners = _to_input(output, np.asarray(found.bboxes)[kept].reshape(-1, 2, 2)).reshape(-1, 4)
        boxes[picture, : len(kept)], keypoints[picture, : len(kept)] = corners, points[kept]
        scores[picture, : len(kept)] = np.sort(score)[::-1]
    return [boxes, scores, keypoints]


def _agree(one: Arrays, other: Arrays) -> None:
    """Top-down: every keypoint. One-stage: nearly every person, whatever the order of ties."""
    if len(one) == 1:
        apart = np.abs(one[0] - other[0])
        assert apart[..., 2].max() < 1e-3
        # Noise is flat in places, where a refinement by its curvature is worth little.
        assert np.quantile(apart, 0.75) < 0.02 and apart.max() < 0.5
        return
    for (boxes, scores, points), (their_boxes, their_scores, their_points) in zip(
        zip(*one, strict=True), zip(*other, strict=True), strict=True
    ):
        hits = 0
        for row in np.flatnonzero(scores > 0):
            # Keypoints are sums over a box that may be wide; so they may differ by a share of it.
            reach = 0.05 + 0.002 * np.abs(points[row, :, :2]).max()
            near = np.abs(their_scores - scores[row]) < 1e-3
            near &= np.abs(their_boxes - boxes[row]).max(-1) < reach
            near &= np.abs(their_points[..., :2] - points[row, :, :2]).max((1, 2)) < reach
            near &= np.abs(their_points[..., 2] - points[row, :, 2]).max(1) < 1e-3
            hits += near.any()
        assert abs(int((scores > 0).sum()) - int((their_scores > 0).sum())) <= 2
        assert hits >= 0.95 * (scores > 0).sum()
