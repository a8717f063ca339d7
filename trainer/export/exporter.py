"""One exported file from a predictor: written, proven, and packed; a folder that is there whole or not at all."""

from __future__ import annotations

import copy
import json
import secrets
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trainer.core.atomic_files import atomic_write, move_into_place
from trainer.core.errors import FrameworkError, ResourceError
from trainer.export.graph import Graph, GraphOptions, graph_for
from trainer.export.inputs import input_of
from trainer.export.metadata import Boxes, Metadata, Thresholds, build_metadata, inside, now
from trainer.export.onnx_file import check_opset, write_onnx
from trainer.export.outputs import outputs_of, thresholds_of
from trainer.export.package import copy_runtimes, safe, write_package
from trainer.export.precision import built_precision, network_to_half, onnx_to_half
from trainer.export.proof.proof import Proof, plain
from trainer.export.proof.prove import prove
from trainer.export.settings import formats, precision
from trainer.inference.predictor import Predictor
from trainer.inference.suppress_output import suppress_output
from trainer.schema import Export

SUFFIXES = {"onnx": ".onnx", "torchscript": ".torchscript", "tensorrt": ".engine"}
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
    """An export: its folder, the model file in it, what it says of itself, the proof, and the package."""

    folder: Path
    file: Path
    metadata: Metadata
    proof: Proof
    package: Path | None


