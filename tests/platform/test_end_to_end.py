"""Whole jobs, as the platform starts them: a model is trained, predicts, is evaluated and exported, for every task.

The scripts run as processes of the platform's user, know only their variables, and meet a real S3 server and a real
backend. Two tasks are asked for in the backend's dialect, two in the trainer's own.

Of the contract's defects of earlier trainers (12.3), here: jobs of all four kinds are there, DICE data become masks for
semantic segmentation, a job has one row an epoch, the best checkpoint is told of, validation has images of its own.
"""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.data import folders
from tests.platform.conftest import Start, ended, s3_client
from tests.platform.contract import check_body, check_sequence
from tests.platform.receiver import Receiver
from trainer.checkpoints.safe_config_parser import parse_config

pytestmark = pytest.mark.slow
SETTINGS = {"epochs": 1, "batch": 2, "imgsz": 64, "device": "cpu", "workers": 0, "pretrained": False}
IMAGES = ("6f1c a-é.png", "pic.JPG", "broken.png")
RESULTS = "s3://training-checkpoints"


@dataclass
class Platform:
    """What a test has of the platform: its backend, its stores, its way of starting scripts."""

    start: Start
    backend: Receiver
    stores: dict[str, str]
    results: Callable[[], dict[str, bytes]]

    def job(self, name: str, **variables: str) -> list[Any]:
        """Run a script to its good end; what the backend was told, each body held against the contract."""
        self.backend.requests.clear()
        process = self.start(name, "--log-level", "INFO", **self.stores, **variables)
        text = ended(process)
        assert process.returncode == 0, text
        told = [(one.path, one.body) for one in self.backend.requests]
        assert all(one.status == 200 for one in self.backend.requests)
        for path, body in told:
            assert not check_body(path, body), (check_body(path, body), text)
        return told


@pytest.fixture
def platform(
    start: Start, backend: Receiver, s3_variables: dict[str, str], s3_store: Callable[[], dict[str, bytes]]
) -> Platform:
    return Platform(start, backend, s3_variables, s3_store)


@pytest.mark.parametrize(
    ("task", "model", "word", "dialect"),
    [
        ("detection", "RTMDet-Tiny", "detection", "own"),
        ("instance_segmentation", "rtmdet-ins_tiny", "segmentation", "backend"),
        ("semantic_segmentation", "segformer_mit-b0", "semantic_segmentation", "backend"),
        ("pose", "rtmpose-t", "pose", "own"),
    ],
)
def test_a_model_is_trained_and_used(
    platform: Platform, home: Path, task: str, model: str, word: str, dialect: str
) -> None:
    number = stored(platform, home, task)
    backend = dialect == "backend"
    address = platform.backend.address if backend else platform.backend.address.removesuffix("/api/v1")
    shared = {"CALLBACK_URL": address}
    known = {"TASK_TYPE": word, "MODEL_NAME": model}

    if backend:
        config: dict[str, Any] = {**SETTINGS, "advanced_config": {}, "primary_metric": "loss"}
        data = {"DATASET_S3_URI": number, "DATASET_ID": ""}
        variables = {**known, **data, "EPOCHS": "1", "BATCH_SIZE": "2", "IMGSZ": "64", "DEVICE": "cpu"}
    else:
        config = {"basic": SETTINGS, "advanced": {"val_interval": 1}}
        variables = {**known, "DATASET_ID": number}
    told = platform.job("train", JOB_ID="5", CONFIG=json.dumps(config), **shared, **variables)
    assert not check_sequence(told, epochs=1)
    last = told[-1][1]
    best = last["best_checkpoint_path"]
    assert best == f"{RESULTS}/checkpoints/5/best.pt" and last["exit_code"] == 0

    if task != "instance_segmentation":  # after one epoch RTMDet-Ins is sure of nothing: see below
        predict(platform, task, best, backend, shared | ({} if backend else known))
    evaluate(platform, task, word, best, backend, number, shared)
    export(platform, task, best, backend, shared)


