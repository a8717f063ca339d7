from tests.bridge.bases import FASTER, PSPNET, RTMDET, build, make_bundle, make_experiment
from trainer.bridge.build import build_config
from trainer.bridge.walk import walk


def pretrained(cfg):
    return [
        value
        for path, value in walk(cfg["model"])
        if (path[-1] == "type" and value == "Pretrained") or (path[-1] == "pretrained" and value)
    ]


def test_from_none_nothing_is_downloaded_and_nothing_stays_frozen():
    built = build_config(make_experiment(FASTER), make_bundle("detection"))
    backbone = built.cfg["model"]["backbone"]
    assert not pretrained(built.cfg) and built.cfg["load_from"] is None
    assert backbone["frozen_stages"] == -1 and backbone["norm_eval"] is False
    assert any("freezes" in note for note in built.notes)


def test_old_style_segmentation_bases():
    assert not pretrained(build(PSPNET))


def test_backbone_keeps_what_the_authors_wrote():
    cfg = build(FASTER, model__weights="backbone")
    assert pretrained(cfg) == ["Pretrained"] and cfg["model"]["backbone"]["frozen_stages"] == 1


def test_a_checkpoint_replaces_the_backbone_s_and_keeps_it_frozen():
    cfg = build(FASTER, model__weights="/weights/coco.pth")
    assert cfg["load_from"] == "/weights/coco.pth" and not pretrained(cfg)
    assert cfg["model"]["backbone"]["frozen_stages"] == 1


def test_a_base_that_freezes_nothing_needs_no_note():
    built = build_config(make_experiment(RTMDET), make_bundle("detection"))
    assert not any("freezes" in note for note in built.notes)
