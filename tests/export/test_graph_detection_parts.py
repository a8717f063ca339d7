"""The parts of detectors' graphs answer as mmcv's and mmdet's operators, also in onnxruntime and TorchScript."""

from __future__ import annotations

import io
import itertools

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from trainer.export.graph.deform import in_plain_torch, shifted
from trainer.export.graph.mask_output import as_bytes
from trainer.export.graph.paste import paste
from trainer.export.graph.roi_align import roi_align
from trainer.export.graph.top_rows import clip


def onnx_answers(module, given, opset=17):
    """What onnxruntime answers for a module written as ONNX."""
    buffer = io.BytesIO()
    names = [f"i{index}" for index in range(len(given))]
    torch.onnx.export(module, given, buffer, dynamo=False, opset_version=opset, input_names=names)
    session = onnxruntime.InferenceSession(buffer.getvalue(), providers=["CPUExecutionProvider"])
    return session.run(None, dict(zip(names, (one.numpy() for one in given), strict=True)))[0]


class Pooled(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, features, boxes, pictures):
        return roi_align(features, boxes, pictures, self.layer)


def regions(count=60):
    """Features of two pictures, and boxes of all sizes: inside, across the edges, outside, tiny."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, 5, 13, 17, generator=generator)
    corners = torch.rand(count, 2, generator=generator) * 160 - 30
    sides = torch.rand(count, 2, generator=generator) ** 3 * 200
    boxes = torch.cat([corners, corners + sides], 1)
    boxes[0] = torch.tensor([-50.0, -50.0, -20.0, -20.0])
    boxes[1] = torch.tensor([0.0, 0.0, 136.0, 104.0])
    boxes[2] = torch.tensor([3.0, 3.0, 3.5, 60.0])
    return features, boxes, torch.arange(count) % 2


@pytest.mark.parametrize("ratio, aligned", list(itertools.product([0, 2], [True, False])))
def test_roi_align_as_mmcv(ratio, aligned):
    from mmcv.ops import RoIAlign

    layer = RoIAlign((7, 5), spatial_scale=0.125, sampling_ratio=ratio, aligned=aligned)
    features, boxes, pictures = regions()
    expected = layer(features, torch.cat([pictures[:, None].float(), boxes], 1)).numpy()
    assert np.abs(expected).max() > 0.5
    ours = Pooled(layer)(features, boxes, pictures)
    np.testing.assert_allclose(ours.numpy(), expected, atol=1e-4)
    opset = 17 if aligned else 13
    answer = onnx_answers(Pooled(layer), (features, boxes, pictures), opset)
    np.testing.assert_allclose(answer, expected, atol=1e-4)
    traced = torch.jit.trace(Pooled(layer), (features, boxes[:9], pictures[:9]), check_trace=False)
    np.testing.assert_allclose(traced(features, boxes, pictures).numpy(), expected, atol=1e-4)


def test_empty_boxes_answer_nothing():
    from mmcv.ops import RoIAlign

    layer = RoIAlign(7, spatial_scale=0.25, sampling_ratio=0, aligned=True)
    features, _, pictures = regions(4)
    empty = torch.zeros(4, 4)
    assert not roi_align(features, empty, pictures, layer).any()
    assert not onnx_answers(Pooled(layer), (features, empty, pictures)).any()


def test_paste_as_mmdet():
    from mmdet.models.roi_heads.mask_heads.fcn_mask_head import _do_paste_mask

    generator = torch.Generator().manual_seed(0)
    masks = torch.rand(2, 6, 28, 28, generator=generator)
    corners = torch.rand(2, 6, 2, generator=generator) * 40 - 10
    boxes = torch.cat([corners, corners + torch.rand(2, 6, 2, generator=generator) * 50 + 1], -1)
    ours = paste(masks, boxes, 48, 64)
    expected, _ = _do_paste_mask(masks.flatten(0, 1)[:, None], boxes.flatten(0, 1), 48, 64, skip_empty=False)
    np.testing.assert_allclose(ours.flatten(0, 1).numpy(), expected.numpy(), atol=1e-4)
    certain = (expected - 0.5).abs() > 1e-3
    assert ((as_bytes(ours).flatten(0, 1) >= 128) == (expected >= 0.5))[certain].all()
    assert not paste(masks, torch.zeros(2, 6, 4), 48, 64).any()


def test_half_is_where_bytes_are_128():
    assert as_bytes(torch.tensor([0.0, 0.49, 0.5, 0.51, 1.0])).tolist() == [0, 125, 128, 130, 255]


@pytest.mark.parametrize("kind", ["DeformConv2dPack", "ModulatedDeformConv2dPack"])
@pytest.mark.parametrize("groups, offset_groups, stride", [(1, 1, 1), (2, 2, 2)])
def test_deformable_convolutions_as_mmcv(kind, groups, offset_groups, stride):
    import mmcv.ops

    torch.manual_seed(0)
    options = dict(stride=stride, padding=1, groups=groups, deform_groups=offset_groups)
    model = nn.Sequential(getattr(mmcv.ops, kind)(4, 6, 3, **options)).eval().requires_grad_(False)
    nn.init.normal_(model[0].conv_offset.weight, std=0.3)
    x = torch.randn(2, 4, 9, 12)
    expected = model(x).numpy()
    assert in_plain_torch(model) and not in_plain_torch(model)
    np.testing.assert_allclose(model(x).numpy(), expected, atol=1e-4)
    np.testing.assert_allclose(onnx_answers(model, (x,), 16), expected, atol=1e-4)


@pytest.mark.parametrize("kind", ["DeformConv2d", "ModulatedDeformConv2d"])
def test_deformable_convolutions_at_given_offsets(kind):
    import mmcv.ops

    torch.manual_seed(0)
    model = nn.ModuleList([getattr(mmcv.ops, kind)(4, 6, 3, padding=1)]).eval().requires_grad_(False)
    given = [torch.randn(2, 4, 7, 5), torch.randn(2, 18, 7, 5), torch.rand(2, 9, 7, 5)]
    given = given if "Modulated" in kind else given[:2]
    expected = model[0](*given).numpy()
    assert in_plain_torch(model)
    np.testing.assert_allclose(model[0](*given).numpy(), expected, atol=1e-4)


def test_channels_are_shifted_as_mmcv_does():
    from mmcv.ops import deform_conv2d

    torch.manual_seed(0)
    features, offsets = torch.randn(2, 4, 6, 5), torch.randn(2, 8, 6, 5) * 3
    expected = deform_conv2d(features, offsets, features.new_ones(4, 1, 1, 1), 1, 0, 1, 4, 4)
    np.testing.assert_allclose(shifted(features, offsets).numpy(), expected.numpy(), atol=1e-5)


def test_boxes_are_cut_where_each_picture_ends():
    boxes = torch.rand(2, 15, 4, generator=torch.Generator().manual_seed(0)) * 200 - 40
    ends = torch.tensor([[70.0], [96.0]]), torch.tensor([[128.0], [64.0]])
    found = clip(boxes, ends)
    for picture, (height, width) in enumerate(((70, 128), (96, 64))):
        mine = boxes[picture]
        across, down = mine[:, 0::2].clamp(0, width), mine[:, 1::2].clamp(0, height)
        assert torch.equal(found[picture], torch.stack((across, down), 2).flatten(1))
        assert torch.equal(found[picture], clip(mine[None], (height, width))[0])
