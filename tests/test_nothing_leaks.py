"""Secrets planted everywhere are in no file that a failing training leaves, nor in MLflow's database."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PLANTED = {
    "of the environment": "Env!ron-ment-42",
    "under a secret's key": "hunter-two-s3cret",
    "in a URL": "url-passw0rd",
    "taken from the environment": "alpha;beta;gamma-77",
    "an S3 key": "AKIAIOSFODNN7EXAMPLE",
}
# Says all it knows in every way it can, and then fails with it.
LEAKY = """
import logging, os, sys, warnings
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

@HOOKS.register_module()
class LeakyHook(Hook):
    def __init__(self, password, url, dsn, settings):
        self.all = [password, url, dsn, *settings["credentials"].values(), os.environ["PLANTED_TOKEN"]]
        self.all.append("AKIAIOSFODNN7EXAMPLE")

    def after_train_epoch(self, runner):
        for text in self.all:
            print(f"print {text}")
            runner.logger.info(f"info {text}")
            logging.getLogger("trainer").warning("warning %s", text)
            warnings.warn(f"warn {text}")

    def before_train_epoch(self, runner):
        if runner.epoch:
            raise RuntimeError(f"can't log in with {self.all}")
"""
WORDS = (  # noqa: SIM905
    "model=rtmdet-tiny task=detection dataset=digits dataset.scenes=4 dataset.val_scenes=2 runtime.batch_size=2 "
    "runtime.workers=0 runtime.epochs=2 runtime.device=cpu mm.custom_imports.imports=[leaky]"
).split()


@pytest.mark.slow
def test_no_writer_lets_a_planted_secret_through(tmp_path: Path) -> None:
    (tmp_path / "leaky.py").write_text(LEAKY)
    hook = (
        "{type: LeakyHook, password: hunter-two-s3cret, url: 'https://me:url-passw0rd@host/x', "
        "dsn: '${oc.env:PLANTED_DSN}', settings: {credentials: {id: hunter-two-s3cret}}}"
    )
    process = subprocess.run(
        [sys.executable, "-m", "trainer", *WORDS, f"mm.custom_hooks=[{hook}]"],
        cwd=tmp_path,
        env={
            **{key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"},
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)]),
            "PLANTED_TOKEN": PLANTED["of the environment"],
            "PLANTED_DSN": PLANTED["taken from the environment"],
        },
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.returncode == 1 and "can't log in" in process.stderr, process.stderr
    run = (tmp_path / "runs" / "latest").resolve()
    saved = {
        name: (run / name).read_text()
        for name in ("config.yaml", "overrides.yaml", "mmengine.py", "train.log")
    }
    for text in saved.values():
        assert "${oc.env:PLANTED_DSN}" in text
    for way in ("print", "info", "warning", "warn", "RuntimeError"):
        assert way in saved["train.log"]  # all of it was said

    files = [path for path in (tmp_path / "runs").rglob("*") if path.is_file()]
    assert {"mlflow.db", "events.jsonl", "result.json", "run.json", "last.pth"} <= {
        path.name for path in files
    }
    leaks = [
        f"{what}: {path.relative_to(tmp_path)}"
        for path in files
        for what, secret in PLANTED.items()
        if secret.encode() in path.read_bytes()
    ]
    leaks += [what for what, secret in PLANTED.items() if secret in process.stdout + process.stderr]
    assert not leaks
