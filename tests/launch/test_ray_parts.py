"""What Ray is asked for, and what fits where; no cluster."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from trainer.core.errors import ConfigError
from trainer.launch import file_signals
from trainer.launch.job import Job
from trainer.launch.ray_cluster.job_request import needs_driver, placement_group_spec
from trainer.launch.ray_cluster.nodes import Node, count_fitting
from trainer.launch.ray_cluster.ray_launcher import RayCluster
from trainer.launch.ray_cluster.training_ranks import rank_variables
from trainer.schema import LauncherConfig

OPTIONS = LauncherConfig(name="ray", num_cpus=4, num_gpus=1, memory_gb=16, resources={"a100": 1})
BIG = Node("10.0.0.1", {"CPU": 8.0, "GPU": 2.0, "memory": 64e9, "a100": 2.0, "node:10.0.0.1": 1.0})
SMALL = Node("10.0.0.2", {"CPU": 4.0, "memory": 8e9})


def job(tmp_path: Path, options: LauncherConfig) -> Job:
    words = ("train", "password=hunter2 'quoted' $HOME")
    variables = {"AWS_SECRET_ACCESS_KEY": "hunter3"}
    return Job("one", words, tmp_path, tmp_path / "a b", "train it", variables, options)


def test_one_worker_is_the_job_itself(tmp_path: Path) -> None:
    asked = RayCluster(OPTIONS).request(job(tmp_path, OPTIONS), "one-1")
    assert asked["entrypoint_num_cpus"] == 4 and asked["entrypoint_num_gpus"] == 1
    assert asked["entrypoint_memory"] == 16 * 10**9 and asked["entrypoint_resources"] == {"a100": 1.0}
    assert asked["entrypoint"].endswith(f"-m trainer.launch.job_main '{tmp_path / 'a b'}'")
    told = asked["runtime_env"]["env_vars"]
    assert told["TRAINER_LAUNCHED"] == "ray:one-1" and told["TRAINER_CORES"] == "4"
    assert told["RAY_JOB_STOP_WAIT_TIME_S"] == "120"  # Ray's own three seconds are too few to save in
    assert "hunter" not in json.dumps(asked)


def test_several_workers_are_a_driver_and_a_placement_group(tmp_path: Path) -> None:
    options = replace(OPTIONS, nodes=2, nproc=2, resources={}, memory_gb=None)
    asked = RayCluster(options).request(job(tmp_path, options), "one-1")
    assert (
        "-m trainer.launch.ray_cluster.training_ranks " in asked["entrypoint"]
        and "entrypoint_num_cpus" not in asked
    )
    assert placement_group_spec(options) == {"bundles": [{"CPU": 4, "GPU": 1}] * 4, "strategy": "SPREAD"}
    assert placement_group_spec(replace(options, nodes=1))["strategy"] == "PACK"
    assert placement_group_spec(replace(options, placement="STRICT_PACK"))["strategy"] == "STRICT_PACK"
    assert not needs_driver(OPTIONS) and needs_driver(replace(OPTIONS, max_restarts=1))
    text = RayCluster(options).plan(job(tmp_path, options)).text
    assert "its workers" in text and "hunter" not in text


def test_a_machine_that_does_not_see_the_folder_says_so(tmp_path: Path) -> None:
    line = RayCluster(OPTIONS).request(job(tmp_path, OPTIONS), "one-1")["entrypoint"]
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "doesn't see" in done.stdout and str(tmp_path / "a b") in done.stdout
    elsewhere = replace(OPTIONS, remote_python="/no/such python")
    one = job(tmp_path, elsewhere)
    one.save()
    line = RayCluster(elsewhere).request(one, "one-1")["entrypoint"]
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "launcher.remote_python" in done.stdout, done


def test_a_job_that_was_cancelled_while_it_waited_does_not_begin(tmp_path: Path) -> None:
    one = job(tmp_path, replace(OPTIONS, remote_python="true"))
    one.save()
    line = RayCluster(OPTIONS).request(one, "one-1")["entrypoint"]
    assert subprocess.run(["sh", "-c", line], check=False).returncode == 0
    (one.folder / "withdrawn.one-1").touch()
    assert subprocess.run(["sh", "-c", line], check=False).returncode == 143


def test_folders_that_ray_would_copy_are_refused(tmp_path: Path) -> None:
    options = replace(OPTIONS, runtime_env={"working_dir": "."})
    with pytest.raises(ConfigError, match="share the working folder"):
        RayCluster(options).request(job(tmp_path, options), "one-1")
    options = replace(OPTIONS, runtime_env={"env_vars": {"A": 1}, "image_uri": "me/it"})
    asked = RayCluster(options).request(job(tmp_path, options), "one-1")["runtime_env"]
    assert asked["image_uri"] == "me/it" and asked["env_vars"]["A"] == "1"


def test_what_fits() -> None:
    assert count_fitting([BIG, SMALL], {"CPU": 4}) == 3
    assert count_fitting([BIG, SMALL], {"CPU": 4, "GPU": 1}) == 2
    assert count_fitting([BIG, SMALL], {"CPU": 1, "GPU": 0.5}) == 4
    assert count_fitting([BIG, SMALL], {"CPU": 1, "memory": 10e9}) == 6
    assert count_fitting([BIG], {"CPU": 9}) == count_fitting([], {"CPU": 1}) == 0
    assert BIG.text == "8 CPU, 2 GPU, 2 a100"


def test_ranks_over_machines() -> None:
    places = [
        ("n1", "10.0.0.1", ["0"], 4000),
        ("n1", "10.0.0.1", ["3"], 4001),
        ("n2", "10.0.0.2", ["1"], 4002),
    ]
    told = rank_variables(places)
    assert [one["RANK"] for one in told] == ["0", "1", "2"]
    assert [one["LOCAL_RANK"] for one in told] == ["0", "1", "0"]
    assert [one["CUDA_VISIBLE_DEVICES"] for one in told] == ["0,3", "0,3", "1"]
    assert {(one["MASTER_ADDR"], one["MASTER_PORT"], one["WORLD_SIZE"]) for one in told} == {
        ("10.0.0.1", "4000", "3")
    }
    shared = rank_variables([("n1", "10.0.0.1", ["0"], 1), ("n1", "10.0.0.1", ["0"], 2)])  # half a GPU each
    assert [one["LOCAL_RANK"] for one in shared] == ["0", "0"] and "CUDA_VISIBLE_DEVICES" not in shared[0]
    assert "CUDA_VISIBLE_DEVICES" not in rank_variables([("n1", "10.0.0.1", [], 1)])[0]


def test_signals_by_mail(tmp_path: Path) -> None:
    got: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda signum, frame: got.append(signum))
    try:
        file_signals.post_signal(tmp_path, signal.SIGUSR1)
        (tmp_path / "signal-NONSENSE-1").touch()
        (tmp_path / "job.json").touch()
        assert file_signals.deliver_signals(tmp_path) == [signal.SIGUSR1] and got == [signal.SIGUSR1]
        assert file_signals.deliver_signals(tmp_path) == [] and os.listdir(tmp_path) == ["job.json"]
        file_signals.post_signal(tmp_path, signal.SIGUSR1)
        file_signals.discard_signals(tmp_path)
        assert file_signals.deliver_signals(tmp_path) == []
    finally:
        signal.signal(signal.SIGUSR1, before)
