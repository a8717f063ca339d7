"""``python -m trainer export checkpoint=<run> format=onnx``: files for other runtimes, proven to answer alike."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from trainer.checkpoints.resolve_checkpoint import find_checkpoint
from trainer.commands.notes import notes_to_stderr
from trainer.core.cli_text import short
from trainer.core.errors import ConfigError
from trainer.export.settings import formats
from trainer.schema import Export

if TYPE_CHECKING:
    from trainer.export.exporter import Exported


def main(config: Export, overrides: list[str]) -> int:
    """Export, prove, and return the exit code.

    Raises:
        TrainerError: no such checkpoint, a model that can't be exported, a file that answers otherwise than PyTorch,
            or no GPU for TensorRT.
    """
    console = Console(file=sys.stdout, highlight=False)
    kinds = formats(config)
    found = find_checkpoint(config.checkpoint, config.output_dir)
    output = Path(config.output).expanduser() if config.output else found.folder("export")
    if output.exists() and not output.is_dir():
        raise ConfigError(f"output={output}: there is a file of that name; a folder is needed")
    # Imported after the first mistakes were found: torch and the OpenMMLab packages take seconds.
    from trainer.export.exporter import Exporter
    from trainer.inference.load_model import load_model
    from trainer.inference.predictor import Predictor
    from trainer.tracking.exported import log_export

    predictor = load_model(found, "cpu", imports=config.imports)
    if not isinstance(predictor, Predictor):
        raise ConfigError(f"checkpoint={config.checkpoint}: that is an exported file already")
    notes_to_stderr(predictor.notes)
    console.print(f"{predictor.name}, {predictor.task}: {short(found.path)}", soft_wrap=True)
    exporter = Exporter(predictor, config, output, lambda text: console.print(f"  {text}", soft_wrap=True))
    for kind in kinds:
        console.print(f"{kind} ...")
        exported = exporter.export(kind)
        show(console, exported)
        if found.run and (trouble := log_export(found.run.dir, exported)):
            notes_to_stderr([f"the tracker doesn't have this export: {trouble}"])
    return 0


def show(console: Console, exported: Exported) -> None:
    """The proof as tables, and where the files are."""
    proof = exported.proof
    table = Table("output", "largest difference", "mean difference", "largest value")
    for one in proof.differences:
        table.add_row(one.output, f"{one.largest:.2e}", f"{one.mean:.2e}", f"{one.magnitude:.4g}")
    console.print(table)
    same = proof.agreement
    console.print(
        f"{same.matched} of {max(same.expected, same.found)} answers are PyTorch's, on {proof.compared} {proof.images} "
        f"(batches of {' and '.join(map(str, proof.batches))}), in {proof.runtime}",
        soft_wrap=True,
    )
    notes_to_stderr(proof.remarks)
    if proof.metric is not None:
        metric = proof.metric
        beside = (
            "" if metric.graph is None else f" (the graph in PyTorch {metric.graph:.4f}: {metric.apart[0]})"
        )
        console.print(
            f"{metric.name} on {metric.images} validation samples: PyTorch {metric.checkpoint:.4f}, "
            f"{proof.precision} file {metric.runtime:.4f}{beside}",
            soft_wrap=True,
        )
    else:
        console.print(f"no metric: {proof.no_metric}", soft_wrap=True)
    speed = Table(
        "images at a time", "PyTorch", "torch.compile", "this file", title=f"ms, {proof.threads} threads"
    )
    for at in proof.latency:
        compiled = (
            f"{at.compiled * 1e3:.1f}" if isinstance(at.compiled, float) else at.compiled or "not measured"
        )
        speed.add_row(
            str(at.batch),
            f"{at.eager * 1e3:.1f}",
            compiled,
            f"{at.runtime * 1e3:.1f} ({at.eager / at.runtime:.1f} x)",
        )
    console.print(speed)
    for failure in proof.failures:
        console.print(f"kept although the proof fails: {failure}", style="red", soft_wrap=True)
    size = proof.size_bytes / 1e6
    console.print(
        f"written to {short(exported.file)} ({size:.1f} MB, {proof.precision}), with its proof",
        soft_wrap=True,
    )
    if exported.package is not None:
        console.print(f"with code that uses it: {short(exported.package)}", soft_wrap=True)
