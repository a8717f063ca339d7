import pytest

from tests.mmconfig.bases import (
    CASCADE,
    DEFORMABLE,
    MASK,
    MASK2FORMER,
    RTMDET,
    RTMO,
    RTMPOSE,
    SEGFORMER,
    TASK_OF,
    WRITABLE,
    YOLOX,
    build,
    make_bundle,
    make_experiment,
)
from trainer.config_tree.traverse import all_pipelines, leaf_dataset, of_type, traverse, type_name
from trainer.core.errors import ConfigError
from trainer.mmconfig.build_config import build_config


@pytest.mark.parametrize("base", TASK_OF)
def test_every_family_reads_the_data_set(base):
    cfg = build(base)
    task = TASK_OF[base]
    for split, loader in (
        ("train", "train_dataloader"),
        ("val", "val_dataloader"),
        ("val", "test_dataloader"),
    ):
        leaf = leaf_dataset(cfg[loader])
        expected = f"{WRITABLE}/{split}.{'txt' if task == 'semantic_segmentation' else 'json'}"
        assert leaf["ann_file"] == expected
        assert "bbox_file" not in leaf
        if task == "pose":
            assert leaf["metainfo"]["keypoint_info"][0]["name"] == "top"
        else:
            assert leaf["metainfo"]["classes"] == make_bundle(task).classes
    kinds = {"detection": "BoxMetrics", "instance_segmentation": "MaskMetrics", "pose": "PoseMetrics"}
    assert cfg["val_evaluator"]["type"] == kinds.get(task, "SegMetrics")
    assert cfg["work_dir"] == "/run"


def test_masks_are_loaded_only_where_they_are_trained():
    for task, wanted in (("instance_segmentation", True), ("detection", False)):
        steps = [s for p in all_pipelines(build(MASK, task)) for s in p if type_name(s) == "LoadAnnotations"]
        assert steps and all(step["with_mask"] is wanted for step in steps)


def test_detection_with_a_mask_model_leaves_the_mask_head_out():
    roi_head = build(CASCADE, "detection")["model"]["roi_head"]
    assert roi_head["mask_head"] is None and roi_head["mask_roi_extractor"] is None
    assert len(roi_head["bbox_head"]) == 3


def test_masks_from_a_box_model_are_refused():
    with pytest.raises(ConfigError, match="predicts no masks"):
        build(DEFORMABLE, "instance_segmentation")


def test_a_base_of_another_kind_of_data_is_refused():
    panoptic = "mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco-panoptic.py"
    with pytest.raises(ConfigError, match="LoadPanopticAnnotations"):
        build(panoptic, "instance_segmentation")


def test_all_mistakes_of_a_bridge_come_in_one_message():
    exp = make_experiment(
        RTMPOSE, "pose", dataset__image_size=100, runtime__amp="fp16", runtime__device="cpu"
    )
    with pytest.raises(ConfigError) as caught:
        build_config(exp, make_bundle("pose"))
    assert "multiples of 32" in str(caught.value) and "fp16 needs a GPU" in str(caught.value)


def test_without_differences_the_base_comes_back():
    built = build_config(make_experiment(YOLOX))
    assert built.cfg == built.base
    assert built.notes == []


def test_variables_of_the_base_follow_what_was_made_of_them():
    cfg = build(RTMDET, dataset__image_size=128)
    assert cfg["train_pipeline"] == leaf_dataset(cfg["train_dataloader"])["pipeline"]
    assert cfg["test_pipeline"] == leaf_dataset(cfg["val_dataloader"])["pipeline"]
    hook = next(of_type(cfg["custom_hooks"], "PipelineSwitchHook"))
    assert cfg["train_pipeline_stage2"] == hook["switch_pipeline"]
    assert build(RTMPOSE, dataset__image_size=128)["codec"]["input_size"] == (128, 128)
    assert build(SEGFORMER, dataset__image_size=128)["data_preprocessor"]["size"] == (128, 128)


def test_mm_reaches_a_variable_and_what_uses_it():
    cfg = build(RTMDET, mm={"train_pipeline": {"RandomFlip": {"prob": 0.25}}})
    for pipeline in (cfg["train_pipeline"], leaf_dataset(cfg["train_dataloader"])["pipeline"]):
        assert next(of_type(pipeline, "RandomFlip"))["prob"] == 0.25
    cfg = build(RTMPOSE, mm={"codec": {"sigma": [3.0, 3.0]}})
    codecs = [value for path, value in traverse(cfg) if type_name(value) == "SimCCLabel"]
    assert len(codecs) >= 3 and all(codec["sigma"] == (3.0, 3.0) for codec in codecs)


def test_mm_comes_last_and_wins():
    cfg = build(RTMDET, optimizer__lr=0.1, mm={"optim_wrapper": {"optimizer": {"lr": 0.5}}})
    assert cfg["optim_wrapper"]["optimizer"]["lr"] == 0.5


def test_a_misspelt_mm_key_is_pointed_out():
    exp = make_experiment(RTMDET, mm={"model": {"bbox_haed": {"x": 1}}})
    assert any("bbox_haed" in note and "'bbox_head'" in note for note in build_config(exp).notes)


@pytest.mark.parametrize(("base", "keys"), [(CASCADE, 4), (MASK2FORMER, 2), (YOLOX, 1), (SEGFORMER, 1)])
def test_number_of_classes_is_set_everywhere_it_stands(base, keys):
    task = TASK_OF[base]
    wanted = len(make_bundle(task).classes)
    model = build(base)["model"]
    found = [value for path, value in traverse(model) if path[-1] in ("num_classes", "num_things_classes")]
    assert found == [wanted] * keys


def test_udp_with_offsets_has_three_maps_a_keypoint():
    base = (
        "mmpose::body_2d_keypoint/topdown_heatmap/coco/td-hm_hrnet-w32_udp-regress-8xb64-210e_coco-256x192.py"
    )
    assert build(base, "pose")["model"]["head"]["out_channels"] == 12


def test_losses_that_read_the_keypoint_set_from_a_file_get_one():
    from mmengine.config import Config

    files = {value for path, value in traverse(build(RTMO)["model"]) if path[-1] == "metainfo"}
    assert len(files) == 1
    info = Config.fromfile(files.pop()).dataset_info
    assert [point.name for point in info.keypoint_info.values()] == ["top", "right", "bottom", "left"]
