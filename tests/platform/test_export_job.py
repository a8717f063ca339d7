"""Export jobs: what their variables mean, and what is told of the files. Nothing is exported here."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.platform.contract import check_body
from trainer.core.errors import FrameworkError
from trainer.platform.jobs import PlatformJob, export_job
from trainer.platform.settings.environment_variables import read

PATH = "/api/v1/export/jobs/5/callback/completion"
GIVEN = {"CHECKPOINT_S3_URI": "s3://training-checkpoints/checkpoints/42/best.pt", "EXPORT_FORMAT": "onnx"}


def prepared(tmp_path: Path, **variables: str) -> tuple[PlatformJob, list[str]]:
    mistakes: list[str] = []
    found = read("export", [], {"WORK_DIR": str(tmp_path), **variables})
    return export_job.prepare(found, 5, "http://backend/api/v1", mistakes), mistakes


def test_the_backends_settings_with_their_nulls(tmp_path: Path) -> None:
    config = {
        "opset_version": None, "dynamic_axes": {"images": [0]}, "embed_preprocessing": False, "simplify": True,
        "workspace_size_gb": None, "fp16": True, "int8": False, "minimum_deployment_target": None,
        "validate_outputs": True, "tolerance": 0.001, "num_samples": 10, "task_type": "detection",
    }  # fmt: skip
    job, mistakes = prepared(tmp_path, **GIVEN, CONFIG=json.dumps(config))
    assert not mistakes
    assert set(job.overrides) == {
        "checkpoint='s3://training-checkpoints/checkpoints/42/best.pt'", "format=onnx", "id='5'", "batch=dynamic",
        "compile_seconds=0", "preprocess=false", "simplify=true", "half=true", "int8=false", "tolerance=0.001",
        f"output={tmp_path}/export/5/results",
    }  # fmt: skip
    assert "ignored: CONFIG.num_samples=10: the proof looks at the validation split" in job.notes
    assert not [note for note in job.notes if "opset" in note]


def test_the_trainers_own_dialect(tmp_path: Path) -> None:
    job, mistakes = prepared(
        tmp_path,
        CHECKPOINT_PATH="/models/best.pth",
        EXPORT_FORMAT="ONNX",
        EXPORT_CONFIG='{"opset_version": 17, "input_shape": [1, 3, 640, 640], "opset_versoin": 3}',
    )
    assert not mistakes
    assert {"checkpoint=/models/best.pth", "opset=17", "batch=1", "size=[640,640]"} <= set(job.overrides)
    (note,) = job.notes
    assert note.startswith(
        "ignored: EXPORT_CONFIG.opset_versoin=3: this trainer has no such key. Did you mean"
    )


def test_all_mistakes_at_once(tmp_path: Path) -> None:
    _, mistakes = prepared(tmp_path, EXPORT_FORMAT="onx", CONFIG='{"opset_version": "new", "fp16": 1}')
    assert [line.partition(":")[0] for line in mistakes] == [
        "CHECKPOINT_S3_URI (or CHECKPOINT_PATH, --checkpoint-s3-uri) is missing",
        "EXPORT_FORMAT=onx",
        "CONFIG",
    ]
    assert "this trainer exports onnx, torchscript, tensorrt. Did you mean 'onnx'?" in mistakes[1]
    assert "opset_version: expected an integer, got 'new'; fp16: expected true or false" in mistakes[2]
    _, mistakes = prepared(tmp_path, **{**GIVEN, "EXPORT_FORMAT": "coreml"})
    assert mistakes == ["EXPORT_FORMAT=coreml: this trainer exports onnx, torchscript, tensorrt."]


def test_the_size_that_is_told_is_the_models_not_the_packages(
    tmp_path: Path, s3_store: Callable[[], dict[str, bytes]]
) -> None:
    job, _ = prepared(tmp_path, **GIVEN, TRAINING_JOB_ID="42")
    with pytest.raises(FrameworkError, match="left no file"):
        export_job._JOB.finished(job)
    folder = job.work / "results" / "onnx"
    folder.mkdir(parents=True)
    (folder / "m.onnx").write_bytes(b"model" * 100)
    (folder / "export_5.zip").write_bytes(b"package")
    about = {
        "export_format": "onnx",
        "file": "m.onnx",
        "class_names": ["a"],
        "input_spec": {"shape": [1, 3, 64, 64]},
    }
    (folder / "metadata.json").write_text(json.dumps(about))
    body = export_job._JOB.finished(job).content()
    assert not check_body(PATH, body)
    assert body["file_size_bytes"] == 500 and body["metadata"] == about
    assert body["output_s3_uri"] == "s3://training-checkpoints/exports/42/5/export_5.zip"
    assert s3_store() == {"exports/42/5/export_5.zip": b"package"}
    failed = export_job._JOB.failed(
        job.variables, 5, "[FrameworkError] unsupported", "Traceback ..."
    ).content()
    assert not check_body(PATH, failed) and (failed["status"], failed["exit_code"]) == ("failed", 1)
