"""What ``launcher=slurm`` writes and understands, without a SLURM."""

from __future__ import annotations

import json
import os
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from trainer.core.errors import ConfigError, NetworkError, ResourceError
from trainer.launch.handle import Handle
from trainer.launch.job import Job
from trainer.launch.job_status import JobNotes
from trainer.launch.job_store import LaunchedJob
from trainer.launch.slurm import cli, slurm_launcher
from trainer.launch.slurm.job_epilogue import requeue_reason
from trainer.launch.slurm.rank_main import REQUEUE_FILE, rendezvous
from trainer.launch.slurm.script import sbatch_script
from trainer.schema import LauncherConfig as Options

SHOWN = (
    "JobId=7 JobName=train-rtmdet JobState={state} Reason={reason} Dependency=(null) Requeue=1 Restarts=2 "
    "ExitCode={code} SubmitTime=100 EligibleTime=100 StartTime=200 EndTime=300 NodeList={nodes} "
    "StdOut=/a b/JobState=X.log\n"
)


def job(folder: Path, **options: Any) -> Job:
    title = "train a 'b' on ü"
    return Job(
        "one", ("train",), folder, folder / "with blank" / "one", title, options=Options("slurm", **options)
    )


def options_of(text: str) -> dict[str, str]:
    lines = [line.removeprefix("#SBATCH ") for line in text.splitlines() if line.startswith("#SBATCH")]
    words = [word for line in lines for word in shlex.split(line)]
    return {word.partition("=")[0]: word.partition("=")[2] for word in words}


def test_script_asks_for_what_was_typed(tmp_path: Path) -> None:
    made = job(
        tmp_path,
        partition="gpu",
        account="me",
        gpus=4,
        nodes=2,
        cpus_per_task=8,
        memory_gb=0.5,
        time_minutes=90.5,
        signal_delay_s=30,
        setup=["module load cuda", "source it"],
        sbatch={"mail_type": "END", "exclusive": True, "hold": False},
        srun=["--container-image=a b.sif"],
    )
    text = sbatch_script(made)
    asked = options_of(text)
    assert {name: asked[f"--{name}"] for name in ("partition", "account", "nodes", "mem", "time")} == {
        **{"partition": "gpu", "account": "me", "nodes": "2"},
        **{"mem": "512MB", "time": "91"},
    }
    assert (asked["--gpus-per-node"], asked["--ntasks-per-node"], asked["--cpus-per-task"]) == ("4", "4", "8")
    assert (asked["--signal"], asked["--requeue"], asked["--mail-type"]) == ("USR2@30", "", "END")
    assert "--exclusive" in asked and "--hold" not in asked and "--wckey" not in asked
    assert asked["--output"] == str(made.folder / "output.log")
    assert re.fullmatch(r"[\w.-]+", asked["--job-name"])
    lines = text.splitlines()
    assert lines.index("module load cuda") < lines.index("source it")
    start = shlex.split(next(line for line in lines if line.startswith("srun ")))
    assert start[1:5] == [
        "--unbuffered",
        "--kill-on-bad-exit=1",
        "--cpus-per-task=8",
        "--container-image=a b.sif",
    ]
    assert start[-3:] == ["-m", "trainer.launch.slurm.rank_main", str(made.folder)]


def test_script_leaves_to_the_cluster_what_was_not_typed(tmp_path: Path) -> None:
    asked = options_of(sbatch_script(job(tmp_path)))
    assert set(asked) == {
        *("--chdir", "--job-name", "--nodes", "--ntasks-per-node", "--open-mode", "--output"),
        *("--requeue", "--signal"),
    }


def test_percent_in_a_path_is_no_pattern(tmp_path: Path) -> None:
    assert options_of(sbatch_script(job(tmp_path / "50%j")))["--output"].endswith(
        "/50%%j/with blank/one/output.log"
    )


def test_interpreter(tmp_path: Path) -> None:
    text = sbatch_script(job(tmp_path, interpreter="apptainer exec it.sif python"))
    assert text.count("apptainer exec it.sif python ") == 2


@pytest.mark.parametrize(
    ("key", "hint"), [("time", "use launcher.time_minutes"), ("--output", "sets it itself")]
)
def test_keys_of_their_own(tmp_path: Path, key: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=f"launcher.sbatch.{key}: .*{hint}"):
        sbatch_script(job(tmp_path, sbatch={key: 1}))


