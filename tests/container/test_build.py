"""The image itself, built and used with buildah: a training, its prediction, a stop. Only where it is asked for.

A build takes ten minutes, 10 GB and a network, and runs only as root here: no part of the usual tests. Ask by::

    TRAINER_TEST_CONTAINER=1 pytest tests/container/test_build.py

TRAINER_TEST_IMAGE names an image that is there already; TRAINER_TEST_BASE the base of one without CUDA (default
debian:bookworm-slim), TRAINER_TEST_BUILD more words for ``buildah bud``. Where images are kept, and how, is containers'
own matter: CONTAINERS_STORAGE_CONF, STORAGE_DRIVER. Commands are run in chroot isolation, which needs no container
engine and leaves the machine's network and processes in sight.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.container.files import ROOT, command, dockerfile
from tests.data import folders
from tests.platform.conftest import s3_client, s3_endpoint, s3_variables
from tests.platform.contract import check_body, check_sequence
from tests.platform.receiver import Receiver

__all__ = ["s3_endpoint", "s3_variables"]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(
        os.environ.get("TRAINER_TEST_CONTAINER") != "1",
        reason="builds an image: ten minutes, 10 GB, root and a network; TRAINER_TEST_CONTAINER=1 asks for it",
    ),
    pytest.mark.skipif(not shutil.which("buildah"), reason="no buildah here (apt-get install buildah)"),
]
STOP_WITHIN = 25  # seconds, of the platform's 30
Inside = Callable[..., "subprocess.Popen[str]"]


def buildah(*words: str) -> str:
    done = subprocess.run(["buildah", *words], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    return done.stdout


@pytest.fixture(scope="module")
def image() -> str:
    """The name of the image under test, built where none is named."""
    if os.environ.get("TRAINER_TEST_IMAGE"):
        return os.environ["TRAINER_TEST_IMAGE"]
    base = os.environ.get("TRAINER_TEST_BASE", "debian:bookworm-slim")
    arguments = [word for name in ("BUILD_IMAGE", "BASE_IMAGE") for word in ("--build-arg", f"{name}={base}")]
    more = shlex.split(os.environ.get("TRAINER_TEST_BUILD", ""))
    name = "trainer-openmm:test"
    buildah("bud", "--isolation", "chroot", "--format", "docker", *arguments, *more, "-t", name, ".")
    return name


@pytest.fixture(scope="module")
def container(image: str) -> Iterator[str]:
    name = buildah("from", "--isolation", "chroot", image).strip()
    yield name
    buildah("rm", name)


@pytest.fixture
def inside(container: str) -> Iterator[Inside]:
    """Start a command in the container, by its entry point, with variables and as a user of one's choice."""
    started: list[subprocess.Popen[str]] = []

    def run(*words: str, user: str = "1000:1000", **variables: str) -> subprocess.Popen[str]:
        # Not the first process of its own here, as it would be in docker; tini would remark on it.
        variables["TINI_SUBREAPER"] = "1"
        given = [word for name, value in variables.items() for word in ("--env", f"{name}={value}")]
        entry = command(dockerfile()[1][-1].last("ENTRYPOINT"))
        process = subprocess.Popen(
            [
                "buildah",
                "run",
                "--isolation",
                "chroot",
                "--user",
                user,
                *given,
                container,
                "--",
                *entry,
                *words,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def said(process: subprocess.Popen[str], code: int = 0) -> str:
    text = process.communicate(timeout=900)[0]
    assert process.returncode == code, text
    return text


def test_its_configuration(image: str):
    config: dict[str, Any] = json.loads(buildah("inspect", "--type", "image", image))["Docker"]["config"]
    assert (config["Cmd"], config["Entrypoint"]) == (["python", "train.py"], ["tini", "--"])
    assert (config["User"], config["WorkingDir"]) == ("1000:1000", "/app")
    assert config["StopSignal"] == "SIGTERM"


def test_no_compiler_is_in_it_and_every_module_is_compiled(inside: Inside):
    tools = "c++ g++ gcc cc clang make cmake ninja nvcc cython git"
    found = said(inside("sh", "-c", f"for tool in {tools}; do command -v $tool; done; true"))
    assert found.split() == []
    code = (
        "import importlib.util as u, sys; from pathlib import Path\n"
        "names = 'torch mmcv mmengine mmdet mmseg mmpose boto3 botocore httpx mlflow optuna trainer'.split()\n"
        "specs = {name: u.find_spec(name) for name in names}\n"
        "bare = [n for n, s in specs.items() if not Path(s.cached).exists()]\n"
        "print(bare, Path(sys.prefix), Path(specs['trainer'].origin).parent)"
    )
    assert said(inside("python", "-c", code)).split() == ["[]", "/opt/venv", "/app/trainer"]


@pytest.mark.parametrize("user", ["1000:1000", "4711:0", "4711:4711"])
def test_any_user_can_write_where_it_must_and_nowhere_else(inside: Inside, user: str):
    script = (
        "for folder in $HOME /tmp /workspace /data/datasets /data/models; do touch $folder/a-$$ && rm $folder/a-$$"
        " || exit 3; done; touch /app/x 2>/dev/null && exit 4; id -u"
    )
    assert said(inside("sh", "-c", script, user=user)).split()[-1] == user.partition(":")[0]
    assert "rtmdet-s" in said(inside("python", "-m", "trainer", "models", "rtmdet-s", user=user))


@pytest.mark.parametrize("script", ["train", "predict", "export", "evaluate"])
def test_scripts_say_what_is_missing(inside: Inside, script: str):
    text = said(inside("python", f"{script}.py", "--log-level", "INFO"), code=1)
    assert "CALLBACK_URL" in text and "Traceback" not in text


def test_a_model_is_trained_predicts_and_a_stopped_one_is_saved(
    inside: Inside, s3_variables: dict[str, str], tmp_path: Path
):
    client = s3_client(s3_variables["EXTERNAL_STORAGE_ENDPOINT"])
    data = folders.make("dice", tmp_path / "made", "detection")
    for file in filter(Path.is_file, data.rglob("*")):
        key = f"datasets/ds_1/{file.relative_to(data).as_posix()}"
        client.upload_file(str(file), "training-datasets", key)
    client.put_object(
        Bucket="inference-data", Key="inference/u1/a.png", Body=next(data.rglob("pic5.png")).read_bytes()
    )
    basic = {"epochs": 1, "batch": 2, "imgsz": 64, "device": "cpu", "workers": 0, "pretrained": False}
    shared = {**s3_variables, "TASK_TYPE": "detection", "MODEL_NAME": "rtmdet-tiny"}
    job = {**shared, "DATASET_ID": "ds_1", "CONFIG": json.dumps({"basic": basic})}
    with Receiver() as backend:
        address = backend.address.removesuffix("/api/v1")
        said(inside("python", "train.py", CALLBACK_URL=address, JOB_ID="5", **job))
        told = [(one.path, one.body) for one in backend.requests]
        assert not check_sequence(told, epochs=1)
        best = told[-1][1]["best_checkpoint_path"]
        assert best == "s3://training-checkpoints/checkpoints/5/best.pt"

        backend.requests.clear()
        places = {"CHECKPOINT_PATH": best, "IMAGES_PATH": "s3://inference-data/inference/u1/"}
        asked = {"CONFIG": json.dumps({"conf": 0.0, "device": "cpu"})}
        words = ("python", "predict.py", "--log-level", "INFO")
        said(inside(*words, CALLBACK_URL=address, JOB_ID="9", **shared, **places, **asked))
        assert not [wrong for one in backend.requests for wrong in check_body(one.path, one.body)]
        (result,) = backend.requests[-1].body["results"]
        assert result["image_name"] == "a.png" and result["num_detections"] > 0

        backend.requests.clear()
        long = {**job, "CONFIG": json.dumps({"basic": {**basic, "epochs": 500}})}
        process = inside("python", "train.py", CALLBACK_URL=address, JOB_ID="6", **long)
        wait_until(lambda: sum(one.route == "progress" for one in backend.requests) > 1, process)
        before = time.monotonic()
        os.kill(first_process("JOB_ID=6"), signal.SIGTERM)
        text = said(process, code=143)
        assert time.monotonic() - before < STOP_WITHIN, text
        assert not [one for one in backend.requests if one.route == "completion"]
    assert (
        client.head_object(Bucket="training-checkpoints", Key="checkpoints/6/last.pt")["ContentLength"] > 1e6
    )


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 600
    while not condition():
        assert process.poll() is None and time.monotonic() < until, said(process)
        time.sleep(0.2)


def first_process(variable: str) -> int:
    """The container's first process, which docker would signal: tini, with this variable."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            variables = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if Path(os.fsdecode(words[0])).name == "tini" and variable.encode() in variables:
            return int(folder.name)
    raise AssertionError(f"no tini with {variable}")
