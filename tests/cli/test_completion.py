"""What the shell is offered."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from trainer.cli.completion import matches
from trainer.schema.conf_folders import Conf

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("program", ["trainer", "python -m trainer", "/usr/bin/python3.11 -m trainer"])
@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("tra", ["tracking.", "tracking=", "train"]),
        ("optimizer=ad", ["optimizer=adam", "optimizer=adamw"]),
        ("optimizer=sgd,adamw", ["optimizer=sgd,adamw"]),
        ("optimizer.l", ["optimizer.layer_decay=", "optimizer.lr="]),
        ("train model=rtmdet-ins-t", ["model=rtmdet-ins-tiny"]),
        ("runtime.amp=", ["runtime.amp=off", "runtime.amp=bf16", "runtime.amp=fp16"]),
        ("runtime.ema=", ["runtime.ema=true", "runtime.ema=false"]),
        ("model=mmdet/rtmd", ["model=mmdet/rtmdet/"]),
        ("model=mmdet/rtmdet/rtmdet_s_", ["model=mmdet/rtmdet/rtmdet_s_8xb32-300e_coco"]),
        ("evaluate spl", ["split="]),
        ("task=pose model=rtmo", ["model=rtmo-s"]),
        ("task=pose model=rtmdet", []),
    ],
)
def test_matches(program: str, typed: str, expected: list[str]) -> None:
    assert matches(f"{program} {typed}", Conf()) == expected


def test_an_empty_word_offers_commands_groups_and_keys() -> None:
    found = matches("trainer ", Conf())
    assert {"train", "export", "model=", "optimizer.", "output_dir="} <= set(found)
    assert "train" not in matches("trainer train ", Conf())


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes() -> None:
    """The installed script, asked as bash asks it."""
    script = f"""
eval "$({sys.executable} -m trainer --shell-completion install=bash)"
COMP_WORDS=({sys.executable} -m trainer task=po); COMP_CWORD=3
COMP_LINE="${{COMP_WORDS[*]}}"; COMP_POINT=${{#COMP_LINE}}
_trainer_completion; echo "${{COMPREPLY[@]}}"
"""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=env, check=False)
    assert done.stdout.strip() == "task=pose", done.stderr


@pytest.mark.parametrize("shell", ["fish", "zsh", "bash"])
def test_scripts_are_printed(shell: str) -> None:
    for action in ("install", "uninstall"):
        command = [sys.executable, "-m", "trainer", "--shell-completion", f"{action}={shell}"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip()
