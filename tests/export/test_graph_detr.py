"""Graphs of the DETR family, of Mask2Former and of SOLOv2 answer as the models do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

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
from tests.export.same import Rows, detections, share_found
from trainer.core.errors import FrameworkError
from trainer.export.graph import GraphOptions, graph_for
from trainer.export.graph.mask_output import around, as_bytes
from trainer.export.graph.padding_mask import valid_sides


def _r18(levels: int) -> dict[str, Any]:
    """A smaller backbone; the family's decoding is the same."""
    return {
        "backbone": {"depth": 18, "init_cfg": None},
        "neck": {"in_channels": [64, 128, 256, 512][-levels:]},
    }


KEPT = {"max_per_img": 30}
FEW: dict[str, Any] = {"encoder": {"num_layers": 1}, "decoder": {"num_layers": 2}, "num_queries": 40}
DETR = {"model": {**_r18(1), **FEW, "bbox_head": {"num_classes": 10}, "test_cfg": KEPT}}
DEFORMABLE = {"model": {**_r18(3), **FEW, "test_cfg": KEPT}}
TWO_STAGE = {"model": {**DEFORMABLE["model"], "as_two_stage": True, "with_box_refine": True}}
MASKS = {
    "model": {
        "backbone": {"depth": 18, "init_cfg": None},
        "panoptic_head": {
            "in_channels": [64, 128, 256, 512],
            "num_queries": 20,
            "transformer_decoder": {"num_layers": 2},
            "pixel_decoder": {"encoder": {"num_layers": 1}},
        },
        "test_cfg": {"max_per_image": 30},
    }
}


def _few_cells(model: Any) -> None:
    """So few pass that the model's choice among them and ours are the same."""
    pixels = torch.stack([torch.from_numpy(one).permute(2, 0, 1) for one in pictures((96, 64), 2, seed=1)])
    with torch.no_grad():
        found = model.mask_head(model.extract_feat((pixels.float() - 114) / 58))[1]
    best = torch.cat([one.flatten(1) for one in found], 1).sigmoid().topk(300, 1).values
    model.mask_head.test_cfg["score_thr"] = float(best[:, -1].max())


