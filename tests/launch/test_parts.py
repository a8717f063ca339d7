"""What a launched job is made of, without any engine: handles, files, words, states."""

from __future__ import annotations

import json
import os
import stat
import time
from pathlib import Path
from typing import Any

import pytest

from trainer.cli.command_line import main as trainer
from trainer.config.compose import compose
from trainer.core.errors import ConfigError, ResourceError
from trainer.core.processes import ProcessIdentity, descendants, started_at
from trainer.launch import LAUNCHED, launcher_registry
from trainer.launch.dry_run import DryRun
from trainer.launch.handle import Handle
from trainer.launch.job import Job, travelling
from trainer.launch.job_status import JobNotes
from trainer.launch.job_store import all_jobs, find_job, record_job
from trainer.launch.rank_failures import find_ending
from trainer.launch.submit import hand_over, make_job, runs_elsewhere
from trainer.runs.run import Run
from trainer.schema import Experiment
from trainer.schema import LauncherConfig as Options


def experiment(*words: str) -> Experiment:
    found: Experiment = compose("train", ["dataset=digits", *words])[0]
    return found


def job(tmp_path: Path, id: str = "one", *words: str) -> Job:
    return Job(
        id,
        ("train", *words),
        tmp_path,
        tmp_path / ".launched" / id,
        "train it",
        run_dir=tmp_path / "exp" / id,
    )


@pytest.mark.parametrize("text", ["local:12", "slurm:7", "slurm:7_3", "ray:raysubmit_Ab-1.x", "k8s:a/b-1"])
def test_handles(text: str) -> None:
    assert str(Handle.parse(f" {text} ")) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("slrum:7", "Did you mean 'slurm'"),
        ("local:abc", "expected local:<pid>"),
        ("k8s:job", "expected k8s:<namespace>/<job>"),
        ("12", "Handles are local:<pid>, slurm:<job>"),
        ("slurm:1;rm", "expected slurm:<job>"),
    ],
)
def test_what_is_no_handle(text: str, expected: str) -> None:
    with pytest.raises(ConfigError, match="is not a handle") as caught:
        Handle.parse(text)
    assert expected in caught.value.message


def test_job_travels_unchanged_and_unread_by_others(tmp_path: Path) -> None:
    words = ("name=a b", "x='q\"$HOME`", "é=\n2", "tracking.uri=http://u:pa55word9@h")
    sent = Job(
        *("id", words, tmp_path, tmp_path / "f", "title"),
        environment={"A": "b c"},
        options=Options(name="slurm", nodes=2),
        run_dir=tmp_path / "r",
        device="cpu",
    )
    path = sent.save()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Job.load(path.parent) == sent
    moved = (tmp_path / "f").rename(tmp_path / "g")
    assert Job.load(moved).folder == moved
    text = DryRun.of(sent, []).text
    assert "pa55word9" not in text and "name=a b" in text and '"nodes": 2' in text
    (moved / "job.json").write_text("{")
    with pytest.raises(ConfigError, match="can't be read"):
        Job.load(moved)


def test_variables_that_travel() -> None:
    here = {
        "HOME": "/h",
        "MLFLOW_TRACKING_TOKEN": "t",
        "TRAINER_CORES": "1",
        LAUNCHED: "x",
        "DB": "u",
        "A": "1",
    }
    found = travelling(["tracking.uri=${oc.env:DB}"], ["A", "B=2 =3"], here)
    assert found == {"MLFLOW_TRACKING_TOKEN": "t", "DB": "u", "A": "1", "B": "2 =3"}
    with pytest.raises(ConfigError, match="launcher.env: C isn't set here"):
        travelling([], ["C"], here)


