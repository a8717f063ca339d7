"""What is in a checkpoint, and that a kill never leaves less than one whole file."""

from __future__ import annotations

import errno
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from toy import CLASSES, toy_experiment, toy_fit

from trainer.core.errors import CheckpointError
from trainer.engine.checkpoint.file import load, plain
from trainer.runs.events.reader import events
from trainer.runs.manifest import Manifest
from trainer.runs.run import Run


def test_best_holds_averaged_weights(run: Run) -> None:
    toy_fit(run, epochs=2, scores=[0.1, 0.2])
    best = load(run.checkpoints / "best.pth")
    trained = best["ema_state_dict"]  # EMAHook puts the trained weights here and the averaged in state_dict
    averaged = best["state_dict"]
    assert not torch.equal(averaged["net.0.weight"], trained["module.net.0.weight"])
    # The hand-made average of the recorded steps: with momentum 0.1 it lags behind the trained weights.
    result_weights = [averaged["net.5.weight"], trained["module.net.5.weight"]]
    start = load(_untrained(run))["state_dict"]["net.5.weight"]
    moved = [(weights - start).norm() for weights in result_weights]
    assert 0 < moved[0] < moved[1]


def _untrained(run: Run) -> Path:
    from toy import ToyModel

    torch.manual_seed(3)
    path = run.dir / "untrained.pth"
    torch.save({"state_dict": ToyModel().state_dict()}, path)
    return path


def test_contents(run: Run) -> None:
    toy_fit(run, epochs=2, scores=[0.5, 0.4])
    manifest = Manifest(run.checkpoints)
    last, best = load(manifest.file("last")), load(manifest.file("best"))
    assert (last["meta"]["epoch"], last["meta"]["iter"], best["meta"]["epoch"]) == (2, 8, 1)
    assert tuple(last["meta"]["dataset_meta"]["classes"]) == CLASSES
    about = last["meta"]["trainer"]
    assert (about["task"], about["model"], about["run_id"]) == ("detection", "toy", run.id)
    assert about["fingerprint"] == "f" * 64
    assert about["config"] == (run.dir / "mmengine.py").read_text()
    space: dict[str, Any] = {}
    exec(about["config"], space)
    assert (
        space["train_cfg"]["max_epochs"] == 2
        and space["default_hooks"]["checkpoint"]["type"] == "CheckpointHook"
    )
    assert {
        "state_dict",
        "optimizer",
        "param_schedulers",
        "message_hub",
        "ranks",
        "ema_state_dict",
    } <= last.keys()
    entries = manifest.read()
    assert entries["best"]["value"] == 0.5 and entries["last"]["value"] == 0.4
    assert entries["last"]["size"] == manifest.file("last").stat().st_size
    assert manifest.entry("last") == entries["last"]
    left = sorted(path.name for path in run.checkpoints.iterdir())
    assert left == ["best.pth", "last.pth", "manifest.json"]


def test_stock_mmengine_loads_the_weights(run: Run) -> None:
    toy_fit(run, epochs=1)
    from mmengine.runner import load_checkpoint
    from toy import ToyModel

    model = ToyModel()
    load_checkpoint(model, str(run.checkpoints / "best.pth"), strict=True)
    expected = load(run.checkpoints / "best.pth")["state_dict"]
    assert all(torch.equal(value, expected[key]) for key, value in model.state_dict().items())


def test_rule_less(run: Run) -> None:
    hooks = {"checkpoint": {"type": "CheckpointHook", "interval": 1, "save_best": "score", "rule": "less"}}
    toy_fit(run, epochs=3, scores=[0.5, 0.2, 0.3], default_hooks=hooks)
    assert Manifest(run.checkpoints).read()["best"]["value"] == 0.2


def test_interval_skips_saves(run: Run) -> None:
    hooks = {"checkpoint": {"type": "CheckpointHook", "interval": 3, "save_best": "score", "rule": "greater"}}
    toy_fit(run, epochs=5, scores=[0.9, 0.1, 0.2, 0.3, 0.4], default_hooks=hooks)
    saved = [(e["kind"], e["epoch"]) for e in events(run.events) if e["type"] == "checkpoint"]
    assert saved == [("last", 1), ("best", 1), ("last", 3), ("last", 5)]


