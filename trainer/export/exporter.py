"""Export a checkpoint: write the file, prove it, pack it. Its folder appears complete or not at all."""

from __future__ import annotations

import copy
import json
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trainer.core.atomic_files import atomic_write, move_into_place
from trainer.core.errors import FrameworkError, ResourceError
from trainer.export.export_format import ExportFormat, ExportSettings, load_format
from trainer.export.graph import Graph, GraphOptions, graph_for
from trainer.export.inputs import input_of
from trainer.export.metadata import Boxes, Metadata, Thresholds, build_metadata, now
from trainer.export.onnx_file import check_opset
from trainer.export.outputs import outputs_of, thresholds_of
from trainer.export.package import copy_runtimes, safe, write_package
from trainer.export.proof.proof import Proof, without_nan
from trainer.export.proof.prove import prove
from trainer.export.settings import precision
from trainer.inference.predictor import Predictor
from trainer.inference.suppress_output import suppress_output
from trainer.schema import Export

SETTINGS = (
    *(
        "batch",
        "size",
        "dynamic_size",
        "preprocess",
        "opset",
        "simplify",
        "half",
        "int8",
        "calibration_images",
    ),
    *("score_threshold", "nms_iou", "max_detections", "workspace_gb"),
)


@dataclass(frozen=True)
class Exported:
    """An export: its folder, the model file in it, the metadata, the proof, and the package (None without one)."""

    folder: Path
    file: Path
    metadata: Metadata
    proof: Proof
    package: Path | None


