import pytest

from trainer.core.errors import ConfigError
from trainer.mmconfig.patch import apply_patch, like


@pytest.fixture
def cfg():
    return {
        "model": {"head": {"loss": {"type": "Focal", "beta": 2.0}, "strides": (8, 16)}},
        "pipeline": [{"type": "Load"}, {"type": "mmdet.Flip", "prob": 0.5}, {"type": "Pack"}],
        "custom_hooks": [{"type": "EMAHook", "momentum": 0.1}],
    }


def test_merges_into_mappings(cfg):
    apply_patch(cfg, {"model": {"head": {"loss": {"beta": 2.5}}}})
    assert cfg["model"]["head"]["loss"] == {"type": "Focal", "beta": 2.5}


def test_names_list_elements_by_type_whatever_their_scope(cfg):
    apply_patch(cfg, {"pipeline": {"Flip": {"prob": 0.3}}, "custom_hooks": {"EMAHook": {"momentum": 1e-4}}})
    assert cfg["pipeline"][1] == {"type": "mmdet.Flip", "prob": 0.3}
    assert cfg["custom_hooks"] == [{"type": "EMAHook", "momentum": 1e-4}]


def test_names_list_elements_by_place(cfg):
    apply_patch(cfg, {"pipeline": {"0": {"color": "grey"}, -1: {"meta": ["id"]}}})
    assert cfg["pipeline"][0]["color"] == "grey" and cfg["pipeline"][-1]["meta"] == ["id"]


def test_removes_and_replaces(cfg):
    apply_patch(
        cfg, {"pipeline": {"Flip": {"_delete_": True}}, "model": {"head": {"strides": {"_delete_": True}}}}
    )
    assert [step["type"] for step in cfg["pipeline"]] == ["Load", "Pack"]
    assert "strides" not in cfg["model"]["head"]
    apply_patch(cfg, {"model": {"head": {"loss": {"_delete_": True, "type": "L1"}}}})
    assert cfg["model"]["head"]["loss"] == {"type": "L1"}


def test_inserts_before_and_after(cfg):
    apply_patch(cfg, {"pipeline": {"Crop": {"_before_": "Flip", "size": 3}, "Pad": {"_after_": "Flip"}}})
    assert [step["type"] for step in cfg["pipeline"]] == ["Load", "Crop", "mmdet.Flip", "Pad", "Pack"]
    apply_patch(cfg, {"custom_hooks": {"Early": {"_after_": "_end_"}, "First": {"_before_": "_start_"}}})
    assert [hook["type"] for hook in cfg["custom_hooks"]] == ["First", "EMAHook", "Early"]


def test_makes_the_hook_list_that_a_base_lacks():
    cfg = {"custom_hooks": None}
    apply_patch(cfg, {"custom_hooks": {"Early": {"_after_": "_end_", "patience": 3}}})
    assert cfg["custom_hooks"] == [{"type": "Early", "patience": 3}]


def test_lists_become_tuples_where_the_base_has_them(cfg):
    apply_patch(cfg, {"model": {"head": {"strides": [4, 8, 16]}}})
    assert cfg["model"]["head"]["strides"] == (4, 8, 16)
    assert like([[1, 2], [3, 4]], [(0, 0)]) == [(1, 2), (3, 4)]
    assert like([1, 2], [0]) == [1, 2]


def test_reports_every_element_that_is_not_there(cfg):
    with pytest.raises(ConfigError) as caught:
        apply_patch(
            cfg,
            {
                "pipeline": {"Flop": {"prob": 1}, "X": {"_before_": "Packk"}},
                "custom_hooks": {"Zzz": {"a": 1}},
            },
        )
    text = str(caught.value)
    assert "mm.pipeline.Flop" in text and "'Flip'" in text
    assert "_before_=Packk" in text and "'Pack'" in text
    assert "mm.custom_hooks.Zzz" in text and "EMAHook" in text


def test_a_key_that_cannot_be_deleted_is_an_error(cfg):
    with pytest.raises(ConfigError, match="there is no 'haed'"):
        apply_patch(cfg, {"model": {"haed": {"_delete_": True}}})


def test_integer_keys_typed_as_text_meet_the_base_s(cfg):
    cfg["attributes"] = {280: {"x": 1}}
    apply_patch(cfg, {"attributes": {"280": {"x": 2}}})
    assert cfg["attributes"] == {280: {"x": 2}}


def test_the_patch_is_not_shared_with_the_config(cfg):
    patch = {"model": {"new": {"list": [1]}}}
    apply_patch(cfg, patch)
    cfg["model"]["new"]["list"].append(2)
    assert patch["model"]["new"]["list"] == [1]
