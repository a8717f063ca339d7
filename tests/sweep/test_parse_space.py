"""A sweep's words and files, read and checked before the first trial."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trainer.config.compose import compose
from trainer.core.errors import ConfigError
from trainer.schema import TASKS
from trainer.schema.conf_folders import Conf, conf_dir
from trainer.sweep.space import SweepPlan, make_plan
from trainer.sweep.space.combinations import FEW, samples


def plan(*words: str, command: str = "train", conf: Conf | None = None) -> SweepPlan:
    return make_plan(command, words, conf)


def mistakes(*words: str, conf: Conf | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        plan(*words, conf=conf)
    return caught.value.message


def file(folder: Path, text: str) -> Conf:
    (folder / "sweep").mkdir(exist_ok=True)
    (folder / "sweep" / "mine.yaml").write_text(f"name: mine\nsampler: tpe\n{text}")
    return Conf([conf_dir(), folder])


def test_the_issues_own_example() -> None:
    found = plan(
        "sweep=optuna", "model=RTMDet_S", "optimizer.lr=interval(1e-4,1e-1)", "optimizer=choice(sgd,AdamW)"
    )
    assert found.space.fixed == ("model=rtmdet-s",)
    assert {one.name: one.kind for one in found.space.parameters} == {
        "optimizer.lr": "float",
        "optimizer": "categorical",
    }
    assert found.space.parameters[1].choices == ("sgd", "adamw")
    assert (found.n_trials, found.objectives[0].name) == (20, "mAP50-95")
    assert found.config.model.name == "rtmdet-s"


def test_a_choice_brings_its_own_keys() -> None:
    """optimizer.momentum is for sgd, so says the schema; no word about it is needed."""
    found = plan("optimizer=sgd,adamw", "optimizer.momentum=0.8,0.9", "optimizer.nesterov=true")
    assert [found.space.words(values) for values in found.space.grid()] == [
        ["optimizer=sgd", "optimizer.momentum=0.8", "optimizer.nesterov=true"],
        ["optimizer=sgd", "optimizer.momentum=0.9", "optimizer.nesterov=true"],
        ["optimizer=adamw"],
    ]
    assert "none of optimizer=adam,adamw looks at it" in mistakes(
        "optimizer=adam,adamw", "optimizer.momentum=0,0.9"
    )
    assert "belongs to optimizer=sgd, not to optimizer=adamw" in mistakes(
        "optimizer=adamw", "optimizer.momentum=0.8,0.9"
    )


def test_all_mistakes_come_at_once() -> None:
    text = mistakes(
        "sweep=optuna",
        "task=detection",
        "model=segformer-b0,rtmdet-s",
        "optimizer.lr=abc,1",
        "optimizr.momentum=0,1",
        "runtime.epochs=interval(2,8)",
        "runtime.seed=range(5,1)",
        "dataset=digitz,digits",
        "mm.x=tag(lo,interval(1,2))",
        "sweep.sampler_options.n_startup_trial=3",
        "sweep.constraints=['paramters <= 1','a <']",
        "sweep.objectives=[mAP51]",
        "sweep.pruner=threshold",
        "sweep.workers=2,3",
    )
    assert text.startswith("13 mistakes")
    for part in (
        "segformer-b0 can't do task=detection",
        "expected a number > 0, got 'abc'",
        "Did you mean 'optimizer.momentum'",
        "Whole numbers: int(interval(2,8))",
        "gives no value",
        "Did you mean 'digits'",
        "Did you mean 'log'",
        "Did you mean 'n_startup_trials'",
        "Did you mean 'parameters'",
        "expected a name or a number",
        "detection has no 'mAP51'",
        "lower or .upper is missing",
        "a sweep's own keys take one value",
    ):
        assert part in text, part


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["optimizer.lr=interval(1e-4,1)"], "sweep=optuna"),
        (["sweep=optuna"], "nothing is searched"),
        (["sweep=optuna", "optimizer.lr=interval(0,1)"], "expected a number > 0, got 0"),
        (["sweep=optuna", "augmentation.flip=interval(0,1.5)"], "<= 1, got 1.5"),
        (["sweep=optuna", "runtime.epochs=range(0,3)"], ">= 1, got 0"),
        (["sweep=optuna", "model=glob(rtmdet-*)"], "add task="),
        (["sweep=optuna", "model=glob(nothing*)"], "none matches"),
        (
            ["sweep=optuna", "sweep.pruner=median", "sweep.objectives=[primary,params]", "runtime.seed=1,2"],
            "pruning",
        ),
        (["runtime.seed=1,2", "sweep.constraints=['runtime.seed > 2']"], "fulfils sweep.constraints"),
        (["runtime.device=cpu,gpu", "runtime.amp=fp16,bf16"], "runtime.amp=fp16 needs a GPU"),
        (["model=rtmdet-s,RTMDet_S"], "rtmdet-s is given twice"),
    ],
)
def test_mistakes(words: list[str], message: str) -> None:
    assert message in mistakes(*words)


def test_a_glob_takes_what_can_do_the_task() -> None:
    found = plan("sweep=optuna", "task=instance_segmentation", "model=glob(rtmdet-*)")
    assert all(choice.startswith("rtmdet-ins-") for choice in found.space.parameters[0].choices)


def test_what_is_typed_wins_over_a_file(tmp_path: Path) -> None:
    conf = file(
        tmp_path,
        """params:
  optimizer: choice(sgd, adamw)
  optimizer.lr if optimizer=sgd: interval(1e-3, 1)
  optimizer.lr if optimizer=adamw: tag(log, interval(1e-5, 1e-2))
  runtime.batch_size: [2, 4]
  runtime.ema: false
