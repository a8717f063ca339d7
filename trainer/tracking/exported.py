"""An export in MLflow: its proof and its figures on the run of the checkpoint that was exported."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.tracking.metric_mapping import Point, clean_key
from trainer.tracking.post_run import tell_later

if TYPE_CHECKING:
    from trainer.export.exporter import Exported

FOLDER = "export"


def log_export(run_dir: Path, exported: Exported) -> str | None:
    """Tell MLflow about an export, where the run is tracked.

    Metrics are called ``export/<format>/...``, with fp16 and int8 ``export/<format>-fp16/...``, at the step of the
    checkpoint's epoch; ``metadata.json`` and ``proof.json`` go below ``export/<format>/``.

    Returns:
        Why it couldn't be told; None when it was, or where the run isn't tracked.
    """
    proof, name = exported.proof, exported.folder.name
    values = {
        "size_mb": proof.size_bytes / 1e6,
        "holds": float(proof.holds),
        "same_answers": proof.agreement.share,
    }
    for at in proof.latency:
        values |= {f"latency_ms_{at.batch}": at.runtime * 1e3, f"pytorch_ms_{at.batch}": at.eager * 1e3}
    if proof.metric is not None:
        values |= {
            proof.metric.name: proof.metric.runtime,
            f"pytorch_{proof.metric.name}": proof.metric.checkpoint,
        }
    now, step = int(time.time() * 1000), int(exported.metadata["epoch"] or 0)
    points = [
        Point(clean_key(f"{FOLDER}/{name}/{key}"), float(value), now, step) for key, value in values.items()
    ]
    files = [exported.folder / file for file in ("metadata.json", "proof.json")]
    return tell_later(run_dir, points, files, f"{FOLDER}/{name}")
