"""What a build is sent: all that the trainer needs to run, nothing else, no secret."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.container.files import ROOT, context

OURS = ["*", "conf/**/*", "scripts/**/*", "trainer/**/*"]
# Named in .dockerignore on purpose, and thus elsewhere than in the image.
MADE_UP = [
    *(".env", ".env.local", ".git/config", ".venv/bin/python", ".venv.lock", "runs/a/run.json", "mlflow.db"),
    *(
        "sweeps/x/journal.log",
        "tests/runs/test_run.py",
        "launchers/compose/.env",
        "trainer/.env",
        "notes.txt",
    ),
    *("trainer/__pycache__/run.cpython-311.pyc", "conf/model/.env", "docs/data.md", "dist/trainer.whl"),
]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what ``COPY . .`` would find."""
    folder = tmp_path_factory.mktemp("context")
    for name in context(ROOT, OURS):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)
    return folder


def start(image: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    # What the test's own environment says must not decide; the image's Python sees no other trainer.
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    environment = {**kept, "PYTHONPATH": str(image), "PYTHONDONTWRITEBYTECODE": "1", **variables}
    command = [sys.executable, *words]
    return subprocess.run(command, cwd=image, env=environment, capture_output=True, text=True, timeout=300)


def test_neither_secrets_nor_results_nor_the_environment_are_sent(tmp_path: Path):
    shutil.copyfile(ROOT / ".dockerignore", tmp_path / ".dockerignore")
    for name in (*MADE_UP, "train.py", "trainer/runs/run.py", "conf/train.yaml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert list(context(tmp_path)) == ["conf/train.yaml", "train.py", "trainer/runs/run.py"]


def test_it_is_small(image: Path):
    assert sum(path.stat().st_size for path in image.rglob("*") if path.is_file()) < 20e6


def test_the_platforms_scripts_start_from_it(image: Path):
    for script in ("train", "predict", "export", "evaluate"):
        done = start(image, f"{script}.py", "--log-level", "INFO")
        assert done.returncode == 1, done.stderr
        assert "CALLBACK_URL" in done.stderr and "Traceback" not in done.stderr


def test_a_training_is_composed_from_it(image: Path):
    done = start(image, "-m", "trainer", "model=rtmdet-s", "dataset=digits", "launcher=local", "--cfg", "job")
    assert done.returncode == 0, done.stderr
    assert "rtmdet" in done.stdout
    where = start(image, "-c", "import trainer; print(trainer.__file__)").stdout
    assert Path(where.strip()).is_relative_to(image)
