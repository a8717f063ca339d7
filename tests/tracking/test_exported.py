"""An export reaches the MLflow run of its checkpoint: its figures, its metadata and its proof."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mlflow import MlflowClient

from trainer.export.proof.compare import Agreement, Difference
from trainer.export.proof.proof import Latency, Limits, Metric, Proof
from trainer.tracking import mlflow_run_id
from trainer.tracking.exported import log_export
from trainer.tracking.mlflow_sink import sync


def _exported(folder: Path, name: str, metric: Metric | None) -> Any:
    proof = Proof(
        runtime="onnxruntime 1", asked="fp32", precision="fp32", images="validation images", compared=8, batches=(1, 8),
        differences=(Difference("boxes", 1e-5, 0.0, 96.0, False),), agreement=Agreement(100, 100, 99), metric=metric,
        no_metric=None, latency=(Latency(1, 0.02, 0.08, None), Latency(8, 0.1, 0.5, "not in time")), threads=1,
        size_bytes=22_400_000, limits=Limits.of("fp32", 1e-3, None), modules=("onnxruntime",),
    )  # fmt: skip
    (folder / name).mkdir(parents=True)
    for file, content in (("metadata.json", {"format": "onnx"}), ("proof.json", proof.summary())):
        (folder / name / file).write_text(json.dumps(content))
    return SimpleNamespace(folder=folder / name, proof=proof, metadata={"epoch": 3})


def test_its_proof_is_on_the_run_beside_trainings_values(make_run, database):
    run = make_run(database, "exported")
    assert sync(run.dir).error is None
    metric = Metric("mAP50-95", 0.25, 0.2495, 8, True, None, (), {})
    assert log_export(run.dir, _exported(run.dir / "export", "onnx", metric)) is None
    assert log_export(run.dir, _exported(run.dir / "export", "onnx-fp16", None)) is None
    client = MlflowClient(tracking_uri=database)
    found = client.get_run(mlflow_run_id(run.dir))
    values = {key: value for key, value in found.data.metrics.items() if key.startswith("export/")}
    plain = {
        "size_mb": 22.4, "holds": 1.0, "same_answers": 0.99,
        "latency_ms_1": 20.0, "pytorch_ms_1": 80.0, "latency_ms_8": 100.0, "pytorch_ms_8": 500.0,
    }  # fmt: skip
    metrics = {"export/onnx/mAP50-95": 0.2495, "export/onnx/pytorch_mAP50-95": 0.25}
    assert values == metrics | {
        f"export/{name}/{key}": value for name in ("onnx", "onnx-fp16") for key, value in plain.items()
    }
    (point,) = client.get_metric_history(found.info.run_id, "export/onnx/holds")
    assert point.step == 3 and found.data.metrics["mAP50-95"] == 0.3, "training's own values stay"
    for name in ("onnx", "onnx-fp16"):
        files = [item.path for item in client.list_artifacts(found.info.run_id, f"export/{name}")]
        assert sorted(files) == [f"export/{name}/metadata.json", f"export/{name}/proof.json"]


def test_a_run_that_is_not_tracked_and_a_server_that_is_away_are_no_errors(make_run, tmp_path):
    from trainer.tracking.mlflow_state import NAME, MlflowState

    run = make_run(None)
    exported = _exported(tmp_path, "onnx", None)
    assert log_export(run.dir, exported) is None
    state = MlflowState(uri=f"sqlite:///{tmp_path / 'no' / 'folder' / 'x.db'}", experiment="e", run_name="r")
    state.mlflow_run_id = "0" * 32
    (tmp_path / "no").write_text("no folder")
    state.save(run.dir / "sinks" / f"{NAME}.json")
    assert "MLflow at sqlite" in (log_export(run.dir, exported) or "")