""",
    )
    found = plan("sweep=mine", conf=conf)
    assert [one.name for one in found.space.parameters] == [
        *(
            "optimizer",
            "optimizer.lr if optimizer=sgd",
            "optimizer.lr if optimizer=adamw",
            "runtime.batch_size",
        )
    ]
    assert found.space.fixed == ("runtime.ema=false",)
    values = {"optimizer": "adamw", "optimizer.lr if optimizer=adamw": 1e-3, "runtime.batch_size": 4}
    assert found.space.words(values) == [
        *("runtime.ema=false", "optimizer=adamw", "optimizer.lr=0.001", "runtime.batch_size=4")
    ]
    typed = plan("sweep=mine", "optimizer=adamw", "runtime.batch_size=8", conf=conf).space
    assert [(one.name, one.when) for one in typed.parameters] == [("optimizer.lr", ())]
    assert typed.parameters[0].log
    searched = plan("sweep=mine", "optimizer.lr=interval(1,2)", conf=conf).space
    assert [one.name for one in searched.parameters] == ["optimizer.lr", "optimizer", "runtime.batch_size"]


def test_conditions_of_a_file(tmp_path: Path) -> None:
    conf = file(
        tmp_path,
        """params:
  mm.a if scheduler=poly: interval(1, 2)
  optimizer.lr: interval(1e-3, 1)
  optimizer.momentum if task=pose: interval(0, 1)
  scheduler: choice(cosine, poly)
  augmentation.flip if runtime.seed=0: choice(0.0, 0.5)
