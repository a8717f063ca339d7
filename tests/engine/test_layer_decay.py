"""Rates by stage in real models' optimisers, beside the rules that a base has."""

from __future__ import annotations

from typing import Any

import pytest

from tests.mmconfig.bases import FASTER, RTMDET, RTMO, SEGFORMER, build
from trainer.engine import compat

compat.apply()

import torch  # noqa: E402

HR18 = "mmseg::ocrnet/ocrnet_hr18_4xb2-40k_cityscapes-512x1024.py"


@pytest.fixture(scope="module", autouse=True)
def packages() -> None:
    import mmdet.models  # noqa: F401
    import mmpose.engine
    import mmpose.models  # noqa: F401
    import mmseg.models  # noqa: F401

    import trainer.engine.registered  # noqa: F401


def groups(base: str, task: str | None = None, **leaves: Any) -> tuple[dict[str, dict[str, Any]], list[Any]]:
    """Settings by parameter name, and the optimiser's groups, of a base with these leaves."""
    from mmengine.config import ConfigDict
    from mmengine.optim import build_optim_wrapper
    from mmengine.registry import MODELS, DefaultScope

    cfg = build(base, task, **leaves)
    with DefaultScope.overwrite_default_scope(cfg["default_scope"]):
        model = MODELS.build(ConfigDict(cfg["model"]))
        wrapper = build_optim_wrapper(model, ConfigDict(cfg["optim_wrapper"]))
    names = {id(one): name for name, one in model.named_parameters()}
    found = wrapper.optimizer.param_groups
    return {names[id(one)]: group for group in found for one in group["params"]}, found


def test_rates_fall_from_the_last_stage_to_the_stem() -> None:
    of, found = groups(RTMDET, optimizer__lr=0.004, optimizer__layer_decay=0.5)
    rate = {name: group["lr"] / 0.004 for name, group in of.items()}
    assert rate["backbone.stem.0.conv.weight"] == pytest.approx(0.5**4)
    assert rate["backbone.stage1.0.conv.weight"] == pytest.approx(0.5**3)
    assert rate["backbone.stage4.0.conv.weight"] == rate["neck.reduce_layers.0.conv.weight"] == 1
    assert {group["weight_decay"] for name, group in of.items() if ".bn." in name} == {0}
    assert of["backbone.stem.0.conv.weight"]["weight_decay"] == 0.05
    assert len(found) < 20  # equal settings share a group


def test_the_base_s_and_typed_factors_multiply() -> None:
    leaves = {"optimizer__lr": 1e-4, "optimizer__layer_decay": 0.5, "optimizer__backbone_lr_mult": 0.1}
    of, _ = groups(SEGFORMER, **leaves)
    assert of["backbone.layers.0.0.projection.weight"]["lr"] == pytest.approx(1e-4 * 0.1 * 0.5**3)
    assert of["backbone.layers.3.0.projection.weight"]["lr"] == pytest.approx(1e-4 * 0.1)
    assert of["decode_head.conv_seg.weight"]["lr"] == pytest.approx(1e-3)  # ten times, as the base has it


def test_around_a_constructor_of_the_packages() -> None:
    of, _ = groups(RTMO, optimizer__lr=1e-3, optimizer__layer_decay=0.5)
    assert of["backbone.stem.conv.conv.weight"]["lr"] == pytest.approx(1e-3 * 0.5**4)
    assert of["neck.encoder.0.layers.0.ffn.layers.1.weight"]["lr"] == pytest.approx(1e-3 * 0.05)
    assert of["backbone.stem.conv.bn.weight"]["weight_decay"] == 0


def test_a_high_resolution_net() -> None:
    of, _ = groups(HR18, "semantic_segmentation", optimizer__lr=0.01, optimizer__layer_decay=0.5)
    rate = {name: group["lr"] / 0.01 for name, group in of.items()}
    assert rate["backbone.conv1.weight"] == pytest.approx(0.5**4)
    assert rate["backbone.stage3.0.branches.0.0.conv1.weight"] == pytest.approx(0.5)


@pytest.mark.parametrize("freeze", [1, "backbone"])
def test_the_optimiser_holds_nothing_frozen(freeze: int | str) -> None:
    of, found = groups(FASTER, model__freeze=freeze)
    assert not {name for name in of if name.startswith(("backbone.conv1", "backbone.bn1", "backbone.layer1"))}
    assert any(name.startswith("backbone.layer2") for name in of) == (freeze == 1)
    assert any(name.startswith("rpn_head") for name in of) and len(found) == 1


def test_a_backbone_without_stages_is_refused() -> None:
    from mmengine.optim import build_optim_wrapper

    from trainer.core.errors import ConfigError

    model = torch.nn.Module()
    model.backbone = torch.nn.Sequential(torch.nn.Conv2d(3, 3, 1))
    config = dict(
        optimizer=dict(type="SGD", lr=1.0),
        constructor="StagedOptimWrapperConstructor",
        paramwise_cfg=dict(layer_decay=0.5),
    )
    with pytest.raises(ConfigError, match="backbone_lr_mult gives all of it one rate"):
        build_optim_wrapper(model, config)
