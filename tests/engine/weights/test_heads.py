"""Heads of every family, from the published classes to others: the rows of common classes are the file's, exactly."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from published import load, ours, save, theirs

from trainer.engine.weights.class_names import names_of_base


@dataclass(frozen=True)
class Rows:
    """How a tensor's first dimension is laid out, said by hand: one row a class unless told otherwise.

    ``numbers``: rows of a class, one after the other. ``anchors``: times that all classes come. ``background``: one
    row after the classes.
    """

    key: str
    numbers: int = 1
    anchors: int = 1
    background: bool = False


RCNN = [Rows("roi_head.bbox_head.fc_cls", background=True), Rows("roi_head.bbox_head.fc_reg", numbers=4)]
ANIMALS = ("zebra", "Cat", "a thing of ours", "dog")
POINTS = ("nose", "tail", "left_wrist")
SSD_ANCHORS = (4, 6, 6, 6, 4, 4)

FAMILIES = [
    ("rtmdet-tiny", ANIMALS, [Rows(f"bbox_head.rtm_cls.{i}") for i in range(3)]),
    ("yolox-tiny", ANIMALS, [Rows(f"bbox_head.multi_level_conv_cls.{i}") for i in range(3)]),
    ("faster-rcnn-r50", ANIMALS, RCNN),
    ("mask-rcnn-r50", ANIMALS, [*RCNN, Rows("roi_head.mask_head.conv_logits")]),
    ("retinanet-r50", ANIMALS, [Rows("bbox_head.retina_cls", anchors=9)]),
    (
        "ssd300",
        ANIMALS,
        [Rows(f"bbox_head.cls_convs.{i}.0", anchors=n, background=True) for i, n in enumerate(SSD_ANCHORS)],
    ),
    ("deformable-detr-r50", ANIMALS, [Rows(f"bbox_head.cls_branches.{i}") for i in range(6)]),
    ("solov2-r50", ANIMALS, [Rows("mask_head.conv_cls")]),
    ("mask2former-r50", ANIMALS, [Rows("panoptic_head.cls_embed", background=True)]),
    ("segformer-b0", ("sky", "road", "nothing", "tree"), [Rows("decode_head.conv_seg")]),
    (
        "deeplabv3plus-r50",
        ("car", "background", "road"),
        [Rows("decode_head.conv_seg"), Rows("auxiliary_head.conv_seg")],
    ),
    ("rtmpose-t", POINTS, [Rows("head.final_layer")]),
    ("hrnet-w32", POINTS, [Rows("head.final_layer")]),
]


@pytest.mark.parametrize(("name", "names", "heads"), FAMILIES, ids=[family[0] for family in FAMILIES])
def test_rows_of_common_classes_are_kept_exactly(name, names, heads, tmp_path):
    published = theirs(name)
    into = ours(name, names)
    initial = {key: value.clone() for key, value in into.model.state_dict().items()}
    report = load(save(tmp_path / "published.pth", published), into)

    there = [each.lower() for each in names_of_base(into.goal.base, into.goal.pose)]
    places = [there.index(each.lower()) if each.lower() in there else None for each in names]
    known = sum(place is not None for place in places)
    assert 2 <= known < len(names) and len(report.kept) == known

    given, final = published.state_dict(), into.model.state_dict()
    heads_keys = {f"{head.key}.{part}" for head in heads for part in ("weight", "bias")}
    for key, value in final.items():
        if key not in heads_keys:
            assert torch.equal(value, given[key]), key
    for head in heads:
        for part in ("weight", "bias"):
            key = f"{head.key}.{part}"
            check(head, final[key], given[key], initial[key], len(there), places)
    changed = {each.name for each in report.anew} & final.keys()
    assert changed == heads_keys
    counted = sum(not key.endswith("num_batches_tracked") for key in final)
    assert (report.total, report.loaded) == (counted, counted - len(heads_keys))
    assert f"{len(there)} {report.what} there, {len(names)} here" in str(report)


def check(head, final, given, initial, there, places):
    """Row by row, by the layout said by hand."""
    background = int(head.background)
    for anchor in range(head.anchors):
        for mine, place in [*enumerate(places), *([(len(places), there)] * background)]:
            for number in range(head.numbers):
                here = (anchor * (len(places) + background) + mine) * head.numbers + number
                from_there = (
                    None if place is None else (anchor * (there + background) + place) * head.numbers + number
                )
                expected = initial[here] if from_there is None else given[from_there]
                assert torch.equal(final[here], expected), (head.key, here, from_there)


def test_no_common_class_leaves_the_head_as_it_was_initialised(tmp_path):
    into = ours("faster-rcnn-r50", ("widget", "gadget"))
    initial = into.model.state_dict()["roi_head.bbox_head.fc_cls.weight"].clone()
    report = load(save(tmp_path / "published.pth", theirs("faster-rcnn-r50")), into)
    assert torch.equal(into.model.state_dict()["roi_head.bbox_head.fc_cls.weight"], initial)
    assert not report.kept and len(report.anew) == 4


def test_the_file_s_own_names_come_before_the_data_set_s(tmp_path):
    published = theirs("rtmdet-tiny")
    names = [f"thing {number}" for number in range(80)]
    path = save(tmp_path / "published.pth", published, dataset_meta={"CLASSES": tuple(names)})
    into = ours("rtmdet-tiny", ("cat", "Thing_7"))
    assert load(path, into).kept == ["Thing_7"]
    key = "bbox_head.rtm_cls.0.weight"
    assert torch.equal(into.model.state_dict()[key][1], published.state_dict()[key][7])


def test_the_same_classes_in_another_order_change_places(tmp_path):
    published = ours("faster-rcnn-r50", ("a", "b", "c")).model
    path = save(tmp_path / "published.pth", published, trainer={"classes": ["a", "b", "c"]})
    into = ours("faster-rcnn-r50", ("c", "a", "b"))
    with torch.no_grad():
        into.model.roi_head.bbox_head.fc_cls.weight.zero_()
    report = load(path, into)
    given, final = (
        model.state_dict()["roi_head.bbox_head.fc_cls.weight"] for model in (published, into.model)
    )
    assert torch.equal(final, given[[2, 0, 1, 3]])
    assert report.kept == ["c", "a", "b"] and "other classes there than here" in str(report)


@pytest.mark.parametrize("names", [("a", "b", "c"), ("x", "y", "z")])
def test_as_many_classes_with_the_same_or_all_other_names_are_taken_as_they_are(names, tmp_path):
    published = ours("rtmdet-tiny", ("a", "b", "c")).model
    path = save(tmp_path / "published.pth", published, dataset_meta={"classes": ["a", "b", "c"]})
    into = ours("rtmdet-tiny", names)
    report = load(path, into)
    assert report.complete and report.loaded == report.total
    assert all(
        torch.equal(into.model.state_dict()[key], value) for key, value in published.state_dict().items()
    )


def test_layers_in_groups_of_one_keypoint(tmp_path):
    """DEKR moves each keypoint with channels of its own; its last heat map is the centre."""
    published = theirs("dekr-w32")
    into = ours("dekr-w32", ("nose", "tail", "left_eye"))
    report = load(save(tmp_path / "published.pth", published), into)
    assert report.kept == ["nose", "left_eye"]
    given, final = published.state_dict(), into.model.state_dict()
    moved = [
        key for key in given if "displacement_conv_layers" in key and given[key].shape != final[key].shape
    ]
    assert len(moved) > 15
    for key in moved:
        rows = len(given[key]) // 17
        assert torch.equal(final[key][:rows], given[key][:rows]), key
        assert torch.equal(final[key][2 * rows :], given[key][rows : 2 * rows]), "left_eye is COCO's second"
    key = next(key for key in given if key.startswith("head.heatmap_conv") and given[key].shape[:1] == (18,))
    assert torch.equal(final[key][[0, 2, 3]], given[key][[0, 1, 17]])


def test_what_a_loss_knows_of_the_data_stays(tmp_path):
    published = theirs("yoloxpose-s")
    into = ours("yoloxpose-s", POINTS)
    sigmas = into.model.head.loss_oks.sigmas.clone()
    report = load(save(tmp_path / "published.pth", published), into)
    assert report.kept == ["nose", "left_wrist"] and torch.equal(into.model.head.loss_oks.sigmas, sigmas)
    key = "head.head_module.out_kpt.0.weight"
    assert torch.equal(into.model.state_dict()[key][4:], published.state_dict()[key][18:20]), (
        "two numbers a keypoint"
    )


def test_a_pose_model_for_another_image_size(tmp_path):
    into = ours("rtmpose-t", POINTS, dataset__image_size=128)
    report = load(save(tmp_path / "published.pth", theirs("rtmpose-t")), into)
    sizes = {each.name for each in report.anew if each.why == "made for another image size"}
    assert sizes == {"head.mlp.1.weight", "head.cls_x.weight", "head.cls_y.weight"}
    assert report.kept == ["nose", "left_wrist"]


def test_random_numbers_are_not_used_up(tmp_path):
    into = ours("rtmdet-tiny", ANIMALS)
    path = save(tmp_path / "published.pth", theirs("rtmdet-tiny"))
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    load(path, into)
    assert torch.equal(torch.rand(1), expected)


def test_the_report_reads_well(tmp_path: Path):
    into = ours("faster-rcnn-r50", ANIMALS)
    report = load(save(tmp_path / "coco.pth", theirs("faster-rcnn-r50")), into)
    assert str(report) == (
        "coco.pth: loaded 291 of 295 tensors; re-initialised 4: "
        "roi_head.bbox_head.fc_cls.weight (81x1024 there, 5x1024 here), "
        "roi_head.bbox_head.fc_cls.bias (81 there, 5 here), "
        "roi_head.bbox_head.fc_reg.weight (320x1024 there, 16x1024 here), "
        "roi_head.bbox_head.fc_reg.bias (320 there, 16 here) (80 classes there, 4 here); "
        "kept rows: zebra, Cat, dog"
    )
    content = report.as_dict()
    assert content["there"] == 80 and content["kept"] == ["zebra", "Cat", "dog"]
    assert content["anew"][0]["there"] == [81, 1024]
