"""Pictures show what they should, large enough to be read."""

import numpy as np
import pytest

from trainer.core.errors import DatasetError
from trainer.predictions.contact_sheet import contact_sheet
from trainer.predictions.draw import SMALLEST, draw_prediction, read_image
from trainer.predictions.prediction import Prediction

PALETTE = ((255, 0, 0), (0, 255, 0))
CLASSES = ("background", "seven")


def _one(**more):
    box = np.array([[20, 30, 60, 80]], np.float32)
    return Prediction(None, (96, 96), CLASSES, box, np.array([0.87], np.float32), np.array([1]), **more)


def _grey(height=96, width=96):
    return np.full((height, width, 3), 90, np.uint8)


def test_small_images_are_enlarged_by_a_whole_number():
    assert draw_prediction(_grey(), _one(), PALETTE).shape == (480, 480, 3)
    assert draw_prediction(_grey(300, 200), _one(), PALETTE).shape == (600, 400, 3)
    assert draw_prediction(_grey(1000, 700), _one(), PALETTE).shape == (1000, 700, 3)
    assert SMALLEST == 480


def test_box_and_label_are_drawn_in_the_class_colour_where_they_belong():
    picture = draw_prediction(_grey(), _one(), PALETTE)
    green = (picture == (0, 255, 0)).all(-1)
    rows, columns = np.nonzero(green)
    assert columns.min() in range(94, 104) and columns.max() in range(296, 306)
    assert rows.max() in range(396, 406)
    label = green[: 30 * 5 - 4]  # above the box's upper edge
    assert label.any(axis=1).sum() >= 24, "the label is as high as letters that can be read"
    ink = picture[:146][~green[:146]]
    assert (ink == 0).all(-1).any(), "black letters on the bright colour"


def test_the_image_is_left_alone():
    image = _grey(600, 600)
    before = image.copy()
    draw_prediction(image, _one(masks=np.ones((1, 600, 600), bool)), PALETTE)
    assert (image == before).all()


def test_a_mask_is_translucent():
    mask = np.zeros((1, 96, 96), bool)
    mask[0, 40:60, 30:50] = True
    blue, green, red = draw_prediction(_grey(), _one(masks=mask), PALETTE)[250, 200]
    assert 90 < green < 255 and blue == red < 90


def test_background_and_unknown_pixels_are_not_tinted():
    indices = np.zeros((96, 96), np.uint8)
    indices[:10] = 255
    indices[50:70, 50:70] = 1
    picture = draw_prediction(_grey(), Prediction(None, (96, 96), CLASSES, segmentation=indices), PALETTE)
    assert (picture[20] == 90).all() and (picture[450] == 90).all()
    assert picture[300, 300, 1] > 120


def test_weak_keypoints_are_not_drawn():
    points = np.array([[[30, 40, 0.9], [50, 70, 0.1]]], np.float32)
    picture = draw_prediction(_grey(), _one(keypoints=points), PALETTE, [(0, 1)], threshold=0.3)
    assert (picture[200, 150] != 90).any()
    assert (picture[350, 250] == 90).all() and (picture[275, 200] == 90).all()
    joined = draw_prediction(_grey(), _one(keypoints=points), PALETTE, [(0, 1)])
    assert (joined[275, 200] != 90).any()


def test_an_empty_answer_is_just_the_image():
    assert (draw_prediction(_grey(480, 480), Prediction(None, (480, 480), CLASSES), PALETTE) == 90).all()


def test_a_sheet_holds_every_pair():
    red, blue = np.zeros((480, 480, 3), np.uint8), np.zeros((480, 480, 3), np.uint8)
    red[..., 2], blue[..., 0] = 255, 255
    sheet = contact_sheet([(red, blue)] * 3, columns=2, cell=100)
    assert (sheet == (0, 0, 255)).all(-1).sum() == (sheet == (255, 0, 0)).all(-1).sum() == 3 * 100 * 100
    alone = contact_sheet([(red, None)] * 3, columns=2, cell=100)
    assert (alone == (0, 0, 255)).all(-1).sum() == 3 * 100 * 100


def test_an_unreadable_image_is_named(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"no image")
    with pytest.raises(DatasetError, match=r"a\.jpg"):
        read_image(tmp_path / "a.jpg")


def test_labels_do_not_cover_each_other():
    boxes = np.array([[20, 40, 60, 80]] * 4, np.float32)
    classes = tuple(f"class {number}" for number in range(4))
    palette = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0))
    scores = np.linspace(0.9, 0.6, 4).astype(np.float32)
    picture = draw_prediction(
        _grey(), Prediction(None, (96, 96), classes, boxes, scores, np.arange(4)), palette
    )
    areas = [(picture[:, 110:280] == colour[::-1]).all(-1).sum() for colour in palette]
    assert min(areas) > 0.8 * max(areas), "each label is there as a whole"


def test_captions_stand_above_the_pictures():
    black = np.zeros((100, 100, 3), np.uint8)
    plain = contact_sheet([(black, black)] * 2, cell=100)
    captioned = contact_sheet([(black, black)] * 2, cell=100, captions=["0.10 a.jpg", "0.20 " + "long" * 40])
    assert captioned.shape[0] == plain.shape[0] + 26 and captioned.shape[1] == plain.shape[1]
    assert (captioned[36:60] < 128).any()


def test_letters_are_no_larger_than_what_they_name_allows():
    places = np.arange(12) * 80
    boxes = np.array([[x + 10, y + 30, x + 50, y + 70] for y in places[:9] for x in places], np.float32)
    count = len(boxes)
    crowd = Prediction(
        None, (960, 720), ("a",) * 10, boxes, np.full(count, 0.9, np.float32), np.zeros(count, int)
    )
    picture = draw_prediction(_grey(720, 960), crowd, PALETTE)
    inside = [picture[int(y1) + 4 : int(y2) - 4, int(x1) + 4 : int(x2) - 4] for x1, y1, x2, y2 in boxes]
    covered = [float((part != 90).any(-1).mean()) for part in inside]
    assert np.median(covered) == 0, "labels stand above their boxes, not on their neighbours"
