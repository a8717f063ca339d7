import pytest

from tests.mmconfig.bases import RTMDET, RTMO, SEGFORMER, YOLOX, build
from trainer.config_tree.traverse import of_type
from trainer.mmconfig.schedule import iterations_per_epoch


def test_iterations_per_epoch():
    assert iterations_per_epoch(1200, 8, 1) == 150
    assert iterations_per_epoch(1201, 8, 2) == 75  # one image is left over
    assert iterations_per_epoch(15, 8, 1, drop_last=True) == 1
    assert iterations_per_epoch(3, 8, 1, drop_last=True) == 1


def test_epochs_rescale_schedule_and_hooks():
    cfg = build(RTMDET, runtime__epochs=30, runtime__batch_size=8)
    assert cfg["train_cfg"] == {"type": "EpochBasedTrainLoop", "max_epochs": 30, "val_interval": 1}
    cosine = cfg["param_scheduler"][1]
    assert (cosine["begin"], cosine["end"], cosine["T_max"]) == (15, 30, 15)
    assert cosine["by_epoch"] and cosine["convert_to_iter_based"]
    assert next(of_type(cfg["custom_hooks"], "PipelineSwitchHook"))["switch_epoch"] == 28  # 20 of 300


def test_fractions_of_an_epoch_are_said_in_iterations():
    warmup, cosine, constant = build(YOLOX, runtime__epochs=3, runtime__batch_size=8)["param_scheduler"]
    assert warmup["end"] == cosine["begin"] == 8 and not warmup["by_epoch"]  # 5 of 300 epochs, 450 iterations
    assert constant["begin"] == cosine["end"] == 428 and constant["end"] == 450


def test_iteration_based_bases_become_epoch_based():
    cfg = build(SEGFORMER, runtime__epochs=4, runtime__batch_size=8)
    assert cfg["train_cfg"]["type"] == "EpochBasedTrainLoop" and cfg["train_cfg"]["max_epochs"] == 4
    assert cfg["train_dataloader"]["sampler"]["type"] == "DefaultSampler"
    assert cfg["log_processor"]["by_epoch"] and cfg["default_hooks"]["checkpoint"]["by_epoch"]
    assert cfg["param_scheduler"][1]["end"] == 600


def test_iteration_based_bases_stay_so_when_no_epochs_are_named():
    cfg = build(SEGFORMER)
    assert cfg["train_cfg"]["type"] == "IterBasedTrainLoop"
    assert not cfg["default_hooks"]["checkpoint"]["by_epoch"]


def test_a_warm_up_never_fills_a_small_data_set_s_run():
    warmup = build(RTMDET, images=80, runtime__epochs=10, runtime__batch_size=8)["param_scheduler"][0]
    assert warmup["end"] == 10  # of 100 iterations, 1000 in the base


def test_mode_switches_keep_their_share_of_the_run():
    hooks = build(RTMO, runtime__epochs=60)["custom_hooks"]
    attributes = next(hook for hook in hooks if "epoch_attributes" in hook)["epoch_attributes"]
    assert list(attributes) == [28]  # 280 of 600


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("step", "StepLR"),
        ("multistep", "MultiStepLR"),
        ("cosine", "CosineAnnealingLR"),
        ("poly", "PolyLR"),
        ("constant", "ConstantLR"),
    ],
)
def test_named_schedules_follow_their_warm_up(name, kind):
    leaves = {"scheduler__name": name, "scheduler__warmup_iters": 40}
    warmup, main = build(RTMDET, runtime__epochs=4, runtime__batch_size=8, **leaves)["param_scheduler"]
    assert (warmup["type"], warmup["begin"], warmup["end"]) == ("LinearLR", 0, 40)
    assert main["type"] == kind and main["end"] == 600


def test_onecycle_brings_its_own_warm_up():
    cfg = build(
        RTMDET,
        runtime__epochs=4,
        runtime__batch_size=8,
        scheduler__name="onecycle",
        scheduler__warmup_iters=40,
    )
    assert [item["type"] for item in cfg["param_scheduler"]] == ["OneCycleLR"]
    assert cfg["param_scheduler"][0]["total_steps"] == 600


def test_milestones_as_epochs_or_shares():
    leaves = {"runtime__epochs": 10, "runtime__batch_size": 8, "scheduler__name": "multistep"}
    assert build(RTMDET, scheduler__milestones=[6, 9], **leaves)["param_scheduler"][0]["milestones"] == [
        900,
        1350,
    ]
    assert build(RTMDET, scheduler__milestones=[0.5, 0.8], **leaves)["param_scheduler"][0]["milestones"] == [
        750,
        1200,
    ]


def test_the_lowest_rate_follows_a_changed_learning_rate():
    cfg = build(RTMDET, optimizer__lr=0.002)
    assert cfg["param_scheduler"][1]["eta_min"] == pytest.approx(1e-4)  # 0.004 had 0.0002


@pytest.mark.parametrize("base", [RTMDET, YOLOX, SEGFORMER])
def test_a_run_of_two_iterations_has_no_warm_up_to_divide_by_zero(base):
    for name in ("default", "cosine"):
        leaves = {"scheduler__name": name, "scheduler__warmup_iters": 500 if name == "cosine" else None}
        items = build(base, images=8, runtime__epochs=1, runtime__batch_size=4, **leaves)["param_scheduler"]
        assert all(item["end"] - item["begin"] >= (2 if "Linear" in item["type"] else 1) for item in items)
