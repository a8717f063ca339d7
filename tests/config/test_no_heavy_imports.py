"""Every file in conf/ composes where torch, the OpenMMLab packages and mlflow can't even be imported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from trainer.schema.conf_folders import Conf

ROOT = Path(__file__).parents[2]
BLOCKED = ("torch", "mmcv", "mmengine", "mmdet", "mmseg", "mmpose", "mlflow", "optuna", "matplotlib", "cv2")
CLUSTERS = ("submitit", "ray", "kubernetes")
BLOCKER = f"""
import importlib.abc, sys
class Blocker(importlib.abc.Loader, importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {BLOCKED!r} and "." not in name:
            from importlib.machinery import PathFinder
            spec = PathFinder.find_spec(name, path)
            if spec is not None:
                spec.loader = self
            return spec
    def create_module(self, spec):
        raise ImportError("blocked: " + spec.name)
    def exec_module(self, module):
        raise AssertionError
sys.meta_path.insert(0, Blocker())
"""
COMPOSE_ALL = """
import json, sys
from trainer.config.compose import compose
from trainer.schema.conf_folders import Conf
needs = {f"dataset={name}": ["dataset.path=x"] for name in ("auto", "coco", "dice", "labelme", "masks", "voc", "yolo")}
conf, done, wrong = Conf(), [], {}
for group, choices in conf.groups.items():
    for choice in choices:
        word = f"{group}={choice}"
        try:
            # Data sets lack their folder, and a few models a package; all compose.
            config, _ = compose("train", [word], runnable=group not in ("dataset", "model"))
            value = getattr(config, group, None)
            assert group == "experiment" or value.name == choice, (word, value)
            done.append(word)
        except Exception as error:
            wrong[word] = f"{type(error).__name__}: {error}"
for command in ("evaluate", "predict", "export"):
    compose(command, ["checkpoint=latest"])
    done.append(command)
print(json.dumps({"done": done, "wrong": wrong, "loaded": sorted(sys.modules)}))
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BLOCKER + code], cwd=ROOT, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def outcome() -> dict[str, list[str]]:
    done = run(COMPOSE_ALL)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("package", ["torch", "mmdet"])
def test_the_blocker_blocks(package: str) -> None:
    done = run(f"import {package}")
    assert f"blocked: {package}" in done.stderr


def test_every_choice_composes(outcome: dict[str, list[str]]) -> None:
    assert outcome["wrong"] == {}
    expected = {f"{group}={choice}" for group, choices in Conf().groups.items() for choice in choices}
    assert expected <= set(outcome["done"])


def test_nothing_heavy_is_loaded(outcome: dict[str, list[str]]) -> None:
    assert not {name for name in outcome["loaded"] if name.partition(".")[0] in BLOCKED}


@pytest.mark.parametrize(
    "module", ["cli.command_line", "sweep.main", "zoo.model_names", "cli.completion", "cli.print_config"]
)
def test_modules_import_without_the_heavy_ones(module: str) -> None:
    done = run(f"import trainer.{module}, sys; print(sorted(set(sys.modules) & set({BLOCKED!r})))")
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


def test_launchers_import_no_engine() -> None:
    files = sorted((ROOT / "trainer" / "launch").rglob("*.py"))
    names = [".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files]
    code = f"import {', '.join(names)}, sys; print(sorted(set(sys.modules) & set({BLOCKED + CLUSTERS!r})))"
    done = run(code.replace(".__init__", ""))
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


def test_every_file_of_conf_says_what_it_is_and_how_it_is_used() -> None:
    for path in sorted((ROOT / "conf").rglob("*.yaml")):
        lines = path.read_text(encoding="utf-8").splitlines()
        comment = lines[1] if lines[0].startswith("# @package") else lines[0]
        assert comment.startswith("# "), path
        assert "python -m trainer" in "\n".join(line for line in lines if line.startswith("#")), path