def test_the_masks_that_are_told_are_those_of_the_things_seen(
    platform: Platform, home: Path, trained_run: Callable[[str], Path]
) -> None:
    """A model that has learnt something, from the store, on images of a folder."""
    from pycocotools.coco import COCO

    run = trained_run("instance_segmentation")
    leaf = parse_config((run / "mmengine.py").read_text())["val_dataloader"]["dataset"]
    root = Path(leaf.get("data_root") or "")
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(root / leaf["ann_file"])
    for image in truth.dataset["images"]:
        target = home / "images" / image["file_name"]
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / leaf["data_prefix"]["img"] / image["file_name"], target)
    client = s3_client(platform.stores["INTERNAL_STORAGE_ENDPOINT"])
    client.upload_file(str(run / "checkpoints" / "best.pth"), "training-checkpoints", "checkpoints/6/best.pt")
    told = platform.job(
        "predict",
        CALLBACK_URL=platform.backend.address,
        INFERENCE_JOB_ID="9",
        CHECKPOINT_S3_URI=f"{RESULTS}/checkpoints/6/best.pt",
        IMAGES_S3_URI=f"file://{home}/images",
        CONFIG='{"task_type": "instance_segmentation", "conf": 0.1, "save_txt": true, "device": "cpu"}',
    )
    results = {one["image_name"]: one for one in told[-1][1]["results"]}
    names = {one["id"]: one["name"] for one in truth.dataset["categories"]}
    seen = 0
    for image in truth.dataset["images"]:
        there = truth.imgToAnns[image["id"]]
        for one in results[Path(image["file_name"]).name]["predictions"]:
            said = np.zeros((image["height"], image["width"]), np.uint8)
            cv2.fillPoly(said, [np.array(part) for part in one.get("mask", {}).get("polygons", [])], 1)
            masks = [
                truth.annToMask(thing) for thing in there if names[thing["category_id"]] == one["class_name"]
            ]
            seen += any((said & mask).sum() > 0.5 * (said | mask).sum() for mask in masks)
    assert seen >= 3


def predict(platform: Platform, task: str, best: str, backend: bool, shared: dict[str, str]) -> None:
    places = (best, "s3://inference-data/inference/u1/")
    names = ("CHECKPOINT_S3_URI", "IMAGES_S3_URI") if backend else ("CHECKPOINT_PATH", "IMAGES_PATH")
    asked = {"conf": 0.0, "iou": 0.45, "max_det": 3, "imgsz": 640, "device": "cpu", "save_txt": True}
    config = {"task_type": task, "model_name": None, **asked, "save_conf": False, "save_crop": False}
    told = platform.job(
        "predict",
        **{"INFERENCE_JOB_ID" if backend else "JOB_ID": "9"},
        **dict(zip(names, places, strict=True)),
        CONFIG=json.dumps(config),
        TRAINING_JOB_ID="5",
        **shared,
    )
    (started, _), (path, body) = told
    assert (started, path) == tuple(
        f"/api/v1/test_inference/inference/jobs/9/callback/{word}" for word in ("started", "completion")
    )
    assert body["status"] == "completed" and body["total_images"] == len(IMAGES)
    found = {one["image_name"]: one for one in body["results"]}
    assert set(found) == set(IMAGES)
    assert "can't be read" in found["broken.png"]["error"] and found["broken.png"]["predictions"] == []
    labels = []
    for name in IMAGES[:2]:
        one = found[name]
        assert one["inference_time_ms"] > 0 and len(one["predictions"]) == one["num_detections"] > 0
        for prediction in one["predictions"]:
            x1, y1, x2, y2 = prediction["bbox"]
            assert -50 <= x1 <= x2 <= folders.WIDTH + 50 and -50 <= y1 <= y2 <= folders.HEIGHT + 50
            assert prediction["class_name"] in (*folders.CLASSES, "background")
            assert (task == "pose") == ("keypoints" in prediction)
        labels.append(f"inference-results/9/labels/{Path(name).stem}.txt")
    stored = platform.results()
    pictures = [f"inference-results/9/images/{name}" for name in IMAGES[:2]]
    wanted = [*pictures, *(labels if task != "semantic_segmentation" else [])]
    kept = sorted(key for key in stored if key.startswith("inference-results/9/") and key.count("/") == 3)
    assert kept == sorted(wanted)
    assert stored[pictures[0]][1:4] == b"PNG" and stored[pictures[1]][:2] == b"\xff\xd8"
    if task == "detection":
        assert {len(line.split()) for line in stored[labels[0]].decode().splitlines()} == {5}
    listing = json.loads(stored["inference-results/9/predictions.json"])
    assert listing["results"] == body["results"] and listing["total_images"] == 3
    assert listing["total_detections"] == sum(one["num_detections"] for one in body["results"])


