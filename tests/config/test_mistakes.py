"""Each kind of mistake is named, with what to write instead, and all of them at once."""

from __future__ import annotations

from typing import Any

import pytest

from trainer.config.compose import compose
from trainer.core.errors import ConfigError
from trainer.schema import COMMANDS, Experiment
from trainer.schema.fields import Field, fields_of


def message(*overrides: str, command: str = "train") -> str:
    with pytest.raises(ConfigError) as caught:
        compose(command, list(overrides))
    return caught.value.message


def test_all_mistakes_at_once_in_the_order_typed() -> None:
    text = message("modle=rtmdet-s", "optimizer.lr=abc", "dataset=digitz")
    lines = text.splitlines()
    assert lines[0].startswith("3 mistakes")
    assert lines[1].startswith("  1. modle=rtmdet-s: there is no key 'modle'. Did you mean 'model'")
    assert lines[2] == "  2. optimizer.lr=abc: expected a number > 0, got 'abc'."
    assert lines[3].startswith("  3. dataset=digitz: there is no dataset 'digitz'. Did you mean 'digits'")


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        # keys
        (["epochs=3"], "Did you mean 'runtime.epochs'"),
        (["runtime.epoch=3"], "Did you mean 'runtime.epochs'"),
        (["batch=3"], "'runtime.batch_size'"),
        (["optimizer.lr.x=3"], "there is no key 'optimizer.lr.x'"),
        (["qwertyuiop=1"], "Groups: augmentation"),
        (["+made.up=1"], "there is no key 'made.up'"),
        # forms
        (["=3"], "expected key=value"),
        (["mm.a={b:1"], "can't be read"),
        (["+experiment=digits"], "write experiment=digits"),
        (["+optimizer.lr=1"], "write optimizer.lr=1"),
        (["~tracking"], "write tracking=none"),
        (["~optimizer.lr"], "write optimizer.lr=null"),
        (["optimizer@foo=adam"], "write optimizer="),
        (["optimizer.name=adam"], "write optimizer=adam"),
        (["~mm.nothing"], "mm.nothing"),
        (["mm=3"], "expected a mapping"),
        (["optimizer.lr=1,2"], "add -m"),
        (["model=fcn-r50,pspnet-r50"], "add -m"),
        (["model=fcn-r50", "model=pspnet-r50"], "chosen twice"),
        # choices
        (["optimizer=adamm"], "Did you mean 'adam'"),
        (["model=rtmdet-ss"], "Did you mean 'rtmdet-s'"),
        (["model=mmdet/rtmdet/rtmdet_s_8xb32-300e"], "'mmdet/rtmdet/rtmdet_s_8xb32-300e_coco'"),
        (["model=null"], "expected the name of one model"),
        (["runtime.device=cuda"], "expected one of auto, cpu, gpu"),
        (["runtime.amp=fp17"], "Did you mean 'fp16'"),
        (["task.primary_metric=mAP5"], "'mAP50'"),
        # values
        (["runtime.epochs=0"], "expected an integer >= 1, got 0"),
        (["runtime.batch_size=1.5"], "expected an integer"),
        (["optimizer.lr=nan"], "expected a number"),
        (["runtime.compile=maybe"], "expected true or false"),
        (["augmentation.scaling=[2,1]"], "smallest, largest"),
        (["optimizer.betas=[0.9]"], "two numbers"),
        (["scheduler=multistep", "scheduler.milestones=[8,4]"], "ascending"),
        (["dataset.image_size=[1,2,3]"], "[width, height]"),
        (["runtime.seed=null"], "got null"),
        (["model.freeze=some"], "expected backbone, or an integer >= -1, got 'some'"),
        (["optimizer.layer_decay=2"], "expected a number > 0 and <= 1"),
        # what doesn't go together
        (
            ["model=segformer-b0", "task=detection"],
            "can't do task=detection; it is for semantic_segmentation",
        ),
        (
            ["optimizer=adamw", "optimizer.momentum=0.9"],
            "optimizer.momentum belongs to optimizer=sgd, not to optimizer=adamw",
        ),
        (
            ["scheduler=cosine", "scheduler.gamma=0.5"],
            "scheduler.gamma belongs to scheduler=step or multistep, not to scheduler=cosine",
        ),
        (["scheduler.warmup_iters=5", "scheduler.warmup_epochs=1"], "give one of them"),
        (["launcher.partition=gpu"], "launcher.partition belongs to launcher=slurm, not to launcher=local"),
        (["task=pose", "augmentation=mosaic"], "can't be used with task=pose"),
        (["task=pose", "augmentation.mixup=true"], "ignored with task=pose"),
        (["runtime=cpu", "runtime.amp=fp16"], "needs a GPU"),
        (["dataset=coco"], "dataset.path is missing"),
        (
            ["dataset=coco", "dataset.path=x", "dataset.scenes=5"],
            "dataset.scenes belongs to dataset=digits, not to dataset=coco",
        ),
        (["model.base=mmdet::nothing/here.py"], "no such config"),
        (["model.base=mmwhat::nothing/here.py"], "mmdet, mmseg, mmpose"),
        (
            ["model=mmdet/bytetrack/bytetrack_yolox_x_8xb4-80e_crowdhuman-mot17halftrain_test-mot17halfval"],
            "tasks",
        ),
    ],
)
def test_a_mistake_says_what_to_write_instead(typed: list[str], expected: str) -> None:
    text = message(*typed)
    assert expected in text
    assert "Traceback" not in text
    assert "\n" not in text, "one mistake, one line"


