"""The scripts as the platform starts them: mistakes before anything heavy, and a training with its restart.

Of the contract's defects of earlier trainers (12.3), here: base configs are found under their names, heads have the
data set's classes, batch size and data are what was asked for, DICE data become training data, splits are made.
"""

from __future__ import annotations

import gzip
import json
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.data import folders
from tests.platform.conftest import Start, ended, s3_client
from tests.platform.receiver import Receiver
from trainer.platform import job_environment
from trainer.platform.settings.environment_variables import read

BASIC = {"epochs": 2, "batch": 2, "workers": 0, "device": "cpu", "imgsz": 64, "pretrained": False}


def test_every_mistake_is_said_at_once_and_told_to_the_backend(start: Start, backend: Receiver) -> None:
    process = start(
        "train",
        CALLBACK_URL=backend.address.removesuffix("/api/v1"),
        JOB_ID="42",
        MODEL_NAME="rtmdt_s",
        TASK_TYPE="poses",
        CONFIG='{"basic": {"epochs": 0}}',
        CALLBACK_MAX_RETRIES="many",
    )
    text = ended(process)
    assert process.returncode == 1
    for said in (
        "ConfigError: 5 mistakes",
        "MODEL_NAME: there is no model 'rtmdt_s'. Did you mean 'rtmdet-s'",
        "TASK_TYPE='poses' is no task of this trainer. Did you mean 'pose'",
        "DATASET_S3_URI (or --dataset-s3-uri) or DATASET_ID is missing",
        "CONFIG.basic.epochs: expected a whole number from 1 to 500, got 0",
        "CALLBACK_MAX_RETRIES: expected a whole number from 0 on, got many",
    ):
        assert said in text
    assert "Traceback" not in text
    (request,) = backend.requests
    assert request.path == "/api/v1/training/jobs/42/callback/completion"
    assert request.body["status"] == "failed" and request.body["exit_code"] == 1
    assert request.body["error_message"].startswith("[ConfigError] 5 mistakes")


@pytest.mark.parametrize("missing", ["JOB_ID", "CALLBACK_URL"])
def test_without_number_or_address_nobody_is_told(start: Start, backend: Receiver, missing: str) -> None:
    variables = {"JOB_ID": "42", "CALLBACK_URL": backend.address, "MODEL_NAME": "yolox-s", missing: ""}
    process = start("train", "--log-level", "INFO", LOCAL_DATASET_PATH="/", **variables)
    text = ended(process)
    assert (
        process.returncode == 1 and f"{missing} (or --{missing.lower().replace('_', '-')}) is missing" in text
    )
    assert not backend.requests


def test_a_model_that_does_not_fit_the_task_is_refused_before_torch(
    start: Start, backend: Receiver, home: Path
) -> None:
    # A module of that name that can't be imported: whoever tries fails in another way.
    (home / "torch.py").write_text("raise SystemExit('torch was imported')\n")
    process = start(
        "train",
        PYTHONPATH=str(home),
        CALLBACK_URL=backend.address,
        JOB_ID="7",
        MODEL_NAME="faster-rcnn-r50",
        TASK_TYPE="pose",
        DATASET_ID="ds_1",
    )
    text = ended(process)
    assert process.returncode == 1
    assert "ConfigError: model=faster-rcnn-r50 can't do task=pose" in text and "(from MODEL_NAME)" in text
    assert "torch was imported" not in text
    assert (
        backend.requests[0].body["error_message"].startswith("[ConfigError] model=faster-rcnn-r50 can't do")
    )


def test_a_training_that_cannot_even_begin_is_told_at_once(
    start: Start, backend: Receiver, home: Path
) -> None:
    (home / "torch.py").write_text("raise ImportError('libcudart.so.12: cannot open shared object file')\n")
    process = start(
        "train",
        PYTHONPATH=str(home),
        CALLBACK_URL=backend.address,
        JOB_ID="9",
        MODEL_NAME="rtmdet-tiny",
        LOCAL_DATASET_PATH=str(folders.make("dice", home / "cats", "detection")),
        CONFIG=json.dumps({"basic": BASIC}),
    )
    text = ended(process)
    assert process.returncode == 1, text
    assert "libcudart" in text and "Traceback" not in text
    (request,) = [one for one in backend.requests if one.route == "completion"]
    assert request is backend.requests[-1]
    assert request.body["error_message"].startswith("[FrameworkError] ImportError: libcudart")
    run = next((home / "training" / "9" / "runs" / "cats-detection").glob("job-9"))
    assert json.loads((run / "result.json").read_text())["status"] == "failed"


