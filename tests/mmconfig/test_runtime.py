import pytest

from tests.mmconfig.bases import RTMDET, SEGFORMER, build, make_bundle, make_experiment
from trainer.config_tree.traverse import leaf_dataset, traverse, type_name
from trainer.core.errors import ConfigError
from trainer.mmconfig.build_config import build_config
from trainer.mmconfig.runtime import on_gpu
from trainer.schema import Runtime


def hooks(cfg):
    return [type_name(hook) for hook in cfg.get("custom_hooks") or []]


def test_saving_follows_the_task_s_metric():
    exp = make_experiment(RTMDET, task__primary_metric="mAP50", runtime__checkpoint_interval=3)
    checkpoint = build_config(exp, make_bundle("detection")).cfg["default_hooks"]["checkpoint"]
    assert (checkpoint["save_best"], checkpoint["rule"], checkpoint["interval"]) == ("mAP50", "greater", 3)


def test_early_stopping_and_moving_average():
    cfg = build(RTMDET, runtime__early_stopping=5, runtime__ema=False)
    assert "EMAHook" not in hooks(cfg)
    stop = cfg["custom_hooks"][-1]
    assert (stop["type"], stop["monitor"], stop["patience"]) == ("EarlyStoppingHook", "mAP50-95", 5)
    assert hooks(build(SEGFORMER, runtime__ema=True)) == ["EMAHook"]
    assert hooks(build(RTMDET, runtime__ema=True)).count("EMAHook") == 1


def test_loaders():
    cfg = build(
        RTMDET, runtime__batch_size=3, runtime__val_batch_size=7, runtime__workers=0, runtime__device="cpu"
    )
    assert [cfg[f"{name}_dataloader"]["batch_size"] for name in ("train", "val", "test")] == [3, 7, 7]
    assert not any(cfg[f"{name}_dataloader"]["persistent_workers"] for name in ("train", "val", "test"))
    assert cfg["train_dataloader"]["pin_memory"] is False
    assert build(RTMDET, runtime__device="gpu")["train_dataloader"]["pin_memory"] is True


def test_synchronised_normalisation_only_over_several_gpu_processes():
    def norms(cfg):
        return {value for path, value in traverse(cfg["model"]) if path[-2:] == ("norm_cfg", "type")}

    assert norms(build(RTMDET)) == {"BN"}
    exp = make_experiment(RTMDET, runtime__device="gpu")
    assert norms(build_config(exp, make_bundle("detection"), world_size=4).cfg) == {"SyncBN"}
    exp.runtime.sync_bn = False
    assert norms(build_config(exp, make_bundle("detection"), world_size=4).cfg) == {"BN"}
    exp = make_experiment(RTMDET, runtime__device="cpu", runtime__sync_bn=True)
    built = build_config(exp, make_bundle("detection"), world_size=2)
    assert norms(built.cfg) == {"BN"}
    assert "runtime.sync_bn: only GPUs can; each process normalises over its own images" in built.notes


def test_environment():
    cfg = build(RTMDET, runtime__seed=7, runtime__deterministic=True, runtime__compile=True)
    assert cfg["randomness"] == {"seed": 7, "deterministic": True, "diff_rank_seed": False}
    assert cfg["compile"] is True and cfg["visualizer"]["vis_backends"] == []
    assert "trainer.engine.registered" in cfg["custom_imports"]["imports"]


def test_overfitting_validates_on_what_it_trains_on():
    cfg = build(RTMDET, debug__overfit=4)
    train, val = leaf_dataset(cfg["train_dataloader"]), leaf_dataset(cfg["val_dataloader"])
    assert train["indices"] == val["indices"] == 4
    assert train["ann_file"] == val["ann_file"] == cfg["val_evaluator"]["ann_file"]


def test_devices_without_torch(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert on_gpu(Runtime()) is False
    assert on_gpu(Runtime(device="gpu")) is True


def test_a_model_that_answers_for_one_image_at_a_time():
    dekr = "mmpose::body_2d_keypoint/dekr/coco/dekr_hrnet-w32_8xb10-140e_coco-512x512.py"
    assert build(dekr, "pose", runtime__val_batch_size=1)["val_dataloader"]["batch_size"] == 1
    with pytest.raises(ConfigError, match="one image at a time"):
        build(dekr, "pose", runtime__val_batch_size=2)
