"""``-m``: what is run, in which order, and what the table says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from trainer import cli
from trainer.config.paths import Conf
from trainer.errors import ConfigError
from trainer.sweep.grid import expand, find_run, label, run_grid

ROOT = Path(__file__).parents[2]
# A command that takes the same words as ours, writes what a run writes, and takes no time.
FAKE = """
import json, os, sys, time
from pathlib import Path
words = dict(word.split("=", 1) for word in sys.argv[2:] if "=" in word)
Path(words["output_dir"], "calls").open("a").write(" ".join(sys.argv[1:]) + "\\n")
seed = int(words.get("runtime.seed", 0))
if seed == 13:
    sys.exit(1)
if seed == 99:
    time.sleep(60)
run = Path(words["output_dir"], "exp", f"run-{os.getpid()}")
run.mkdir(parents=True)
attempt = {"pid": os.getpid(), "started": time.time()}
(run / "run.json").write_text(json.dumps({"id": run.name, "attempts": [attempt]}))
result = {"status": "finished", "primary_metric": {"name": "mAP50-95", "value": seed / 10}}
(run / "result.json").write_text(json.dumps(result))
"""


@pytest.fixture
def fake(tmp_path: Path) -> list[str]:
    script = tmp_path / "fake.py"
    script.write_text(textwrap.dedent(FAKE))
    return [sys.executable, str(script)]


def sweep(fake: list[str], output: Path, *overrides: str) -> int:
    words = [f"output_dir={output}", *overrides]
    return run_grid("train", words, Conf(), program=fake)


def report(output: Path) -> list[dict[str, object]]:
    (path,) = (output / "sweeps").glob("*.json")
    return json.loads(path.read_text())


def test_expand_knows_hydras_forms() -> None:
    assert expand(["a=1,2", "b=x"]) == [["a=1", "b=x"], ["a=2", "b=x"]]
    assert expand(["a=range(1,4)"]) == [["a=1"], ["a=2"], ["a=3"]]
    assert expand(["a=choice(x,y)", "+b=1,2"])[-1] == ["a=y", "+b=2"]
    assert expand(["a='1,2'", "b=[1,2]"]) == [["a='1,2'", "b=[1,2]"]]
    with pytest.raises(ConfigError):
        expand(["a=interval(0,1)"])


def test_every_combination_runs_once_and_the_table_tells(
    fake: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert sweep(fake, tmp_path, "runtime.seed=1,2", "optimizer=sgd,adamw", "mm.a=[1,2]") == 0
    calls = (tmp_path / "calls").read_text().splitlines()
    assert len(calls) == len(set(calls)) == 4
    assert all(call.startswith("train ") and "mm.a=[1,2]" in call for call in calls)
    jobs = report(tmp_path)
    assert [job["value"] for job in jobs] == [0.1, 0.1, 0.2, 0.2]
    assert [job["varied"] for job in jobs][1] == ["runtime.seed=1", "optimizer=adamw"]
    assert len({job["run_dir"] for job in jobs}) == 4
    out = capfd.readouterr().out
    assert "mAP50-95" in out
    assert "0.2000" in out


def test_a_failed_job_does_not_stop_the_others(fake: list[str], tmp_path: Path) -> None:
    assert sweep(fake, tmp_path, "runtime.seed=13,1") == 1
    assert [job["status"] for job in report(tmp_path)] == ["failed", "finished"]


def test_too_many_failures_do(fake: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert sweep(fake, tmp_path, "runtime.seed=13", "optimizer=sgd,adam,adamw", "sweep.max_failures=2") == 1
    assert [job["status"] for job in report(tmp_path)] == ["failed", "failed", "not started"]
    assert "sweep.max_failures=2" in capfd.readouterr().err


def test_all_jobs_are_checked_before_the_first_starts(fake: list[str], tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        sweep(fake, tmp_path, "model=rtmdet-s,segformer-b0", "task=detection", "runtime.epochs=1")
    assert "segformer-b0 can't do" in caught.value.message
    with pytest.raises(ConfigError, match="expected an integer >= 1, got 0"):
        sweep(fake, tmp_path, "runtime.epochs=0,1")
    with pytest.raises(ConfigError, match="'rtmdet-s'"):
        sweep(fake, tmp_path, "model=rtmdet-m,rtmdet-ss")
    assert not (tmp_path / "calls").exists()


def test_a_run_is_found_by_its_process_and_time_alone(tmp_path: Path) -> None:
    now = time.time()
    for name, pid, started in (("old", 7, now - 900), ("other", 8, now), ("mine", 7, now)):
        (tmp_path / "e" / name).mkdir(parents=True)
        facts = {"attempts": [{"pid": pid, "started": started}]}
        (tmp_path / "e" / name / "run.json").write_text(json.dumps(facts))
    (tmp_path / "e" / "torn").mkdir()
    (tmp_path / "e" / "torn" / "run.json").write_text('{"attempts": [')
    assert find_run(tmp_path, 7, now) == tmp_path / "e" / "mine"
    assert find_run(tmp_path, 9, now) is None


def test_m_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["-m", "optimizer.lr=abc,1", f"output_dir={tmp_path}"]) == 2
    assert "expected a number > 0, got 'abc'" in capsys.readouterr().err


def test_ctrl_c_ends_the_job_and_tells_what_was_done(fake: list[str], tmp_path: Path) -> None:
    code = f"""
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever started the tests may ignore it
from trainer.config.paths import Conf
from trainer.sweep.grid import run_grid
words = ["output_dir={tmp_path}", "runtime.seed=1,99,2"]
sys.exit(run_grid("train", words, Conf(), program={fake!r}))
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    calls = tmp_path / "calls"
    deadline = time.time() + 60
    while time.time() < deadline and not (calls.exists() and "=99" in calls.read_text()):
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert [job["status"] for job in report(tmp_path)] == ["finished", "cancelled", "not started"]
    assert "3 jobs" in out


def test_a_label_tells_the_jobs_apart_in_a_table() -> None:
    assert label(["model=yolox-s", "optimizer.lr=0.002", "runtime.seed=1"]) == "lr=0.002, seed=1"
    assert label(["mm.api_key=abc"]) == "api_key=***"
    assert label([]) == ""
