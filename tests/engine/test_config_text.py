"""The fast formatter: executing its text gives the same config."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mmengine.config import Config

from trainer.engine import compat
from trainer.engine.config_text import WIDTH, config_text

compat.apply()


def evaluate(config: dict[str, Any]) -> dict[str, Any]:
    space: dict[str, Any] = {}
    exec(config_text(config), space)
    space.pop("__builtins__")
    return space


def test_every_kind_of_value_comes_back() -> None:
    config = {
        "tuples": [(1,), (), (1, (2, [3]))],
        "names": {"not a name": 1, "class": 2, 3: {"plain": True}},
        "long": [dict(type="A" * 60, value=n, more=dict(a=(n, n))) for n in range(6)],
        "text": 'it\'s "quoted"\n\tand long ' + "x" * 200,
        "none": None,
        "floats": [1e-7, -0.0, float("inf"), float("-inf")],
        "empty": [{}, [], ""],
        "bytes": b"\x00",
    }
    assert evaluate(config) == config
    assert math.isnan(evaluate({"x": float("nan")})["x"])
    assert max(len(line) for line in config_text({**config, "text": ""}).splitlines()) <= WIDTH


def test_classes_and_numpy_become_what_mmengine_understands() -> None:
    import torch

    config = {
        "type": torch.nn.ReLU,
        "kind": int,
        "number": np.float64(0.5),
        "array": np.arange(3),
        "dtype": torch.float16,
    }
    assert evaluate(config) == {
        "type": "torch.nn.modules.activation.ReLU",
        "kind": int,
        "number": 0.5,
        "array": [0, 1, 2],
        "dtype": "torch.float16",
    }


def test_dump_and_load(tmp_path: Path) -> None:
    config = Config({"model": {"type": "X", "scale": (640, 640)}, "lr": 1e-3})
    config.dump(str(tmp_path / "dumped.py"))
    assert Config.fromfile(str(tmp_path / "dumped.py")).to_dict() == config.to_dict()


@pytest.mark.parametrize("package", ["mmdet", "mmseg", "mmpose"])
def test_real_configs_come_back(package: str) -> None:
    spec = pytest.importorskip("importlib.util").find_spec(package)
    if spec is None:
        pytest.skip(f"{package} is not installed")
    configs = Path(spec.origin).parent / ".mim" / "configs"
    files = sorted(path for path in configs.glob("*/*.py") if path.parent.name != "_base_")[::60]
    files += sorted(path for path in configs.glob("*/*/*/*.py"))[::60]
    assert len(files) > 3
    for file in files:
        config = Config.fromfile(str(file)).to_dict()
        assert evaluate(config) == config, file
