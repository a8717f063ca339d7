"""The model in MLflow: logged without torch, loaded in a fresh process, answering as the checkpoint does."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from trainer.core.errors import DatasetError
from trainer.predictions.prediction import Prediction
from trainer.tracking.model_io import answer_keys, read_images, to_answer

ROOT = Path(__file__).parents[2]

LOG = """
import sys
from pathlib import Path
from mlflow import MlflowClient
from trainer.tracking.client import MlflowTracker
from trainer.tracking.model import log_model, model_uri

uri = sys.argv[1]
MlflowTracker(uri)
client = MlflowClient(tracking_uri=uri)
for folder in sys.argv[2:]:
    run = client.create_run(client.create_experiment(Path(folder).name), run_name="x")
    client.set_terminated(run.info.run_id, "KILLED")
    for _ in range(2):
        log_model(Path(folder), run.info.run_id, uri, "digit finder")
    run = client.get_run(run.info.run_id)
    assert run.info.status == "KILLED", "logging a model must not change how the run ended"
    assert len(run.outputs.model_outputs) == 1
    print(model_uri(run.info.run_id, uri))
assert "torch" not in sys.modules
assert sorted(int(v.version) for v in client.search_model_versions("name = 'digit finder'")) == [1, 2]
"""

ANSWER = """
import base64, json, sys
import cv2, mlflow, numpy, pandas
from mlflow.models import validate_serving_input

tracking, picture, *pairs = sys.argv[1:]
mlflow.set_tracking_uri(tracking)
image = cv2.imread(picture)
text = base64.b64encode(open(picture, "rb").read()).decode()
for uri, checkpoint in zip(pairs[::2], pairs[1::2]):
    model = mlflow.pyfunc.load_model(uri)
    answers = [
        model.predict(image),
        model.predict(image[None]),
        model.predict(pandas.DataFrame({"image": [text]})),
        model.predict(pandas.DataFrame({"image": [picture]})),
        model.predict(image[..., ::-1], params={"channels": "RGB"}),
    ]
    body = json.dumps({"dataframe_split": {"columns": ["image"], "data": [[text]]}})
    served = validate_serving_input(uri, body)
    answers.append(served)
    from trainer.inference.load_model import load_model
    from trainer.tracking.model_io import to_answer

    expected = [to_answer(one) for one in load_model(checkpoint, device="cpu").predict([image])]
    assert all(one == expected for one in answers), [str(one)[:300] for one in (expected, *answers)]
    strict = model.predict(image, params={"threshold": 0.9999})
    assert len(strict[0].get("scores", ())) <= len(expected[0].get("scores", ()))
    both = model.predict(numpy.stack([image, image]))
    assert len(both) == 2
    assert len(model.predict(model.input_example)) == 1
    names = model.metadata.signature.inputs.input_names()
    print(json.dumps({"expected": expected, "inputs": names, "about": model.metadata.metadata}))
