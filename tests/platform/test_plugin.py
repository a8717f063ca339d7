"""Callbacks as plug-ins: the platform is one, and an installed package can bring another."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainer.commands.train import _callback
from trainer.core import plugins
from trainer.core.errors import ConfigError
from trainer.platform.run_callback import PlatformRunCallback
from trainer.runs.callback import CallbackHandle, RunCallback
from trainer.runs.run import Run
from trainer.schema import Callback, Experiment

MODULE = """
from trainer.runs.callback import CallbackHandle, RunCallback


class Handle(CallbackHandle):
    def wait(self, stopped):
        return "half of it"


class Mine(RunCallback):
    def start(self, run, config):
        return Handle()
"""


def test_the_platform_is_a_plugin() -> None:
    assert plugins.names("trainer.callbacks") == ["platform"]
    assert plugins.load("trainer.callbacks", "platform") is PlatformRunCallback
    assert PlatformRunCallback.config_class is Callback
    with pytest.raises(ConfigError, match=r"callback\.url and callback\.job_id are missing"):
        PlatformRunCallback().check(Callback(name="platform"))


def test_an_installed_package_brings_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x-1.dist-info").mkdir()
    (tmp_path / "x-1.dist-info" / "entry_points.txt").write_text(
        "[trainer.callbacks]\nmine = x_callback:Mine\n"
    )
    (tmp_path / "x_callback.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    exp = Experiment()
    assert _callback(exp) is None
    exp.callback.name = "mine"
    callback = _callback(exp)
    assert isinstance(callback, RunCallback)
    run = Run.create(tmp_path / "runs", "exp", "m")
    callback.check(exp.callback)
    handle = callback.start(run, exp.callback)
    assert isinstance(handle, CallbackHandle) and handle.wait(stopped=False) == "half of it"
    with pytest.raises(ConfigError, match="Mine can't report a run afterwards"):
        callback.replay(run, None, 1.0)
