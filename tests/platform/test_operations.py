"""predict.py, evaluate.py and export.py as processes that fail: each kind of error, and a stop.

What torch would do is done by a module of that name in the way, so that no process has to import the real one.
"""

from __future__ import annotations

import json
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.platform.conftest import Start, ended
from tests.platform.contract import check_body
from tests.platform.receiver import Receiver, wait_for
from trainer.core.errors import ValidationError
from trainer.platform.callbacks import failure_callback
from trainer.platform.jobs import export_job, predict_job
from trainer.platform.settings.environment_variables import read
from trainer.platform.supervisor import Supervisor

IDS = {"predict": "INFERENCE_JOB_ID", "evaluate": "TEST_RUN_ID", "export": "EXPORT_JOB_ID"}
ROUTES = {
    "predict": "/api/v1/test_inference/inference/jobs/9/callback/completion",
    "evaluate": "/api/v1/test_inference/test/9/results",
    "export": "/api/v1/export/jobs/9/callback/completion",
}


@pytest.fixture
def places(home: Path) -> dict[str, str]:
    """A checkpoint, images and a data set that are there, though nothing is in them."""
    for name in ("images", "data"):
        (home / name).mkdir()
    (home / "images" / "a.png").write_bytes(b"")
    (home / "best.pth").write_bytes(b"noise")
    return {
        "CHECKPOINT_PATH": str(home / "best.pth"),
        "IMAGES_PATH": f"file://{home}/images",
        "LOCAL_DATASET_PATH": str(home / "data"),
        "EXPORT_FORMAT": "onnx",
    }


def failed(name: str, backend: Receiver) -> Any:
    """The one completion that was told, last."""
    requests = [one for one in backend.requests if not one.path.endswith("/started")]
    (request,) = requests
    assert request is backend.requests[-1] and request.path == ROUTES[name]
    assert not check_body(request.path, request.body) and request.body["status"] == "failed"
    return request.body


@pytest.mark.parametrize("name", IDS)
def test_every_mistake_is_said_at_once_and_told_to_the_backend(
    start: Start, backend: Receiver, name: str
) -> None:
    config = json.dumps({"task_type": "segmentation", "batch": 0, "opset_version": 1.5})
    address = backend.address.removesuffix("/api/v1")
    process = start(name, "--log-level", "INFO", CALLBACK_URL=address, JOB_ID="9", CONFIG=config)
    text = ended(process)
    assert process.returncode == 1 and "Traceback" not in text
    assert "ConfigError: 3 mistakes" in text and "CHECKPOINT_S3_URI (or CHECKPOINT_PATH" in text
    assert {
        "predict": "IMAGES_S3_URI (or IMAGES_PATH",
        "evaluate": "DATASET_S3_URI (or --dataset-s3-uri) or DATASET_ID is missing",
        "export": "opset_version: expected an integer, got 1.5",
    }[name] in text
    body = failed(name, backend)
    assert body["error_message"].startswith("[ConfigError] 3 mistakes")
    assert name != "evaluate" or body["task_type"] == "segmentation"