def evaluate(
    platform: Platform, task: str, word: str, best: str, backend: bool, number: str, shared: dict[str, str]
) -> None:
    config = {"task_type": word, "dataset_split": "test", "batch_size": 16, "device": "cpu"}
    told = platform.job(
        "evaluate",
        **{"TEST_RUN_ID" if backend else "JOB_ID": "7"},
        **{"CHECKPOINT_S3_URI" if backend else "CHECKPOINT_PATH": best},
        DATASET_S3_URI=f"datasets/{number}",
        CONFIG=json.dumps(config),
        **shared,
    )
    ((path, body),) = told
    assert path == "/api/v1/test_inference/test/7/results"
    assert body["status"] == "completed" and body["task_type"] == word
    assert body["num_images"] == 2 and body["config"]["split"] == "val"  # there is no test split
    headline = "mIoU" if task == "semantic_segmentation" else "mAP50-95"
    assert 0 <= body["metrics"][headline] <= 1 and body["metrics"]["accuracy"] == body["metrics"][headline]
    if task != "pose":
        assert set(folders.CLASSES) <= set(body["class_names"]) == set(body["per_class_metrics"])
    stored = platform.results()
    for uri in body["visualization_urls"].values():
        assert stored[uri.removeprefix(f"{RESULTS}/")][1:4] == b"PNG"


def export(platform: Platform, task: str, best: str, backend: bool, shared: dict[str, str]) -> None:
    if backend:
        settings: dict[str, Any] = {"dynamic_axes": {"images": [0]}, "opset_version": None, "fp16": False}
        ids = {"EXPORT_JOB_ID": "8", "TRAINING_JOB_ID": "5", "CHECKPOINT_S3_URI": best}
        ids["CONFIG"] = json.dumps({**settings, "simplify": True, "task_type": task})
    else:
        ids = {"JOB_ID": "8", "TRAINING_JOB_ID": "5", "CHECKPOINT_PATH": best}
        ids["EXPORT_CONFIG"] = json.dumps({"opset_version": 17, "input_shape": [1, 3, 64, 64]})
    told = platform.job("export", EXPORT_FORMAT="onnx", **ids, **shared)
    (started, _), (path, body) = told
    assert (started, path) == tuple(
        f"/api/v1/export/jobs/8/callback/{word}" for word in ("started", "completion")
    )
    assert body["output_s3_uri"] == f"{RESULTS}/exports/5/8/export_8.zip"
    about = body["metadata"]
    assert about["export_format"] == "onnx" and about["input_shape"][2] == 3
    assert about["class_names"] and about["num_classes"] == len(about["class_names"])
    assert about["input_spec"]["shape"] == [1, 3, 64, 64] and about["model_info"]["class_names"]
    package = zipfile.ZipFile(io.BytesIO(platform.results()["exports/5/8/export_8.zip"]))
    assert package.testzip() is None
    names = set(package.namelist())
    assert {
        "metadata.json",
        "proof.json",
        "runtimes/README.md",
        "runtimes/cpp/main.cpp",
        about["file"],
    } <= names
    assert package.getinfo(about["file"]).file_size == body["file_size_bytes"]


def stored(platform: Platform, home: Path, task: str) -> str:
    """The platform's stores with a data set, whose id is returned, and with images to predict on."""
    client = s3_client(platform.stores["EXTERNAL_STORAGE_ENDPOINT"])
    number = f"ds_{task}"
    data = folders.make("dice", home / "made", task)
    for file in data.rglob("*"):
        if file.is_file():
            client.upload_file(
                str(file), "training-datasets", f"datasets/{number}/{file.relative_to(data).as_posix()}"
            )
    picture = next(data.rglob("pic5.png")).read_bytes()
    for name in IMAGES:
        content = b"no picture" if name.startswith("broken") else picture
        client.put_object(Bucket="inference-data", Key=f"inference/u1/{name}", Body=content)
    return number
