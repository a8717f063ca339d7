"""Stages are found in the backbone of every named model, and of the packages' other families."""

from __future__ import annotations

import copy

import pytest

from trainer.config_tree.base_config import load_base
from trainer.engine import compat
from trainer.schema.conf_folders import Conf
from trainer.zoo.model_names import ModelNames
from trainer.zoo.requirements import missing

compat.apply()

MODELS = ModelNames(Conf())
NAMED = {str(MODELS.conf.read("model", model.name)["base"]) for model in MODELS.named}
OTHERS = {
    "mmdet::pvt/retinanet_pvtv2-b0_fpn_1x_coco.py": 4,
    "mmdet::hrnet/fcos_hrnetv2p-w18-gn-head_4xb4-1x_coco.py": 4,
    "mmdet::yolo/yolov3_d53_8xb8-320-273e_coco.py": 5,
    "mmseg::vit/vit_deit-s16_upernet_8xb2-160k_ade20k-512x512.py": 12,
    "mmseg::beit/beit-base_upernet_8xb2-160k_ade20k-640x640.py": 12,
    "mmseg::twins/twins_pcpvt-s_fpn_fpnhead_8xb4-80k_ade20k-512x512.py": 4,
    "mmseg::unet/unet-s5-d16_fcn_4xb4-40k_drive-64x64.py": 5,
    "mmseg::icnet/icnet_r50-d8_4xb2-80k_cityscapes-832x832.py": 4,
}
EXPECTED = {
    "ResNet": 4,
    "CSPNeXt": 4,
    "CSPDarknet": 4,
    "SwinTransformer": 4,
    "HRNet": 4,
    "MixVisionTransformer": 4,
}


@pytest.fixture(scope="module", autouse=True)
def packages() -> None:
    import mmdet.models  # noqa: F401
    import mmpose.models  # noqa: F401
    import mmseg.models  # noqa: F401


@pytest.mark.parametrize("base", sorted(NAMED | OTHERS.keys()), ids=lambda base: base.rpartition("/")[2])
def test_stages_of(base: str) -> None:
    from mmengine.config import ConfigDict
    from mmengine.registry import MODELS, DefaultScope

    from trainer.catalog.flops import OnMeta, Shapes
    from trainer.engine.backbone_stages import stages

    if lacking := missing(base):
        pytest.skip(f"needs {', '.join(lacking)}")
    config = load_base(base)["model"]["backbone"]
    config.pop("init_cfg", None)
    config.pop("pretrained", None)
    with DefaultScope.overwrite_default_scope(base.partition("::")[0]):
        try:
            with OnMeta():
                backbone = MODELS.build(ConfigDict(copy.deepcopy(config)))
        except RuntimeError:
            with Shapes():
                backbone = MODELS.build(ConfigDict(copy.deepcopy(config)))
    found = stages(backbone)
    assert found is not None
    assert found.count == OTHERS.get(base, EXPECTED.get(type(backbone).__name__, found.count))
    learning = [found.of[name] for name, _ in backbone.named_parameters()]
    assert set(learning) >= set(range(1, found.count + 1)), "a stage without parameters"
    first = next(iter(backbone.named_parameters()))[0]
    assert found.of[first] <= 1, f"{first} comes first and isn't early"