CASES = (
    Case("detr-r50", DETR, rows=40),
    Case("deformable-detr-r50", DEFORMABLE, opset=16, rows=40),
    Case("mask2former-r50", MASKS, opset=16, rows=40),
    Case("conditional-detr-r50", {"model": {**FEW, "test_cfg": KEPT}}, rows=40, slow=True),
    Case(
        "dino-r50",
        {"model": {**FEW, "num_queries": 60, "test_cfg": KEPT}},
        opset=16,
        rows=40,
        slow=True,
    ),
    Case("solov2-r50", calm=_few_cells, slow=True),
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
    for picture, answer in enumerate(made.answers):
        ours = detections(made.eager, picture)
        theirs = {"boxes": answer.boxes, "scores": answer.scores, "labels": answer.labels}
        if answer.masks is not None:
            theirs["masks"] = answer.masks
        if made.case.model == "solov2-r50":
            theirs["boxes"] = _around(answer.masks)  # it answers none itself
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
    check_onnx(made, tmp_path, _agree)


def test_torchscript_answers_the_same_where_only_torch_is(
    made: Made, tmp_path: Path, plain_torch: PlainTorch
) -> None:
    check_torchscript(made, tmp_path, _agree, plain_torch)


def test_what_can_not_be_is_refused(made: Made) -> None:
    check_refusals(made)


def test_padding_is_seen_as_in_the_models_own_batches(made: Made) -> None:
    """A smaller picture in the corner of the input, as mmdet pads it beside a larger one."""
    if made.case.model in ("mask2former-r50", "solov2-r50"):
        pytest.skip("padding is part of the picture for it")
    model, inputs = made.predictor.model, made.inputs[:1].clone()
    height, width = inputs.shape[2:]
    high, wide = height - 16, width - 24
    inputs[:, :, high:], inputs[:, :, :, wide:] = 0, 0
    sample = made.outputs[0].clone()
    meta = {"img_shape": (high, wide), "batch_input_shape": (height, width), "scale_factor": (1.0, 1.0)}
    sample.set_metainfo(meta)
    with torch.no_grad(), made.predictor.in_scope():
        expected = model.predict(inputs, [sample], rescale=False)[0].pred_instances
        found = [one.numpy() for one in made.graph(inputs)]
    theirs = {
        "boxes": expected.bboxes.numpy(),
        "scores": expected.scores.numpy(),
        "labels": expected.labels.numpy(),
    }
    assert theirs["boxes"][:, 2].max() <= wide and theirs["boxes"][:, 3].max() <= high
    assert share_found(theirs, detections(found, 0)) >= 0.99


def _agree(one: Arrays, other: Arrays) -> None:
    """The same rows, but for what is on either side of the last one."""
    for picture in range(len(one[0])):
        ours, theirs = detections(one, picture), detections(other, picture)
        assert abs(len(ours["scores"]) - len(theirs["scores"])) <= 2
        assert _share(ours, theirs) >= 0.95 and _share(theirs, ours) >= 0.95


def _share(one: Rows, other: Rows) -> float:
    return share_found(one, other, px=0.5)


def _around(masks: np.ndarray) -> np.ndarray:
    boxes = [(x.min(), y.min(), x.max() + 1, y.max() + 1) for y, x in map(np.nonzero, masks)]
    return np.array(boxes, np.float32).reshape(-1, 4)


def test_two_stage_deformable_detr() -> None:
    predictor = make_predictor("deformable-detr-r50", (96, 64), TWO_STAGE)
    inputs = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    inputs[1, :, :, 72:] = 0
    graph = graph_for(predictor, GraphOptions((96, 64), max_detections=30))
    model: Any = graph.model
    memory, mask = torch.randn(2, 24 + 6, 256), torch.zeros(2, 30, dtype=torch.bool)
    mask.view(2, -1)[1, 20:24] = True
    shapes = [(4, 6), (2, 3)]
    ours = model.gen_encoder_output_proposals(memory, mask, shapes)
    theirs = type(model).gen_encoder_output_proposals(model, memory, mask, torch.tensor(shapes))
    for one, other in zip(ours, theirs, strict=True):
        assert torch.allclose(one, other, atol=1e-5)
    with torch.no_grad():
        assert graph(inputs)[1].min() > 0


def test_more_queries_than_places_are_refused() -> None:
    mm = {"model": {**TWO_STAGE["model"], "num_queries": 200}}
    predictor = make_predictor("deformable-detr-r50", (128, 128), mm)
    with pytest.raises(FrameworkError, match="200 queries .* 64 x 64 px has 85"):
        graph_for(predictor, GraphOptions((64, 64)))


def test_panoptic_answers_are_refused() -> None:
    mm = {"model": {**MASKS["model"], "test_cfg": {"panoptic_on": True, "instance_on": True}}}
    predictor = make_predictor("mask2former-r50", (64, 64), mm)
    predictor.model.panoptic_fusion_head.test_cfg.instance_on = False
    with pytest.raises(FrameworkError, match="panoptic"):
        graph_for(predictor, GraphOptions((64, 64)))


class _Plain:
    std = torch.tensor([58.4, 57.1, 57.4]).view(3, 1, 1)


def test_where_a_picture_ends() -> None:
    pixels = torch.randn(3, 3, 20, 30) + 5
    pixels[0, :, 12:], pixels[0, :, :, 25:] = 0, 0.005  # the mean colour, and what uint8 makes of it
    pixels[1, :, 4:8] = 0  # within the picture
    pixels[2] = 0
    height, width = valid_sides(pixels, _Plain())
    assert height.tolist() == [12, 20, 1] and width.tolist() == [25, 30, 1]


def test_masks_as_bytes_keep_the_half() -> None:
    just = torch.tensor([0.0, 0.4999, 0.5, 0.50001, 0.502, 1.0])
    assert (as_bytes(just, half_is_object=False) >= 128).tolist() == [False, False, False, True, True, True]
    assert as_bytes(just, half_is_object=False)[[0, -1]].tolist() == [0, 255]


def test_boxes_around_masks() -> None:
    masks = torch.zeros(1, 2, 6, 8)
    masks[0, 0, 2:4, 3:7] = 1
    assert around(masks).tolist() == [[[3, 2, 7, 4], [0, 0, 0, 0]]]
