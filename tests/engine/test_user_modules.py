"""A backbone and a hook in modules of the user's own: named once, imported wherever they are needed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from toy import toy_config, toy_experiment, toy_fit

from trainer.core.errors import ConfigError
from trainer.engine.checkpoint.file import load
from trainer.runs.run import Run

BACKBONE = '''
"""Three feature maps, of a sixteenth of the channels that a real backbone computes."""
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import nn

@MODELS.register_module()
class TinyBackbone(BaseModule):
    def __init__(self, channels=(96, 192, 384)):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=8, padding=1)
        self.stages = nn.ModuleList(nn.Conv2d(8, c, 1, stride=2**i) for i, c in enumerate(channels))

    def forward(self, x):
        x = self.stem(x).relu()
        return tuple(stage(x) for stage in self.stages)
'''
HOOK = """
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

@HOOKS.register_module()
class Nothing(Hook):
    pass
"""
TRAIN = [
    "model=rtmdet-tiny", "task=detection", "dataset=digits", "dataset.scenes=8", "dataset.val_scenes=4",
    "dataset.scene_size=64", "dataset.image_size=64", "runtime.batch_size=4", "runtime.workers=0",
    "runtime.device=cpu", "augmentation=none", "tracking=none", "tracking.plots=false", "tracking.samples_every=0",
    "model.weights=none", "mm.model.backbone={_delete_: true, type: TinyBackbone}", "mm.custom_hooks=[{type: Nothing}]",
]  # fmt: skip


def test_a_backbone_of_ones_own_trains_resumes_evaluates_and_predicts(tmp_path: Path, forks: Any) -> None:
    forks.load("mmdet.models", "mmdet.datasets")
    for name, code in (("my_backbone", BACKBONE), ("my_hook", HOOK)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / f"{name}.py").write_text(code)
    both = {"PYTHONPATH": f"{tmp_path / 'my_backbone'}:{tmp_path / 'my_hook'}"}
    model_only = {"PYTHONPATH": str(tmp_path / "my_backbone")}

    def trainer(*argv: str, env: dict[str, str], code: int = 0) -> str:
        process = forks.trainer(tmp_path, *argv, env=env)
        assert process.wait() == code, process.output
        return process.output

    missing = trainer(*TRAIN, "imports=[my_backbone,my_hook]", env=model_only, code=2)
    assert "imports: there is no module 'my_hook'; put the folder that it lies in on PYTHONPATH" in missing

    trainer(*TRAIN, "imports=[my_backbone,my_hook]", "runtime.epochs=1", env=both)
    run = Run.find(tmp_path / "runs", "latest")
    assert run.facts["imports"] == ["my_backbone", "my_hook"]
    checkpoint = run.checkpoints / "last.pth"
    assert load(checkpoint)["meta"]["trainer"]["imports"] == ["my_backbone", "my_hook"]
    trainer(f"resume={run.id}", "runtime.epochs=2", env=both)
    assert json.loads((run.dir / "result.json").read_text())["epochs_completed"] == 2

    # The hook isn't needed any more, so its module may be missing.
    trainer("evaluate", "checkpoint=latest", "plots=false", "worst=0", env=model_only)
    trainer("predict", "checkpoint=latest", "max_images=1", "pictures=none", env=model_only)

    # Outside of its run, a checkpoint imports nothing by itself.
    foreign = tmp_path / "elsewhere" / "model.pth"
    foreign.parent.mkdir()
    shutil.copyfile(checkpoint, foreign)
    predict = ("predict", f"checkpoint={foreign}", f"source={_image(tmp_path)}", "pictures=none")
    refused = trainer(*predict, env=model_only, code=1)
    assert "'TinyBackbone' is not registered" in refused and "imports=[my_backbone]" in refused
    trainer(*predict, "imports=[my_backbone]", env=model_only)


def _image(folder: Path) -> Path:
    import cv2
    import numpy as np

    path = folder / "image.png"
    cv2.imwrite(str(path), np.zeros((64, 64, 3), np.uint8))
    return path


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (None, "ModuleNotFoundError: No module named 'lost_parts'"),
        ("import lost_dependency", "ModuleNotFoundError: No module named 'lost_dependency'"),
        ("def broken(:", r"SyntaxError: .*lost_parts\.py, line 1"),
    ],
)
def test_a_module_that_cannot_be_imported_is_a_config_error(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str | None, reason: str
) -> None:
    if code is not None:
        (tmp_path / "lost_parts.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    exp = toy_experiment(imports=["lost_parts"])
    with pytest.raises(
        ConfigError, match=rf"^imports: the module 'lost_parts' can't be imported \({reason}.*PYTHONPATH"
    ):
        toy_fit(run, exp, custom_imports={"imports": ["lost_parts"]})
    assert json.loads((run.dir / "result.json").read_text())["error"]["type"] == "ConfigError"


def test_a_part_that_nobody_registers_names_the_key(run: Run) -> None:
    with pytest.raises(ConfigError, match=r"'MyHook' is not registered: a typo, or .* imports=\["):
        toy_fit(run, epochs=1, hooks=[{"type": "MyHook"}])


def test_spawned_workers_import_the_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from trainer.engine.distributed.ranks import Ranks
    from trainer.engine.runner import runner_config
    from trainer.engine.worker_seeds import seeds_from_torch

    cfg = toy_config(custom_imports={"imports": ["my_transforms", "mmdet.models"]})
    settings = runner_config(cfg, toy_experiment(), "run", tmp_path, None, Ranks())
    options = dict(settings.train_dataloader.worker_init_fn)
    assert options == {"type": "seeds_from_torch", "imports": ["my_transforms"]}
    (tmp_path / "my_transforms.py").write_text("imported = True")
    monkeypatch.syspath_prepend(str(tmp_path))
    seeds_from_torch(0, imports=options["imports"])
    import sys

    assert sys.modules.pop("my_transforms").imported
