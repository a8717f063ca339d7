"""A driver with real processes: what is run, what is counted, what is told, and how it stops."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.sweep.drivers import Driver, Drivers, wait_for
from trainer.cli import command_line
from trainer.core.errors import ConfigError
from trainer.runs.events.reader import events
from trainer.schema.conf_folders import Conf
from trainer.sweep.main import run_sweep

LR = "optimizer.lr=tag(log,interval(1e-4,1e-1))"


def rows(output: Path) -> list[dict[str, Any]]:
    """trials.jsonl of the only sweep."""
    (path,) = (output / "sweeps").glob("*/trials.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def states(output: Path) -> Counter[str]:
    return Counter(row["state"] for row in rows(output))


def runs(output: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_bytes()) for path in sorted(output.glob("toy/*/run.json"))]


def optuna_states(output: Path) -> Counter[str]:
    """What Optuna's own tools see."""
    import optuna
    from optuna.storages.journal import JournalFileBackend

    (path,) = (output / "sweeps").glob("*/journal.log")
    storage = optuna.storages.JournalStorage(JournalFileBackend(str(path)))
    (study,) = storage.get_all_studies()
    return Counter(trial.state.name for trial in storage.get_all_trials(study._study_id))


def test_a_grid_runs_every_combination_once_and_the_same_command_none_again(
    drivers: Drivers, tmp_path: Path
) -> None:
    words = ["runtime.seed=range(1,3)", "optimizer=sgd,adamw", "mm.a=[1,2]", "name=mine"]
    driver = drivers.run(tmp_path, *words)
    assert driver.poll() == 0, driver.output
    found = rows(tmp_path)
    assert [row["label"] for row in found] == [
        "seed=1, optimizer=sgd", "seed=1, optimizer=adamw", "seed=2, optimizer=sgd", "seed=2, optimizer=adamw",
    ]  # fmt: skip
    assert [row["values"]["mAP50-95"] for row in found] == pytest.approx([1.01, 1.01, 1.02, 1.02])
    assert [row["best"] for row in found] == [False, False, True, False]
    given = runs(tmp_path)
    assert all(run["given"]["mm.a"] == "[1,2]" and "sweep.workers" not in run["given"] for run in given)
    (folder,) = (path for path in (tmp_path / "sweeps").iterdir() if path.is_dir())
    assert folder.name.startswith("mine-")
    assert [run["id"] for run in given] == [f"{folder.name}-{number}" for number in range(4)]
    assert [(run["parent"], run["trial"], run["label"]) for run in given][1] == (
        folder.name, 1, "seed=1, optimizer=adamw",
    )  # fmt: skip
    assert all(word in driver.output for word in ("4 trials", "1.0200", "seed=2", "complete"))
    assert "begins" in (folder / "sweep.log").read_text()
    again = drivers.run(tmp_path, *reversed(words))
    assert again.poll() == 0 and "begins" not in again.output
    assert runs(tmp_path) == given


def test_what_is_wrong_is_found_before_the_first_trial(tmp_path: Path) -> None:
    """With all mistakes at once, and without Optuna or a process."""
    for words, message in (
        (["model=rtmdet-s,segformer-b0", "task=detection"], "segformer-b0 can't do"),
        (["runtime.epochs=0,1"], "expected an integer >= 1, got 0"),
        (["model=rtmdet-m,rtmdet-ss"], "'rtmdet-s'"),
        (["runtime.seed=1,2", "sweep.study=a/b"], "a-b"),
        (["runtime.seed=1,2", "id=mine"], "names its runs itself"),
    ):
        with pytest.raises(ConfigError) as caught:
            run_sweep("train", [f"output_dir={tmp_path}", *words], Conf(), program=["false"])
        assert message in caught.value.message
    assert not list(tmp_path.glob("toy/*"))


def test_trials_do_not_answer_for_one_job_of_the_platform(tmp_path: Path) -> None:
    words = [
        "callback=platform",
        "callback.url=http://127.0.0.1:9/api/v1",
        "callback.job_id=1",
        "runtime.seed=0,1",
    ]
    with pytest.raises(ConfigError, match="callback=platform: a sweep's trials would all answer for one job"):
        run_sweep("train", [f"output_dir={tmp_path}", *words], Conf(), program=["false"])
    assert list(tmp_path.iterdir()) == []


