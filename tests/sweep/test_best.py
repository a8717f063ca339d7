"""best.yaml composes to what the best trial was trained with."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from tests.sweep.made_up import made_up
from trainer.config.compose import compose
from trainer.core.yaml_io import load_yaml
from trainer.sweep.folder import SweepFolder
from trainer.sweep.report.best import best_row, write_best
from trainer.sweep.report.results import read_results

NOT_IT = ("output_dir", "tracking", "callback", "launcher", "sweep", "id", "resume")


def configuration(*words: str) -> dict[str, Any]:
    config, _ = compose("train", list(words), runnable=False)
    config.debug.name = ""  # a short-cut's name, which a recipe can't choose; what it means must be there
    return {key: value for key, value in dataclasses.asdict(config).items() if key not in NOT_IT}


def written(folder: SweepFolder) -> Path:
    return write_best(read_results(folder))[0]


@pytest.mark.parametrize(
    ("fixed", "words"),
    [
        (
            ["experiment=digits"],
            ["optimizer=sgd", "optimizer.lr=0.0123456789012345678", "scheduler=constant"],
        ),
        ([], ["task=pose", "runtime.seed=3"]),
        ([], ["model=segformer-b0", "augmentation=light"]),
        (["experiment=digits_pose"], ["model=fcn-r50"]),
        (["experiment=digits"], ["model=mmdet/rtmdet/rtmdet_s_8xb32-300e_coco"]),
        # A key that is typed may clear another: so may a recipe's.
        (["experiment=digits"], ["scheduler.warmup_epochs=1"]),
        (
            ["experiment=digits", "dataset.image_size=[128,96]", "'name=my run'"[1:-1]],
            ["mm.train_pipeline.RandomFlip.prob=0.25", "mm.a=[1,2]", "runtime.amp=null", "mm.text='1e3'"],
        ),
        (["experiment=digits", "debug=one_batch"], ["optimizer.lr=0.5", "runtime.epochs=7"]),
    ],
)
def test_a_recipe_is_what_was_typed(tmp_path: Path, fixed: list[str], words: list[str]) -> None:
    typed = [*fixed, f"output_dir={tmp_path}", "tracking=none"]
    folder = made_up(tmp_path / "runs" / "sweeps" / "mine", trials=2, fixed=typed)
    rows = folder.read_trials()
    folder.write_trials([{**row, "words": words} for row in rows])
    path = written(folder)
    assert configuration(f"experiment={path}") == configuration(*typed, *words)
    content = load_yaml(path)
    assert "output_dir" not in content and "tracking" not in content
    assert path.read_text().startswith("# @package _global_\n# The best of sweep mine, trial 1 (of 2)")


def test_a_recipe_may_begin_with_a_recipe(tmp_path: Path) -> None:
    first = tmp_path / "first.yaml"
    first.write_text(
        "# @package _global_\ndefaults:\n  - digits\n  - override /model: yolox-tiny\nname: mine\n"
    )
    folder = made_up(tmp_path / "runs" / "sweeps" / "mine", trials=2, fixed=[f"experiment={first}"])
    words = folder.read_trials()[1]["words"]
    assert configuration(f"experiment={written(folder)}") == configuration(f"experiment={first}", *words)


def test_secrets_are_asked_for_again(tmp_path: Path) -> None:
    folder = made_up(
        tmp_path / "runs" / "sweeps" / "mine", trials=2, fixed=["experiment=digits", "mm.api_key=***"]
    )
    text = written(folder).read_text()
    assert "# Secrets are not saved; type mm.api_key again." in text and "api_key:" not in text


def test_of_several_objectives_the_knee_and_each_of_the_front(tmp_path: Path) -> None:
    folder = made_up(tmp_path / "runs" / "sweeps" / "mine", "mAP50-95", "latency")
    results = read_results(folder)
    knee = best_row(results)
    assert knee is not None
    front = {row["number"] for row in results.best}
    best, *others = write_best(results)
    assert {path.stem for path in others} == set(map(str, front)) and len(front) > 2
    assert f"trial {knee['number']} (of 24)" in best.read_text()
    for name, ends in (("mAP50-95", max), ("latency", min)):
        # Not one of the front's ends, which are the best of one objective and the worst of the other.
        assert knee["values"][name] != ends(row["values"][name] for row in results.best)
    # A trial that is no longer on the front keeps no recipe.
    (folder.dir / "pareto" / "999.yaml").write_text("")
    write_best(results)
    assert not (folder.dir / "pareto" / "999.yaml").exists()


def test_nothing_is_written_while_nothing_is_complete(tmp_path: Path) -> None:
    assert write_best(read_results(made_up(tmp_path / "runs" / "sweeps" / "mine", trials=1))) == []
