"""Graphs of semantic segmentation give every px the class that the model gives it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

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
from tests.export.models import make_predictor, pictures
from tests.export.plain_torch import PlainTorch
from trainer.core.errors import FrameworkError
from trainer.export.graph import GraphOptions, graph_for
from trainer.export.graph.layers import GridPool
from trainer.export.graph.semantic import windows
from trainer.inference.samples import Sample

POOLS, WINDOWS = "pools its features to a grid", "cuts features into windows"
SLIDE = {"model": {"test_cfg": {"mode": "slide", "crop_size": [64, 64], "stride": [48, 48]}}}
CASES = (
    Case("segformer-b0"),
    Case("pidnet-s"),
    Case("segnext-t"),
    Case("semantic_segmentation:mmseg::pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024.py", fixed=POOLS),
    Case("mask2former-semantic-r50", opset=16, slow=True),
    Case("bisenetv2", slow=True),
    Case("ddrnet-23-slim", slow=True),
    Case("fcn-r50", slow=True),
    Case("deeplabv3plus-r50", slow=True),
    Case("ocrnet-hr18", slow=True),
    Case("pspnet-r50", fixed=POOLS, slow=True),
    Case("upernet-r50", fixed=POOLS, slow=True),
    Case("upernet-swin-tiny", fixed=POOLS, slow=True),
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
    found = made.eager[0]
    assert found.dtype == np.int64 and found.shape == (2, *made.inputs.shape[2:])
    theirs = np.stack([one.pred_sem_seg.data[0].numpy() for one in made.outputs])
    assert len(np.unique(theirs)) > 1, "nothing to compare"
    _agree([found], [theirs])


def test_onnx_answers_the_same(made: Made, tmp_path: Path) -> None:
    check_onnx(made, tmp_path, _agree)


def test_torchscript_answers_the_same_where_only_torch_is(
    made: Made, tmp_path: Path, plain_torch: PlainTorch
) -> None:
    check_torchscript(made, tmp_path, _agree, plain_torch)


def test_what_can_not_be_is_refused(made: Made) -> None:
    check_refusals(made)


def _agree(one: Arrays, other: Arrays) -> None:
    """Classes differ at hardly any px: only where two are as likely to the last bits."""
    assert (one[0] != other[0]).mean() < 1e-3


def test_segnext_gives_one_answer() -> None:
    predictor = make_predictor("segnext-t", (64, 64))
    (image,) = pictures((64, 64), 1, seed=1)
    first, again = (next(predictor.predict(image)).segmentation for _ in range(2))
    assert len(np.unique(first)) > 1 and (first == again).all()


def test_sliding_windows_are_the_models_own() -> None:
    predictor = make_predictor("segformer-b0", (112, 80), SLIDE)
    images = pictures((112, 80), 2, seed=1)
    inputs = predictor.network_input([Sample(image) for image in images])
    graph = graph_for(predictor, GraphOptions((112, 80)))
    with torch.no_grad():
        found = graph(inputs)[0].numpy()
    theirs = np.stack([one.segmentation for one in predictor.predict(images, batch_size=2)])
    assert len(np.unique(theirs)) > 1
    _agree([found], [theirs])
    with pytest.raises(FrameworkError, match="sliding windows"):
        graph_for(predictor, GraphOptions((112, 80), dynamic_size=True))


@pytest.mark.parametrize(
    ("size", "crop", "stride", "expected"),
    [
        ((64, 64), (64, 64), (32, 32), [(0, 0, 64, 64)]),
        ((40, 30), (64, 64), (32, 32), [(0, 0, 40, 30)]),
        ((100, 64), (64, 64), (48, 48), [(0, 0, 64, 64), (36, 0, 100, 64)]),
        ((64, 100), (64, 64), (48, 48), [(0, 0, 64, 64), (0, 36, 64, 100)]),
    ],
)
def test_windows_reach_both_ends(size, crop, stride, expected) -> None:
    assert windows(size, crop, stride) == expected


@pytest.mark.parametrize("size", [(7, 5), (12, 12), (6, 9)])
@pytest.mark.parametrize("grid", [1, 2, 3, (6, 5), (None, 2)])
def test_a_pool_as_products_is_torchs(size, grid) -> None:
    x = torch.rand(2, 3, *size)
    assert torch.allclose(GridPool(grid)(x), nn.AdaptiveAvgPool2d(grid)(x), atol=1e-6)


def test_point_rend_is_refused() -> None:
    name = "semantic_segmentation:mmseg::point_rend/pointrend_r50_4xb2-80k_cityscapes-512x1024.py"
    predictor = make_predictor(name, (64, 64))
    with pytest.raises(FrameworkError, match="PointRend"):
        graph_for(predictor, GraphOptions((64, 64)))