class TestMakeJob:
    def make(self, tmp_path: Path, *words: str) -> Job:
        words = (f"output_dir={tmp_path}", *words)
        return make_job("train", experiment(*words), words, ["conf/mine"])

    def test_new_run_gets_an_id_to_go_on_with(self, tmp_path: Path) -> None:
        made = self.make(tmp_path, "launch.detach=true", "name=x", "resume=false")
        assert made.argv[:3] == ("train", "--config-dir", "conf/mine")
        assert made.argv[3:] == (f"output_dir={tmp_path}", "name=x", f"id={made.id}", "resume=auto")
        assert made.run_dir == tmp_path / "x" / made.id
        assert made.folder == tmp_path / ".launched" / made.id
        assert not list(tmp_path.iterdir())

    def test_named_run_must_be_new_or_gone_on_with(self, tmp_path: Path) -> None:
        assert self.make(tmp_path, "id=mine").argv[-2:] == ("id=mine", "resume=auto")
        Run.create(tmp_path, "digits-detection", "m", "mine")
        with pytest.raises(ConfigError, match="there is a run mine already"):
            self.make(tmp_path, "id=mine")
        assert self.make(tmp_path, "id=mine", "resume=auto").argv[-2:] == ("id=mine", "resume=auto")

    def test_newest_is_settled_when_it_is_launched(self, tmp_path: Path) -> None:
        Run.create(tmp_path, "digits-detection", "m", "mine")
        assert self.make(tmp_path, "resume=true").argv[-2:] == ("id=mine", "resume=auto")

    def test_run_to_go_on_with_is_said_already(self, tmp_path: Path) -> None:
        run = Run.create(tmp_path, "other", "m", "mine")
        made = self.make(tmp_path, "resume=min")
        assert (made.id, made.run_dir, made.argv[-1]) == ("mine", run.dir, "resume=min")

    def test_machines_of_one_training_make_the_same_run(self, tmp_path: Path) -> None:
        several = [
            "launcher=torchrun",
            "launcher.nodes=2",
            "launcher.rdzv_endpoint=h:1",
            "launcher.rdzv_id=a/7",
        ]
        made = [self.make(tmp_path, *several, f"launcher.node_rank={rank}") for rank in range(2)]
        assert {one.id for one in made} == {"rtmdet-tiny-a-7"}
        assert len({one.folder for one in made}) == 2


def test_what_runs_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(LAUNCHED, raising=False)
    here, there = experiment(), experiment("launch.detach=true")
    assert not runs_elsewhere("train", here) and not runs_elsewhere("show", there)
    assert runs_elsewhere("train", there) and runs_elsewhere("check", experiment("launcher=torchrun"))
    monkeypatch.setenv(LAUNCHED, "local:1")
    assert not runs_elsewhere("train", there)


def test_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ResourceError, match=r"pip install 'openmmlab-trainer\[ray\]'"):
        launcher_registry.make_launcher(Options(name="ray"))


def test_records(tmp_path: Path) -> None:
    first, second = job(tmp_path, "run-aa"), job(tmp_path, "run-ab")
    for number, one in enumerate((first, second)):
        one.save()
        record_job(one, Handle("local", str(number)))
    record_job(first, Handle("slurm", "9"))
    assert [str(one.handle) for one in all_jobs(tmp_path)] == ["local:1", "slurm:9"]
    for name in ("slurm:9", "local:0", "run-aa", "latest", str(tmp_path / "exp" / "run-aa")):
        Path(tmp_path / "exp" / "run-aa").mkdir(parents=True, exist_ok=True)
        assert find_job(tmp_path, name).folder == first.folder, name
    with pytest.raises(ConfigError, match="any of run-ab, run-aa"):
        find_job(tmp_path, "run-")
    with pytest.raises(ConfigError, match="launched as slurm:8 .* Did you mean 'slurm:9'"):
        find_job(tmp_path, "slurm:8")
    with pytest.raises(ConfigError, match="Nothing was launched there yet"):
        find_job(tmp_path / "other", "latest")


class TestStates:
    def test_queued_running_finished(self, tmp_path: Path) -> None:
        notes = JobNotes(tmp_path)
        assert notes.status(alive=True).state == "queued"
        notes.started("local:1")
        assert notes.status(alive=True).state == "running"
        assert notes.status(alive=False).state == "lost"
        notes.ended(0)
        assert (notes.status(alive=False).state, notes.status(alive=False).exit_code) == ("finished", 0)

    @pytest.mark.parametrize(
        ("code", "state"), [(1, "failed"), (2, "failed"), (143, "cancelled"), (130, "cancelled")]
    )
    def test_ends(self, tmp_path: Path, code: int, state: str) -> None:
        notes = JobNotes(tmp_path)
        notes.started("local:1")
        notes.failure.write_text(
            json.dumps({"kind": "DatasetError", "message": "no such", "traceback": None})
        )
        notes.ended(code)
        status = notes.status(alive=False, run_dir=tmp_path / "run")
        assert (status.state, status.exit_code, status.run_id) == (state, code, "run")
        assert status.reason == "DatasetError: no such"

    def test_killed_after_it_was_told_to_stop(self, tmp_path: Path) -> None:
        notes = JobNotes(tmp_path)
        notes.started("local:1")
        notes.cancel()
        assert (notes.status(alive=False).state, notes.status(alive=False).exit_code) == ("cancelled", 143)
        notes.uncancel()
        assert notes.status(alive=False).state == "lost"

    def test_each_process_has_its_own(self, tmp_path: Path) -> None:
        JobNotes(tmp_path).started("local:1")
        JobNotes(tmp_path, 1).started("local:1")
        JobNotes(tmp_path, 1).ended(1)
        assert JobNotes(tmp_path).last["exit_code"] is None
        last = JobNotes(tmp_path, 1).last
        assert ProcessIdentity(last["pid"], last["process"]).is_running()


