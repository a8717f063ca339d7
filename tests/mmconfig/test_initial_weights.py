from pathlib import Path

import pytest

from tests.mmconfig.bases import FASTER, PSPNET, RTMDET, YOLOX, build, make_bundle, make_experiment
from trainer.config_tree.traverse import traverse
from trainer.core.errors import ConfigError
from trainer.mmconfig.build_config import build_config
from trainer.mmconfig.initial_weights import fetch_all, pretrained
from trainer.zoo.metafiles import weights_url


def from_files(cfg):
    return [
        value
        for path, value in traverse(cfg["model"])
        if (path[-1] == "type" and value == "Pretrained") or (path[-1] == "pretrained" and value)
    ]


@pytest.fixture
def checkpoint(tmp_path: Path) -> str:
    (tmp_path / "coco.pth").write_bytes(b"weights")
    return str(tmp_path / "coco.pth")


def test_from_none_nothing_is_downloaded_and_nothing_stays_frozen():
    built = build_config(make_experiment(FASTER), make_bundle("detection"))
    backbone = built.cfg["model"]["backbone"]
    assert not from_files(built.cfg) and built.cfg["load_from"] is None
    assert backbone["frozen_stages"] == -1 and backbone["norm_eval"] is False
    assert any("freezes" in note for note in built.notes)


def test_old_style_segmentation_bases():
    assert not from_files(build(PSPNET))


def test_backbone_keeps_what_the_authors_wrote():
    cfg = build(FASTER, model__weights="backbone")
    assert from_files(cfg) == ["Pretrained"] and cfg["model"]["backbone"]["frozen_stages"] == 1
    assert pretrained(cfg["model"]) == ["torchvision://resnet50"]
    assert pretrained(build(PSPNET, model__weights="backbone")["model"]) == ["open-mmlab://resnet50_v1c"]


def test_backbone_needs_a_base_that_names_one():
    with pytest.raises(ConfigError, match="names no pretrained backbone"):
        build(YOLOX, model__weights="backbone")


def test_a_checkpoint_replaces_the_backbone_s_and_keeps_it_frozen(checkpoint):
    cfg = build(FASTER, model__weights=checkpoint)
    assert cfg["load_from"] == checkpoint and not from_files(cfg)
    assert cfg["model"]["backbone"]["frozen_stages"] == 1


def test_coco_is_what_the_base_s_authors_published():
    assert build(RTMDET, model__weights="COCO")["load_from"] == weights_url(RTMDET)


def test_a_word_that_means_nothing_stops_a_start_but_not_a_resumed_run(tmp_path):
    with pytest.raises(ConfigError, match="Did you mean 'coco'"):
        build(RTMDET, model__weights="cocoo", output_dir=str(tmp_path))
    assert build(RTMDET, model__weights="/gone.pth", resume="latest")["load_from"] == "/gone.pth"


def test_files_that_a_config_names_are_looked_for(checkpoint):
    cfg = build(FASTER, model__weights="backbone", mm={"load_from": checkpoint})
    cfg["model"]["backbone"]["init_cfg"]["checkpoint"] = "pretrain/resnet.pth"
    with pytest.raises(ConfigError, match=r"pretrain/resnet\.pth"):
        fetch_all(cfg)
    cfg["model"]["backbone"]["init_cfg"]["checkpoint"] = checkpoint
    fetch_all(cfg)


def test_a_base_that_freezes_nothing_needs_no_note():
    built = build_config(make_experiment(RTMDET), make_bundle("detection"))
    assert not any("freezes" in note for note in built.notes)
