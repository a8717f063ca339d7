"""``hydra/sweeper=openmmlab_trainer`` in a small Hydra application of its own, started as people start one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
APPLICATION = """
import os, signal
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from trainer.sweep.hydra_sweeper import report_value


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(config: DictConfig):
    value = (config.x - 2) ** 2 + config.kind.offset
    number = HydraConfig.get().sweeper.trial if HydraConfig.get().mode.name == "MULTIRUN" else None
    if number in config.die and not (mark := Path(f"died-{number}")).exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if config.fail:
        raise ValueError(f"x={config.x} is not liked")
    for step in range(1, 5):
        report_value(value + 8 / step, step=step)
    print("value", value)
    return {"one": value, "two": (value, config.x), "text": "much"}[config.result]


main()
"""
CONFIG = """
defaults: [{kind: plain}, _self_]
x: 1.0
die: []
fail: false
result: one
"""
SWEEPER = "hydra/sweeper=openmmlab_trainer"
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def application(tmp_path: Path) -> Run:
    """Runs the application with ``-m`` and these overrides; its folder is the test's."""
    (tmp_path / "application.py").write_text(APPLICATION)
    (tmp_path / "conf" / "kind").mkdir(parents=True)
    (tmp_path / "conf" / "config.yaml").write_text(CONFIG)
    for kind, offset in {"plain": 0, "odd": 1, "other": 2}.items():
        (tmp_path / "conf" / "kind" / f"{kind}.yaml").write_text(f"offset: {offset}\n")

    def run(*overrides: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "application.py", "-m", SWEEPER, *overrides]
        return subprocess.run(
            command, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
        )

    return run


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def folder(tmp_path: Path) -> Path:
    (path,) = (tmp_path / "multirun").iterdir()
    return path


def rows(tmp_path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder(tmp_path) / "trials.jsonl").read_text().splitlines()]


def results(tmp_path: Path) -> dict[str, Any]:
    return dict(yaml.safe_load((folder(tmp_path) / "optimization_results.yaml").read_text()))


def test_a_grid_tries_every_combination_in_a_job_each(application: Run, tmp_path: Path) -> None:
    done = application("hydra.sweeper.sampler=grid", "x=1,2", "kind=glob(o*)", "hydra.sweeper.n_jobs=3")
    assert done.returncode == 0, done.stderr
    assert [row["params"] for row in rows(tmp_path)] == [
        {"x": x, "kind": kind} for x in (1, 2) for kind in ("odd", "other")
    ]
    assert {row["state"] for row in rows(tmp_path)} == {"complete"}
    assert results(tmp_path) == {
        "name": "openmmlab_trainer", "best_params": {"x": 2, "kind": "odd"}, "best_value": 1.0, "best_trial": 2
    }  # fmt: skip
    assert "best: trial 2, 1: x=2 kind=odd" in done.stdout
    assert done.stdout.count("Launching 3 jobs") == 1  # a batch for the launcher
    for number in range(4):
        assert (folder(tmp_path) / str(number) / ".hydra" / "config.yaml").is_file()
    again = application("hydra.sweeper.sampler=grid", "x=1,2", "kind=glob(o*)", "hydra.sweeper.n_jobs=3")
    assert again.returncode == 0 and "4 of them have ended already" in again.stdout
    assert "Launching" not in again.stdout and len(rows(tmp_path)) == 4