@dataclass
class Exporter:
    """Export one checkpoint, whose model must be on the CPU, to one format after another.

    Args:
        folder: where each export gets a folder of its own: ``onnx``, ``onnx-fp16``, ``torchscript``, ...
        log: called with a line about each step.

    Raises:
        FrameworkError: the model has no exported form with these settings; nothing was written.
        ConfigError: the opset lacks an operator of this model.
    """

    predictor: Predictor
    config: Export
    folder: Path
    log: Callable[[str], Any] = print

    def __post_init__(self) -> None:
        config = self.config
        batch = None if config.batch == "dynamic" else int(config.batch)
        spec = input_of(
            self.predictor.config,
            _size(config.size),
            batch=batch,
            dynamic_size=config.dynamic_size,
            preprocess=config.preprocess,
        )
        self.thresholds: Thresholds = thresholds_of(self.predictor, config)
        options = GraphOptions(
            size=(spec["size"][0], spec["size"][1]),
            batch=batch,
            dynamic_size=config.dynamic_size,
            preprocess=config.preprocess,
            score_threshold=config.score_threshold,
            nms_iou=config.nms_iou,
            max_detections=self.thresholds["max_detections"] or 1,
        )
        with suppress_output():
            self.graph: Graph = graph_for(self.predictor, options)
        self.input = {**spec, "divisor": self.graph.multiple_of}
        self.outputs = outputs_of(self.graph)
        self._compiled: dict[int, float | str] | None = None
        self._exported: dict[str, Exported] = {}
        check_opset(self.graph, config.opset)

    def export(self, name: str) -> Exported:
        """Write, prove and keep the file of one format. If the proof fails, nothing is kept, unless ``force`` is set.

        Args:
            name: a name of :func:`trainer.export.export_format.format_names`.

        Raises:
            ConfigError: there is no such format.
            FrameworkError: it can't be written, doesn't run, or its answers differ from PyTorch's.
            ResourceError: this machine lacks what the format needs. The file that it is built from (TensorRT: ONNX)
                is kept.
            DatasetError: no images to calibrate on.
        """
        export_format = load_format(name)
        source = None
        if needed := export_format.built_from:
            source = self._exported.get(needed) or self.export(needed)
        if lack := export_format.missing():
            kept = f". The {needed} file that it is built from is kept: {source.file}" if source else ""
            raise ResourceError(f"format={name}: {lack}{kept}")
        self._exported[name] = self._export(export_format, source.file if source else None)
        return self._exported[name]

    def _export(self, export_format: ExportFormat, source: Path | None) -> Exported:
        """Make an export in a hidden folder, which gets its name when the proof holds."""
        start = time.monotonic()
        requested = precision(self.config)
        name = export_format.name
        target = self.folder / (name if requested == "fp32" else f"{name}-{requested}")
        draft = self.folder / f".{target.name}.{secrets.token_hex(4)}.tmp"
        file = draft / f"{safe(self.predictor.name)}{export_format.suffix}"
        draft.mkdir(parents=True)
        try:
            metadata = self._metadata(export_format, requested, file.name)
            settings = ExportSettings(self.config, metadata, self._calibration_batches, self.log, source)
            built = export_format.write(self.graph, settings, file) or requested
            metadata["precision"] = built
            copy_runtimes(draft / "runtimes", metadata)
            metadata["export_info"] = {
                "file_size_mb": round(file.stat().st_size / 1e6, 3),
                "export_time_seconds": round(time.monotonic() - start, 1),
            }
            metadata["created_at"] = now()
            _write_json(draft / "metadata.json", metadata)
            proof = self._prove(export_format, file, metadata, requested, built)
            metadata["proof"] = proof.summary()
            _write_json(draft / "metadata.json", metadata)
            _write_json(draft / "proof.json", proof.to_json())
            package = None
            if self.config.package:
                run = metadata["run_id"] or safe(self.predictor.name)
                package = write_package(draft, self.config.id or f"{run}-{target.name}")
            _replace(draft, target)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        return Exported(
            target, target / file.name, metadata, proof, None if package is None else target / package.name
        )

    def _prove(
        self, export_format: ExportFormat, file: Path, metadata: Metadata, requested: str, built: str
    ) -> Proof:
        proof = prove(
            self.predictor,
            self.graph,
            file,
            metadata,
            self.config,
            export_format=export_format,
            requested=requested,
            built=built,
            compiled=self._compiled,
            log=self.log,
        )
        self._compiled = {
            latency.batch: latency.compiled for latency in proof.latency if latency.compiled is not None
        }
        if proof.failures and not self.config.force:
            raise FrameworkError(
                f"the answers of the exported {metadata['format']} file differ from PyTorch's: "
                f"{'; '.join(proof.failures)}. Nothing of it was kept; force=true keeps it, marked"
            )
        return proof

    def _calibration_batches(self) -> Iterator[np.ndarray]:
        """Images of the run as the graph takes them, (N, 3, H, W) with the fixed batch size, else 1."""
        from trainer.export.proof.images import calibration_images
        from trainer.export.proof.prove import Eager, prepared
        from trainer.export.runtimes.python.model_wrapper import Model

        images = calibration_images(self.predictor, self.config.calibration_images)
        self.log(f"measuring the ranges of int8 on {len(images)} images")
        metadata = self._metadata(load_format("onnx"), "int8", "")
        model = Model.around(Eager(self.graph), dict(metadata))
        batch = int(self.config.batch) if self.config.batch != "dynamic" else 1
        return (np.repeat(prepared(model, image)[None], batch, 0) for image in images)

    def _metadata(self, export_format: ExportFormat, requested: str, file: str) -> Metadata:
        config = asdict(self.config)
        objects = self.predictor.task in ("detection", "instance_segmentation")
        return build_metadata(
            self.predictor,
            export_format.name,
            file,
            copy.deepcopy(self.input),  # type: ignore[arg-type]
            self.outputs,
            self.thresholds,
            boxes=Boxes(cut=self.graph.cut_at_edges, drop_empty=self.graph.drop_empty) if objects else None,
            precision=requested,
            opset=self.config.opset if export_format.has_opset else None,
            settings={key: config[key] for key in SETTINGS},
        )


def _size(size: Any) -> tuple[int, int] | None:
    if size is None:
        return None
    return (int(size), int(size)) if isinstance(size, int) else (int(size[0]), int(size[1]))


def _write_json(path: Path, content: Any) -> None:
    text = json.dumps(without_nan(content), indent=2, ensure_ascii=False, allow_nan=False)
    atomic_write(path, text + "\n")


def _replace(draft: Path, target: Path) -> None:
    """Move ``draft`` to ``target`` and delete the folder that was there."""
    old = target.with_name(f".{target.name}.{secrets.token_hex(4)}.old")
    if target.exists():
        move_into_place(target, old, flush=False)
    move_into_place(draft, target)
    shutil.rmtree(old, ignore_errors=True)
