"""Inference jobs: what their variables mean, and what becomes of the answers. No model is loaded here."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.platform.contract import check_body
from trainer.core.errors import FrameworkError
from trainer.platform.callbacks.payloads import InferenceCompletionPayload
from trainer.platform.callbacks.prediction_payload import as_predictions, polygons
from trainer.platform.jobs import PlatformJob, predict_job
from trainer.platform.settings.environment_variables import read
from trainer.predictions.prediction import Prediction

PATH = "/api/v1/test_inference/inference/jobs/9/callback/completion"
PLACES = {
    "CHECKPOINT_S3_URI": "s3://training-checkpoints/checkpoints/5/best.pt",
    "IMAGES_S3_URI": "s3://b/i/",
}
CLASSES = ("cat", "dog")


def prepared(tmp_path: Path, **variables: str) -> tuple[PlatformJob, list[str]]:
    mistakes: list[str] = []
    found = read("predict", [], {"WORK_DIR": str(tmp_path), **variables})
    return predict_job.prepare(found, 9, "http://backend/api/v1", mistakes), mistakes


def test_the_backends_settings(tmp_path: Path) -> None:
    config = {
        "task_type": "detection", "model_name": None, "conf": 0.1, "iou": 0.45, "max_det": 7, "imgsz": 640,
        "device": "cpu", "save_txt": True, "save_conf": True, "save_crop": False, "conff": 1,
    }  # fmt: skip
    job, mistakes = prepared(tmp_path, **PLACES, CONFIG=json.dumps(config))
    assert not mistakes
    assert set(job.overrides) == {
        "checkpoint='s3://training-checkpoints/checkpoints/5/best.pt'", "source='s3://b/i/'", "on_error=skip",
        "threshold=0.1", "nms_iou=0.45", "max_detections=7", "device=cpu", "labels=true",
        f"output={tmp_path}/inference/9/results",
    }  # fmt: skip
    told = " ".join(job.notes)
    for ignored in ("imgsz=640", "save_crop=false", "task_type=detection", "Did you mean 'conf'"):
        assert ignored in told
    assert "save_conf=" not in told and "model_name" not in told


def test_the_trainers_own_dialect_and_what_holds_when_nobody_says(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    job, mistakes = prepared(
        tmp_path, CHECKPOINT_PATH="file:///models/best.pth", IMAGES_PATH=str(tmp_path / "images"), DEVICE="0"
    )
    assert not mistakes
    assert {"checkpoint=/models/best.pth", f"source={tmp_path}/images", "threshold=0.25"} <= set(
        job.overrides
    )
    assert not [word for word in job.overrides if word.startswith(("labels", "nms_iou", "max_detections"))]


def test_published_weights_of_a_named_model(tmp_path: Path) -> None:
    given = {**PLACES, "CHECKPOINT_S3_URI": "Pretrained"}
    for source in ({"CONFIG": '{"model_name": "RTMDet_s"}'}, {"MODEL_NAME": "rtmdet_s"}):
        job, mistakes = prepared(tmp_path, **given, **source)
        assert not mistakes and "checkpoint='pretrained:rtmdet-s'" in job.overrides
    _, mistakes = prepared(tmp_path, **given)
    assert mistakes == [
        "CHECKPOINT_S3_URI=Pretrained: MODEL_NAME (or CONFIG.model_name) has to name the model"
    ]
    _, mistakes = prepared(tmp_path, **given, MODEL_NAME="rtmdett-s")
    assert "MODEL_NAME: there is no model 'rtmdett-s'. Did you mean 'rtmdet-s'" in mistakes[0]


def test_all_mistakes_at_once(tmp_path: Path) -> None:
    config = {"conf": 1.5, "max_det": 0, "iou": "much", "save_txt": None}
    _, mistakes = prepared(tmp_path, CONFIG=json.dumps(config))
    assert mistakes == [
        "CHECKPOINT_S3_URI (or CHECKPOINT_PATH, --checkpoint-s3-uri) is missing: s3://bucket/key, a file, or the word "
        "pretrained",
        "IMAGES_S3_URI (or IMAGES_PATH, --images-s3-uri) is missing: s3://bucket/prefix, file:///folder or a folder",
        "CONFIG.conf: expected a number from 0 to 1, got 1.5.",
        "CONFIG.max_det: expected a whole number from 1 on, got 0.",
        "CONFIG.iou: expected a number from 0 to 1, not 0, got much.",
    ]


def answers(folder: Path, task: str, images: list[tuple[str, Prediction | str, str]]) -> None:
    """The files that ``python -m trainer predict`` leaves: of each image its name, answer (or fault), picture."""
    entries: list[dict[str, Any]] = []
    (folder / "labels").mkdir(parents=True)
    for name, answer, picture in images:
        if isinstance(answer, str):
            entries.append({"file": name, "image_id": 0, "error": answer})
            continue
        entries.append({**answer.to_json(), "file": name, "picture": picture, "milliseconds": 12.5})
        cv2.imwrite(str(folder / picture), np.full((48, 64, 3), 90, np.uint8))
        (folder / "labels" / f"{Path(picture).stem}.txt").write_text(f"0 0.5 0.5 {len(entries)} 0.25 0.9\n")
    about = {"task": task, "model": "m", "classes": list(CLASSES), "threshold": 0.3}
    (folder / "predictions.json").write_text(json.dumps({**about, "images": entries}))


def boxes(**more: Any) -> Prediction:
    found = np.array([[10.1, 20, 30, 40.5], [0, 0, 5, 5]], np.float32)
    return Prediction(
        None, (64, 48), CLASSES, found, np.array([0.9, 0.4], np.float32), np.array([1, 0]), **more
    )


def test_answers_become_the_completion_and_its_files(
    tmp_path: Path, s3_store: Callable[[], dict[str, bytes]]
) -> None:
    job, _ = prepared(tmp_path, **PLACES, CONFIG='{"save_conf": "false"}')
    images: list[tuple[str, Prediction | str, str]] = [
        ("s3://b/i/a b.JPG", boxes(), "a b.png"),
        ("s3://b/i/broken.png", "s3://b/i/broken.png can't be read as an image", ""),
        ("s3://b/i/more/a b.webp", boxes(), "a b-2.png"),
        ("s3://b/i/sheet.png", boxes(), "sheet-2.png"),
        ("s3://b/i/other/sheet.png", boxes(), "sheet-3.png"),
    ]
    answers(job.work / "results", "detection", images)
    body = predict_job._JOB.finished(job).content()
    assert not check_body(PATH, body)
    assert (body["total_images"], body["total_inference_time_ms"], body["avg_inference_time_ms"]) == (
        5,
        50.0,
        12.5,
    )
    assert [one["image_name"] for one in body["results"]] == [Path(name).name for name, _, _ in images]
    broken = body["results"][1]
    assert (
        broken["inference_time_ms"] == 0.0
        and broken["predictions"] == []
        and "can't be read" in broken["error"]
    )
    assert body["results"][0]["predictions"][0] == {
        "class_id": 1, "class_name": "dog", "confidence": pytest.approx(0.9, abs=1e-3),
        "bbox": pytest.approx([10.1, 20, 30, 40.5]),
    }  # fmt: skip
    stored = s3_store()
    # Two images have one name; both pictures are kept, and the backend finds the first one by it.
    assert set(stored) == {
        "inference-results/9/predictions.json",
        *(
            f"inference-results/9/images/{name}"
            for name in ("a b.JPG", "a b.webp", "sheet.png", "sheet-3.png")
        ),
        *(f"inference-results/9/labels/{name}.txt" for name in ("a b", "a b-2", "sheet", "sheet-3")),
    }
    assert stored["inference-results/9/labels/a b.txt"] == b"0 0.5 0.5 1 0.25\n"  # without the score
    assert stored["inference-results/9/labels/a b-2.txt"] == b"0 0.5 0.5 3 0.25\n"
    assert stored["inference-results/9/images/a b.JPG"][:2] == b"\xff\xd8"
    assert stored["inference-results/9/images/a b.webp"][8:12] == b"WEBP"
    listing = json.loads(stored["inference-results/9/predictions.json"])
    assert listing["results"] == body["results"] and listing["total_detections"] == 8
    assert body["result_urls"] == {
        "predictions_json": "s3://training-checkpoints/inference-results/9/predictions.json",
        "annotated_images_prefix": "s3://training-checkpoints/inference-results/9/images/",
        "labels_prefix": "s3://training-checkpoints/inference-results/9/labels/",
    }


def test_an_unreadable_result_is_said(tmp_path: Path) -> None:
    job, _ = prepared(tmp_path, **PLACES)
    with pytest.raises(FrameworkError, match="the predictions can't be read"):
        predict_job._JOB.finished(job)


def test_masks_keypoints_and_segments_as_the_backend_keeps_them() -> None:
    about = {"classes": list(CLASSES)}
    masks = np.zeros((2, 48, 64), bool)
    masks[0, 20:40, 10:30] = True
    masks[0, 2:6, 50:60] = True
    one, empty = as_predictions(boxes(masks=masks).to_json(), about)
    assert sorted(map(sorted, one["mask"]["polygon"])) == sorted(
        map(sorted, [[10, 20], [10, 39], [29, 39], [29, 20]])
    )
    assert len(one["mask"]["polygons"]) == 2 and "mask" not in empty

    points = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    told = as_predictions(boxes(keypoints=points).to_json(), about)
    assert told[1]["keypoints"] == [[6.0, 7.0, 8.0], [9.0, 10.0, 11.0]]

    unclassified = Prediction(
        None, (64, 48), ("person",), *(value[:1] for value in (boxes().boxes, boxes().scores)), np.array([-1]),
        keypoints=points[:1],
    )  # fmt: skip
    (person,) = as_predictions(unclassified.to_json(), {"classes": ["person"]})
    assert (person["class_id"], person["class_name"]) == (0, "person")

    classes = np.zeros((48, 64), np.uint8)
    classes[10:20, 30:50] = 1
    classes[:, :3] = 255  # unknown: belongs to no class
    cat, dog = as_predictions(Prediction(None, (64, 48), CLASSES, segmentation=classes).to_json(), about)
    assert (cat["class_name"], cat["bbox"]) == ("cat", [3, 0, 64, 48])
    assert (dog["class_id"], dog["bbox"], dog["area"]) == (1, [30, 10, 50, 20], 200)
    assert len(dog["mask"]["polygons"]) == 1
    for told in ([one, empty], [person], [cat, dog]):
        result = {"image_path": "a", "image_name": "a", "inference_time_ms": 1.0, "predictions": told}
        assert not check_body(PATH, {"status": "completed", "results": [result]})


def test_an_outline_follows_its_mask() -> None:
    rows, columns = np.mgrid[:200, :200]
    disc = (rows - 100) ** 2 + (columns - 90) ** 2 < 80**2
    (outline,) = polygons(disc)
    assert len(outline) < 120
    drawn = cv2.fillPoly(np.zeros(disc.shape, np.uint8), [np.array(outline)], 1).astype(bool)
    assert (drawn & disc).sum() / (drawn | disc).sum() > 0.98


def test_a_failure_is_told_with_its_kind(tmp_path: Path) -> None:
    body = predict_job._JOB.failed(read("predict", [], {}), 9, "[DatasetError] no images", None)
    assert isinstance(body, InferenceCompletionPayload)
    assert not check_body(PATH, body.content()) and body.content()["status"] == "failed"