def test_secrets_are_masked_wherever_they_are_given(start: Start, backend: Receiver) -> None:
    address = backend.address.replace("http://", "http://somebody:very-secret-word@")
    process = start(
        "train",
        CALLBACK_URL=address,
        JOB_ID="8",
        MODEL_NAME="yolox-s",
        DATASET_ID="ds_1",
        INTERNAL_STORAGE_SECRET_KEY="another-secret-word",
        CONFIG='{"load_from": "https://me:third-secret-word@host/a.pth", "optimizer": "another-secret-word"}',
    )
    text = ended(process)
    assert (process.returncode == 1 and "mistake" in text) or "ConfigError" in text
    assert "secret-word" not in text and "secret-word" not in json.dumps(
        [one.body for one in backend.requests]
    )


def test_an_unwritable_home_and_no_name_for_the_user(tmp_path: Path) -> None:
    variables = read(
        "train", [], {"WORK_DIR": str(tmp_path), "HOME": "/nonexistent", "S3_ENDPOINT": "http://x"}
    )
    made = job_environment.completed(variables)
    for name in (
        "TRAINER_CACHE",
        "MPLCONFIGDIR",
        "TORCH_HOME",
        "XDG_CACHE_HOME",
        "XDG_CONFIG_HOME",
        "DATASET_CACHE_DIR",
    ):
        assert made[name].startswith(str(tmp_path))
    assert "INTERNAL_STORAGE_ENDPOINT" not in made
    (tmp_path / "models").mkdir()
    mounted = {
        **variables.environment,
        "MODEL_WEIGHTS_DIR": str(tmp_path / "models"),
        "TRAINER_CACHE": "/mine",
    }
    made = job_environment.completed(read("train", [], mounted))
    assert (made["TRAINER_WEIGHTS"], made["TRAINER_CACHE"]) == (str(tmp_path / "models"), "/mine")


@pytest.mark.slow
def test_a_job_is_stopped_goes_on_in_another_pod_and_begins_anew_after_its_end(
    start: Start,
    backend: Receiver,
    home: Path,
    s3_variables: dict[str, str],
    s3_store: Callable[[], dict[str, bytes]],
) -> None:
    data = folders.make("dice", home / "dice", "detection")
    client = s3_client(s3_variables["EXTERNAL_STORAGE_ENDPOINT"])
    for file in data.rglob("*"):
        if file.is_file():
            key = f"datasets/entry_ds/{file.relative_to(data)}"
            client.upload_file(str(file), "training-datasets", key)
    shutil.rmtree(data)
    given = {
        **s3_variables,
        "CALLBACK_URL": backend.address,
        "JOB_ID": "42",
        "MODEL_NAME": "RTMDet_tiny",
        "TASK_TYPE": "object_detection",
        "DATASET_S3_URI": "entry_ds",
        "DATASET_ID": "",
    }

    # The backend's dialect: epochs and batch by variables, an advanced_config beside them.
    config = {**BASIC, "epochs": 100, "advanced_config": {}}
    process = start("train", "--log-level", "INFO", EPOCHS="100", CONFIG=json.dumps(config), **given)
    deadline = time.monotonic() + 400
    while "checkpoints/42/last.pt" not in s3_store() or not rows(backend):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    text = ended(process)
    assert process.returncode == 143, text
    before, reached = rows(backend), uploaded_epoch(s3_store())
    assert not [one for one in backend.requests if one.route == "completion"]
    shutil.rmtree(home / "training")  # the pod is gone, and all that it had

    # The trainer's own dialect, two epochs more than there are.
    backend.requests.clear()
    total = reached + 2
    process = start("train", CONFIG=json.dumps({"basic": {**BASIC, "epochs": total}}), **given)
    text = ended(process)
    assert process.returncode == 0, text
    assert "the job goes on with run job-42" in text
    after = rows(backend)
    assert after == sorted(set(after)) and not set(after) & set(before) and max(after) == total
    last = backend.requests[-1]
    assert last.route == "completion" and last.body["exit_code"] == 0
    assert last.body["best_checkpoint_path"] == "s3://training-checkpoints/checkpoints/42/best.pt"
    assert {"checkpoints/42/best.pt", "checkpoints/42/last.pt"} <= set(s3_store())
    assert "checkpoints/42/restart.json.gz" not in s3_store()  # a restart by the platform begins anew

    run = next((home / "training" / "42" / "runs" / "entry_ds-detection").glob("job-42"))
    final = (run / "mmengine.py").read_text()
    assert "num_classes=2" in final and "num_classes=80" not in final
    facts = json.loads((run / "run.json").read_text())
    assert (facts["job"], facts["base"]) == ("42", "mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py")
    assert [attempt["status"] for attempt in facts["attempts"]] == ["cancelled", "finished"]


def uploaded_epoch(stored: dict[str, bytes]) -> int:
    """The epoch of the last checkpoint in the results store."""
    state = json.loads(gzip.decompress(stored["checkpoints/42/restart.json.gz"]))
    return int(state["checkpoints"]["last"][-1]["epoch"])


def rows(backend: Receiver) -> list[int]:
    """The epochs that rows of metrics were sent of."""
    told = [one.body for one in list(backend.requests) if one.route == "progress"]
    return [body["current_epoch"] for body in told if body.get("metrics")]