""",
    )
    names = [one.name for one in plan("sweep=mine", "experiment=digits", conf=conf).space.parameters]
    assert names == ["optimizer.lr", "scheduler", "mm.a", "augmentation.flip"]
    assert "augmentation.flip" not in [
        one.name for one in plan("sweep=mine", "runtime.seed=1", conf=conf).space.parameters
    ]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (
            "optimizer: choice(sgd, adamw) | optimizer.lr if optimizer=sdg: interval(1,2)",
            "Did you mean 'sgd'",
        ),
        ("optimizer: choice(sgd, adamw) | optimizer.lr if optimizer=adam: interval(1,2)", "is never adam"),
        ("optimizer.lr if optimzer=sgd: interval(1,2)", "there is no key 'optimzer'"),
        ("optimizer.lr if optimizer: interval(1,2)", "expected key, or 'key if other=value'"),
        ("mm.a if mm.b=1: choice(1, 2) | mm.b if mm.a=1: choice(1, 2)", "round in a circle"),
        ("mm.a if mm.a=1: choice(1, 2)", "can't depend on itself"),
        ("mm.a if runtime.seed=0: choice(1, 2) | mm.a: choice(3, 4)", "mm.a: is searched twice"),
        ("optimizer.lr: {low: 1, hihg: 2}", "Did you mean 'high'"),
        ("optimizr.lr: interval(1,2)", "Did you mean 'optimizer.lr'"),
        ("optimizer.lr: interval(1,", "can't be read"),
        ("sweep.seed: choice(1,2)", "can't search its own keys"),
    ],
)
def test_mistakes_in_a_file(params: str, message: str, tmp_path: Path) -> None:
    lines = "".join(f"  {line}\n" for line in params.split(" | "))
    assert message in mistakes("sweep=mine", conf=file(tmp_path, f"params:\n{lines}"))


def test_constraints_are_about_known_figures(tmp_path: Path) -> None:
    words = ["runtime.batch_size=2,4,8", "dataset.scenes=10,20"]
    found = plan(
        *words, "sweep.constraints=['runtime.batch_size * dataset.scenes * dataset.val_ratio <= 16']"
    )
    assert [found.space.figures(values)["runtime.batch_size"] for values in found.space.grid()] == [
        2,
        2,
        4,
        4,
        8,
    ]
    assert found.n_trials == 5
    assert found.space.refused({"runtime.batch_size": 8, "dataset.scenes": 20})
    text = mistakes(*words, "sweep.constraints=['optimizer.lr <= 1']")
    assert "optimizer.lr is not searched and has no number" in text


def test_other_commands_have_grids_too() -> None:
    found = plan("checkpoint=a,b", "split=val", command="evaluate")
    assert [found.space.words(values) for values in found.space.grid()] == [
        ["split=val", "checkpoint=a"],
        ["split=val", "checkpoint=b"],
    ]
    assert found.objectives == ()


def test_mappings_can_be_typed_too() -> None:
    found = plan(
        "sweep=lr_schedule",
        "sweep.params={runtime.seed: [1,2]}",
        "sweep.sampler_options={n_startup_trials: 4}",
        "sweep.pruner_options.n_warmup_steps=3",
    )
    assert {"runtime.seed", "scheduler"} <= {one.key for one in found.space.searched}  # added to the file's
    assert found.sweep.sampler_options == {"n_startup_trials": 4}
    assert found.sweep.pruner_options == {"n_warmup_steps": 3}


def test_the_sweeps_own_words_are_for_no_trial() -> None:
    found = plan("sweep.max_failures=2", "hydra.verbose=true", "sweep.n_trials=3", "runtime.seed=1,2,3,4")
    assert found.space.fixed == ()
    assert (found.n_trials, found.sweep.max_failures) == (3, 2)


PRESETS = sorted({"lr_schedule", "augmentation", "size_speed", *TASKS})


@pytest.mark.parametrize("task", TASKS)
def test_ready_spaces_compose_with_their_tasks(task: str) -> None:
    for name in ("lr_schedule", "augmentation", "size_speed", task):
        found = plan(f"sweep={name}", f"task={task}")
        assert found.sweep.name == name
        assert found.config.task.name == task
        assert len(found.space.searched) >= 2
        assert len(found.objectives) == (2 if name == "size_speed" else 1)


def test_every_ready_space_is_one_of_those() -> None:
    assert set(Conf().groups["sweep"]) == {"grid", "optuna", *PRESETS}


def test_many_combinations_are_composed_by_groups() -> None:
    groups: dict[str, Any] = Conf().groups
    space = plan("sweep=detection", "task=detection").space
    tried = list(samples(space, groups))
    assert len(tried) < FEW
    seen = {(values["scheduler"], values["augmentation"]) for values in tried}
    assert len(seen) == 8
    assert {values["runtime.batch_size"] for values in tried} == {4, 8, 16}


def test_words_of_a_trial_compose_to_its_values() -> None:
    found = plan(
        "experiment=digits",
        "optimizer=sgd,adamw",
        "mm.a=1,[1,2],'x y',null",
        "augmentation.scaling=[1,2],null",
    )
    for values in list(found.space.grid())[::5]:
        config = compose("train", found.space.words(values))[0]
        assert config.optimizer.name == values["optimizer"]
        assert config.mm["a"] == {"[1,2]": [1, 2]}.get(values["mm.a"], values["mm.a"])
        assert config.augmentation.scaling == {"[1,2]": [1, 2]}.get(values["augmentation.scaling"])


def test_the_pages_own_file_is_a_space(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "sweeps-spaces.md").read_text()
    text = page.partition("```yaml\n")[2].partition("```")[0]
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "mine.yaml").write_text(text)
    found = plan("sweep=mine", "experiment=digits", conf=Conf([conf_dir(), tmp_path]))
    assert found.n_trials == 40
    assert {one.key for one in found.space.searched} == {
        *("optimizer", "optimizer.lr", "optimizer.momentum", "optimizer.weight_decay", "runtime.batch_size")
    }