def test_other_commands() -> None:
    assert "checkpoint is missing" in message(command="evaluate")
    assert "evaluate has no group 'model'" in message("model=fcn-r50", "checkpoint=x", command="evaluate")
    assert "there is no mm here" in message("mm.a=1", "checkpoint=x", command="export")
    assert "expected one of train, val, test" in message("checkpoint=x", "split=all", command="evaluate")


def wrong_value(leaf: Field) -> str:
    """A value that no leaf of this type takes."""
    kind = str(leaf.type)
    if kind.startswith("dict"):
        return "3"
    if "str" in kind and not leaf.metadata.get("choices"):
        return "{a: 1}"
    return "[{a: 1}]"


SCHEMAS = {
    command: schema for command, schema in COMMANDS.items() if command not in ("show", "check")
}  # they are train
LEAVES = [(command, leaf) for command, schema in SCHEMAS.items() for leaf in fields_of(schema).values()]


@pytest.mark.parametrize(("command", "leaf"), LEAVES, ids=[f"{c}-{leaf.key}" for c, leaf in LEAVES])
def test_each_leaf_refuses_another_type_and_names_itself(command: str, leaf: Field) -> None:
    text = message(f"{leaf.key}={wrong_value(leaf)}", command=command)
    assert f"{leaf.key}=" in text
    assert "expected" in text or "the name follows the choice" in text


@pytest.mark.parametrize("leaf", [leaf for _, leaf in LEAVES], ids=[leaf.key for _, leaf in LEAVES])
def test_each_leafs_limits_hold_and_its_default_fits(leaf: Field) -> None:
    assert leaf.complaint(leaf.default) is None
    # Lists are built from the limit itself: each number counts.
    for name, beyond in (("ge", -0.5), ("le", 0.5), ("gt", 0.0)):
        if name in leaf.metadata:
            assert leaf.complaint(_like(leaf, leaf.metadata[name] + beyond)) is not None


def _like(leaf: Field, number: float) -> Any:
    if leaf.metadata.get("kind") in ("pair", "range"):
        return [number, number]
    if "list" in str(leaf.type):
        return [number]
    return int(number) if "int" in str(leaf.type) and number == int(number) else number


def test_saved_values_are_as_strict_as_typed_ones() -> None:
    assert fields_of(Experiment)["runtime.amp"].complaint(False) is not None
    assert fields_of(Experiment)["runtime.amp"].complaint("off") is None
