"""``pretrained:<model>``: models of the zoo with published weights, here made-up ones in the cache."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainer.checkpoints.resolve_checkpoint import find_checkpoint
from trainer.core.errors import CheckpointError, ConfigError

URL = "https://models.invalid/made/{name}.pth"
Weights = dict[str, Any]


@pytest.fixture
def publish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Weights]:
    """``publish(model)``: random weights of a named model, as its authors' file in the cache of weights."""
    monkeypatch.setenv("TRAINER_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("trainer.zoo.metafiles.weights_url", lambda base: URL.format(name=Path(base).stem))

    def make(model: str, change: Callable[[Weights], Any] = lambda weights: None) -> Weights:
        import torch

        from trainer.config_tree.base_config import load_base
        from trainer.inference.load_model import _build, _prepare
        from trainer.schema.conf_folders import Conf

        _prepare("cpu")
        base = str(Conf().read("model", model)["base"])
        config = load_base(base)
        config["model"]["backbone"]["init_cfg"] = None
        torch.manual_seed(3)
        weights = _build(config, tmp_path).state_dict()
        change(weights)
        file = tmp_path / "weights" / "models.invalid" / "made" / f"{Path(base).stem}.pth"
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.save({"state_dict": weights, "meta": {"epoch": 300}}, file)
        return weights

    return make


def test_a_detector_answers_with_the_classes_that_it_was_published_for(
    publish: Callable[..., Weights], tmp_path: Path
) -> None:
    from trainer import load_model

    weights = publish("rtmdet-tiny")
    model = load_model("pretrained:RTMDet_tiny", "cpu", nms_iou=0.4)
    assert (model.name, model.task, model.dataset) == ("rtmdet-tiny", "detection", "coco")
    assert len(model.classes) == len(model.palette) == 80 and model.classes[:2] == ("person", "bicycle")
    assert model.config["model"]["test_cfg"]["nms"]["iou_threshold"] == 0.4 and not model.notes
    own = model.model.state_dict()
    assert all(own[name].equal(value) for name, value in weights.items())
    (answer,) = model.predict(np.full((60, 90, 3), 99, np.uint8), max_detections=5)
    assert answer.size == (90, 60) and len(answer) == 5 and answer.names[0] in model.classes
    assert model.found.run is None and model.found.folder("predictions") == tmp_path / "predictions"


def test_a_segmenter_and_a_pose_model(publish: Callable[..., Weights]) -> None:
    from trainer import load_model

    publish("segformer-b0")
    model = load_model("pretrained:segformer_mit-b0", "cpu")
    assert (model.task, len(model.classes), model.classes[0]) == ("semantic_segmentation", 150, "wall")
    (answer,) = model.predict(np.full((64, 96, 3), 99, np.uint8))
    assert answer.segmentation.shape == (64, 96)

    publish("rtmpose-t")
    model = load_model("pretrained:rtmpose-t", "cpu")
    assert model.task == "pose" and model.keypoints[:2] == ("nose", "left_eye") and len(model.skeleton) > 10
    (answer,) = model.predict(np.full((64, 96, 3), 99, np.uint8))
    assert answer.keypoints.shape == (1, 17, 3)


def test_what_is_not_the_whole_model_is_refused(publish: Callable[..., Weights]) -> None:
    from trainer import load_model

    publish("rtmdet-tiny", lambda weights: weights.pop("neck.out_convs.0.conv.weight"))
    with pytest.raises(CheckpointError, match=r"1 of \d+ tensors aren't in the file \(neck\.out_convs\.0"):
        load_model("pretrained:rtmdet-tiny", "cpu")

    def only_backbone(weights: Weights) -> None:
        for name in [name for name in weights if not name.startswith("backbone.")]:
            del weights[name]

    publish("rtmdet-tiny", only_backbone)
    with pytest.raises(CheckpointError, match=r"isn't all of rtmdet-tiny: it lacks .*neck"):
        load_model("pretrained:rtmdet-tiny", "cpu")


def test_what_can_not_be_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="there is no model 'rtmdet-z'.*'rtmdet-s'"):
        find_checkpoint("pretrained:rtmdet-z")
    monkeypatch.setattr("trainer.zoo.metafiles.weights_url", lambda base: None)
    with pytest.raises(ConfigError, match="pretrained:yolox-s: no weights are published for yolox-s"):
        find_checkpoint("pretrained:yolox-s")
