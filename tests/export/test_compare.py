"""Answers are compared with the ones that they mean, and what is missing counts."""

import numpy as np
import pytest
import torch

from trainer.export.proof.compare import Agreement, Difference, compare
from trainer.export.proof.proof import Latency, Limits, Metric, Proof, without_nan
from trainer.export.proof.rounding import Rounding, nudged


def _objects(boxes, scores, labels=None, rows=6):
    """Outputs of one image, padded to ``rows``."""
    count = len(scores)
    outputs = {
        "boxes": np.zeros((1, rows, 4), np.float32),
        "scores": np.zeros((1, rows), np.float32),
        "labels": np.full((1, rows), -1, np.int64),
    }
    outputs["boxes"][0, :count] = np.reshape(boxes, (count, 4))
    outputs["scores"][0, :count] = scores
    outputs["labels"][0, :count] = labels or [0] * count
    return outputs


BOXES = [[0, 0, 10, 10], [20, 20, 40, 40], [50, 50, 60, 70]]


def test_order_does_not_count():
    mine = _objects(BOXES, [0.9, 0.8, 0.8])
    its = _objects([BOXES[0], BOXES[2], BOXES[1]], [0.9, 0.8, 0.8])
    differences, agreement = compare([mine], [its], 96)
    assert agreement == Agreement(3, 3, 3, 1.0, 1.0, 0.0, 0.0) and agreement.share == 1
    assert all(one.largest == 0 for one in differences)


def test_differences_are_those_of_the_same_objects():
    its = _objects([[0, 0, 10, 11], *BOXES[1:]], [0.9, 0.75, 0.8])
    differences, agreement = compare([_objects(BOXES, [0.9, 0.8, 0.8])], [its], 96)
    by_name = {one.output: one for one in differences}
    assert by_name["boxes"].largest == 1 and by_name["boxes"].magnitude == 70
    assert by_name["boxes"].mean == pytest.approx(1 / 12)
    assert agreement.score == pytest.approx(0.05) and agreement.pixels == 1
    assert agreement.iou_lowest == pytest.approx(10 / 11)


def test_another_class_is_another_object():
    mine, its = _objects(BOXES, [0.9, 0.8, 0.7]), _objects(BOXES, [0.9, 0.8, 0.7], [0, 1, 0])
    _, agreement = compare([mine], [its], 96)
    assert (agreement.expected, agreement.found, agreement.matched) == (3, 3, 2)
    assert agreement.share == pytest.approx(2 / 3)


def test_what_is_missing_counts_but_not_at_the_threshold():
    mine, its = _objects(BOXES, [0.9, 0.8, 0.0501]), _objects(BOXES[:2], [0.9, 0.8])
    assert compare([mine], [its], 96, border=0.001)[1].share == 1
    its = _objects(BOXES[::2], [0.9, 0.0501])
    assert compare([mine], [its], 96, border=0.001)[1].share == pytest.approx(2 / 3)
    assert compare([mine], [_objects([], [])], 96)[1].matched == 0


def test_nan_is_no_answer():
    mine, its = _objects(BOXES, [0.9, 0.8, 0.7]), _objects(BOXES, [np.nan] * 3)
    assert compare([mine], [its], 96)[1].matched == 0
    its = _objects(np.full((3, 4), np.nan), [0.9, 0.8, 0.7])
    assert compare([mine], [its], 96)[1].matched == 0


def test_masks():
    mine, its = (_objects(BOXES[:1], [0.9], rows=1) for _ in range(2))
    mine["masks"], its["masks"] = np.zeros((1, 1, 8, 8), np.uint8), np.zeros((1, 1, 8, 8), np.uint8)
    mine["masks"][..., :4], its["masks"][..., :3] = 255, 200
    differences, agreement = compare([mine], [its], 96)
    assert agreement.iou_mean == pytest.approx(0.75)
    masks = next(one for one in differences if one.output == "masks")
    assert masks.whole and masks.largest == 255


def test_keypoints_of_equal_places():
    mine, its = np.zeros((2, 4, 3), np.float32), np.zeros((2, 4, 3), np.float32)
    its[0, 0, 0], its[1, 1, 1], its[0, 2, 2] = 0.5, 30, 0.1
    differences, agreement = compare([{"keypoints": mine}], [{"keypoints": its}], 100)
    assert (agreement.expected, agreement.matched) == (8, 7)
    assert agreement.pixels == 0.5 and differences[1].largest == pytest.approx(0.1)


