"""Every config of the three packages: lossless without differences, bridged with the digits data set."""

from __future__ import annotations

import contextlib
from collections import Counter

import pytest
from mmengine.config import Config

from tests.mmconfig.bases import make_bundle, make_experiment
from trainer.catalog.build_worker import read_each_file_once
from trainer.config_tree.base_config import load_base
from trainer.config_tree.config_files import config_path, list_configs
from trainer.core.errors import ConfigError
from trainer.engine.config_text import config_text
from trainer.mmconfig.build_config import build_config
from trainer.mmconfig.task import predicts_masks

pytestmark = pytest.mark.slow
PACKAGES = ("mmdet", "mmseg", "mmpose")


@pytest.fixture(scope="module", autouse=True)
def files_read_once():
    """MMEngine parses each config file once: most bases inherit the same few files, and parsing is most of the time."""
    original = Config.__dict__["_file2dict"]
    read_each_file_once()
    yield
    Config._file2dict = original


def loadable(package):
    """Every base that mmengine can load and that has a model, with what mmengine makes of it."""
    for relative in list_configs(package):
        base = f"{package}::{relative}"
        try:
            loaded = Config.fromfile(str(config_path(base)), import_custom_modules=False)
        except Exception:
            continue
        if "model" in loaded:
            yield base, loaded


def models(package):
    """The same bases, with what is in their model section."""
    for relative in list_configs(package):
        base = f"{package}::{relative}"
        with contextlib.suppress(ConfigError):
            yield base, load_base(base)["model"]


@pytest.mark.parametrize("package", PACKAGES)
def test_no_differences_give_back_the_same_config(package):
    count = 0
    for base, loaded in loadable(package):
        ours = build_config(make_experiment(base)).config().to_dict()
        assert same(ours, loaded.to_dict()), base
        count += 1
        if count % 20 == 0:
            scope: dict = {}
            exec(config_text(ours), scope)
            assert same({key: scope[key] for key in ours}, ours), base
    assert count > 300


@pytest.mark.parametrize(("package", "least"), [("mmdet", 700), ("mmseg", 655), ("mmpose", 370)])
def test_bases_take_the_digits_or_say_why_not(package, least):
    bridged, refused = 0, Counter()
    for base, model in models(package):
        task = {"mmseg": "semantic_segmentation", "mmpose": "pose"}.get(package)
        task = task or ("instance_segmentation" if predicts_masks(model) else "detection")
        exp = make_experiment(base, task, dataset__image_size=96, runtime__epochs=3, runtime__batch_size=8)
        try:
            build_config(exp, make_bundle(task))
            bridged += 1
        except ConfigError as error:
            refused[str(error).split("\n")[0]] += 1
    assert bridged >= least, f"{bridged} bridged; refused: {refused.most_common()}"
    print(f"{package}: {bridged} bridged; refused: {refused.most_common()}")


def same(a, b):
    """Equal in value and in type, at every depth; some bases fill a dict from a set, so order doesn't count."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b or a != a