def test_m_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(["-m", "optimizer.lr=abc,1", f"output_dir={tmp_path}"]) == 2
    assert "expected a number > 0, got 'abc'" in capsys.readouterr().err


def test_other_commands_run_one_after_the_other(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "say.py"
    script.write_text("import sys; print(*sys.argv[1:]); sys.exit('runtime.seed=13' in sys.argv)")
    words = [f"output_dir={tmp_path}", "runtime.seed=1,13,2"]
    assert run_sweep("show", words, Conf(), [str(tmp_path)], program=[sys.executable, str(script)]) == 1
    said = capfd.readouterr().out
    told = [line for line in said.splitlines() if line.startswith("show --config-dir")]
    assert [line.rpartition(" ")[2] for line in told] == [
        "runtime.seed=1",
        "runtime.seed=13",
        "runtime.seed=2",
    ]
    assert "exit code 1" in said and "show: 3 jobs" in said


def test_failed_trials_are_kept_with_their_error_and_tried_again_on_the_next_call(
    drivers: Drivers, tmp_path: Path
) -> None:
    trouble = {"TOY_TROUBLE": json.dumps({"fail": [2], "refuse": [3]})}
    driver = drivers.run(tmp_path, "runtime.seed=1,2,3,4", **trouble)
    assert driver.poll() == 1, driver.output
    assert states(tmp_path) == {"complete": 2, "failed": 2}
    errors = [row["error"] for row in rows(tmp_path) if row["error"]]
    assert errors == ["FrameworkError: the toy of seed 2 broke", "ConfigError: nothing is right"]
    assert drivers.run(tmp_path, "runtime.seed=1,2,3,4").poll() == 0
    assert states(tmp_path) == {"complete": 4, "failed": 2}


def test_a_hopeless_sweep_stops(drivers: Drivers, tmp_path: Path) -> None:
    words = ["sweep=optuna", LR, "sweep.max_failures=3", "sweep.n_trials=50", "sweep.workers=1"]
    driver = drivers.run(tmp_path, *words, TOY_TROUBLE=json.dumps({"refuse": []}))
    assert driver.poll() == 1
    assert states(tmp_path) == optuna_states_of(tmp_path, {"FAIL": 3}) == {"failed": 3}
    assert "3 trials failed (sweep.max_failures=3)" in driver.output and "Traceback" not in driver.output


def optuna_states_of(output: Path, expected: dict[str, int]) -> dict[str, int]:
    assert optuna_states(output) == expected
    return {"failed": expected["FAIL"]}


def test_hopeless_trials_are_pruned_and_say_so(drivers: Drivers, tmp_path: Path) -> None:
    words = ["sweep=optuna", LR, "sweep.n_trials=6", "sweep.workers=1", "sweep.pruner=threshold"]
    words += ["sweep.pruner_options.lower=0.2", "sweep.pruner_options.n_warmup_steps=1"]
    driver = drivers.run(tmp_path, *words, TOY_EPOCHS="4", TOY_BAR="0.2")
    assert driver.poll() == 0, driver.output
    found = rows(tmp_path)
    pruned = [row for row in found if row["state"] == "pruned"]
    assert pruned and len(found) == 6 and {row["state"] for row in found} == {"pruned", "complete"}
    for row in pruned:
        assert row["epochs"] == 1 and row["values"]["mAP50-95"] < 0.2
        folder = Path(row["run_dir"])
        assert json.loads((folder / "result.json").read_bytes())["status"] == "pruned"
        assert json.loads((folder / "run.json").read_bytes())["attempts"][-1]["status"] == "pruned"
        assert [event["type"] for event in events(folder / "events.jsonl")][-1] == "pruned"
    assert optuna_states(tmp_path) == {"COMPLETE": 6 - len(pruned), "PRUNED": len(pruned)}


def test_out_of_memory_is_infeasible_and_counts(drivers: Drivers, tmp_path: Path) -> None:
    words = ["sweep=optuna", "runtime.seed=range(0,4)", "sweep.n_trials=10", "sweep.max_failures=1"]
    driver = drivers.run(tmp_path, *words, TOY_TROUBLE=json.dumps({"memory": [3]}))
    assert driver.poll() == 0, driver.output
    found = rows(tmp_path)
    infeasible = [row for row in found if row["params"]["runtime.seed"] == 3]
    assert infeasible and all(row["state"] == "infeasible" and not row["feasible"] for row in infeasible)
    assert all(
        "memory is full" in row["error"] and row["constraints"] == {"memory": 1.0} for row in infeasible
    )
    assert sum(row["state"] in ("complete", "infeasible") for row in found) == 10
    assert next(row for row in found if row["best"])["params"]["runtime.seed"] == 2


def test_several_objectives_give_a_front(drivers: Drivers, tmp_path: Path) -> None:
    words = ["sweep=optuna", "sweep.sampler=nsgaii", "runtime.seed=range(0,5)", "optimizer.lr=0.01,0.001"]
    words += ["sweep.objectives=[mAP50-95,params]", "sweep.n_trials=12"]
    driver = drivers.run(tmp_path, *words, TOY_EPOCHS="1")
    assert driver.poll() == 0, driver.output
    found = rows(tmp_path)
    assert len(found) == 12 and all(set(row["values"]) == {"mAP50-95", "parameters"} for row in found)
    front = {row["params"]["runtime.seed"] for row in found if row["best"]}
    better = [row for row in found if row["params"]["optimizer.lr"] == 0.01]
    assert front == {row["params"]["runtime.seed"] for row in better}
    assert "Pareto" not in driver.output  # a terminal's line


def test_a_killed_trial_goes_on_and_one_that_always_dies_does_not(drivers: Drivers, tmp_path: Path) -> None:
    trouble = json.dumps({"die": [1], "die-always": [2]})
    driver = drivers.run(tmp_path, "runtime.seed=1,2,3", "sweep.retries=2", TOY_TROUBLE=trouble)
    assert driver.poll() == 0, driver.output
    found = {row["params"]["runtime.seed"]: row for row in rows(tmp_path)}
    assert {seed: row["state"] for seed, row in found.items()} == {
        1: "complete",
        2: "infeasible",
        3: "complete",
    }
    attempts = {run["given"]["runtime.seed"]: run["attempts"] for run in runs(tmp_path)}
    assert [len(attempts[seed]) for seed in "123"] == [2, 3, 1]
    log = list(events(Path(found[1]["run_dir"]) / "events.jsonl"))
    assert [event["epoch"] for event in log if event["type"] == "resumed"] == [1]
    assert [event["epoch"] for event in log if event["type"] == "validation"] == [1, 2, 3]


def test_values_that_break_a_constraint_are_not_tried(drivers: Drivers, tmp_path: Path) -> None:
    words = ["sweep=optuna", "runtime.seed=range(0,6)", "sweep.n_trials=6", "sweep.sampler=random"]
    words += ["sweep.constraints=['runtime.seed <= 3', 'parameters <= 3e6']"]
    driver = drivers.run(tmp_path, *words, TOY_EPOCHS="1")
    assert driver.poll() == 0, driver.output
    found = rows(tmp_path)
    tried = [row for row in found if row["state"] != "refused"]
    assert len(tried) == 6 == len(runs(tmp_path)) and len(found) > 6
    assert all(row["params"]["runtime.seed"] <= 3 for row in tried)
    assert {row["params"]["runtime.seed"] for row in tried if not row["feasible"]} <= {3}
    assert next(row for row in found if row["best"])["params"]["runtime.seed"] <= 2


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_trials_save_and_the_same_command_goes_on(
    drivers: Drivers, tmp_path: Path, signum: int
) -> None:
    words = ["sweep=optuna", LR, "sweep.n_trials=3"]
    driver = drivers.start(tmp_path, *words, TOY_EPOCHS="4", TOY_SECONDS="30")
    wait_for(lambda: len(training(tmp_path)) == 2, driver)
    driver.kill(signum)
    assert driver.wait() == 128 + signum, driver.output
    assert "the same command goes on" in driver.output
    assert {run["attempts"][-1]["status"] for run in runs(tmp_path)} == {"cancelled"}
    assert optuna_states(tmp_path) == {"RUNNING": 2}
    again = drivers.run(tmp_path, *words)
    assert again.poll() == 0, again.output
    assert optuna_states(tmp_path) == {"COMPLETE": 3}
    assert sorted(len(run["attempts"]) for run in runs(tmp_path)) == [1, 2, 2]


def test_a_second_signal_stops_at_once(drivers: Drivers, tmp_path: Path) -> None:
    driver = drivers.start(tmp_path, "runtime.seed=1,2", TOY_SECONDS="600", TOY_DEAF="1")
    wait_for(lambda: len(training(tmp_path)) == 2, driver)
    pids = [run["pids"][-1] for run in runs(tmp_path)]
    driver.kill(signal.SIGINT)
    wait_for(lambda: "once more stops at once" in driver.output, driver)
    driver.kill(signal.SIGINT)
    assert driver.wait() == 130, driver.output
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert drivers.run(tmp_path, "runtime.seed=1,2").poll() == 0
    assert states(tmp_path) == {"complete": 2}


def training(output: Path) -> list[Path]:
    """Runs whose training has begun."""
    return [
        path.parent
        for path in output.glob("toy/*/events.jsonl")
        if any(event["type"] == "run_started" for event in events(path))
    ]


def test_more_trials_later_and_another_space_is_refused(drivers: Drivers, tmp_path: Path) -> None:
    words = ["sweep=optuna", LR, "sweep.study=mine"]
    assert drivers.run(tmp_path, *words, "sweep.n_trials=2").poll() == 0
    assert drivers.run(tmp_path, *words, "sweep.n_trials=4", "sweep.workers=1").poll() == 0
    assert optuna_states(tmp_path) == {"COMPLETE": 4}
    values = [row["params"]["optimizer.lr"] for row in rows(tmp_path)]
    assert len(set(values)) == 4
    other = drivers.run(tmp_path, *words[:1], "optimizer.lr=tag(log,interval(1e-3,1e-1))", "sweep.study=mine")
    assert other.poll() == 2
    assert "optimizer.lr was 0.0001 to 0.1 (log), is 0.001 to 0.1 (log)" in other.output
    changed = drivers.run(tmp_path, *words, "runtime.epochs=7")
    assert changed.poll() == 2 and "runtime.epochs=7" in changed.output
    fresh = drivers.run(tmp_path, *words, "sweep.n_trials=1", "sweep.fresh=true")
    assert fresh.poll() == 0, fresh.output
    assert sorted(path.name for path in (tmp_path / "sweeps").iterdir() if path.is_dir()) == [
        "mine",
        "mine-2",
    ]


def test_time_is_up(drivers: Drivers, tmp_path: Path) -> None:
    words = ["sweep=optuna", LR, "sweep.n_trials=50", "sweep.max_minutes=0.02"]
    driver = drivers.run(tmp_path, *words)
    assert driver.poll() in (0, 1), driver.output  # 1: none had the time
    assert "sweep.max_minutes=0.02 are over" in driver.output
    assert sum(states(tmp_path).values()) < 50 and "running" not in states(tmp_path)


def test_a_driver_that_was_killed_is_found_out_at_once(drivers: Drivers, tmp_path: Path) -> None:
    """Its trials save and end; the next driver waits for that, not for the lease."""
    words = ["sweep=optuna", LR, "sweep.n_trials=2", "sweep.lease_seconds=3600"]
    driver: Driver = drivers.start(tmp_path, *words, TOY_EPOCHS="2", TOY_SECONDS="30")
    wait_for(lambda: len(training(tmp_path)) == 2, driver)
    driver.kill()
    again = drivers.run(tmp_path, *words)
    assert again.poll() == 0, again.output
    assert again.output.count("its driver has gone") == 2
    assert optuna_states(tmp_path) == {"COMPLETE": 2}
    assert [[one["status"] for one in run["attempts"]] for run in runs(tmp_path)] == [
        ["cancelled", "finished"]
    ] * 2
