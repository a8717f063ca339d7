"""Trials that a launcher starts: followed, pruned, stopped, found again by the next driver."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.sweep.drivers import Drivers, wait_for
from tests.sweep.test_killed_drivers import check
from tests.sweep.test_main import LR, optuna_states, rows, runs, training
from trainer.launch import launcher_registry
from trainer.launch.job_store import find_job
from trainer.runs.events.reader import events
from trainer.schema import LauncherConfig, Sweep
from trainer.sweep.driver.launcher_trials import WORKERS, elsewhere_slots, trial_options

TOY = {"TOY_LAUNCHER": "1"}
WORDS = ("launcher=torchrun", "runtime.seed=0,1,2,3")


def jobs(output: Path) -> list[dict[str, Any]]:
    """What was launched, by trial."""
    paths = sorted(output.glob("sweeps/*/trials/*.job/launched.json"))
    return [json.loads(path.read_bytes()) for path in paths]


def test_each_trial_is_a_job(drivers: Drivers, tmp_path: Path) -> None:
    driver = drivers.run(tmp_path, *WORDS, **TOY)
    assert driver.poll() == 0, driver.output
    check(tmp_path, 4)
    launched = jobs(tmp_path)
    assert len({one["handle"] for one in launched}) == 4
    assert [one["title"].split()[:2] for one in launched] == [["trial", str(number)] for number in range(4)]
    folder = next(tmp_path.glob("sweeps/*/trials/0.job"))
    job = json.loads((folder / "job.json").read_bytes())
    assert job["words"][-2:] == [f"id={folder.parent.parent.name}-0", "resume=auto"]
    assert job["environment"]["TRAINER_TRIAL"] == "0" and "TRAINER_LAUNCHED" not in job["environment"]
    assert (folder / "job.json").stat().st_mode & 0o077 == 0
    assert find_job(tmp_path, launched[0]["handle"]).folder.suffix == ".job"


def test_what_a_trial_says_is_in_its_log_and_an_error_is_known(drivers: Drivers, tmp_path: Path) -> None:
    driver = drivers.run(tmp_path, *WORDS, **TOY, TOY_TROUBLE=json.dumps({"refuse": [1], "fail": [2]}))
    assert driver.poll() == 1, driver.output
    found = {row["params"]["runtime.seed"]: row for row in rows(tmp_path)}
    assert {seed: row["state"] for seed, row in found.items()} == {
        **{0: "complete", 1: "failed"},
        **{2: "failed", 3: "complete"},
    }
    assert "nothing is right" in found[1]["error"] and "seed 2 broke" in found[2]["error"]
    assert "nothing is right" in next(tmp_path.glob("sweeps/*/trials/1.log")).read_text()


def test_pruning_reaches_a_job(drivers: Drivers, tmp_path: Path) -> None:
    words = ["launcher=torchrun", "sweep=optuna", LR, "sweep.n_trials=6", "sweep.workers=1"]
    words += ["sweep.pruner=threshold", "sweep.pruner_options.lower=0.2"]
    words += ["sweep.pruner_options.n_warmup_steps=1"]
    driver = drivers.run(tmp_path, *words, **TOY, TOY_EPOCHS="4", TOY_BAR="0.2")
    assert driver.poll() == 0, driver.output
    pruned = [row for row in rows(tmp_path) if row["state"] == "pruned"]
    assert pruned and optuna_states(tmp_path) == {"COMPLETE": 6 - len(pruned), "PRUNED": len(pruned)}
    for row in pruned:
        assert [event["type"] for event in events(Path(row["run_dir"]) / "events.jsonl")][-1] == "pruned"


def test_jobs_outlive_a_killed_driver_and_are_found_again(drivers: Drivers, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    words = [*WORDS, "sweep.workers=4"]
    first = drivers.start(tmp_path, *words, **TOY, TOY_GATE=str(gate))
    wait_for(lambda: len(training(tmp_path)) == 4, first)
    first.kill()
    first.wait()
    second = drivers.start(tmp_path, *words, **TOY, TOY_GATE=str(gate))
    wait_for(lambda: second.output.count("still runs as local:") == 4, second)
    gate.touch()
    assert second.wait() == 0, second.output
    check(tmp_path, 4)
    assert all(len(run["attempts"]) == 1 for run in runs(tmp_path))
    assert all(not one["earlier"] for one in jobs(tmp_path))


def test_jobs_that_ended_while_nobody_looked_count_once(drivers: Drivers, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    words = [*WORDS, "sweep.workers=4"]
    first = drivers.start(tmp_path, *words, **TOY, TOY_GATE=str(gate))
    wait_for(lambda: len(training(tmp_path)) == 4, first)
    first.kill()
    first.wait()
    gate.touch()
    wait_for(lambda: len([run for run in runs(tmp_path) if run["attempts"][-1]["ended"]]) == 4)
    second = drivers.run(tmp_path, *words, **TOY)
    assert second.poll() == 0, second.output
    check(tmp_path, 4)
    assert all(len(run["attempts"]) == 1 for run in runs(tmp_path))


def test_a_stopped_driver_cancels_its_jobs_which_save(drivers: Drivers, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    driver = drivers.start(tmp_path, *WORDS, **TOY, TOY_GATE=str(gate))
    wait_for(lambda: len(training(tmp_path)) == 2, driver)
    driver.kill(signal.SIGTERM)
    assert driver.wait() == 143, driver.output
    assert Counter(run["attempts"][-1]["status"] for run in runs(tmp_path)) == {"cancelled": 2}
    gate.touch()
    again = drivers.run(tmp_path, *WORDS, **TOY)
    assert again.poll() == 0, again.output
    check(tmp_path, 4)
    assert Counter(len(run["attempts"]) for run in runs(tmp_path)) == {1: 2, 2: 2}


def test_a_job_that_dies_goes_on(drivers: Drivers, tmp_path: Path) -> None:
    driver = drivers.run(tmp_path, *WORDS, **TOY, TOY_TROUBLE=json.dumps({"die": [2]}))
    assert driver.poll() == 0, driver.output
    check(tmp_path, 4)
    assert "it ended without an exit code" in driver.output and "it goes on" in driver.output
    assert sorted(len(run["attempts"]) for run in runs(tmp_path)) == [1, 1, 1, 2]
    assert sum(len(one["earlier"]) for one in jobs(tmp_path)) == 1


def test_an_engine_that_refuses(drivers: Drivers, tmp_path: Path) -> None:
    driver = drivers.run(tmp_path, *WORDS, **TOY, TOY_FULL="1")
    assert driver.poll() == 1 and "takes no more jobs" in driver.output, driver.output
    assert not runs(tmp_path)


def test_a_dry_run_shows_the_first_trial_and_leaves_nothing(drivers: Drivers, tmp_path: Path) -> None:
    output = tmp_path / "runs"
    driver = drivers.run(output, *WORDS, "launcher.dry_run=true", **TOY)
    assert driver.poll() == 0, driver.output
    assert "4 trials; the first:" in driver.output and "runtime.seed=0" in driver.output
    assert "toy_launcher" in driver.output and not output.exists()
    assert "launcher.dry_run" not in driver.output


def test_room_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    slots = elsewhere_slots(LauncherConfig(name="slurm"), Sweep(workers=5, threads=2))
    assert len(slots) == 5 and slots[0].gpus is None
    assert slots[0].environment["OMP_NUM_THREADS"] == "2" and "TRAINER_CORES" not in slots[0].environment
    monkeypatch.setattr(launcher_registry, "make_launcher", lambda options: object())
    assert len(elsewhere_slots(LauncherConfig(name="slurm"), Sweep())) == WORKERS
    ray = LauncherConfig(name="ray", num_cpus=3, num_gpus=1)
    assert elsewhere_slots(ray, Sweep(workers=1))[0].environment == {"TRAINER_CORES": "3"}
    assert trial_options(ray, Sweep(gpus_per_trial=0.5)).num_gpus == 0.5
    assert os.environ.get("TRAINER_CORES") is None
