"""What may be loaded, and what of a checkpoint never runs."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from trainer.core.errors import CheckpointError, ResourceError
from trainer.inference.load_model import load_model


class _Touch:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def _checkpoint(config, **more):
    about = {"task": "detection", "model": "m", "classes": ["a"], "config": config}
    return {"meta": {"trainer": about}, "state_dict": {}, **more}


def test_a_pickle_that_runs_code_is_refused_and_does_not_run(tmp_path):
    torch.save(_checkpoint("", extra=_Touch(tmp_path / "ran")), tmp_path / "evil.pth")
    with pytest.raises(CheckpointError, match=r"evil\.pth can't be loaded as tensors and plain values only"):
        load_model(tmp_path / "evil.pth", "cpu")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "config",
    [
        "import os\nos.system('touch {ran}')",
        "x = __import__('os').system('touch {ran}')",
        "model = dict(type='os.system', command='touch {ran}')",
        "model = dict(type='subprocess.getoutput', cmd='touch {ran}')",
    ],
)
def test_a_config_that_runs_code_is_refused_and_does_not_run(tmp_path, config):
    torch.save(_checkpoint(config.format(ran=tmp_path / "ran")), tmp_path / "evil.pth")
    with pytest.raises(CheckpointError):
        load_model(tmp_path / "evil.pth", "cpu")
    assert not (tmp_path / "ran").exists()


def test_others_checkpoints_are_refused(tmp_path):
    torch.save({"state_dict": {}, "meta": {"epoch": 1}}, tmp_path / "theirs.pth")
    with pytest.raises(CheckpointError, match="was not trained here"):
        load_model(tmp_path / "theirs.pth", "cpu")
    (tmp_path / "noise.pth").write_bytes(b"noise" * 100)
    with pytest.raises(CheckpointError, match=r"noise\.pth"):
        load_model(tmp_path / "noise.pth", "cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_said(tmp_path):
    (tmp_path / "a.pth").write_bytes(b"")
    with pytest.raises(ResourceError, match="device=gpu"):
        load_model(tmp_path / "a.pth", "gpu")


def test_the_package_gives_load_model_and_stays_light():
    import trainer

    assert trainer.load_model is load_model
    code = "import trainer, sys; assert not {'torch', 'mmengine', 'numpy'} & set(sys.modules); trainer.load_models"
    root = str(Path(__file__).parents[2])
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert "has no attribute 'load_models'" in done.stderr


@pytest.mark.slow
def test_weights_of_another_model_are_refused(trained_run, tmp_path):
    content = torch.load(trained_run("detection") / "checkpoints" / "best.pth", weights_only=True)
    content["state_dict"].popitem()
    torch.save(content, tmp_path / "cut.pth")
    with pytest.raises(CheckpointError, match="not those of its model rtmdet-tiny"):
        load_model(tmp_path / "cut.pth", "cpu")


@pytest.mark.slow
@pytest.mark.parametrize("task", ["detection", "instance_segmentation", "semantic_segmentation", "pose"])
def test_a_model_answers_alike_however_it_is_asked(trained_run, task):
    """Several tasks' models in one process, batches of any size, files and arrays: the same answers."""
    from trainer.inference.samples import Sample
    from trainer.predictions.draw import read_image

    predictor = load_model(trained_run(task), "cpu")
    pairs = list(predictor.predict_split(batch_size=8))
    assert len(pairs) == 8
    for (sample, together), alone in zip(
        pairs, predictor.predict([one for one, _ in pairs], batch_size=1), strict=True
    ):
        assert together.path == alone.path == str(sample.image)
        _same(together, alone)
    sample, expected = pairs[0]
    array = read_image(str(sample.image))
    _same(expected, next(predictor.predict(Sample(array, sample.boxes))))
    assert (array == read_image(str(sample.image))).all()


