"""Every installed config, once: it is built on ``meta``, or says why it can't be; what is shipped is what is built."""

from __future__ import annotations

import pytest

from trainer.catalog import counts
from trainer.catalog.count_models import differences, report
from trainer.catalog.counts import all_bases, count, named_bases
from trainer.zoo.config_tasks import refusal, tasks_of
from trainer.zoo.requirements import missing

# Without mmpretrain, transformers, fairscale and lap.
BUILT, ALL = 1761, 1917
# Configs that their own packages ship broken: a missing base, an argument that isn't there any more.
BROKEN = {
    "mmdet::bytetrack/bytetrack_yolox_x_8xb4-amp-80e_crowdhuman-mot17halftrain_test-mot17test.py",
    "mmdet::cascade_rpn/cascade-rpn_r50-caffe_fpn_1x_coco.py",
    "mmdet::sort/faster-rcnn_r50_fpn_8xb2-4e_mot17train_test-mot17train.py",
    "mmdet::sort/faster-rcnn_r50_fpn_8xb2-8e_mot20halftrain_test-mot20halfval.py",
    "mmdet::sort/faster-rcnn_r50_fpn_8xb2-8e_mot20train_test-mot20train.py",
    "mmdet::v3det/fcos_swinb_fpn_8x4_sample1e-3_mstrain_v3det_2x.py",
    "mmpose::body_2d_keypoint/edpose/coco/edpose_res50_8xb2-50e_coco-800x1333.py",
    "mmseg::swin/swin-tiny-patch4-window7_upernet_1xb8-20k_levir-256x256.py",
    "mmseg::unet/unet-s5-d16_fcn_4xb4-160k_hsidrive-192x384.py",
    "mmseg::vpd/vpd_sd_4xb8-25k_nyu-480x480.py",
    "mmseg::vpd/vpd_sd_4xb8-25k_nyu-512x512.py",
}


@pytest.fixture(scope="module")
def rows() -> dict[str, dict]:
    """Every config built, in two processes."""
    return count(all_bases(), flops=named_bases(), processes=2)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_whole_zoo_is_built_or_says_why_not(rows: dict[str, dict]) -> None:
    print(report(rows))
    assert set(rows) == set(all_bases())
    if not counts.is_current():
        pytest.skip("the numbers below are those of other versions")
    assert len(rows) == ALL
    assert sum("params" in row for row in rows.values()) >= BUILT
    failed = {base: row["reason"] for base, row in rows.items() if "reason" in row}
    unexplained = {
        base for base in failed if not missing(base) and "no config of a model" not in failed[base]
    }
    assert unexplained == BROKEN


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_what_is_said_to_need_a_package_does(rows: dict[str, dict]) -> None:
    assert [base for base, row in rows.items() if "params" in row and missing(base)] == []


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_what_can_be_chosen_is_a_model(rows: dict[str, dict]) -> None:
    for base, row in rows.items():
        package, _, config = base.removesuffix(".py").partition("::")
        if tasks_of(package, config):
            assert "params" in row or missing(base) or base in BROKEN, (base, row)
        else:
            reason = refusal(package, config)
            assert reason is not None and "\n" not in reason


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_what_is_shipped_is_what_was_counted(rows: dict[str, dict]) -> None:
    if not counts.is_current():
        pytest.skip("the file was counted with other versions; python -m trainer.catalog.count_models")
    # Where an optional package is installed, more can be counted here than in the file.
    more = {base for base, row in rows.items() if row.get("needs") and not missing(base)}
    assert {base: pair for base, pair in differences(rows).items() if base not in more} == {}
