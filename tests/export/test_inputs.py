"""How an image becomes a file's input can be told for every model there is."""

import copy

import pytest

from tests.mmconfig.bases import build
from trainer.config_tree.traverse import leaf_dataset, type_name
from trainer.core.errors import FrameworkError
from trainer.export.inputs import input_of
from trainer.schema.conf_folders import Conf

MODELS = sorted(Conf().groups["model"])


def _config(model, size):
    facts = Conf().read("model", model)
    return build(facts["base"], facts["tasks"][0], dataset__image_size=size)


def _input(config, size=None):
    return input_of(config, size, batch=None, dynamic_size=False, preprocess=False)


@pytest.mark.parametrize("model", MODELS)
def test_every_model_says_what_it_takes(model):
    given = _input(_config(model, [192, 192]))
    side = 224 if given["resize"] == "border" else 192  # the next larger multiple of 32
    assert given["size"] == [side, side]
    assert min(given["std"]) > 0 and all(0 <= value <= 255 for value in given["pad_value"])


def test_a_bordered_input():
    config = _config("centernet-r18", [150, 100])
    assert _input(config)["size"] == [160, 128] and _input(config)["pad_value"] == [0.0] * 3
    assert _input(config, (640, 480))["size"] == [640, 480]
    other = copy.deepcopy(config)
    for step in leaf_dataset(other["val_dataloader"])["pipeline"]:
        if type_name(step) == "RandomCenterCropPad":
            step["test_pad_mode"] = ["size_divisor", 32]
    with pytest.raises(FrameworkError, match="RandomCenterCropPad"):
        _input(other)
