"""Drivers and trials killed at random moments, and drivers that share a sweep: every trial counts once."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.sweep.drivers import Driver, Drivers, wait_for
from tests.sweep.test_main import LR, optuna_states, rows, runs, training
from trainer.sweep.stores.plain_journal import JournalGridStore

ROUNDS, TRIALS = 20, 12


def check(output: Path, count: int) -> None:
    """Exactly so many trials have ended, each in one run of its own."""
    found = rows(output)
    assert Counter(row["state"] for row in found) == {"complete": count}
    given = runs(output)
    assert sorted(run["trial"] for run in given) == sorted(row["number"] for row in found)
    assert all([one["status"] for one in run["attempts"]].count("finished") == 1 for run in given)
    assert len({row["run_dir"] for row in found}) == count


def test_twenty_rounds_of_kills(drivers: Drivers, tmp_path: Path) -> None:
    """SIGKILL to the driver, to trials, or to both: never the same moment, always the same end."""
    dice = random.Random(20)
    words = ["sweep=optuna", LR, f"sweep.n_trials={TRIALS}", "sweep.retries=1000", "sweep.lease_seconds=2"]
    words += ["sweep.pruner=median"]
    deaths: Counter[str] = Counter()
    for _ in range(ROUNDS):
        events_before = progress(tmp_path)
        driver = drivers.start(tmp_path, *words, TOY_EPOCHS="8", TOY_SECONDS="0.3")
        wait_for(lambda before=events_before, it=driver: progress(tmp_path) > before or it.poll() is not None)
        time.sleep(dice.uniform(0.0, 0.6))  # the moment is what is tried
        whom = dice.choice(("driver", "trials", "both"))
        deaths[whom] += kill(driver, whom)
        if whom == "trials":
            time.sleep(dice.uniform(0.0, 0.6))
            driver.kill()
        wait_for(lambda it=driver: it.poll() is not None)
    last = drivers.run(tmp_path, *words, TOY_EPOCHS="8", TOY_SECONDS="0.01")
    assert last.poll() == 0, last.output
    assert sum(deaths.values()) >= ROUNDS // 2 and len(deaths) == 3
    ended = Counter(row["state"] for row in rows(tmp_path))
    assert ended["complete"] + ended["pruned"] == TRIALS == sum(ended.values())
    told = optuna_states(tmp_path)
    assert told == Counter({"COMPLETE": ended["complete"], "PRUNED": ended["pruned"]})
    given = runs(tmp_path)
    assert sorted(run["trial"] for run in given) == list(range(TRIALS))
    attempts = [[one["status"] for one in run["attempts"]] for run in given]
    assert all(statuses.count("finished") + statuses.count("pruned") == 1 for statuses in attempts)
    assert any(len(statuses) > 1 for statuses in attempts)
    assert not [path for run in given for path in alive(run["pids"])]


def progress(output: Path) -> int:
    """Lines that trials have written."""
    return sum(path.stat().st_size for path in output.glob("toy/*/events.jsonl"))


def kill(driver: Driver, whom: str) -> int:
    """Kill; how many that were."""
    victims = [*(driver.trials if whom != "driver" else []), *([driver.pid] if whom != "trials" else [])]
    count = 0
    for pid in victims:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            count += 1
    return count


def alive(pids: list[int]) -> list[int]:
    """Those that still run our program."""
    found = []
    for pid in pids:
        with contextlib.suppress(OSError):
            if b"cheap.py" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


def test_two_drivers_share_a_journal(drivers: Drivers, tmp_path: Path) -> None:
    words = ["sweep=optuna", LR, "sweep.n_trials=10", "sweep.sampler=random"]
    gate = tmp_path / "gate"
    both = [drivers.start(tmp_path, *words, TOY_GATE=str(gate)) for _ in range(2)]
    wait_for(lambda: all("begins" in driver.output for driver in both), both[0])
    gate.touch()
    assert [driver.wait() for driver in both] == [0, 0], "\n".join(driver.output for driver in both)
    check(tmp_path, 10)
    assert optuna_states(tmp_path)["COMPLETE"] == 10
    assert len({row["driver"] for row in rows(tmp_path)}) == 2
    values = [row["params"]["optimizer.lr"] for row in rows(tmp_path)]
    assert len(set(values)) == 10  # they don't draw the same


def test_two_drivers_share_a_grid_and_one_dies(drivers: Drivers, tmp_path: Path) -> None:
    words = ["runtime.seed=range(0,8)"]
    gate = tmp_path / "gate"
    variables = {"TOY_GATE": str(gate)}
    first = drivers.start(tmp_path, *words, **variables)
    wait_for(lambda: training(tmp_path), first)
    second = drivers.start(tmp_path, *words, **variables)
    wait_for(lambda: "begins" in second.output, second)
    first.kill()
    gate.touch()
    assert second.wait() == 0, second.output
    check(tmp_path, 8)
    assert {row["params"]["runtime.seed"] for row in rows(tmp_path)} == set(range(8))


def test_a_driver_elsewhere_counts_as_gone_when_its_lease_is_over(drivers: Drivers, tmp_path: Path) -> None:
    words = ["runtime.seed=1,2", "sweep.lease_seconds=1"]
    first = drivers.start(tmp_path, *words, TOY_SECONDS="30")
    wait_for(lambda: len(training(tmp_path)) == 2, first)
    first.kill()
    wait_for(lambda: all(run["attempts"][-1]["status"] == "cancelled" for run in runs(tmp_path)))
    (journal,) = tmp_path.glob("sweeps/*/journal.jsonl")
    text = journal.read_text()
    place = json.loads(text.splitlines()[0])["notes"]["lease"]["place"]
    journal.write_text(text.replace(place, "another machine"))
    second = drivers.run(tmp_path, *words)
    assert second.poll() == 0 and second.output.count("its driver has gone") == 2, second.output
    check_grid = {
        record.params["runtime.seed"]: record.state for record in JournalGridStore(journal).trials()
    }
    assert check_grid == {1: "complete", 2: "complete"}


def test_a_driver_that_was_away_too_long_gives_up_what_others_took(drivers: Drivers, tmp_path: Path) -> None:
    words = ["runtime.seed=1", "sweep.lease_seconds=1", "sweep.workers=1"]
    first = drivers.start(tmp_path, *words, TOY_SECONDS="20", TOY_EPOCHS="1")
    wait_for(lambda: training(tmp_path), first)
    (journal,) = tmp_path.glob("sweeps/*/journal.jsonl")
    store = JournalGridStore(journal)
    store.trials()
    lease: dict[str, Any] = {
        "owner": "another",
        "place": "elsewhere",
        "driver": [1, 0],
        "child": None,
        "beat": 1,
    }
    store.note(0, {"lease": lease})
    wait_for(lambda: "was taken over by another driver" in first.output, first)
    store.finish(0, "complete", [0.5])
    assert first.wait() == 0, first.output
    assert [(row["state"], row["values"]) for row in rows(tmp_path)] == [("complete", {"mAP50-95": 0.5})]