def test_segmentation():
    mine, its = np.zeros((1, 10, 10), np.int64), np.zeros((1, 10, 10), np.int64)
    its[0, 0, :5] = 3
    _, agreement = compare([{"segmentation": mine}], [{"segmentation": its}], 10)
    assert (agreement.expected, agreement.matched) == (100, 95)


def test_another_shape_is_an_error():
    with pytest.raises(ValueError, match="boxes has the shape"):
        compare([_objects(BOXES, [0.9, 0.8, 0.7])], [_objects(BOXES, [0.9, 0.8, 0.7], rows=5)], 96)


def _proof(
    precision="fp32", difference=1e-5, agreement=(100, 100, 100), metric=(0.5, 0.5), graph=None, **others
):
    one = Metric("mAP50-95", metric[0], metric[1], 8, True, graph, (), {}) if metric else None
    fields = {
        "runtime": "r", "asked": precision, "precision": precision, "images": "validation images", "compared": 8,
        "batches": (1,), "differences": (Difference("boxes", difference, 0.0, 1.0, False),),
        "agreement": Agreement(*agreement), "metric": one, "no_metric": None, "latency": (Latency(1, 0.1, 0.2, None),),
        "threads": 1, "size_bytes": 10, "limits": Limits.of(precision, 1e-3, None), "modules": (),
    }  # fmt: skip
    return Proof(**{**fields, **others})


def test_what_holds():
    assert _proof().holds and _proof(metric=None).holds
    assert _proof("fp16", difference=1.0, agreement=(100, 100, 95), metric=(0.5, 0.495)).holds
    assert _proof("int8", difference=9.0, agreement=(100, 90, 10), metric=(0.5, 0.46)).holds
    # The graph was asked for other thresholds than training's validation has.
    assert _proof(metric=(0.5, 0.3), graph=0.3).holds


@pytest.mark.parametrize(
    ("proof", "words"),
    [
        (_proof(difference=0.01), "boxes differs by 0.01"),
        (_proof(difference=float("nan")), "boxes differs by nan"),
        (_proof(agreement=(100, 100, 98)), "only 98 of 100 answers"),
        (_proof(metric=(0.5, 0.498)), "mAP50-95 is 0.4980 and PyTorch's 0.5000"),
        (_proof(metric=(0.5, 0.3), graph=0.31), "mAP50-95 is 0.3000 and PyTorch's 0.3100"),
        (_proof(metric=(0.5, float("nan"))), "mAP50-95 is nan"),
        (_proof("fp16", metric=(0.5, 0.48)), "mAP50-95"),
        (_proof("int8", metric=(0.5, 0.4)), "mAP50-95"),
        (_proof(precision="fp16", asked="fp16", differences=(), agreement=(9, 9, 1)), "only 1 of 9"),
        (_proof(asked="fp16"), "its weights are fp32, not fp16"),
    ],
)
def test_what_fails(proof, words):
    assert not proof.holds and any(words in failure for failure in proof.failures), proof.failures
    content = without_nan(proof.to_json())
    assert content["holds"] is False and content["failures"] == proof.failures


def test_no_more_is_asked_of_a_file_than_of_pytorch():
    """Where PyTorch's own answers move with the last bits of its weights, the file's may, and the proof says so."""
    apart = {"difference": 0.2, "agreement": (100, 100, 70)}
    own = Rounding(0.72, {"boxes": 0.15})
    assert not _proof(**apart).holds
    proof = _proof(**apart, rounding=own)
    assert proof.holds and "70.0% of the file's" in proof.remarks[0] and "72.0%" in proof.remarks[0]
    assert without_nan(proof.to_json())["rounding"] == {"share": 0.72, "relative": {"boxes": 0.15}}
    # Worse than that is the file's own.
    assert not _proof(**apart, rounding=Rounding(0.99, {"boxes": 0.15})).holds
    assert not _proof(**apart, rounding=Rounding(0.72, {"boxes": 1e-5})).holds
    assert not _proof(**apart, rounding=own, metric=(0.5, 0.4)).holds
    # The metric's limit stays.
    assert not _proof(metric=(0.5, 0.47), rounding=own).holds
    # It says nothing where nothing hung on it.
    assert not _proof(rounding=own).remarks


def test_nudged_weights_are_nearly_the_same():
    layer = torch.nn.Linear(64, 64)
    other = nudged(layer)
    apart = ((other.weight - layer.weight) / layer.weight).abs()
    assert 0 < apart.max() < 2e-6 and (layer.weight != other.weight).any()


def test_json_has_no_nan():
    assert without_nan({"a": [float("nan"), 1.0, "x", None], "b": float("inf")}) == {
        "a": [None, 1.0, "x", None],
        "b": None,
    }