def test_controller_s_words() -> None:
    line = SHOWN.format(state="PENDING", reason="ReqNodeNotAvail,_UnavailableNodes:n1", code="0:0", nodes="")
    known = cli._parse_scontrol(line)
    assert known is not None
    assert (known.is_waiting, known.is_running, known.since, known.restarts, known.nodes) == (
        True,
        False,
        100,
        2,
        (),
    )
    assert "nodes that it needs are down" in slurm_launcher.explain_waiting(known)
    known = cli._parse_scontrol(SHOWN.format(state="FAILED", reason="None", code="0:9", nodes="a,b"))
    assert known is not None
    assert (known.exit_code, known.nodes, known.reason, known.since) == (137, ("a", "b"), None, 300)


def test_accounts_words() -> None:
    table = "NODE_FAIL|1:0|a|50\nCANCELLED by 1000|0:15|b|100\n"
    known = cli._parse_sacct(table)
    assert known == cli.JobInfo("CANCELLED", None, 143, ("b",), 1, 100.0)
    assert cli._parse_sacct("") is None


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("error: Unable to contact slurm controller (connect failure)", NetworkError),
        ("error: Batch job submission failed: Invalid account", ResourceError),
    ],
)
def test_commands_that_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, kind: type[Exception]
) -> None:
    program = tmp_path / "sbatch"
    program.write_text(f"#!/bin/sh\necho 'sbatch: {said}' >&2\necho 'sbatch: {said}' >&2\nexit 1\n")
    program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    with pytest.raises(kind) as told:
        cli.run_command("sbatch")
    assert str(told.value).count(said.removeprefix("error: ")) == 1 and "error:" not in str(told.value)


@pytest.mark.parametrize(
    ("state", "code", "said", "expected"),
    [
        ("COMPLETED", "0:0", 0, ("finished", 0, None)),
        ("FAILED", "1:0", 1, ("failed", 1, "DatasetError: empty")),
        ("FAILED", "143:0", 143, ("cancelled", 143, None)),
        ("CANCELLED", "0:15", None, ("cancelled", 143, None)),
        ("TIMEOUT", "0:15", None, ("failed", 143, "its time was over before it had saved")),
        ("OUT_OF_MEMORY", "0:125", None, ("failed", 253, "launcher.memory_gb gives it more")),
        ("NODE_FAIL", "1:0", None, ("failed", 1, "its node failed")),
        ("FAILED", "137:0", None, ("failed", 137, "SLURM: failed")),
        # the first process had ended well when another one failed
        ("FAILED", "1:0", 0, ("failed", 1, "process 1: CheckpointError: gone")),
        ("FAILED", "137:0", None, ("cancelled", 143, None)),  # cancelled at once
    ],
)
def test_how_it_ended(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    state: str,
    code: str,
    said: int | None,
    expected: tuple[str, int, str | None],
) -> None:
    made = job(tmp_path, nproc=2)
    made.save()
    notes = JobNotes(made.folder)
    notes.started("slurm:7")
    if said is not None:
        notes.ended(said, {"kind": "DatasetError", "message": "empty"} if said == 1 else None)
    if said == 0 and state == "FAILED":
        other = {"kind": "CheckpointError", "message": "gone"}
        JobNotes(made.folder, 1).failure.write_text(json.dumps(other))
    if expected[0] == "cancelled" and said is None:
        notes.cancel()
    line = SHOWN.format(state=state, reason="None", code=code, nodes="a")
    monkeypatch.setattr(slurm_launcher, "job_info", lambda job: cli._parse_scontrol(line))
    status = slurm_launcher.Slurm(made.options).status(LaunchedJob(Handle("slurm", "7"), made.folder, {}))
    assert (status.state, status.exit_code) == expected[:2]
    assert (expected[2] or "") in (status.reason or "") and bool(status.reason) == bool(expected[2])


def test_who_starts_again(tmp_path: Path) -> None:
    made = job(tmp_path, max_restarts=1)
    made.save()
    notes, now = JobNotes(made.folder), {"SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": "2"}

    def ended(code: int, handle: str = "slurm:7") -> str | None:
        notes.started(handle)
        notes.ended(code)
        return requeue_reason(made.folder, code, now)

    assert ended(0) is None
    assert ended(143) is None  # somebody stopped it
    (made.folder / REQUEUE_FILE).write_text(json.dumps({"attempt": "7.1"}))
    assert ended(143) is None  # that was an earlier time
    (made.folder / REQUEUE_FILE).write_text(json.dumps({"attempt": "7.2"}))
    assert ended(143) == "its time was over"
    assert ended(2) is None
    notes.path.unlink()
    ended(1, "slurm:6")  # of the job before resume
    assert ended(1) == "it failed (exit code 1), restart 1 of 1"
    assert ended(1) is None
    notes.path.unlink()
    notes.cancel()
    assert ended(1) is None