@pytest.mark.parametrize(
    ("name", "torch", "variables", "said"),
    [
        ("predict", "", {"IMAGES_PATH": "{home}/data"}, "[DatasetError] source={home}/data: no image there"),
        (
            "predict",
            "",
            {"CHECKPOINT_PATH": "s3://training-checkpoints/checkpoints/404/best.pt"},
            "[CheckpointError] checkpoints/404/best.pt can't be read from s3://training-checkpoints",
        ),
        (
            "evaluate",
            "import os; os.kill(os.getpid(), 9)",
            {},
            "[ResourceError] the process was killed (SIGKILL), mostly for lack of memory",
        ),
        (
            "export",
            "raise ImportError('libcudart.so.12: cannot open shared object file')",
            {},
            "[FrameworkError] ImportError: libcudart",
        ),
        ("evaluate", "raise RuntimeError('nobody expects this')", {}, "[UnknownError] RuntimeError: nobody"),
    ],
)
def test_kinds_of_failures(
    start: Start,
    backend: Receiver,
    home: Path,
    places: dict[str, str],
    s3_variables: dict[str, str],
    name: str,
    torch: str,
    variables: dict[str, str],
    said: str,
) -> None:
    if torch:
        (home / "torch.py").write_text(torch)
    given = {**places, **{key: value.format(home=home) for key, value in variables.items()}}
    process = start(
        name,
        PYTHONPATH=str(home),
        CALLBACK_URL=backend.address,
        CONFIG='{"task_type": "detection"}',
        **{IDS[name]: "9"},
        **s3_variables,
        **given,
    )
    text = ended(process)
    assert process.returncode == 1, text
    body = failed(name, backend)
    assert body["error_message"].startswith(said.format(home=home)), body["error_message"]
    assert s3_variables["INTERNAL_STORAGE_SECRET_KEY"] not in text + json.dumps(body)
    if name != "evaluate":  # which has no route for it
        assert backend.requests[0].path.endswith("/started") and not check_body(
            backend.requests[0].path, backend.requests[0].body
        )
    assert ("traceback" in body) == bool(torch and "raise" in torch)


def test_a_store_that_does_not_answer(
    home: Path, backend: Receiver, places: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.core.retry.PAUSE", 0.0)
    nobody = socket.socket()
    nobody.bind(("127.0.0.1", 0))  # and doesn't listen
    address = f"127.0.0.1:{nobody.getsockname()[1]}"
    variables = {
        **places,
        "CHECKPOINT_PATH": "s3://training-checkpoints/best.pt",
        "INTERNAL_STORAGE_ENDPOINT": f"http://{address}",
        "INTERNAL_STORAGE_ACCESS_KEY": "me",
        "INTERNAL_STORAGE_SECRET_KEY": "a-very-secret-key",
        "WORK_DIR": str(home),
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    mistakes: list[str] = []
    job = predict_job.prepare(read("predict", [], variables), 9, backend.address, mistakes)
    assert not mistakes
    with Supervisor() as supervisor:
        assert predict_job.run(job, supervisor) == 1
    body = failed("predict", backend)
    assert body["error_message"].startswith(
        "[NetworkError] best.pt can't be read from s3://training-checkpoints"
    )
    nobody.close()
    assert address in body["error_message"] and "a-very-secret-key" not in json.dumps(body)


def test_what_the_backend_would_refuse_is_a_failure(
    home: Path, backend: Receiver, places: dict[str, str], s3_store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An address that is longer than the backend's column for it."""
    variables = read("export", [], {**places, "WORK_DIR": str(home), "TRAINING_JOB_ID": "5" * 600})
    job = export_job.prepare(variables, 9, backend.address, [])

    def exported(*args: Any) -> tuple[None, None]:
        folder = job.work / "results" / "onnx"
        folder.mkdir(parents=True)
        for file in ("m.onnx", "export_9.zip"):
            (folder / file).write_bytes(b"content")
        (folder / "metadata.json").write_text('{"export_format": "onnx", "file": "m.onnx"}')
        return None, None

    monkeypatch.setattr(export_job._JOB, "command_line", exported)
    with Supervisor() as supervisor, pytest.raises(ValidationError, match="output_s3_uri has 6") as caught:
        export_job.run(job, supervisor)
    assert failure_callback.failure(variables, 9, backend.address, caught.value, None)  # as the entry does
    assert failed("export", backend)["error_message"].startswith(
        "[ValidationError] ExportCompletion.output_s3_uri"
    )


def test_after_a_stop_nothing_is_said(
    start: Start, backend: Receiver, home: Path, places: dict[str, str]
) -> None:
    (home / "torch.py").write_text(f"open({str(home / 'up')!r}, 'w').close(); import time; time.sleep(600)")
    process = start("predict", PYTHONPATH=str(home), CALLBACK_URL=backend.address, JOB_ID="9", **places)
    wait_for((home / "up").exists, 120)
    process.send_signal(signal.SIGTERM)
    text = ended(process)
    assert process.returncode == 143, text
    assert [one.path.rpartition("/")[2] for one in backend.requests] == ["started"]