def attempt(code: int | None, ended: float = 1.0, message: str | None = None) -> dict[str, Any]:
    error = {"kind": "DatasetError", "message": message} if message else None
    return {"exit_code": code, "ended": None if code is None else ended, "error": error, "pid": 1}


@pytest.mark.parametrize(
    ("attempts", "asked", "expected"),
    [
        ({}, None, (1, None)),
        ({}, 15, (143, None)),
        ({0: attempt(143), 1: attempt(143)}, 15, (143, 0)),
        ({0: attempt(None), 1: attempt(143)}, 15, (143, 0)),
        ({0: attempt(0), 1: attempt(143)}, 15, (0, 0)),  # it was through already
        ({0: attempt(1, 2.0, "process 1: x"), 1: attempt(1, 1.0, "x")}, None, (1, 0)),
        ({0: attempt(143, 2.0), 1: attempt(2, 1.0, "x")}, None, (2, 1)),
        ({1: attempt(1, 3.0, "y"), 2: attempt(2, 2.0, "x")}, None, (1, 1)),  # the first of this machine
        ({0: attempt(143), 1: attempt(1, 3.0, "y"), 2: attempt(2, 2.0, "x")}, None, (2, 2)),
        ({0: attempt(143), 1: attempt(None)}, None, (1, None)),  # killed, and nobody else said why
        ({0: attempt(143), 1: attempt(143)}, None, (143, None)),  # told to stop themselves
    ],
)
def test_who_decides_why_it_ended(
    attempts: dict[int, Any], asked: int | None, expected: tuple[int, int | None]
) -> None:
    end = find_ending(attempts, asked)
    assert (end.exit_code, end.rank) == expected


def test_launched_once_at_a_time(tmp_path: Path) -> None:
    one = job(tmp_path)
    one.save()
    record_job(one, Handle("local", str(os.getpid())), started=started_at(os.getpid()))
    with pytest.raises(
        ResourceError, match=f"run one is launched already, as local:{os.getpid()}, and queued"
    ):
        hand_over(launcher_registry.make_launcher(one.options), one, detach=True)


def test_log_of_one_on_a_terminal_is_the_runs(tmp_path: Path) -> None:
    one = job(tmp_path)
    one.save()
    launched = record_job(one, Handle("local", "1"), started="another/1")
    assert list(launcher_registry.launcher_of(launched).logs(launched)) == []
    (tmp_path / "exp" / "one").mkdir(parents=True)
    (tmp_path / "exp" / "one" / "train.log").write_text("a\nb")
    assert list(launcher_registry.launcher_of(launched).logs(launched, follow=True)) == ["a", "b"]


def test_processes() -> None:
    assert ProcessIdentity.of(os.getpid()).is_running()
    assert not ProcessIdentity(os.getpid(), "another/1").is_running()
    assert not ProcessIdentity(os.getpid(), None).is_running()
    assert os.getpid() in descendants(os.getppid())


def test_list_and_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = f"output_dir={tmp_path}"
    assert trainer(["status", output]) == 0
    assert "nothing was launched" in capsys.readouterr().out
    one = job(tmp_path, "run-aa", "tracking.uri=http://u:pa55word9@h")
    one.save()
    launched = record_job(one, Handle("local", "1"), started="another/1", token="pa55word9")
    JobNotes(one.folder).started("local:1")
    JobNotes(one.folder).ended(0)
    assert "pa55word9" not in (launched.folder / "launched.json").read_text()
    assert trainer(["status", output]) == 0
    assert "finished" in capsys.readouterr().out
    assert trainer(["status", "local:1", output, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["state"], facts["run_id"], facts["exit_code"]) == ("finished", "run-aa", 0)
    assert facts["since"] <= time.time()
    assert trainer(["cancel", "run-aa", output]) == 0
    assert "has ended already: finished" in capsys.readouterr().out
    for verb in ("logs", "cancel", "resume"):
        assert trainer([verb, output]) == 2
        assert f"{verb}: name one job" in capsys.readouterr().err
