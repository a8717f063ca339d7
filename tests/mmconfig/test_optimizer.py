import pytest

from tests.mmconfig.bases import FASTER, RTMDET, RTMO, SEGFORMER, build, make_bundle, make_experiment
from trainer.core.errors import ConfigError
from trainer.mmconfig.build_config import build_config


def wrapper(base, **leaves):
    return build(base, **leaves)["optim_wrapper"]


def test_default_keeps_the_rule_and_changes_what_is_named():
    optimizer = wrapper(FASTER, optimizer__weight_decay=0.01, optimizer__lr=0.5)["optimizer"]
    assert optimizer == {"type": "SGD", "lr": 0.5, "momentum": 0.9, "weight_decay": 0.01}


def test_another_rule_drops_the_old_one_s_arguments_and_keeps_parameter_rules():
    leaves = {"optimizer__name": "adamw", "optimizer__lr": 1e-3, "optimizer__betas": [0.9, 0.99]}
    result = wrapper(SEGFORMER, **leaves, optimizer__norm_decay_mult=0.0, optimizer__backbone_lr_mult=0.1)
    assert result["optimizer"] == {"type": "AdamW", "lr": 1e-3, "betas": (0.9, 0.99)}
    keys = result["paramwise_cfg"]["custom_keys"]
    assert keys["pos_block"] == {"decay_mult": 0.0} and keys["backbone"] == {"lr_mult": 0.1}
    assert result["paramwise_cfg"]["norm_decay_mult"] == 0.0 and result["paramwise_cfg"]["bypass_duplicate"]


def test_the_model_s_own_rate_is_scaled_by_the_batch_and_said_so():
    exp = make_experiment(RTMDET, runtime__batch_size=8)
    built = build_config(exp, make_bundle("detection"))
    assert built.cfg["optim_wrapper"]["optimizer"]["lr"] == pytest.approx(0.004 * 8 / 256)
    assert any("0.004 x 8/256" in note for note in built.notes)


def test_a_typed_rate_is_not_scaled_unless_asked():
    assert wrapper(RTMDET, optimizer__lr=0.01, runtime__batch_size=8)["optimizer"]["lr"] == 0.01
    leaves = {"runtime__batch_size": 8, "runtime__auto_scale_lr": True}
    assert wrapper(RTMDET, optimizer__lr=0.256, **leaves)["optimizer"]["lr"] == pytest.approx(0.008)
    assert wrapper(RTMDET, runtime__batch_size=8, runtime__auto_scale_lr=False)["optimizer"]["lr"] == 0.004


def test_accumulation_counts_as_batch_and_reaches_the_wrapper():
    result = wrapper(RTMDET, runtime__batch_size=8, runtime__accumulate=4)
    assert result["accumulative_counts"] == 4
    assert result["optimizer"]["lr"] == pytest.approx(0.004 * 32 / 256)


def test_clipping():
    assert wrapper(RTMDET, runtime__clip_grad=35)["clip_grad"] == {"max_norm": 35, "norm_type": 2}
    assert wrapper(RTMDET, runtime__clip_grad=0)["clip_grad"] is None


def test_precision_by_device():
    assert wrapper(RTMDET, runtime__amp="bf16", runtime__device="cpu")["type"] == "CpuAmpOptimWrapper"
    gpu = wrapper(RTMDET, runtime__amp="fp16", runtime__device="gpu")
    assert (gpu["type"], gpu["dtype"], gpu["loss_scale"]) == ("AmpOptimWrapper", "float16", "dynamic")
    with pytest.raises(ConfigError, match="fp16 needs a GPU"):
        build(RTMDET, runtime__amp="fp16", runtime__device="cpu")


def test_a_base_with_mixed_precision_trains_on_a_cpu():
    base = "mmdet::yolox/yolox_s_8xb8-300e_coco.py"
    leaves = {"optim_wrapper": {"type": "AmpOptimWrapper", "loss_scale": "dynamic"}}
    assert wrapper(base, mm=leaves)["type"] == "AmpOptimWrapper"  # what is typed stands
    amp = "mmdet::mask_rcnn/mask-rcnn_r50_fpn_amp-1x_coco.py"
    built = build_config(
        make_experiment(amp, "instance_segmentation", runtime__device="cpu"),
        make_bundle("instance_segmentation"),
    )
    assert built.cfg["optim_wrapper"]["type"] == "OptimWrapper"
    assert any("mixed precision is off" in note for note in built.notes)


def test_layer_decay_goes_around_the_base_s_rules():
    result = wrapper(SEGFORMER, optimizer__layer_decay=0.75, optimizer__norm_decay_mult=0.0)
    assert result["constructor"] == "StagedOptimWrapperConstructor"
    rules = result["paramwise_cfg"]
    assert (
        rules["layer_decay"] == 0.75
        and rules["norm_decay_mult"] == 0.0
        and "pos_block" in rules["custom_keys"]
    )


def test_layer_decay_goes_around_another_constructor():
    result = wrapper(RTMO, optimizer__layer_decay=0.5)
    assert result["paramwise_cfg"]["within"] == "ForceDefaultOptimWrapperConstructor"
    assert result["paramwise_cfg"]["force_default_settings"]


@pytest.mark.parametrize(("base", "task", "key"), [
    ("mmseg::convnext/convnext-tiny_upernet_8xb2-amp-160k_ade20k-512x512.py", "semantic_segmentation", "decay_rate"),
    ("mmseg::beit/beit-base_upernet_8xb2-160k_ade20k-640x640.py", "semantic_segmentation", "decay_rate"),
    (
        "mmpose::body_2d_keypoint/topdown_heatmap/coco/td-hm_ViTPose-small_8xb64-210e_coco-256x192.py",
        "pose",
        "layer_decay_rate",
    ),
])  # fmt: skip
def test_bases_that_lower_rates_layer_by_layer_take_the_factor(base, task, key):
    before = build(base, task)["optim_wrapper"]
    after = build(base, task, optimizer__layer_decay=0.6)["optim_wrapper"]
    assert after["constructor"] == before["constructor"] != "StagedOptimWrapperConstructor"
    assert after["paramwise_cfg"] == {**before["paramwise_cfg"], key: 0.6}
    with pytest.raises(ConfigError, match=r"optimizer\.backbone_lr_mult.*layer by layer"):
        build(base, task, optimizer__backbone_lr_mult=0.1)


def test_the_schedule_ends_at_one_share_of_all_rates():
    def cosine(**leaves):
        return next(item for item in build(RTMDET, **leaves)["param_scheduler"] if "T_max" in item)

    assert cosine(optimizer__lr=0.004)["eta_min"] == pytest.approx(0.0002)
    lowered = cosine(optimizer__lr=0.004, optimizer__backbone_lr_mult=0.01)
    assert lowered["eta_min_ratio"] == pytest.approx(0.05) and "eta_min" not in lowered
