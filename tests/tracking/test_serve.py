"""``mlflow models serve`` on the logged model: an image goes in over HTTP, the checkpoint's answer comes back."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PATIENCE = 240.0  # seconds; a process that imports MLflow, torch and OpenMMLab's packages on a busy machine

LOG = """
import sys
from pathlib import Path
from mlflow import MlflowClient
from trainer.tracking.client import MlflowTracker
from trainer.tracking.model import log_model, model_uri

uri, folder = sys.argv[1:]
MlflowTracker(uri)
client = MlflowClient(tracking_uri=uri)
run = client.create_run(client.create_experiment("served"), run_name="x")
log_model(Path(folder), run.info.run_id, uri)
print(model_uri(run.info.run_id, uri))
"""


@pytest.mark.slow
def test_a_served_model_answers_an_image_as_its_checkpoint_does(trained_run, tmp_path):
    from trainer.checkpoints.resolve_checkpoint import find_checkpoint
    from trainer.inference.load_model import load_model
    from trainer.tracking.model_io import to_answer

    run = tmp_path / "run"
    shutil.copytree(
        trained_run("detection"), run, ignore=shutil.ignore_patterns("export*", "profile", "plots")
    )
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "MLFLOW_TRACKING_URI": uri,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "CUDA_VISIBLE_DEVICES": "",
        # MLflow starts uvicorn by its name, as in an environment that is activated.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    }
    done = subprocess.run(
        [sys.executable, "-c", LOG, uri, str(run)],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    model = done.stdout.strip().splitlines()[-1]

    before = os.environ.get("MLFLOW_TRACKING_URI")
    os.environ["MLFLOW_TRACKING_URI"] = uri
    try:
        found = find_checkpoint(model)  # the same address is a checkpoint for predict, evaluate and export
    finally:
        os.environ.pop("MLFLOW_TRACKING_URI")
        os.environ |= {"MLFLOW_TRACKING_URI": before} if before else {}
    assert found.path.read_bytes() == (run / "checkpoints" / "best.pth").read_bytes()
    predictor = load_model(found, "cpu")
    sample, prediction = next(predictor.predict_split())
    expected = to_answer(prediction.above(0.0))
    assert expected["boxes"], "nothing found would be equal too"

    text = base64.b64encode(Path(sample.image).read_bytes()).decode()
    body = json.dumps({"dataframe_split": {"columns": ["image"], "data": [[text]]}})
    (served,) = _ask(model, body, environment, tmp_path)
    assert served["class_names"] == expected["class_names"]
    assert served["scores"] == pytest.approx(expected["scores"], abs=1e-4)
    assert (served["width"], served["height"]) == (96, 96)


def _ask(model: str, body: str, environment: dict[str, str], folder: Path) -> list[dict]:
    """The predictions of a server that is started for this one question."""
    for _ in range(3):  # somebody else may take the port in between
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        words = [
            "models",
            "serve",
            "-m",
            model,
            "-p",
            str(port),
            "--host",
            "127.0.0.1",
            "--env-manager",
            "local",
        ]
        with (folder / "serve.log").open("ab") as log:
            server = subprocess.Popen(
                [sys.executable, "-m", "mlflow", *words],
                stdout=log,
                stderr=log,
                cwd=folder,
                env=environment,
                start_new_session=True,
            )
        try:
            if _answers(server, port):
                address = f"http://127.0.0.1:{port}/invocations"
                request = urllib.request.Request(address, body.encode(), {"Content-Type": "application/json"})
                with urllib.request.urlopen(request, timeout=PATIENCE) as response:
                    return json.loads(response.read())["predictions"]
        finally:
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)
            server.wait()
    raise AssertionError((folder / "serve.log").read_text()[-3000:])


def _answers(server: subprocess.Popen, port: int) -> bool:
    """Whether the server is there; False when it has ended."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and server.poll() is None:
        address = f"http://127.0.0.1:{port}/ping"
        with suppress(OSError), urllib.request.urlopen(address, timeout=PATIENCE) as answer:
            return answer.status == 200
        time.sleep(0.3)
    return False
