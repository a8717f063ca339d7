"""Frozen parts neither learn nor count statistics, in real backbones of every kind."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import pytest

from trainer.engine import compat
from trainer.mmconfig.freeze import has_own

compat.apply()

import torch  # noqa: E402

SMALL = {
    "mmdet.ResNet": dict(depth=18),
    "mmdet.CSPNeXt": dict(deepen_factor=0.167, widen_factor=0.125),
    "mmdet.CSPDarknet": dict(deepen_factor=0.33, widen_factor=0.125),
    "mmdet.SwinTransformer": dict(embed_dims=8, depths=(1, 1, 1, 1), num_heads=(1, 1, 1, 1)),
    "mmdet.RegNet": dict(arch="regnetx_400mf"),
    "mmdet.ResNeXt": dict(depth=50, base_channels=8, groups=4, base_width=4),
    "mmdet.HRNet": None,
    "mmpose.HRNet": None,
    "mmseg.MixVisionTransformer": dict(embed_dims=8, num_layers=[1, 1, 1, 1]),
    "mmseg.VisionTransformer": dict(
        img_size=64, embed_dims=16, num_layers=3, num_heads=2, drop_path_rate=0.5
    ),
    "mmseg.MSCAN": dict(embed_dims=[8, 16, 24, 32], depths=[1, 1, 1, 1], norm_cfg=dict(type="BN")),
    "mmseg.DDRNet": dict(channels=8, norm_cfg=dict(type="BN")),
    "mmdet.PyramidVisionTransformer": dict(embed_dims=8, num_layers=[1, 1, 1, 1]),
}
EXTRA = dict(
    stage1=dict(num_modules=1, num_branches=1, block="BOTTLENECK", num_blocks=(1,), num_channels=(4,)),
    stage2=dict(num_modules=1, num_branches=2, block="BASIC", num_blocks=(1, 1), num_channels=(4, 8)),
    stage3=dict(num_modules=1, num_branches=3, block="BASIC", num_blocks=(1,) * 3, num_channels=(4, 8, 16)),
    stage4=dict(
        num_modules=1, num_branches=4, block="BASIC", num_blocks=(1,) * 4, num_channels=(4, 8, 16, 32)
    ),
)


@pytest.fixture(scope="module", autouse=True)
def packages() -> None:
    import mmdet.models  # noqa: F401
    import mmpose.models  # noqa: F401
    import mmseg.models  # noqa: F401

    import trainer.engine.frozen_backbone  # noqa: F401


def make(kind: str, freeze: int | str) -> torch.nn.Module:
    """A small backbone, frozen as the bridge would write it."""
    from mmengine.registry import MODELS, DefaultScope

    options: dict[str, Any] = copy.deepcopy(SMALL[kind]) or dict(extra=EXTRA)
    package, _, name = kind.partition(".")
    torch.manual_seed(0)
    if freeze != "all" and has_own({"type": name}, package):
        config = dict(type=name, frozen_stages=freeze, **options)
    else:
        config = dict(type="FrozenBackbone", of=name, frozen_stages=freeze, **options)
    with DefaultScope.overwrite_default_scope(package):
        return MODELS.build(config)


def changed(network: torch.nn.Module) -> set[str]:
    """What one step of training changes, statistics included."""
    network.train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    learning = [one for one in network.parameters() if one.requires_grad]
    if learning:
        optimizer = torch.optim.SGD(learning, lr=1.0, weight_decay=0.1)
        outputs = network(torch.randn(2, 3, 64, 64))
        found = outputs if isinstance(outputs, (list, tuple)) else [outputs]
        sum((one**2).mean() for one in found if isinstance(one, torch.Tensor)).backward()
        optimizer.step()
    return {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}


@pytest.mark.parametrize("kind", SMALL)
def test_frozen_stages_stay_and_the_others_learn(kind: str) -> None:
    from trainer.engine.backbone_stages import stages

    network = make(kind, 2)
    found = stages(network)
    assert found is not None
    moved = changed(network)
    frozen = {name for name, _ in network.named_parameters() if found.of[name] <= 2}
    frozen |= {name for name, _ in network.named_buffers() if found.of.get(name.rpartition(".")[0], 9) <= 2}
    learning = {name for name, _ in network.named_parameters() if found.of[name] > 2}
    assert frozen and not frozen & moved
    assert len(learning & moved) > len(learning) / 2


@pytest.mark.parametrize(
    "kind", ["mmdet.ResNet", "mmseg.MixVisionTransformer", "mmseg.DDRNet", "mmpose.HRNet"]
)
def test_all_of_a_backbone(kind: str) -> None:
    network = make(kind, "all")
    assert not any(one.requires_grad for one in network.parameters())
    network.train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network(torch.randn(2, 3, 64, 64))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(module.training for module in network.modules())


def test_a_copy_holds_its_own_parts_and_keeps_its_class_s_name() -> None:
    network = make("mmseg.MixVisionTransformer", 1)
    twin = copy.deepcopy(network)
    assert type(twin).__name__ == "MixVisionTransformer"
    twin.eval()
    twin.train()
    assert not twin.layers[0].training and twin.layers[1].training
    assert network.state_dict().keys() == twin.state_dict().keys()


def test_stages_that_can_t_be_told_are_refused() -> None:
    from trainer.core.errors import ConfigError
    from trainer.engine.frozen_backbone import freeze

    with pytest.raises(ConfigError, match="can't be told which parts of Sequential are stages"):
        freeze(torch.nn.Sequential(torch.nn.Conv2d(3, 3, 1)), 1)
    with pytest.raises(ConfigError, match="MixVisionTransformer has 4 stages"):
        make("mmseg.MixVisionTransformer", 7)
    freeze(network := torch.nn.Sequential(torch.nn.Conv2d(3, 3, 1)), "all")
    assert not any(one.requires_grad for one in network.parameters())


def test_the_list_of_backbones_with_frozen_stages_is_the_packages_own() -> None:
    import mmdet.registry
    import mmpose.registry
    import mmseg.registry

    def takes(kind: type) -> bool:
        for one in kind.__mro__:
            if "__init__" in vars(one):
                parameters = inspect.signature(one.__init__).parameters.values()
                if any(parameter.name == "frozen_stages" for parameter in parameters):
                    return True
                if not any(parameter.kind == parameter.VAR_KEYWORD for parameter in parameters):
                    return False
        return False

    for package in (mmdet, mmseg, mmpose):
        for name, kind in package.registry.MODELS.module_dict.items():
            if inspect.isclass(kind) and ".backbones." in kind.__module__:
                assert has_own({"type": name}, package.__name__) == takes(kind), f"{package.__name__}.{name}"