"""


@pytest.mark.slow
def test_a_fresh_process_answers_as_the_checkpoint_does(trained_run, tmp_path):
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    runs = [_copy(trained_run(task), tmp_path / task) for task in ("detection", "semantic_segmentation")]
    uris = _python(tmp_path, LOG, uri, *runs).split()
    assert all(one.startswith("models:/") for one in uris)

    picture = tmp_path / "picture.png"
    cv2.imwrite(str(picture), _validation_image(runs[0]))
    shutil.rmtree(runs[0] / "checkpoints")  # what MLflow has is enough
    words = [uris[0], trained_run("detection"), uris[1], runs[1]]
    found, segmented = map(json.loads, _python(tmp_path, ANSWER, uri, picture, *words).splitlines())
    assert found["inputs"] == ["image"]
    assert found["about"]["task"] == "detection" and len(found["about"]["classes"]) == 10
    assert set(found["expected"][0]) == set(answer_keys("detection")) == set(found["about"]["answer"])
    assert found["expected"][0]["boxes"], "nothing found would be equal too"
    segments = segmented["expected"][0]["segments"]
    assert set(segmented["expected"][0]) == set(answer_keys("semantic_segmentation"))
    assert sum(one["area"] for one in segments) == 96 * 96
    requirements = next(tmp_path.rglob("requirements.txt")).read_text()
    assert "openmmlab-trainer==" in requirements and "torch==" in requirements


def test_a_run_without_a_checkpoint_is_named(make_run):
    from trainer.core.errors import CheckpointError
    from trainer.tracking.model import log_model

    run = make_run(None)
    shutil.rmtree(run.checkpoints)
    with pytest.raises(CheckpointError, match=run.id):
        log_model(run.dir, "0" * 32, "sqlite://")


def test_images_come_in_many_forms(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), image)
    text = base64.b64encode(path.read_bytes()).decode()
    as_json = np.array(image.tolist(), dtype=object)
    for asked in (
        image,
        image[None],
        {"image": image},
        text,
        [text],
        f"data:image/png;base64,{text}",
        path.read_bytes(),
        as_json,
    ):
        (read,) = read_images(asked)
        assert np.array_equal(read, image)
    assert read_images(str(path)) == [path]
    assert len(read_images(np.stack([image] * 3))) == 3
    (turned,) = read_images(image, "RGB")
    assert np.array_equal(turned, image[..., ::-1])


@pytest.mark.parametrize(
    "asked, told",
    [
        ("no such file.jpg", "neither a file nor an image"),
        (base64.b64encode(b"not an image").decode(), "can't be decoded"),
        (np.zeros((4, 4, 3)) + 0.5, "whole values"),
        (np.full((4, 4, 3), 300), "from 0 to 255"),
        (np.zeros((2, 4, 4, 1), np.uint8), r"\(4, 4, 1\)"),
        ({"picture": "a"}, "no column 'image'"),
    ],
)
def test_what_is_no_image_is_named(asked, told):
    with pytest.raises(DatasetError, match=told):
        read_images(asked)


def test_answers_are_plain_json():
    size, classes = (4, 3), ("a", "b")
    arrays = [np.array([[0, 1, 2.5, 3]], np.float32), np.array([0.5], np.float32), np.array([1])]
    instance = Prediction(
        None, size, classes, *arrays, np.ones((1, 3, 4), bool), keypoints=np.ones((1, 2, 3))
    )
    answer = json.loads(json.dumps(to_answer(instance)))
    assert answer["boxes"] == [[0, 1, 2.5, 3]] and answer["class_names"] == ["b"]
    assert answer["masks"][0]["size"] == [3, 4] and np.shape(answer["keypoints"]) == (1, 2, 3)
    whole = Prediction(None, size, classes, segmentation=np.array([[0, 0, 1, 1]] * 3, np.uint8))
    assert [one["area"] for one in to_answer(whole)["segments"]] == [6, 6]


def _copy(run: Path, to: Path) -> Path:
    """The test takes the folder apart; others share it."""
    shutil.copytree(run, to / run.name, ignore=shutil.ignore_patterns("export", "profile"))
    return to / run.name


def _validation_image(run: Path) -> np.ndarray:
    """A scene that the run validated on."""
    names = json.loads((run / "result.json").read_text())
    assert names["status"] == "finished"
    import mmengine

    config = mmengine.Config.fromfile(run / "mmengine.py")
    leaf = config.val_dataloader.dataset
    content = json.loads((Path(leaf.data_root) / leaf.ann_file).read_text())
    return cv2.imread(str(Path(leaf.data_root) / leaf.data_prefix.img / content["images"][0]["file_name"]))


def _python(folder: Path, code: str, *words: object) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MLFLOW_DISABLE_TELEMETRY": "true"}
    environment.pop("MLFLOW_TRACKING_URI", None)
    command = [sys.executable, "-c", code, *map(str, words)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, cwd=folder, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "type hint" not in done.stderr.lower(), "MLflow took the model's types for its signature"
    return done.stdout
