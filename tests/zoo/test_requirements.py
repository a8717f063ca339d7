"""Which configs need an optional package, told before anything heavy is imported."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainer.config.compose import compose
from trainer.config_tree.config_files import list_configs
from trainer.core.errors import ConfigError
from trainer.zoo import requirements as needs_module
from trainer.zoo.requirements import installed, missing, needs, refusal

VITPOSE = "mmpose::body_2d_keypoint/topdown_heatmap/coco/td-hm_ViTPose-small_8xb64-210e_coco-256x192.py"


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment without any optional package."""
    optional = ("mmpretrain", "transformers", "fairscale", "lap")
    monkeypatch.setattr(needs_module, "installed", lambda package: package not in optional)


@pytest.mark.parametrize(
    ("base", "packages"),
    [
        ("mmdet::rtmdet/rtmdet_s_8xb32-300e_coco.py", []),
        ("mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py", []),
        ("mmdet::convnext/mask-rcnn_convnext-t-p4-w7_fpn_amp-ms-crop-3x_coco.py", ["mmpretrain"]),
        (VITPOSE, ["mmpretrain"]),
        ("mmdet::glip/glip_atss_swin-t_a_fpn_dyhead_pretrain_obj365.py", ["transformers"]),
        ("mmdet::grounding_dino/grounding_dino_r50_scratch_8xb2_1x_coco.py", ["fairscale", "transformers"]),
        (
            "mmdet::bytetrack/bytetrack_yolox_x_8xb4-80e_crowdhuman-mot17halftrain_test-mot17halfval.py",
            ["lap"],
        ),
        ("mmdet::timm_example/retinanet_timm-tv-resnet50_fpn_1x_coco.py", ["mmpretrain", "timm"]),
        # The other packages' own are wanted too: RTMPose's backbone is mmdet's.
        ("mmseg::mask2former/mask2former_r50_8xb2-160k_ade20k-512x512.py", ["mmdet"]),
    ],
)
def test_what_a_config_needs(base: str, packages: list[str]) -> None:
    assert needs(base) == packages


def test_a_need_is_inherited_from_a_base() -> None:
    # This file says only that it trains longer; its base has the backbone.
    child = "mmdet::grounding_dino/grounding_dino_swin-b_finetune_16xb2_1x_coco.py"
    assert "fairscale" in needs(child)


def test_words_in_comments_and_docstrings_need_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "x.py"
    config.write_text('"""mmpretrain.ResNet would do too."""\n# type="BertModel"\nmodel = dict(num_cp=0)\n')
    monkeypatch.setattr(needs_module, "config_path", lambda base: config)
    assert needs("mmdet::x") == []
    config = tmp_path / "y.py"
    config.write_text('_base_ = "./x.py"\nmodel = dict(type="BertModel", num_cp=2)\n')
    assert needs("mmdet::y") == ["fairscale", "transformers"]


def test_the_line_names_model_package_and_command(bare: None) -> None:
    line = refusal("vitpose-s", VITPOSE)
    assert line is not None
    assert line.startswith("model=vitpose-s needs mmpretrain, which is not installed: ")
    assert line.endswith('pip install "openmmlab-trainer[mmpretrain]"')
    both = refusal("x", "mmdet::grounding_dino/grounding_dino_r50_scratch_8xb2_1x_coco.py")
    assert both is not None
    assert "fairscale and transformers, which are not installed" in both
    assert '"openmmlab-trainer[fairscale,transformers]"' in both
    assert refusal("rtmdet-s", "mmdet::rtmdet/rtmdet_s_8xb32-300e_coco.py") is None


def test_composition_refuses_it_at_once(bare: None) -> None:
    with pytest.raises(ConfigError, match="vitpose-s needs mmpretrain.*pip install"):
        compose("train", ["model=vitpose-s"])
    config, _ = compose("train", ["model=vitpose-s"], runnable=False)
    assert config.model.name == "vitpose-s", "what only looks at the configuration isn't stopped"


def test_an_installed_package_is_not_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needs_module, "installed", lambda package: True)
    assert missing(VITPOSE) == []
    assert refusal("vitpose-s", VITPOSE) is None
    assert installed("orjson") and not installed("no_such_package_at_all")


def test_most_configs_need_nothing() -> None:
    optional = {"mmpretrain", "transformers", "fairscale", "lap", "timm", "detectron2"}
    found = {
        package: sum(bool(optional & set(needs(f"{package}::{config}"))) for config in list_configs(package))
        for package in ("mmdet", "mmseg", "mmpose")
    }
    assert found == {"mmdet": 104, "mmseg": 11, "mmpose": 12}
