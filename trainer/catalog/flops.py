"""Models without memory: parameters on ``meta``, and multiply-adds counted in a forward pass of shapes alone."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from trainer.mmconfig.image_size import nominal_size

# What fills a tensor with values that nothing reads while a model is built. ``linspace``, ``arange`` and ``tensor``
# stay where they are: backbones read their drop rates from them with ``.item()``, which has no answer on meta.
_FILLED = {
    getattr(torch, name)
    for name in ("empty", "zeros", "ones", "full", "rand", "randn", "eye", "empty_strided")
}
# What gives a tensor values; without a memory for them it is time for nothing.
_FILLS = {
    getattr(torch.Tensor, name) for name in ("normal_", "uniform_", "fill_", "zero_", "erfinv_", "clamp_")
}
PROPOSALS, MASKED = 1000, 100
"""Regions that a two-stage detector's heads look at, as the packages' own FLOPs tool and configs have it."""


class OnMeta(TorchFunctionMode):
    """Puts new tensors on ``meta``, but for the few whose values are read at once; fills none of them."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _FILLED:
            if kwargs.get("device") is None:
                kwargs = {**kwargs, "device": "meta"}
        elif func in _FILLS or getattr(func, "__module__", "") == "torch.nn.init":
            filled = args[0] if args else kwargs["tensor"]
            if filled.is_meta:
                return filled
        return func(*args, **kwargs)


class Shapes(OnMeta):
    """For what mixes features with their sizes: sizes stay readable numbers, and meet features on ``meta``."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.to and args[0].device.type == "cpu" and not args[0].is_floating_point():
            return args[0]
        tensors = [item for item in tree_leaves((args, kwargs)) if isinstance(item, torch.Tensor)]
        if (
            len({tensor.device.type for tensor in tensors}) > 1
        ):  # sizes among features: only the shape counts now
            args, kwargs = tree_map(_to_meta, (args, kwargs))
        return super().__torch_function__(func, types, args, kwargs)


def multiply_adds(model: torch.nn.Module, cfg: dict[str, Any]) -> dict[str, Any]:
    """``{flops, size}`` of one image, or nothing where the model can't be followed on shapes alone.

    ``flops`` counts a multiplication with its addition once, as OpenMMLab's tables do; ``size`` is the config's own
    [width, height] in px, rounded up to a multiple of 32. Operators other than convolutions, products of matrices
    and attention count nothing.
    """
    from torch.utils.flop_counter import FlopCounterMode

    size = nominal_size(cfg, _task(cfg))
    if size is None:
        return {}
    width, height = (-(-side // 32) * 32 for side in size)
    model = model.to("meta").eval().requires_grad_(False)
    counter = FlopCounterMode(display=False)
    try:
        with torch.no_grad(), _shapes_alone(), Shapes(), counter:
            _forward(model, torch.zeros(1, 3, height, width), (height, width))
    except Exception:
        return {}
    flops = counter.get_total_flops() // 2
    return {"flops": flops, "size": [width, height]} if flops else {}


def _to_meta(item: Any) -> Any:
    return torch.empty_like(item, device="meta") if isinstance(item, torch.Tensor) and item.dim() else item


def _task(cfg: dict[str, Any]) -> str:
    scope = cfg.get("default_scope")
    return {"mmseg": "semantic_segmentation", "mmpose": "pose"}.get(str(scope), "detection")


def _forward(model: Any, image: torch.Tensor, shape: tuple[int, int]) -> None:
    from mmdet.models.detectors import BaseDetector, TwoStageDetector
    from mmdet.structures import DetDataSample

    if isinstance(model, TwoStageDetector) and hasattr(model.roi_head, "_bbox_forward"):
        _two_stage(model, image)
        return
    sample = DetDataSample(metainfo=dict(img_shape=shape, batch_input_shape=shape, pad_shape=shape))
    if isinstance(model, BaseDetector):
        model._forward(image, [sample])
        return
    try:
        model._forward(image)
    except TypeError:  # Mask2Former within mmseg: mmdet's head, which wants the sizes too
        model.decode_head(model.extract_feat(image), [sample])


def _two_stage(model: Any, image: torch.Tensor) -> None:
    """The heads on a fixed number of regions: which ones are chosen depends on values."""
    features = model.extract_feat(image)
    if model.with_rpn:
        model.rpn_head(features)
    head = model.roi_head
    stages = [(stage,) for stage in range(head.num_stages)] if hasattr(head, "num_stages") else [()]
    for stage in stages:
        head._bbox_forward(*stage, features, torch.zeros(PROPOSALS, 5))
        if head.with_mask:
            head._mask_forward(*stage, features, torch.zeros(MASKED, 5))


@contextlib.contextmanager
def _shapes_alone() -> Iterator[None]:
    """Compiled operators that have no ``meta`` form, by ones that give the same shape and cost."""
    import mmcv.ops.deform_conv as plain
    import mmcv.ops.modulated_deform_conv as modulated
    from mmcv.ops import MultiScaleDeformableAttention
    from mmdet.models.dense_heads import tood_head
    from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor

    def convolve(x: Any, offset: Any, mask: Any, weight: Any, bias: Any, stride: Any, *rest: Any) -> Any:
        padding, dilation, groups = rest[:3]
        return torch.nn.functional.conv2d(x, weight, bias, stride, padding, dilation, groups)

    def convolve_plain(x: Any, offset: Any, weight: Any, *rest: Any) -> Any:
        return convolve(x, offset, None, weight, None, *rest)

    def extract(self: Any, features: Any, rois: Any, roi_scale_factor: Any = None) -> Any:
        size = self.roi_layers[0].output_size
        return features[0].new_zeros(rois.shape[0], self.out_channels, *size)

    def attend(
        self: Any, query: Any, key: Any = None, value: Any = None, identity: Any = None, **rest: Any
    ) -> Any:
        self.value_proj(query if value is None else value)
        self.sampling_offsets(query)
        self.attention_weights(query)
        sampled = query.new_zeros(*query.shape[:-1], self.output_proj.in_features)
        return self.output_proj(sampled) + (query if identity is None else identity)

    places = [
        (plain, "deform_conv2d", convolve_plain),
        (tood_head, "deform_conv2d", convolve_plain),
        (modulated, "modulated_deform_conv2d", convolve),
        (MultiScaleDeformableAttention, "forward", attend),
        (SingleRoIExtractor, "forward", extract),
    ]
    kept = [getattr(place, name) for place, name, _ in places]
    try:
        for place, name, ours in places:
            setattr(place, name, ours)
        yield
    finally:
        for (place, name, _), original in zip(places, kept, strict=True):
            setattr(place, name, original)
