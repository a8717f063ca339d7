"""``python -m trainer export checkpoint=<run>``: the network as an ONNX file that was compared with PyTorch."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from trainer.commands.common import notes_to_stderr
from trainer.config.schema import Export
from trainer.errors import ConfigError
from trainer.inference.locate import find_checkpoint
from trainer.words import short

if TYPE_CHECKING:
    from trainer.export.package import Exported


def main(config: Export, overrides: list[str]) -> int:
    """Export, prove, and return the exit code.

    Raises:
        TrainerError: no such checkpoint, a network that can't be exported, or a file that answers otherwise.
    """
    console = Console(file=sys.stdout, highlight=False)
    found = find_checkpoint(config.checkpoint, config.output_dir)
    output = Path(config.output).expanduser() if config.output else found.folder("export")
    if output.exists() and not output.is_dir():
        raise ConfigError(f"output={output}: there is a file of that name; a folder is needed")
    # Imported after the first mistakes were found: torch and the OpenMMLab packages take seconds.
    from trainer.export.package import export_onnx
    from trainer.inference.load import load_model

    predictor = load_model(found, "cpu")
    notes_to_stderr(predictor.notes)
    console.print(
        f"{predictor.name}, {predictor.task}: {short(found.path)} to ONNX, half a minute or more ...",
        soft_wrap=True,
    )
    exported = export_onnx(predictor, output, config.opset, config.tolerance)
    _show(console, exported)
    return 0


def _show(console: Console, exported: Exported) -> None:
    from trainer.export.network import NOT_IN_THE_GRAPH

    proof, metadata = exported.proof, exported.metadata
    table = Table("output", "shape", "largest value", "largest difference", "mean difference")
    for one in proof.differences:
        shape = " x ".join(map(str, one.shape))
        table.add_row(one.output, shape, f"{one.magnitude:.4g}", f"{one.largest:.2e}", f"{one.mean:.2e}")
    console.print(table)
    batch = "any number of images" if metadata["dynamic_batch"] else "one image"
    width, height = metadata["input_size"]
    batches = " and ".join(map(str, proof.batches))
    console.print(
        f"the same as PyTorch on {proof.images} validation images (batches of {batches}): "
        f"at most {proof.worst.relative:.1e} of the largest value apart, {proof.tolerance:g} is accepted",
        soft_wrap=True,
    )
    faster = proof.torch_seconds / proof.runtime_seconds
    console.print(
        f"one image, {proof.threads} threads: PyTorch {proof.torch_seconds * 1e3:.1f} ms, "
        f"onnxruntime {proof.runtime_seconds * 1e3:.1f} ms ({faster:.1f} x)",
        soft_wrap=True,
    )
    console.print(f"takes {batch} of {width} x {height} px; {NOT_IN_THE_GRAPH}", soft_wrap=True)
    size = exported.path.stat().st_size / 1e6
    console.print(
        f"written to {short(exported.path)} ({size:.1f} MB), metadata.json and proof.json", soft_wrap=True
    )
