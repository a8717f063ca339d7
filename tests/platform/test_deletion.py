"""The platform is a plug-in: without its folder, its conf file and its scripts everything else works."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLATFORM = (
    "trainer/platform",
    "conf/callback/platform.yaml",
    "train.py",
    "predict.py",
    "evaluate.py",
    "export.py",
)
TINY = [
    "model=rtmdet-tiny",
    "task=detection",
    "dataset=digits",
    "dataset.scenes=4",
    "dataset.val_scenes=2",
    "runtime.epochs=1",
    "runtime.batch_size=2",
    "runtime.workers=0",
    "runtime.device=cpu",
    "dataset.image_size=64",
    "tracking=none",
]
COMPOSE_ALL = """
from trainer.config.compose import compose
from trainer.schema.conf_folders import Conf
conf = Conf()
for command in ("train", "evaluate", "predict", "export"):
    for group, choices in conf.groups_of(command).items():
        for choice in choices:
            compose(command, [f"{group}={choice}"], conf=conf, runnable=False)
assert "platform" not in conf.groups_of("train")["callback"]
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository's tracked files without the platform's."""
    folder = tmp_path_factory.mktemp("deleted") / "checkout"
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for name in filter(None, listed.split("\0")):
        source, target = ROOT / name, folder / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    for name in PLATFORM:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return folder


def python(checkout: Path, *arguments: str) -> str:
    """What a Python in the checkout prints; it must end well."""
    environment = {**os.environ, "PYTHONPATH": str(checkout), "MLFLOW_TRACKING_URI": ""}
    process = subprocess.run(
        [sys.executable, *arguments],
        cwd=checkout,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


def test_nothing_outside_imports_the_platform() -> None:
    package = ROOT / "trainer"
    paths = [path.relative_to(package) for path in package.rglob("*.py")]
    users = [
        path.as_posix()
        for path in paths
        if path.parts[0] != "platform" and "trainer.platform" in (package / path).read_text(encoding="utf-8")
    ]
    assert users == ["core/builtin_plugins.py"]


def test_help_and_all_of_conf(checkout: Path) -> None:
    assert "groups and their choices" in python(checkout, "-m", "trainer", "--help")
    python(checkout, "-c", COMPOSE_ALL)


def test_the_layers_hold(checkout: Path) -> None:
    python(
        checkout,
        "-c",
        "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True))",
    )


@pytest.mark.slow
def test_a_model_is_trained_evaluated_and_exported(checkout: Path) -> None:
    python(checkout, "-m", "trainer", *TINY, "output_dir=single")
    run = (checkout / "single" / "latest").resolve()
    assert json.loads((run / "result.json").read_bytes())["status"] == "finished"
    python(checkout, "-m", "trainer", "evaluate", f"checkpoint={run}", "device=cpu", "output=evaluated")
    python(checkout, "-m", "trainer", "export", f"checkpoint={run}", "format=onnx", "output=exported")
    assert list(checkout.glob("exported/**/*.onnx"))


@pytest.mark.slow
def test_a_sweep_of_two_trials(checkout: Path) -> None:
    python(checkout, "-m", "trainer", "-m", *TINY, "output_dir=swept", "optimizer.lr=0.001,0.002")
    results = list((checkout / "swept").rglob("result.json"))
    assert [json.loads(path.read_bytes())["status"] for path in results] == ["finished", "finished"]
