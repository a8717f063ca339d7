"""Images whose sides the strides of the network don't divide."""

import pytest

from tests.export.models import make_predictor, pictures


@pytest.mark.parametrize(
    ("model", "size", "image"),
    [
        ("rtmdet-tiny", (160, 96), (75, 95)),  # upright: 96 x 122 px, and 96 is what mmdet pads the height to
        ("pidnet-s", (96, 96), (67, 96)),
        ("ddrnet-23-slim", (96, 96), (67, 96)),
    ],
)
def test_images_of_any_form_are_answered(model, size, image):
    predictor = make_predictor(model, size)
    (found,) = predictor.predict(pictures(image, 1))
    assert found.size == image
    if found.segmentation is not None:
        assert found.segmentation.shape == image[::-1]