def test_a_checkpoint_that_runs_code_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {tmp_path / 'pwned'}",)

    torch.save({"state_dict": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(CheckpointError, match="tensors and plain values only"):
        load(tmp_path / "evil.pth")
    from mmengine.runner import CheckpointLoader

    with pytest.raises(CheckpointError):
        CheckpointLoader.load_checkpoint(str(tmp_path / "evil.pth"))
    assert not (tmp_path / "pwned").exists()


def test_plain_keeps_data_and_drops_the_rest() -> None:
    import numpy as np

    value = {"a": np.float32(1.5), "b": np.arange(2), "c": (1, {2: print}), "d": len, 0: [None, np.str_("x")]}
    assert plain(value) == {"a": 1.5, "b": [0, 1], "c": (1, {}), 0: [None, "x"]}
    assert type(plain(value)["a"]) is float and type(plain(value)[0][1]) is str


def test_copy_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*args: Any) -> None:
        raise OSError("not supported")

    monkeypatch.setattr(os, "link", no_links)
    manifest = Manifest(tmp_path)
    with manifest.replacing("last", {"epoch": 1}) as file:
        file.write(b"content")
    manifest.copy("last", "best")
    assert manifest.entry("best") is not None
    assert json.loads(manifest.path.read_text())["best"]["file"] == "best.pth"


def kept(run: Run) -> list[str]:
    return sorted(path.stem for path in run.checkpoints.glob("*.pth"))


def test_best_few_and_every_so_many_stay(run: Run) -> None:
    exp = toy_experiment(runtime__keep_best=2, runtime__keep_every=3)
    toy_fit(run, exp, epochs=7, scores=[0.3, 0.9, 0.1, 0.8, 0.2, 0.4, 0.5])
    manifest = Manifest(run.checkpoints)
    entries = manifest.read()
    assert kept(run) == ["best", "epoch-2", "epoch-3", "epoch-4", "epoch-6", "last"]
    assert [entries[f"epoch-{n}"]["kept"] for n in (2, 3, 4, 6)] == ["best", "every", "best", "every"]
    assert entries["best"]["sha256"] == entries["epoch-2"]["sha256"]
    for name in entries.keys() - {"version"}:
        assert manifest.entry(name) is not None, name
    told = [(event["kind"], event["path"]) for event in events(run.events) if event["type"] == "checkpoint"]
    assert ("kept", "checkpoints/epoch-1.pth") in told and ("kept", "checkpoints/epoch-6.pth") in told
    result = json.loads((run.dir / "result.json").read_text())
    assert result["checkpoints"] == {"best": "checkpoints/best.pth", "last": "checkpoints/last.pth"}


def test_best_few_by_a_metric_to_be_small_in_iterations(run: Run) -> None:
    stock = {"type": "CheckpointHook", "interval": 4, "by_epoch": False, "save_best": "score", "rule": "less"}
    exp = toy_experiment(runtime__keep_best=2)
    scores = [0.5, 0.2, 0.4, 0.3]
    toy_fit(run, exp, epochs=4, by_iter=True, scores=scores, default_hooks={"checkpoint": stock})
    assert kept(run) == ["best", "iter-16", "iter-8", "last"]
    assert Manifest(run.checkpoints).read()["best"]["value"] == 0.2


def test_kept_ones_are_known_on_the_way_on(run: Run) -> None:
    exp = toy_experiment(runtime__keep_best=2)
    toy_fit(run, exp, epochs=3, scores=[0.7, 0.9, 0.1])
    toy_fit(run, toy_experiment(resume=True, runtime__keep_best=2), epochs=5, scores=[0.8, 0.2])
    assert kept(run) == ["best", "epoch-2", "epoch-4", "last"]


def test_newest_whole_one_is_found_and_the_rest_told(run: Run) -> None:
    exp = toy_experiment(runtime__keep_best=3)
    toy_fit(run, exp, epochs=3, scores=[0.5, 0.4, 0.3])
    manifest = Manifest(run.checkpoints)
    manifest.file("last").unlink()
    manifest.file("epoch-3").write_bytes(b"half")
    path, entry, complaints = manifest.newest_valid()
    assert (path.stem, entry["epoch"]) == ("epoch-2", 2)
    assert complaints == ["last.pth is missing", "epoch-3.pth doesn't match its checksum"]
    assert manifest.repair() == ["last.pth is missing", "epoch-3.pth doesn't match its checksum"]
    assert "last" not in manifest.read() and "best" in manifest.read()


def test_damaged_best_gives_way(run: Run) -> None:
    """A best that can't be read isn't what a new one has to beat."""
    toy_fit(run, epochs=2, scores=[0.9, 0.1])
    (run.checkpoints / "best.pth").write_bytes(b"rubbish")
    toy_fit(run, toy_experiment(resume=True), epochs=3, scores=[0.3])
    warnings = [event["message"] for event in events(run.events) if event["type"] == "warning"]
    assert any(message.startswith("best.pth doesn't match its checksum") for message in warnings)
    assert Manifest(run.checkpoints).read()["best"]["value"] == 0.3


def test_snapshot_does_not_follow_the_training(run: Run) -> None:
    """What is written is the state of when it was asked for, however slow the disk is."""
    from trainer.engine.checkpoint.writer import CheckpointWriter

    stock, states = CheckpointWriter._write, []

    def slow(self: CheckpointWriter, save: Any) -> None:
        before = save.content["state_dict"]["net.0.weight"].clone()
        time.sleep(0.2)  # training goes on meanwhile
        states.append(torch.equal(before, save.content["state_dict"]["net.0.weight"]))
        stock(self, save)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CheckpointWriter, "_write", slow)
        toy_fit(run, epochs=3)
    assert states == [True] * 3
    assert [load(run.checkpoints / "last.pth")["meta"][key] for key in ("epoch", "iter")] == [3, 12]