@pytest.mark.slow
@pytest.mark.parametrize("task", ["detection", "instance_segmentation", "semantic_segmentation", "pose"])
def test_half_precision_several_looks_and_tiles_answer_like_a_plain_look(trained_run, task):
    predictor, half = (load_model(trained_run(task), "cpu", half=one) for one in (False, True))
    samples = [sample for sample, _ in predictor.predict_split()]
    plain = list(predictor.predict(samples))
    for one, other in zip(plain, half.predict(samples), strict=True):
        assert one.size == other.size
        if one.segmentation is not None:
            assert (one.segmentation == other.segmentation).mean() > 0.9
        else:
            np.testing.assert_allclose(one.scores[:3], other.scores[:3], atol=0.1)
    for options in ({"tta": True}, {"tile": 64}, {"tile": 64, "tta": True}):
        for sample, one in zip(
            samples[:2], predictor.predict(samples[:2], threshold=0.05, **options), strict=True
        ):
            assert one.size == (96, 96) and one.path == str(sample.image)
            if one.segmentation is not None:
                assert (one.segmentation == plain[samples.index(sample)].segmentation).mean() > 0.7
            if one.masks is not None:
                assert one.masks.shape == (len(one), 96, 96)
            if one.keypoints is not None:
                before = plain[samples.index(sample)].keypoints
                assert one.keypoints.shape == before.shape
    mirrors = "without mirrored" not in " ".join(predictor.notes)
    assert not mirrors, "the digits' recipes don't mirror"


@pytest.mark.slow
def test_predictions_are_made_as_they_are_asked_for(trained_run):
    predictor = load_model(trained_run("semantic_segmentation"), "cpu")
    taken = []

    def images():
        for index in range(100):
            taken.append(index)
            yield np.zeros((96, 96, 3), np.uint8)

    answers = predictor.predict(images(), batch_size=4)
    next(answers)
    # A batch that was answered, one that is prepared meanwhile, and what is being read.
    assert 4 <= len(taken) <= 2 * 4 + 3 * 2


@pytest.mark.slow
def test_a_pose_model_takes_a_plain_image_as_one_box_and_says_so(trained_run):
    predictor = load_model(trained_run("pose"), "cpu")
    (prediction,) = predictor.predict(np.zeros((40, 60, 3), np.uint8))
    assert prediction.boxes.tolist() == [[0, 0, 60, 40]]
    assert prediction.keypoints.shape == (1, 4, 3)
    assert any("whole image" in note for note in predictor.notes)


def _same(one, other):
    assert one.size == other.size
    # Scores of a hardly trained model lie close together, so their order may differ in the last digit.
    assert len(one) == len(other)
    np.testing.assert_allclose(np.sort(one.scores), np.sort(other.scores), atol=1e-4)
    if one.segmentation is not None:
        assert (one.segmentation == other.segmentation).mean() > 0.999
    if one.keypoints is not None:
        np.testing.assert_allclose(one.keypoints[..., 2], other.keypoints[..., 2], atol=1e-2)
        # A point may only be elsewhere where two places tie, that is, at the same score but for the last digit.
        moved = ~np.isclose(one.keypoints, other.keypoints, rtol=1e-7, atol=1e-2).all(-1)
        np.testing.assert_allclose(one.keypoints[moved, 2], other.keypoints[moved, 2], atol=1e-6)
        assert moved.mean() <= 0.25
    if one.masks is not None:
        assert one.masks.shape == (len(one), one.size[1], one.size[0])


@pytest.mark.slow
def test_the_overlap_of_duplicates_is_chosen(trained_run):
    from trainer.checkpoints.resolve_checkpoint import find_checkpoint

    found = find_checkpoint(trained_run("detection"))
    few, own, many = (load_model(found, "cpu", nms_iou=iou) for iou in (0.01, None, 0.99))
    samples = [sample for sample, _ in own.predict_split()]
    counts = [sum(map(len, model.predict(samples))) for model in (few, own, many)]
    assert counts[0] < counts[1] <= counts[2]
    segmenter = load_model(trained_run("semantic_segmentation"), "cpu", nms_iou=0.5)
    assert "nms_iou is ignored" in segmenter.notes[-1]
