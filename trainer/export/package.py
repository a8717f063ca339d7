"""From a predictor to an exported file that was proven to answer the same: the file, metadata.json, proof.json."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from trainer import __version__
from trainer.errors import DatasetError, FrameworkError
from trainer.export.network import NOT_IN_THE_GRAPH, Network
from trainer.export.network_onnx import INPUT, write_onnx
from trainer.export.proof import Proof, prove
from trainer.inference.predictor import Predictor
from trainer.inference.samples import Sample, split_samples
from trainer.storage import atomic_write

IMAGES = 8
"""Validation images that the proof looks at."""


@dataclass(frozen=True)
class Exported:
    """The file, what it says of itself, and the proof."""

    path: Path
    metadata: dict[str, Any]
    proof: Proof


def export_onnx(predictor: Predictor, folder: Path, opset: int, tolerance: float) -> Exported:
    """Write ``<model>.onnx``, ``metadata.json`` and ``proof.json`` to ``folder``; nothing of it when the proof fails.

    The model must be on the CPU.

    Raises:
        FrameworkError: the network can't be exported, or the file answers otherwise than PyTorch.
        DatasetError: the run's validation images are not there.
    """
    inputs = _real_inputs(predictor)
    network = Network(predictor.model).eval()
    metadata = _metadata(predictor, inputs, opset)
    path = folder / f"{predictor.name.replace('/', '-')}.onnx"
    # It gets its name when it is proven; a reader never sees an unproven file.
    draft = folder / f".{path.name}.{secrets.token_hex(4)}.tmp"
    try:
        example = inputs[:2] if len(inputs) > 1 else inputs.repeat(2, 1, 1, 1)
        dynamic, names = write_onnx(draft, network, example, opset, metadata)
        metadata |= {"dynamic_batch": dynamic, "outputs": names}
        proof = prove(draft, network, inputs, names, dynamic, tolerance)
        if not proof.holds:
            worst = proof.worst
            raise FrameworkError(
                f"the exported network answers otherwise than PyTorch: {worst.output} is {worst.largest:.3g} apart, "
                f"{worst.relative:.3g} of its largest value; tolerance={tolerance:g} was asked for. Nothing was kept"
            )
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    for name, content in (("metadata.json", metadata), ("proof.json", proof.to_json())):
        atomic_write(folder / name, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    return Exported(path, metadata, proof)


def _real_inputs(predictor: Predictor) -> torch.Tensor:
    """Validation images as the network gets them, of one size."""
    chosen: list[Sample] = list(
        islice(split_samples(predictor.config, "val", predictor.task, predictor.classes), IMAGES)
    )
    if not chosen:
        raise DatasetError("the run's validation split has no images to prove the export on")
    # A batch of different sizes is padded to the largest, as in validation.
    return predictor.network_input(chosen)[:IMAGES].float().contiguous()


def _metadata(predictor: Predictor, inputs: torch.Tensor, opset: int) -> dict[str, Any]:
    about, preprocessor = predictor.about, predictor.config["model"].get("data_preprocessor") or {}
    metadata = {
        "task": predictor.task,
        "model": predictor.name,
        "classes": list(predictor.classes),
        "palette": [list(colour) for colour in predictor.palette],
        "input": INPUT,
        "input_size": [int(inputs.shape[3]), int(inputs.shape[2])],
        # In the order of the channels that the network gets.
        "channels": "rgb" if preprocessor.get("bgr_to_rgb") else "bgr",
        "mean": list(preprocessor.get("mean") or []),
        "std": list(preprocessor.get("std") or []),
        "opset": opset,
        "precision": "fp32",
        "contains": f"the network only; {NOT_IN_THE_GRAPH}",
        "run_id": about.get("run_id"),
        "dataset": predictor.dataset,
        "fingerprint": about.get("fingerprint"),
        "epoch": predictor.epoch,
        "trainer_version": __version__,
        "torch_version": torch.__version__,
    }
    if predictor.task == "pose":
        names = predictor.model.dataset_meta.get("keypoint_id2name") or {}
        metadata |= {"keypoints": [names[index] for index in sorted(names)], "skeleton": predictor.skeleton}
    return metadata
