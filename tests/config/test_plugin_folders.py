"""What an installed package adds by its configuration folder and its entry points."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from trainer.cli.completion import matches
from trainer.cli.help import help_text
from trainer.config.compose import compose
from trainer.config.env_references import origin
from trainer.core.errors import ConfigError
from trainer.schema.conf_folders import Conf
from trainer.sweep.space import make_plan
from trainer.zoo.model_names import ModelNames

FILES = {
    "flux_trainer-1.0.dist-info/entry_points.txt": """\
[trainer.conf]
flux = flux_trainer.conf
[trainer.launchers]
flux = flux_trainer.launcher:Flux
[trainer.formats]
tiles = flux_trainer.tiles
""",
    "flux_trainer/__init__.py": "",
    "flux_trainer/tiles.py": "",
    "flux_trainer/launcher.py": """\
from dataclasses import dataclass
from trainer.schema import LauncherConfig, typed_field

@dataclass
class FluxConfig(LauncherConfig):
    queue: str | None = typed_field(None, "Flux's queue")
    slots: int = typed_field(1, "slots", ge=1)

class Flux:
    config_class = FluxConfig
""",
    "flux_trainer/conf/launcher/flux.yaml": "name: flux\n",
    "flux_trainer/conf/dataset/tiles.yaml": "name: tiles\nformat: tiles\n",
    "flux_trainer/conf/experiment/theirs.yaml": "# @package _global_\ndefaults:\n  - digits\nruntime:\n  epochs: 9\n",
    "flux_trainer/conf/model/their-model.yaml": (
        "name: their-model\nbase: mmdet::rtmdet/rtmdet_s_8xb32-300e_coco.py\ntasks: [detection]\n"
    ),
}


@pytest.fixture(autouse=True)
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "flux_trainer"]:
        del sys.modules[name]


def test_its_choices_compose() -> None:
    typed = ["model=their_model", "experiment=theirs", "launcher=flux", "launcher.queue=debug"]
    config, tree = compose("train", typed)
    assert (config.model.name, config.runtime.epochs, config.launcher.queue) == ("their-model", 9, "debug")
    assert set(tree.launcher) == {"name", "dry_run", "env", "queue", "slots"}
    assert origin(config).config_dirs == ()
    typed = ["dataset=tiles", "dataset.path=x", "dataset.classes=[a]"]
    assert compose("train", typed)[0].dataset.format == "tiles"
    assert compose("evaluate", [*typed, "checkpoint=latest"])[0].dataset.format == "tiles"


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["launcher=flux", "launcher.slots=0"], "expected an integer >= 1, got 0"),
        (["launcher=flux", "launcher.queu=a"], "Did you mean 'launcher.queue'"),
        (["launcher=flux", "launcher.partition=a"], "belongs to launcher=slurm, not to launcher=flux"),
        (["launcher=fluxx"], "Did you mean 'flux'"),
        (["dataset=tiles"], "dataset.path is missing"),
    ],
)
def test_its_keys_are_checked(typed: list[str], expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose("train", typed)
    assert expected in caught.value.message


def test_its_choices_are_listed_and_completed() -> None:
    conf = Conf()
    assert "flux" in help_text(conf=conf) and "tiles" in help_text("evaluate", conf)
    assert matches("trainer launcher=fl", conf) == ["launcher=flux"]
    assert matches("trainer model=their", conf) == ["model=their-model"]
    assert matches("trainer launcher=flux launcher.q", conf) == ["launcher.queue="]
    assert "their-model" in {model.name for model in ModelNames(conf).named}


def test_its_choices_are_swept() -> None:
    plan = make_plan("train", ["launcher=flux", "launcher.slots=1,2", "model=rtmdet-s,their-model"], None)
    words = [plan.space.words(values) for values in plan.space.grid()]
    assert len(words) == 4 and plan.config.launcher.slots == 1
    assert ["launcher.slots=2", "launcher=flux", "model=their-model"] in [sorted(trial) for trial in words]
