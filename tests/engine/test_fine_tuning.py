"""Fine-tuning through the command line: a previous run's weights, its first stages frozen, rates by stage."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch

ROOT = Path(__file__).parents[2]


def test_frozen_stages_of_a_previous_run_stay_as_they_are(
    trained_run: Callable[[str], Path], tmp_path: Path
) -> None:
    before = trained_run("semantic_segmentation")
    words = [
        "experiment=digits_semantic", f"model.weights={before}", "model.freeze=2", "optimizer.layer_decay=0.75",
        "runtime.epochs=1", "debug.max_batches=2", "dataset.scenes=16", "dataset.val_scenes=8",
        "runtime.batch_size=2", "runtime.ema=false", "runtime.workers=0", "runtime.device=cpu", "tracking=none",
        f"output_dir={tmp_path}",
    ]  # fmt: skip
    line = [sys.executable, "-m", "trainer", *words]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(line, capture_output=True, text=True, env=env, timeout=600)
    assert done.returncode == 0, done.stderr

    def weights(run: Path) -> dict[str, torch.Tensor]:
        return torch.load(run / "checkpoints" / "best.pth", map_location="cpu")["state_dict"]

    old, new = weights(before), weights(tmp_path / "latest")
    changed = {name for name, value in new.items() if not torch.equal(value, old[name])}
    frozen = {name for name in new if name.startswith(("backbone.layers.0.", "backbone.layers.1."))}
    assert len(frozen) > 50 and not frozen & changed
    learning = {name for name in new if name not in frozen and new[name].is_floating_point()}
    assert len(changed) > len(learning) / 2
    config = (tmp_path / "latest" / "mmengine.py").read_text()
    assert "'FrozenBackbone'" in config and "'StagedOptimWrapperConstructor'" in config

    from trainer.inference.load_model import load_model

    model = load_model(
        "latest", device="cpu", output_dir=tmp_path
    ).model  # a frozen backbone loads like any other
    assert torch.equal(model.state_dict()["backbone.layers.0.0.projection.weight"], new[
        "backbone.layers.0.0.projection.weight"
    ])  # fmt: skip