def test_a_sampler_prunes_and_the_same_command_asks_for_more(application: Run, tmp_path: Path) -> None:
    conf = tmp_path / "conf" / "config.yaml"
    conf.write_text(
        CONFIG + "hydra:\n  sweeper:\n    params: {x: 'interval(0,5)', kind if x=9: odd, y: 'choice(1,2)'}\n"
    )
    words = ["+z=0", "kind=plain,odd", "hydra.sweeper.pruner=median", "hydra.sweeper.n_trials=8"]
    bad = application(*words)
    assert (
        bad.returncode == 1
        and "Could not override 'y'" in bad.stderr
        and not (tmp_path / "multirun").exists()
    )
    conf.write_text(CONFIG + "hydra:\n  sweeper:\n    params: {x: 'interval(0,5)', +y: 'choice(1,2)'}\n")
    done = application(*words)
    assert done.returncode == 0, done.stderr
    states = [row["state"] for row in rows(tmp_path)]
    assert len(states) == 8 and set(states) == {"complete", "pruned"}
    pruned = next(row for row in rows(tmp_path) if row["state"] == "pruned")
    assert 1 <= len(pruned["reported"]) < 4
    assert {frozenset(row["params"]) for row in rows(tmp_path)} == {frozenset({"x", "kind", "y"})}
    best = min(
        (row for row in rows(tmp_path) if row["state"] == "complete"), key=lambda row: row["values"]["value"]
    )
    assert results(tmp_path)["best_params"] == best["params"]
    assert results(tmp_path)["best_value"] == best["values"]["value"]
    more = application(*words[:-1], "hydra.sweeper.n_trials=10")
    assert more.returncode == 0 and len(rows(tmp_path)) == 10
    assert len({row["params"]["x"] for row in rows(tmp_path)}) == 10
    status = subprocess.run(
        [sys.executable, "-m", "trainer", "sweep", "best", str(folder(tmp_path))],
        cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert status.returncode == 0, status.stderr
    assert f"{results(tmp_path)['best_trial']} of " in status.stdout and "again" not in status.stdout


def test_a_killed_sweep_resumes_with_the_trial_that_ran(application: Run, tmp_path: Path) -> None:
    words = ["x=interval(0,5)", "hydra.sweeper.n_trials=4", "die=[2]"]
    killed = application(*words)
    assert killed.returncode == -9
    (line,) = [line for line in killed.stdout.splitlines() if "\t#2 :" in line]
    assert [row["state"] for row in rows(tmp_path)] == ["complete", "complete"]
    done = application(*words)
    assert done.returncode == 0, done.stderr
    assert "trial 2 goes on: its driver has gone" in done.stdout
    assert line.partition("#2 :")[2] in done.stdout  # the same values
    assert [row["state"] for row in rows(tmp_path)] == ["complete"] * 4
    assert "\t#0 :" not in done.stdout


def test_two_drivers_share_a_database(application: Run, tmp_path: Path) -> None:
    words = ["x=interval(0,5)", "hydra.sweeper.n_trials=6", "hydra.sweeper.sampler=random"]
    words += [f"hydra.sweeper.storage=sqlite:///{tmp_path}/study.db", "hydra.sweeper.study_name=shared"]
    command = [sys.executable, "application.py", "-m", SWEEPER, *words]
    both = [
        subprocess.Popen(command, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]  # the fixture has written the application
    outputs = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert [row["state"] for row in rows(tmp_path)] == ["complete"] * 6
    assert sum(output.count("\t#") for output in outputs) == 6
    assert len({row["params"]["x"] for row in rows(tmp_path)}) == 6


def test_several_objectives_leave_their_front(application: Run, tmp_path: Path) -> None:
    done = application(
        "x=range(1,5)",
        "result=two",
        "hydra.sweeper.sampler=grid",
        "hydra.sweeper.direction=[minimize,maximize]",
    )
    assert done.returncode == 0, done.stderr
    assert results(tmp_path)["solutions"] == [
        {"params": {"x": x}, "values": [float((x - 2) ** 2), float(x)], "trial": x - 1} for x in (2, 3, 4)
    ]


def test_failures_end_the_sweep_or_are_counted(application: Run, tmp_path: Path) -> None:
    words = ["x=interval(3,5)", "fail=true", "hydra.sweeper.n_trials=3"]
    done = application(*words)
    assert done.returncode == 1 and "is not liked" in done.stderr
    assert [row["state"] for row in rows(tmp_path)] == ["failed"]
    assert rows(tmp_path)[0]["error"].startswith("ValueError: x=")
    tolerant = application(*words, "hydra.sweeper.max_failure_rate=1.0")
    assert tolerant.returncode == 0, tolerant.stderr
    assert [row["state"] for row in rows(tmp_path)] == ["failed"] * 4  # three more: a failure is no result


def test_what_is_no_number_is_a_failure(application: Run) -> None:
    done = application("x=1,2", "hydra.sweeper.sampler=grid", "result=text")
    assert done.returncode == 1
    assert "the function returned 'much'; expected a finite number" in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["x=1,2", "hydra.sweeper.sampler=tpee"], "hydra.sweeper.sampler: there is no sampler 'tpee'. Did you mean"),
        (["x=3"], "nothing is searched"),
        (["x=interval(0,1)", "hydra.sweeper.sampler=grid"], "x=interval(0,1): a grid can't try every value"),
        (["x=interval(0,1)", "hydra.sweeper.sampler_options={seeds: 1}"], "hydra.sweeper.sampler_options.seeds"),
        (["x=interval(0,1)", "hydra.sweeper.direction=up"], "hydra.sweeper.direction: expected minimize or maximize"),
        (["kind=plain,missing"], "Could not find 'kind/missing'"),
    ],
)  # fmt: skip
def test_mistakes_are_found_before_the_first_trial(
    application: Run, tmp_path: Path, words: list[str], message: str
) -> None:
    done = application(*words)
    assert done.returncode == 1 and message in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert not (tmp_path / "multirun").exists()


def test_the_scan_of_plugins_imports_nothing_but_hydra_and_our_cli_does_not_scan() -> None:
    code = (
        "import sys, hydra_plugins.trainer_sweeper.sweeper\n"
        "assert not {'optuna', 'trainer'} & set(sys.modules)\n"
        "for name in [name for name in sys.modules if name.startswith('hydra_plugins')]: del sys.modules[name]\n"
        "from trainer.cli.command_line import main\n"
        "assert main(['--cfg', 'job', 'experiment=digits']) == 0\n"
        "assert not [name for name in sys.modules if name.startswith('hydra_plugins')]\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
