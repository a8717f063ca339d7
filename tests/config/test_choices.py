"""Each choice has a class of its own, and the keys follow from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainer.config.compose import compose
from trainer.core.errors import ConfigError
from trainer.schema import LocalConfig, SlurmConfig
from trainer.schema.choices import GROUPS, choice_class, options_from
from trainer.schema.conf_folders import Conf, conf_dir


@pytest.mark.parametrize("group", GROUPS)
def test_every_choice_of_conf_has_its_class(group: str) -> None:
    assert set(GROUPS[group].classes) == set(Conf([conf_dir()]).groups[group])
    for name, schema in GROUPS[group].classes.items():
        assert issubclass(schema, GROUPS[group].base) and choice_class(group, name) is schema


def test_a_composed_group_is_of_the_chosen_class() -> None:
    assert type(compose("train", [])[0].launcher) is LocalConfig
    config, tree = compose("train", ["launcher=slurm", "launcher.partition=gpu"])
    assert type(config.launcher) is SlurmConfig and config.launcher.partition == "gpu"
    assert "image" not in tree.launcher and "partition" not in compose("train", [])[1].launcher


def test_free_mappings_take_any_key() -> None:
    typed = ["launcher=slurm", "launcher.sbatch.reservation=mine", "launcher.sbatch.mail-type=END"]
    assert compose("train", typed)[0].launcher.sbatch == {"reservation": "mine", "mail-type": "END"}
    typed = ["launcher=ray", "launcher.runtime_env.env_vars.A=1", "launcher.resources.a100=1"]
    launcher = compose("train", typed)[0].launcher
    assert (launcher.runtime_env, launcher.resources) == ({"env_vars": {"A": 1}}, {"a100": 1})
    with pytest.raises(ConfigError, match=r"launcher\.sbatch belongs to launcher=slurm, not to launcher=ray"):
        compose("train", ["launcher=ray", "launcher.sbatch.reservation=mine"])


def test_an_experiments_keys_of_a_replaced_choice_are_dropped(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    text = "# @package _global_\ndefaults:\n  - override /optimizer: sgd\noptimizer:\n  momentum: 0.8\n  lr: 0.5\n"
    (tmp_path / "experiment" / "mine.yaml").write_text(text)
    conf = Conf([conf_dir(), tmp_path])
    assert compose("train", ["experiment=mine"], conf=conf)[0].optimizer.momentum == 0.8
    optimizer = compose("train", ["experiment=mine", "optimizer=adam"], conf=conf)[0].optimizer
    assert optimizer.lr == 0.5 and not hasattr(optimizer, "momentum")


def test_a_key_of_another_choice_may_be_null() -> None:
    assert compose("train", ["optimizer=adamw", "optimizer.momentum=null"])[0].optimizer.name == "adamw"


def test_a_file_below_another_has_its_class(tmp_path: Path) -> None:
    (tmp_path / "optimizer").mkdir()
    (tmp_path / "optimizer" / "mine.yaml").write_text("defaults:\n  - adamw\neps: 1e-6\n")
    config, _ = compose(
        "train", ["optimizer=mine", "optimizer.amsgrad=true"], conf=Conf([conf_dir(), tmp_path])
    )
    assert (type(config.optimizer).__name__, config.optimizer.eps) == ("AdamWOptimizer", 1e-6)


def test_saved_options_lose_what_their_class_does_not_have() -> None:
    saved = {"name": "slurm", "partition": "gpu", "image": None, "num_gpus": 0.0}
    assert options_from("launcher", saved) == SlurmConfig(partition="gpu")
