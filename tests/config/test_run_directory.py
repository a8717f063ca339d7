"""Which run a training works in, and the configuration that is kept there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from trainer.config.compose import compose
from trainer.config.run_directory import open_run, write_configuration
from trainer.config.saved_overrides import with_saved
from trainer.core.errors import ConfigError
from trainer.runs.run import Run
from trainer.schema.conf_folders import conf_with_dirs


def experiment(tmp_path: Path, *words: str, dirs: tuple[str, ...] = ()) -> Any:
    return compose("train", [f"output_dir={tmp_path}", *words], conf=conf_with_dirs(list(dirs)))[0]


def attempt(run: Run, tmp_path: Path, *words: str) -> list[Any]:
    """An attempt's configuration; what it says was changed."""
    write_configuration(run, experiment(tmp_path, *words), [f"output_dir={tmp_path}", *words])
    run.start_attempt()
    return run.facts["attempts"][-1]["changed"]


def test_auto_starts_a_run_and_then_goes_on_with_it(tmp_path: Path) -> None:
    exp = experiment(tmp_path, "id=night", "resume=auto")
    first = open_run(exp)
    assert first.id == "night" and open_run(exp) == first
    assert open_run(experiment(tmp_path, "id=night", "resume=true")) == first
    with pytest.raises(ConfigError, match="there is a run night already"):
        open_run(experiment(tmp_path, "id=night"))
    assert open_run(experiment(tmp_path, "id=other", "resume=auto")).id == "other"
    with pytest.raises(ConfigError, match="resume=auto needs id="):
        experiment(tmp_path, "resume=auto")


def test_true_is_the_newest_or_a_new_one(tmp_path: Path) -> None:
    exp = experiment(tmp_path, "resume=true")
    first = open_run(exp)
    assert open_run(exp) == first
    assert open_run(experiment(tmp_path)) != first


def test_a_changed_key_is_recorded_and_what_was_is_kept(tmp_path: Path) -> None:
    run = open_run(experiment(tmp_path))
    assert attempt(run, tmp_path, "runtime.epochs=3") == {}
    assert attempt(run, tmp_path, "runtime.epochs=3", f"resume={run.id}") == {}
    assert not list(run.dir.glob("*.attempt-*"))
    changed = attempt(run, tmp_path, "runtime.epochs=5", "mm.model.neck.out_channels=48", f"resume={run.id}")
    assert changed == {"runtime.epochs": [3, 5], "mm.model": [None, {"neck": {"out_channels": 48}}]}
    assert attempt(run, tmp_path, "runtime.epochs=5", "mm.model.neck.out_channels=48") == {}
    kept = yaml.safe_load((run.dir / "config.attempt-2.yaml").read_text())
    assert kept["runtime"]["epochs"] == 3
    assert "runtime.epochs=3" in yaml.safe_load((run.dir / "overrides.attempt-2.yaml").read_text())
    assert sorted(path.name for path in run.dir.glob("*.attempt-*")) == [
        "config.attempt-2.yaml",
        "overrides.attempt-2.yaml",
    ]
    assert attempt(run, tmp_path, "runtime.epochs=4")["runtime.epochs"] == [5, 4]


def test_config_dir_is_remembered(tmp_path: Path) -> None:
    mine, other = tmp_path / "mine", tmp_path / "other"
    for folder, lr in ((mine, 0.5), (other, 0.25)):
        (folder / "optimizer").mkdir(parents=True)
        (folder / "optimizer" / "own.yaml").write_text(f"name: default\nlr: {lr}\n")
    exp = experiment(tmp_path, "optimizer=own", dirs=(str(mine),))
    run = open_run(exp)
    write_configuration(run, exp, [f"output_dir={tmp_path}", "optimizer=own"])
    saved = with_saved(run.id, [f"output_dir={tmp_path}"])
    assert saved.config_dirs == [str(mine)]
    again = compose("train", saved.overrides, conf=conf_with_dirs(saved.config_dirs))[0]
    assert again.optimizer.lr == 0.5
    assert with_saved(run.id, [f"output_dir={tmp_path}"], [str(other)]).config_dirs == [str(other)]
    (mine / "optimizer" / "own.yaml").unlink()
    (mine / "optimizer").rmdir()
    mine.rmdir()
    with pytest.raises(ConfigError, match="isn't there any more"):
        with_saved(run.id, [f"output_dir={tmp_path}"])


def test_what_comes_from_the_environment_is_saved_as_it_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKING", "http://me:from-the-environment@host")
    monkeypatch.setenv("RATE", "0.25")
    words = [
        "tracking.uri=${oc.env:TRACKING}",
        "optimizer.lr=${oc.env:RATE}",
        "mm.a.password=${oc.env:TRACKING}",
        "mm.b=${tracking.uri}",
        "mm.c=${runtime.seed}",
        "mm.d.url=${oc.env:NOT_SET,http://localhost}",
    ]
    exp = experiment(tmp_path, *words)
    assert exp.tracking.uri == exp.mm["b"] == "http://me:from-the-environment@host"
    assert exp.optimizer.lr == 0.25
    run = open_run(exp)
    write_configuration(run, exp, words)
    config = yaml.safe_load((run.dir / "config.yaml").read_text())
    assert config["tracking"]["uri"] == config["mm"]["a"]["password"] == "${oc.env:TRACKING}"
    assert (config["optimizer"]["lr"], config["mm"]["b"]) == ("${oc.env:RATE}", "${tracking.uri}")
    assert (config["mm"]["c"], config["mm"]["d"]["url"]) == (0, "${oc.env:NOT_SET,http://localhost}")
    assert yaml.safe_load((run.dir / "overrides.yaml").read_text()) == words
    assert b"from-the-environment" not in b"".join(path.read_bytes() for path in run.dir.iterdir())
    again = compose("train", with_saved(str(run.dir), []).overrides)[0]
    assert again.tracking.uri == exp.tracking.uri and again.mm == exp.mm


def test_a_masked_value_is_not_used_again(tmp_path: Path) -> None:
    words = [f"output_dir={tmp_path}", "tracking.uri=http://me:typed-here@host", "mm.x.api_key=typed-too"]
    exp = experiment(tmp_path, *words[1:])
    run = open_run(exp)
    write_configuration(run, exp, words)
    assert b"typed-" not in b"".join(path.read_bytes() for path in run.dir.iterdir())
    with pytest.raises(ConfigError, match=r"tracking\.uri and mm\.x\.api_key: give it again.*oc\.env"):
        with_saved(run.id, words[:1])
    with pytest.raises(ConfigError, match=r"the secret in mm\.x\.api_key: give"):
        with_saved(run.id, words[:2])
    assert with_saved(run.id, words).overrides == words
