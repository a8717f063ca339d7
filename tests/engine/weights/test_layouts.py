"""Older layouts, parts and wrappings: what fits is loaded, and what doesn't is refused by name."""

from __future__ import annotations

import pytest
import torch
from published import load, ours, save, theirs

from trainer.core.errors import CheckpointError
from trainer.engine.weights.layout import open_checkpoint

COCO3 = ("person", "bicycle", "car")


def old(path, state, **meta):
    """As mmcv saved it: no versions, no mmengine."""
    torch.save({"meta": {"mmcv_version": "1.3.8", **meta}, "state_dict": dict(state)}, path)
    return path


def same(model, given, renamed=lambda key: key):
    final = model.state_dict()
    return [key for key, value in given.items() if not torch.equal(final[renamed(key)], value)]


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"model": state, "epoch": 3},
        lambda state: {"ema": {f"module.{key}": value for key, value in state.items()}, "updates": 7},
        lambda state: {"state_dict": {f"module.{key}": value for key, value in state.items()}},
        lambda state: {"model": {"state_dict": {f"_orig_mod.{key}": value for key, value in state.items()}}},
        lambda state: {
            "state_dict": {
                f"{role}.{key}": value * sign
                for role, sign in (("teacher", 1), ("student", 1))
                for key, value in state.items()
            }
        },
    ],
    ids=["bare", "model", "ema", "module", "nested", "teacher"],
)
def test_wrappings(wrap, tmp_path):
    into, state = ours("rtmdet-tiny", COCO3), ours("rtmdet-tiny", COCO3).model.state_dict()
    for value in state.values():
        if value.is_floating_point():
            value.copy_(torch.rand_like(value))
    torch.save(wrap(state), tmp_path / "file.pth")
    report = load(tmp_path / "file.pth", into)
    assert report.loaded == report.total and not same(into.model, state)


def test_counters_and_old_averages_don_t_matter(tmp_path):
    into = ours("yolox-tiny", COCO3)
    state = {
        key: value
        for key, value in theirs("yolox-tiny").state_dict().items()
        if "num_batches_tracked" not in key
    }
    averages = {f"ema_{key.replace('.', '_')}": value for key, value in state.items()}
    report = load(old(tmp_path / "yolox.pth", {**state, **averages}), into)
    assert report.kept == list(COCO3) and not report.unused


def test_pose_heads_before_mmpose_1(tmp_path):
    published = theirs("simplebaseline-r50").state_dict()
    into = ours("simplebaseline-r50", ("nose", "left_eye"))
    state = {key.replace("head.", "keypoint_head.", 1): value for key, value in published.items()}
    report = load(old(tmp_path / "pose.pth", state), into)
    assert report.kept == ["nose", "left_eye"] and len(report.anew) == 2
    assert torch.equal(
        into.model.state_dict()["head.final_layer.weight"], published["head.final_layer.weight"][:2]
    )


def test_dekr_before_mmpose_1_had_the_centre_first(tmp_path):
    published = theirs("dekr-w32").state_dict()
    into = ours("dekr-w32", ("nose", "left_eye"))
    state = {}
    for key, value in published.items():
        if "displacement_conv_layers.3." in key:
            value = -value
        if "heatmap_conv_layers.2" in key:
            value = torch.cat((value[-1:], value[:-1]))
        name = key.replace("displacement_conv_layers", "offset_conv_layers")
        part = "" if "rescore_net" in name else "keypoint_head."
        state[name.replace("head.", part, 1)] = value
    load(old(tmp_path / "dekr.pth", state), into)
    final = into.model.state_dict()
    key = next(key for key in published if "heatmap_conv_layers.2" in key and key.endswith("weight"))
    assert torch.equal(final[key], published[key][[0, 1, 17]])


def test_heads_of_fcos_before_mmdet_2(tmp_path):
    published = theirs("fcos-r50").state_dict()
    into = ours("fcos-r50", COCO3)
    state = {
        key.replace(".conv_", ".fcos_", 1)
        if key.startswith(("bbox_head.conv_cls", "bbox_head.conv_reg", "bbox_head.conv_centerness"))
        else key: value
        for key, value in published.items()
    }
    assert load(old(tmp_path / "fcos.pth", state), into).kept == list(COCO3)
    assert torch.equal(
        into.model.state_dict()["bbox_head.conv_reg.weight"], published["bbox_head.conv_reg.weight"]
    )


def test_ssd_before_mmdet_2_14(tmp_path):
    published = theirs("ssd300").state_dict()
    state = {}
    for key, value in published.items():
        parts = key.split(".")
        if key.startswith("neck.extra_layers."):
            key = f"backbone.extra.{2 * int(parts[2]) + int(parts[3])}.{parts[-1]}"
        elif key == "neck.l2_norm.weight":
            key = "backbone.l2_norm.weight"
        elif key.startswith("bbox_head."):
            key = f"{'.'.join(parts[:3])}.{parts[-1]}"
        state[key] = value
    into = ours("ssd300", COCO3)
    assert load(old(tmp_path / "ssd.pth", state), into).kept == list(COCO3)
    final = into.model.state_dict()
    assert all(torch.equal(final[key], value) for key, value in published.items() if "cls_convs" not in key)


