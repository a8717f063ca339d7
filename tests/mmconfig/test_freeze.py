"""model.freeze in the config: frozen_stages where the backbone has it, our builder elsewhere."""

from __future__ import annotations

import pytest

from tests.mmconfig.bases import (
    CASCADE,
    FASTER,
    HRNET,
    PSPNET,
    RTMDET,
    RTMPOSE,
    SEGFORMER,
    YOLOX,
    build,
    make_bundle,
    make_experiment,
)
from trainer.core.errors import ConfigError
from trainer.mmconfig.build_config import build_config
from trainer.mmconfig.freeze import has_own, set_freeze

SWIN = "mmseg::swin/swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512.py"


def backbone(base, task=None, **leaves):
    return build(base, task, **leaves)["model"]["backbone"]


@pytest.mark.parametrize("base", [FASTER, CASCADE, RTMDET, YOLOX, RTMPOSE, HRNET, PSPNET, SWIN])
def test_a_backbone_that_can_freeze_its_stages_is_told_how_many(base):
    task = "semantic_segmentation" if base == SWIN else None
    found = backbone(base, task, model__freeze=2)
    assert found["frozen_stages"] == 2 and "of" not in found


def test_nothing_said_leaves_the_base_and_minus_one_frees_it():
    assert backbone(FASTER, model__weights="backbone")["frozen_stages"] == 1
    assert backbone(FASTER, model__weights="backbone", model__freeze=-1)["frozen_stages"] == -1
    assert "frozen_stages" not in backbone(SEGFORMER, model__freeze=-1)


def test_other_backbones_are_built_by_us_with_their_options():
    before, found = backbone(SEGFORMER), backbone(SEGFORMER, model__freeze=2)
    assert found == {**before, "type": "FrozenBackbone", "of": "MixVisionTransformer", "frozen_stages": 2}


def test_all_of_any_backbone():
    for base in (FASTER, SEGFORMER, RTMPOSE):
        found = backbone(base, model__freeze="backbone")
        assert (found["type"], found["frozen_stages"]) == ("FrozenBackbone", "all")
    assert backbone(RTMPOSE, model__freeze="backbone")["_scope_"] == "mmdet"


@pytest.mark.parametrize(
    ("base", "freeze", "said"), [(FASTER, 5, "ResNet has 4 stages"), (RTMDET, 9, "CSPNeXt has 4")]
)
def test_more_stages_than_there_are(base, freeze, said):
    with pytest.raises(ConfigError, match=said):
        backbone(base, model__freeze=freeze)


def test_a_model_without_a_backbone():
    with pytest.raises(ConfigError, match="no backbone of its own"):
        set_freeze({"model": {"type": "Whole"}}, 1)


def test_frozen_without_pretrained_weights_is_said():
    def notes(**leaves):
        return build_config(make_experiment(FASTER, **leaves), make_bundle("detection")).notes

    assert any("drawn at random" in note for note in notes(model__freeze=1))
    assert not any("drawn at random" in note for note in notes(model__freeze=1, model__weights="backbone"))


def test_one_package_s_hrnet_can_t():
    assert has_own({"type": "HRNet"}, "mmpose") and not has_own({"type": "HRNet"}, "mmdet")
    assert not has_own({"type": "mmdet.HRNet"}, "mmpose")


def test_frozen_parts_are_not_the_optimiser_s():
    assert build(FASTER, model__freeze=1)["optim_wrapper"]["constructor"] == "StagedOptimWrapperConstructor"
    assert "constructor" not in build(FASTER)["optim_wrapper"]