@dataclass
class Exporter:
    """Exports of one checkpoint, whose model must be on the CPU.

    Args:
        folder: each export gets a folder of its own in it: ``onnx``, ``onnx-fp16``, ``torchscript``, ...
        say: told what is being done.

    Raises:
        FrameworkError: the model has no exported form with these settings; nothing was done then.
        ConfigError: the opset lacks an operator of this model.
    """

    predictor: Predictor
    config: Export
    folder: Path
    say: Callable[[str], Any] = print

    def __post_init__(self) -> None:
        config = self.config
        batch = None if config.batch == "dynamic" else int(config.batch)
        given = input_of(
            self.predictor.config,
            _size(config.size),
            batch=batch,
            dynamic_size=config.dynamic_size,
            preprocess=config.preprocess,
        )
        self.thresholds: Thresholds = thresholds_of(self.predictor, config)
        options = GraphOptions(
            size=(given["size"][0], given["size"][1]),
            batch=batch,
            dynamic_size=config.dynamic_size,
            preprocess=config.preprocess,
            score_threshold=config.score_threshold,
            nms_iou=config.nms_iou,
            max_detections=self.thresholds["max_detections"] or 1,
        )
        with suppress_output():
            self.graph: Graph = graph_for(self.predictor, options)
        self.input = {**given, "divisor": self.graph.multiple_of}
        self.outputs = outputs_of(self.graph)
        self._compiled: dict[int, float | str] | None = None
        self._onnx: Exported | None = None
        check_opset(self.graph, config.opset)

    def export(self, kind: str) -> Exported:
        """Write, prove and keep one format; nothing of it when the proof fails, unless ``force`` is set.

        Raises:
            FrameworkError: it can't be written, doesn't run, or answers otherwise than PyTorch.
            ResourceError: what the format needs is not on this machine; for TensorRT the ONNX file is kept.
            DatasetError: no images to calibrate on.
        """
        if kind == "tensorrt":
            return self._tensorrt()
        writers: dict[str, Callable[[Path, Metadata], str | None]] = {
            "onnx": self._write_onnx,
            "torchscript": self._write_torchscript,
        }
        exported = self._kept(kind, precision(self.config), writers[kind])
        if kind == "onnx":
            self._onnx = exported
        return exported

    def _kept(self, kind: str, asked: str, write: Callable[[Path, Metadata], str | None]) -> Exported:
        """An export made in a folder of its own, which gets its name when the proof holds.

        Args:
            write: makes the file, and gives its precision where that isn't ``asked`` but known.
        """
        begun = time.monotonic()
        target = self.folder / (kind if asked == "fp32" else f"{kind}-{asked}")
        # In a folder that nobody looks into until it is whole.
        draft = self.folder / f".{target.name}.{secrets.token_hex(4)}.tmp"
        file = draft / f"{safe(self.predictor.name)}{SUFFIXES[kind]}"
        draft.mkdir(parents=True)
        try:
            metadata = self._metadata(kind, asked, file.name)
            built = write(file, metadata) or built_precision(file)
            metadata["precision"] = built
            copy_runtimes(draft / "runtimes", metadata)
            seconds = time.monotonic() - begun
            size = file.stat().st_size / 1e6
            metadata["export_info"] = {
                "file_size_mb": round(size, 3),
                "export_time_seconds": round(seconds, 1),
            }
            metadata["created_at"] = now()
            _write_json(draft / "metadata.json", metadata)
            proof = self._proven(file, metadata, asked, built)
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

    def _proven(self, file: Path, metadata: Metadata, asked: str, built: str) -> Proof:
        proof = prove(
            self.predictor,
            self.graph,
            file,
            metadata,
            self.config,
            asked=asked,
            built=built,
            compiled=self._compiled,
            say=self.say,
        )
        self._compiled = {one.batch: one.compiled for one in proof.latency if one.compiled is not None}
        if proof.failures and not self.config.force:
            raise FrameworkError(
                f"the exported {metadata['format']} file answers otherwise than PyTorch: {'; '.join(proof.failures)}. "
                "Nothing of it was kept; force=true keeps it, marked"
            )
        return proof

    def _write_onnx(self, file: Path, metadata: Metadata) -> None:
        from trainer.export.onnx_metadata import set_metadata
        from trainer.export.simplify import simplify

        config = self.config
        self.say(f"writing ONNX, opset {config.opset}")
        write_onnx(file, self.graph, opset=config.opset)
        if config.simplify:
            before, after = simplify(file)
            self.say(f"simplified from {before} to {after} nodes")
        if config.int8:
            self._quantize(file)
        elif config.half:
            onnx_to_half(file)
        metadata["precision"] = built_precision(file)
        set_metadata(file, inside(metadata))

    def _quantize(self, file: Path) -> None:
        import numpy as np

        from trainer.export.int8 import quantize
        from trainer.export.proof.images import calibration_looks
        from trainer.export.proof.prove import Eager, prepared
        from trainer.export.runtimes.python.model_wrapper import Model

        looks = calibration_looks(self.predictor, self.config.calibration_images)
        self.say(f"measuring the ranges of int8 on {len(looks)} images")
        metadata = self._metadata("onnx", "int8", file.name)
        model = Model.around(Eager(self.graph), dict(metadata))
        fixed = int(self.config.batch) if self.config.batch != "dynamic" else 1
        batches = (np.repeat(prepared(model, look)[None], fixed, 0) for look in looks)
        # TensorRT wants zero to be 0, and builds from this very file.
        symmetric = "tensorrt" in formats(self.config)
        quantize(file, batches, str(self.input["name"]), symmetric=symmetric)

    def _write_torchscript(self, file: Path, metadata: Metadata) -> None:
        from trainer.export.torchscript_file import write_torchscript

        self.say("writing TorchScript")
        graph = self.graph
        if self.config.half:
            graph = copy.deepcopy(graph)
            network_to_half(graph.model)
        write_torchscript(file, graph, metadata=inside(metadata))

    def _tensorrt(self) -> Exported:
        from trainer.export.tensorrt_engine import build_engine, missing

        source = self._onnx or self.export("onnx")
        if lack := missing():
            raise ResourceError(
                f"format=tensorrt: {lack}. The ONNX file that it is built from is kept: {source.file}"
            )

        def write(file: Path, metadata: Metadata) -> str:
            self.say("building the TensorRT engine, minutes ...")
            build_engine(source.file, file, self.input, self.config.workspace_gb)
            return built_precision(source.file)  # a strongly typed engine computes what the ONNX file says

        return self._kept("tensorrt", precision(self.config), write)

    def _metadata(self, kind: str, asked: str, name: str) -> Metadata:
        config = asdict(self.config)
        objects = self.predictor.task in ("detection", "instance_segmentation")
        return build_metadata(
            self.predictor,
            kind,
            name,
            copy.deepcopy(self.input),  # type: ignore[arg-type]
            self.outputs,
            self.thresholds,
            boxes=Boxes(cut=self.graph.cut_at_edges, drop_empty=self.graph.drop_empty) if objects else None,
            precision=asked,
            opset=None if kind == "torchscript" else self.config.opset,
            settings={name: config[name] for name in SETTINGS},
        )


def _size(size: Any) -> tuple[int, int] | None:
    if size is None:
        return None
    return (int(size), int(size)) if isinstance(size, int) else (int(size[0]), int(size[1]))


def _write_json(path: Path, content: Any) -> None:
    text = json.dumps(plain(content), indent=2, ensure_ascii=False, allow_nan=False)
    atomic_write(path, text + "\n")


def _replace(draft: Path, target: Path) -> None:
    """``draft`` under the name ``target``; what had it goes."""
    old = target.with_name(f".{target.name}.{secrets.token_hex(4)}.old")
    if target.exists():
        move_into_place(target, old, flush=False)
    move_into_place(draft, target)
    shutil.rmtree(old, ignore_errors=True)