def test_training_waits_for_no_disk(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the first iteration and the last save, fsync is called on other threads only."""
    from trainer.engine.hooks.checkpoints import CheckpointsHook

    training, synced = [False], []
    sync, begin, end = os.fsync, CheckpointsHook.before_train_epoch, CheckpointsHook.after_train
    monkeypatch.setattr(os, "fsync", lambda file: (synced.append((training[0], current())), sync(file))[1])
    monkeypatch.setattr(
        CheckpointsHook, "before_train_epoch", lambda *args: (training.__setitem__(0, True), begin(*args))[1]
    )
    monkeypatch.setattr(
        CheckpointsHook,
        "after_train",
        lambda *args: (training.clear(), training.append(False), end(*args))[2],
    )
    toy_fit(run, epochs=3)
    during = {name for running, name in synced if running}
    assert "checkpoints" in during and "MainThread" not in during


def current() -> str:
    return threading.current_thread().name


def full(*args: Any, **kwargs: Any) -> Any:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_full_disk_in_between(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training goes on, the old checkpoint stays whole, and the next save is like any other."""
    from trainer.runs.manifest import _HashingFile

    stock, calls = _HashingFile.write, []

    def sometimes(self: Any, data: Any) -> int:
        calls.append(len(calls))
        # the second checkpoint; the first is over once its best has been named
        return full() if "epoch 2" in os.environ.get("TOY_FULL", "") else stock(self, data)

    monkeypatch.setattr(_HashingFile, "write", sometimes)
    monkeypatch.setattr("toy.ToyMetric.compute_metrics", _filling(monkeypatch))
    result = toy_fit(run, epochs=3)
    assert result["status"] == "finished"
    log = list(events(run.events))
    warnings = [event["message"] for event in log if event["type"] == "warning"]
    assert len(warnings) == 1 and "iteration 8 couldn't be written ([Errno 28] No space left" in warnings[0]
    saved = [(event["kind"], event["epoch"]) for event in log if event["type"] == "checkpoint"]
    assert saved == [("last", 1), ("best", 1), ("last", 3)]  # 0.9, the lost 1.0, 0.5
    assert not list(run.checkpoints.glob(".*.tmp"))
    assert Manifest(run.checkpoints).entry("last")["epoch"] == 3


def _filling(monkeypatch: pytest.MonkeyPatch) -> Any:
    scores = iter([0.9, 1.0, 0.5])

    def compute(self: Any, results: Any) -> dict[str, float]:
        score = next(scores)
        monkeypatch.setenv("TOY_FULL", "epoch 2" if score == 1.0 else "")
        return {"score": score}

    return compute


def test_full_disk_at_the_end_is_a_failure(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from trainer.core.errors import ResourceError
    from trainer.runs.manifest import _HashingFile

    toy_fit(run, epochs=1)
    monkeypatch.setattr(_HashingFile, "write", full)
    with pytest.raises(ResourceError, match="last checkpoint couldn't be written: the disk is full"):
        toy_fit(run, toy_experiment(resume=True), epochs=2)
    result = json.loads((run.dir / "result.json").read_text())
    assert (result["status"], result["epochs_completed"]) == ("failed", 2)
    assert result["checkpoints"]["last"] == "checkpoints/last.pth"
    monkeypatch.undo()
    assert toy_fit(run, toy_experiment(resume=True), epochs=2)["status"] == "finished"


def test_read_only_folder(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may write anywhere, so the refusal is made: mkstemp's, as a read-only file system gives it."""
    import tempfile

    stock = tempfile.mkstemp

    def refuse(*args: Any, **kwargs: Any) -> Any:
        if str(kwargs.get("dir", "")).endswith("checkpoints"):
            raise OSError(errno.EROFS, "Read-only file system")
        return stock(*args, **kwargs)

    toy_fit(run, epochs=1)
    monkeypatch.setattr(tempfile, "mkstemp", refuse)
    result = toy_fit(run, toy_experiment(resume=True), epochs=9, hooks=[{"type": "SignalAt", "iteration": 9}])
    assert result["status"] == "cancelled"
    last = list(events(run.events))[-1]
    assert last["type"] == "cancelled"
    assert Manifest(run.checkpoints).entry("last")["epoch"] == 1


def test_save_that_could_not_settle_is_still_described(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rename went through, the manifest after it didn't, and the save after that fails too."""
    manifest = Manifest(tmp_path)

    def save(content: bytes) -> None:
        with manifest.replacing("last", {"epoch": len(content), "iter": 1}) as file:
            file.write(content)

    save(b"1")
    with monkeypatch.context() as patch:
        patch.setattr(Manifest, "_settle", full)
        with pytest.raises(OSError, match="space"):
            save(b"22")
    with monkeypatch.context() as patch:
        patch.setattr("os.replace", _refusing(os.replace, "last.pth"))
        with pytest.raises(OSError, match="space"):
            save(b"333")
    entry = manifest.entry("last")
    assert entry is not None and entry["epoch"] == 2


def _refusing(stock: Any, name: str) -> Any:
    return lambda source, target: full() if Path(target).name == name else stock(source, target)


def test_file_that_does_not_read_back_takes_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = Manifest(tmp_path)
    with manifest.replacing("last", {"epoch": 1, "iter": 1}) as file:
        file.write(b"good")
    stock = os.pread
    monkeypatch.setattr(os, "pread", lambda *args: stock(*args).replace(b"w", b"m"))
    with (
        pytest.raises(OSError, match="read back"),
        manifest.replacing("last", {"epoch": 2, "iter": 2}) as file,
    ):
        file.write(b"new")
    assert manifest.file("last").read_bytes() == b"good" and manifest.entry("last") is not None


def test_a_kill_before_the_first_name_leaves_nothing_saved(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(source: object, target: object) -> None:
        raise KeyboardInterrupt

    manifest = Manifest(run.checkpoints)
    manifest.folder.mkdir()
    assert manifest.empty
    with (
        monkeypatch.context() as patch,
        pytest.raises(KeyboardInterrupt),
        manifest.replacing("last", {}) as file,
    ):
        file.write(b"weights")
        write = os.replace
        patch.setattr(
            os, "replace", lambda a, b: killed(a, b) if str(b).endswith("last.pth") else write(a, b)
        )
    assert manifest.read()["next"] and manifest.empty  # announced, and never there
    with manifest.replacing("last", {}) as file:
        file.write(b"weights")
    assert not manifest.empty


def test_rename_without_its_entry_is_made_up_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between the rename of last.pth and its entry: further names must describe the file that lies there."""
    from trainer.engine.checkpoint.writer import CheckpointWriter, Keep
    from trainer.runs.events.log import NullEventLog

    manifest = Manifest(tmp_path)

    def save(epoch: int) -> None:
        with manifest.replacing(
            "last", {"epoch": epoch, "iter": epoch, "metric": "score", "value": 0.1 * epoch}
        ) as file:
            file.write(b"x" * epoch)

    save(1)
    with monkeypatch.context() as patch, pytest.raises(OSError, match="space"):
        patch.setattr(Manifest, "_settle", full)
        save(2)
    assert manifest.read()["last"]["epoch"] == 1 and manifest.entry("last")["epoch"] == 2
    assert manifest.repair() == []
    CheckpointWriter(manifest, NullEventLog(), Keep(every=1)).give_names("epoch")
    entries = manifest.read()
    assert entries.keys() == {"version", "last", "best", "epoch-2"}
    assert all(manifest.entry(name) is not None for name in entries.keys() - {"version"})
