"""Images in, answers out: in order, in batches, a few at a time."""

from __future__ import annotations

import gc
import weakref

import cv2
import numpy as np
import pytest

from tests.inference.squares import Squares, as_set, scene
from trainer.core.errors import ConfigError, DatasetError
from trainer.inference.predict_options import PredictOptions
from trainer.inference.samples import Sample
from trainer.inference.stream import Timing, answers


def _numbered(count):
    """Images that say their number: so many blue columns."""
    return [scene(40, 8, [(0, 0, 0, number + 1, 8)]) for number in range(count)]


def test_answers_come_in_order_in_full_batches():
    model, timing = Squares(), Timing()
    found = list(answers(model, map(Sample, _numbered(11)), PredictOptions(batch_size=4), timing))
    assert [as_set(one.prediction) for one in found] == [{(0, 0, 0, number + 1, 8)} for number in range(11)]
    assert model.batches == [4, 4, 3] and timing.images == 11 and timing.network > 0
    assert all(one.image is not None and one.milliseconds > 0 for one in found)


def test_a_model_that_takes_one_image_gets_one():
    model = Squares()
    model.one_at_a_time = True
    assert len(list(model.predict(_numbered(3)))) == 3
    assert model.batches == [1, 1, 1]


def test_images_of_different_shapes_go_apart_where_the_model_wants_that():
    model = Squares()
    model.together = lambda item: item.shape
    images = [scene(8, 8, []), scene(8, 8, []), scene(9, 8, []), scene(8, 8, [])]
    assert [one.size for one in model.predict(images)] == [(8, 8), (8, 8), (9, 8), (8, 8)]
    assert model.batches == [2, 1, 1]


def test_a_thousand_images_are_never_in_memory_together():
    alive, most = 0, 0

    def gone():
        nonlocal alive
        alive -= 1

    def images():
        nonlocal alive, most
        for number in range(1000):
            image = scene(32, 32, [(number % 3, 4, 4, 20, 20)])
            weakref.finalize(image, gone)
            alive += 1
            most = max(most, alive)
            yield Sample(image)
            del image

    count = 0
    for answer in answers(Squares(), images(), PredictOptions(batch_size=8, readers=2)):
        count += len(answer.prediction)
    assert count == 1000
    # A batch that is answered, one that is prepared, and what the readers hold.
    assert most <= 2 * 8 + 3 * 2 + 2
    del answer
    gc.collect()
    assert alive == 0


def test_a_stream_that_is_left_early_ends_its_threads():
    import threading

    before = threading.active_count()
    stream = answers(Squares(), (Sample(image) for image in _numbered(100) * 5), PredictOptions(batch_size=2))
    next(stream)
    stream.close()
    assert threading.active_count() == before


def _folder(tmp_path):
    paths = []
    for number, image in enumerate(_numbered(3)):
        path = tmp_path / f"{number}.png"
        cv2.imwrite(str(path), image)
        paths.append(path)
    paths[1].write_bytes(b"no image")
    return paths


def test_an_image_that_cannot_be_read_is_skipped_and_said_so(tmp_path):
    paths = _folder(tmp_path)
    found = list(answers(Squares(), map(Sample, paths), PredictOptions(on_error="skip")))
    assert [one.error is None for one in found] == [True, False, True]
    assert "1.png" in found[1].error and found[1].image is None and not len(found[1].prediction)
    assert as_set(found[2].prediction) == {(0, 0, 0, 3, 8)}
    _, empty, _ = Squares().predict(paths, on_error="skip")
    assert empty.path == str(paths[1]) and empty.size == (0, 0) and not len(empty)


def test_or_stops_everything(tmp_path):
    with pytest.raises(DatasetError, match=r"1\.png can't be read"):
        list(Squares().predict(_folder(tmp_path)))
    with pytest.raises(DatasetError, match="uint8 array"):
        list(Squares().predict(np.zeros((4, 4), np.uint8)))


def test_classes_scores_and_numbers_are_chosen():
    image = scene(60, 20, [(0, 0, 0, 9, 9), (1, 20, 0, 29, 9), (2, 40, 0, 49, 9)])
    image[0:4, 0:4] = 0  # a blue one that fills less of its box
    (every,) = Squares().predict(image)
    assert every.names == ["green", "red", "blue"]
    (chosen,) = Squares().predict(image, classes=["blue", "red"])
    assert chosen.names == ["red", "blue"]
    (sure,) = Squares().predict(image, threshold=0.9)
    assert sure.names == ["green", "red"]
    (best,) = Squares().predict(image, max_detections=1)
    assert best.names == ["green"]
    with pytest.raises(ConfigError, match="classes=gren: .*Did you mean 'green'"):
        list(Squares().predict(image, classes=["gren"]))


def test_other_classes_of_a_map_become_unknown():
    (found,) = Squares("semantic_segmentation").predict(
        scene(6, 2, [(0, 0, 0, 2, 2), (1, 4, 0, 6, 2)]), classes=["green"]
    )
    assert found.segmentation[0].tolist() == [255, 255, 255, 255, 2, 2]
    assert found.probabilities is None


def test_a_top_down_model_looks_at_each_box_and_at_the_whole_image_without():
    model = Squares("pose")
    model.top_down = True
    image = scene(60, 20, [(0, 5, 0, 15, 20), (1, 30, 0, 50, 20)])
    boxes = np.array([[0, 0, 25, 20], [25, 0, 60, 20]], np.float32)
    with_boxes, none, whole = model.predict([Sample(image, boxes), Sample(image, boxes[:0]), image])
    assert with_boxes.keypoints[..., 0].tolist() == [[5, 14], [30, 49]]
    assert len(none) == 0 and none.keypoints.shape == (0, 2, 3)
    assert whole.keypoints[..., 0].tolist() == [[5, 49]] and "whole image" in model.notes[0]
    assert sum(model.batches) == 3


def test_arrays_keep_no_path_and_files_do(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), scene(8, 8, []))
    named, plain = Squares().predict([tmp_path / "a.png", scene(8, 8, [])])
    assert named.path == str(tmp_path / "a.png") and plain.path is None


def test_each_thread_has_its_own_steps():
    """mmseg's ResizeShortestEdge writes the size it is about to make into itself."""
    import threading
    from concurrent.futures import ThreadPoolExecutor

    from trainer.inference.predictor import Predictor

    together = threading.Barrier(4)

    class Forgetful:
        def __call__(self, result):
            self.shape = result["img"].shape
            together.wait(60)
            return {**result, "seen": self.shape}

    predictor = Predictor.__new__(Predictor)
    predictor.task, predictor.top_down = "semantic_segmentation", False
    predictor._load, predictor._steps, predictor._own = None, [Forgetful()], threading.local()
    images = [scene(10 + number, 8, []) for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda image: predictor.prepare(image, None)[0]["seen"], images))
    assert found == [image.shape for image in images]