def test_who_never_gets_anywhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    made = Job(**{**vars(job(tmp_path)), "run_dir": run})
    made.save()
    notes, now = JobNotes(made.folder), {"SLURM_JOB_ID": "7"}
    (made.folder / REQUEUE_FILE).write_text(json.dumps({"attempt": "7.0"}))

    def over(saves: bool) -> bool:
        notes.started("slurm:7")
        if saves:
            (run / "checkpoints").mkdir(parents=True, exist_ok=True)
            (run / "checkpoints" / "manifest.json").write_text("{}")
            later = notes.last["started"] + 1
            os.utime(run / "checkpoints" / "manifest.json", (later, later))
        notes.ended(143)
        return requeue_reason(made.folder, 143, now) is not None

    assert [over(saves) for saves in (False, False, True, True)] == [True] * 4
    # what was saved before it began is nothing that it saved
    os.utime(run / "checkpoints" / "manifest.json", (0, 0))
    assert [over(False) for _ in range(3)] == [True, True, False]
    assert "3 times before it had saved anything: launcher.time_minutes" in capsys.readouterr().err


def test_no_time_to_train(tmp_path: Path) -> None:
    from trainer.config.compose import compose

    words = ["launcher=slurm", "launcher.time_minutes=2"]
    with pytest.raises(ConfigError, match="launcher.signal_delay_s=120: a job of launcher.time_minutes=2 "):
        compose("train", words)
    compose("train", [*words, "launcher.signal_delay_s=60"])


def test_processes_meet(tmp_path: Path) -> None:
    (tmp_path / "meet.7.0.json").write_text("{}")
    first = {
        **{"SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": "1", "SLURM_PROCID": "0", "SLURM_NTASKS": "4"},
        **{"SLURM_LOCALID": "0", "SLURM_JOB_NUM_NODES": "1"},
    }
    one = rendezvous(tmp_path, first)
    two = rendezvous(tmp_path, {**first, "SLURM_PROCID": "3", "SLURM_LOCALID": "3"})
    assert (
        one["MASTER_PORT"] == two["MASTER_PORT"] and one["MASTER_ADDR"] == two["MASTER_ADDR"] == "127.0.0.1"
    )
    assert (two["RANK"], two["LOCAL_RANK"], two["WORLD_SIZE"], two["LOCAL_WORLD_SIZE"]) == (
        "3",
        "3",
        "4",
        "4",
    )
    assert [path.name for path in tmp_path.iterdir()] == ["meet.7.1.json"]


def test_several_nodes_meet_at_a_name(tmp_path: Path) -> None:
    facts = {"SLURM_JOB_ID": "7", "SLURM_PROCID": "0", "SLURM_NTASKS": "2", "SLURM_LOCALID": "0"}
    found = rendezvous(tmp_path, {**facts, "SLURM_JOB_NUM_NODES": "2", "SLURMD_NODENAME": "localhost"})
    assert (found["MASTER_ADDR"], found["LOCAL_WORLD_SIZE"]) == ("localhost", "1")


def test_what_sbatch_may_hand_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "SLURM_MEM_PER_NODE", "SLURM_CONF", "RANK", "OF_MINE"):
        monkeypatch.setenv(name, "x")
    made = Job(**{**vars(job(tmp_path)), "environment": {"AWS_SECRET_ACCESS_KEY": "x", "PYTHONPATH": "y"}})
    found = slurm_launcher._environment(made)
    assert {"SLURM_CONF", "OF_MINE", "PYTHONPATH"} <= set(found)
    assert not {"AWS_SECRET_ACCESS_KEY", "SLURM_MEM_PER_NODE", "RANK"} & set(found)


def test_a_cluster_s_own_file(tmp_path: Path) -> None:
    from trainer.config.compose import compose
    from trainer.schema.conf_folders import conf_with_dirs

    given = Path(__file__).parents[2] / "launchers" / "slurm" / "cluster.yaml"
    (tmp_path / "launcher").mkdir()
    (tmp_path / "launcher" / "ours.yaml").write_text(given.read_text())
    config, _ = compose("train", ["launcher=ours", "launcher.gpus=2"], conf=conf_with_dirs([str(tmp_path)]))
    made = Job(**{**vars(job(tmp_path)), "options": config.launcher})
    asked = options_of(sbatch_script(made))
    assert (asked["--partition"], asked["--ntasks-per-node"], asked["--mail-type"]) == (
        "gpu",
        "2",
        "END,FAIL",
    )
    assert "module load cuda/12.4" in sbatch_script(made)