def test_two_stages_before_mmdet_2_had_the_background_first(tmp_path):
    published = theirs("mask-rcnn-r50").state_dict()
    state = {}
    for key, value in published.items():
        extra = torch.zeros_like(value[:1]) if value.dim() else None
        if ".fc_cls." in key:
            value = torch.cat((value[-1:], value[:-1]))
        elif ".fc_reg." in key:
            value = torch.cat((extra, extra, extra, extra, value))
        elif ".conv_logits." in key:
            value = torch.cat((extra, value))
        state[key.removeprefix("roi_head.")] = value
    into = ours("mask-rcnn-r50", COCO3)
    assert load(old(tmp_path / "mask.pth", state), into).kept == list(COCO3)
    final = into.model.state_dict()
    rows = [0, 1, 2, 80]
    key = "roi_head.bbox_head.fc_cls.weight"
    assert torch.equal(final[key], published[key][rows])
    for key, count in (("roi_head.bbox_head.fc_reg.bias", 12), ("roi_head.mask_head.conv_logits.weight", 3)):
        assert torch.equal(final[key], published[key][:count])


@pytest.mark.parametrize("prefix", ["backbone.", "module."])
def test_a_backbone_alone(prefix, tmp_path):
    """As mmcls publishes it, or torchvision, each with a classifier that isn't wanted."""
    published = theirs("faster-rcnn-r50").backbone.state_dict()
    state = {f"{prefix}{key}": value for key, value in published.items()}
    head = "fc" if prefix != "backbone." else "head.fc"
    state[f"{head}.weight"] = torch.rand(1000, 2048)
    into = ours("faster-rcnn-r50", COCO3)
    neck = into.model.neck.state_dict()
    neck = {key: value.clone() for key, value in neck.items()}
    report = load(old(tmp_path / "resnet50.pth", state), into)
    assert set(report.fresh) == {"neck", "rpn_head", "roi_head"} and report.loaded == 265
    assert not same(into.model.backbone, published) and not same(into.model.neck, neck)
    assert "not in the file, as initialised: neck (16)" in str(report)


def test_more_than_the_model_needs_is_left_aside(tmp_path):
    report = load(save(tmp_path / "mask.pth", theirs("mask-rcnn-r50")), ours("faster-rcnn-r50", COCO3))
    assert len(report.unused) == 12 and report.kept == list(COCO3)
    assert "not used: 12 tensors of the file (roi_head.mask_head." in str(report)


# --- what is refused ----------------------------------------------------------------------------------------


def refused(path, into, match):
    before = {key: value.clone() for key, value in into.model.state_dict().items()}
    with pytest.raises(CheckpointError, match=match) as caught:
        load(path, into)
    assert not same(into.model, before), "an error leaves the model as it was"
    return str(caught.value)


def test_another_model(tmp_path):
    path = save(tmp_path / "file.pth", theirs("retinanet-r50"), experiment_name="retinanet_r50_fpn_1x_coco")
    message = refused(path, ours("faster-rcnn-r50", COCO3), r"16 of 295 tensors aren't in the file \(neck\.")
    assert "doesn't fit the model faster-rcnn-r50" in message and "it is of retinanet-r50" in message


def test_nothing_in_common(tmp_path):
    path = save(
        tmp_path / "segformer_mit-b0_8x1_1024x1024_160k_cityscapes_20211208_101857-e7f88502.pth",
        theirs("segformer-b0"),
    )
    message = refused(path, ours("rtmdet-tiny", COCO3), r"173 of 400 tensors aren't in the file")
    assert "backbone.stem.0.conv.weight" in message


def test_a_larger_backbone_of_the_same_names(tmp_path):
    path = save(tmp_path / "file.pth", theirs("faster-rcnn-r101"))
    refused(
        path,
        ours("faster-rcnn-r50", COCO3),
        r"the file's backbone has 255 tensors more \(backbone\.layer3\.6",
    )


def test_a_smaller_backbone(tmp_path):
    path = save(tmp_path / "file.pth", theirs("faster-rcnn-r50"))
    refused(
        path, ours("faster-rcnn-r101", COCO3), r"255 of 550 tensors aren't in the file \(backbone\.layer3\.6"
    )


def test_another_width(tmp_path):
    path = save(tmp_path / "file.pth", ours("rtmdet-s", COCO3).model, trainer={"model": "rtmdet-s"})
    message = refused(path, ours("rtmdet-tiny", COCO3), "have another shape")
    assert (
        "backbone.stem.0.conv.weight: 16x3x3x3 there, 12x3x3x3 here" in message and "of rtmdet-s" in message
    )


def test_a_missing_layer(tmp_path):
    model = theirs("faster-rcnn-r50")
    state = {key: value for key, value in model.state_dict().items() if "layer2.0.conv2" not in key}
    refused(
        old(tmp_path / "file.pth", state),
        ours("faster-rcnn-r50", COCO3),
        r"1 of 295 .*layer2\.0\.conv2\.weight",
    )


def test_no_weights_at_all(tmp_path):
    torch.save({"optimizer": {}, "epoch": 3}, tmp_path / "file.pth")
    with pytest.raises(
        CheckpointError, match="holds no weights that can be found; at its top are 'optimizer', 'epoch'"
    ):
        load(tmp_path / "file.pth", ours("rtmdet-tiny", COCO3))


def test_versions_are_kept(tmp_path):
    path = save(tmp_path / "file.pth", theirs("hrnet-w32"))
    checkpoint = open_checkpoint(torch.load(path, weights_only=False), path)
    assert checkpoint.versions["head"]["version"] == 2 and not checkpoint.old
