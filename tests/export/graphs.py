"""Graphs in a table of cases: what the model itself answers, what the graph does, and what its files do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from tests.export.models import make_predictor, pictures
from tests.export.plain_torch import PlainTorch
from trainer.core.errors import ConfigError
from trainer.export.graph import Graph, GraphOptions, graph_for
from trainer.export.onnx_file import check_opset, write_onnx
from trainer.export.torchscript_file import write_torchscript
from trainer.inference.predictor import Predictor
from trainer.inference.samples import Sample
from trainer.predictions.prediction import Prediction

Arrays = list[np.ndarray]
Agree = Callable[[Arrays, Arrays], None]
"""Fails unless two answers of a graph say the same."""


@dataclass(frozen=True)
class Case:
    """A model to export.

    Attributes:
        mm: differences to its config that make it small.
        size: of the pictures, (width, height) in px.
        opset: the lowest that it can be written in.
        fixed: why it can't be exported for any size, as its refusal has it; empty where it can.
        calm: changes the model, once its weights are there, so that the last bits of a number decide nothing.
    """

    model: str
    mm: dict[str, Any] = field(default_factory=dict)
    size: tuple[int, int] = (96, 64)
    opset: int = 13
    fixed: str = ""
    rows: int = 100
    calm: Callable[[Any], None] | None = None
    slow: bool = False


def params(*cases: Case) -> list[Any]:
    """Cases as pytest has them."""
    return [
        pytest.param(one, id=one.model.rpartition("/")[2], marks=[pytest.mark.slow] if one.slow else [])
        for one in cases
    ]


@dataclass
class Made:
    """A model's graph and what it was asked.

    Attributes:
        outputs: of the model's own ``test_step``, for both pictures.
    """

    case: Case
    predictor: Predictor
    graph: Graph
    images: list[np.ndarray]
    inputs: torch.Tensor
    eager: Arrays
    outputs: list[Any]
    answers: list[Prediction]


def make(case: Case) -> Made:
    """Build a case's model and graph, and ask both about two pictures."""
    from mmengine.dataset import pseudo_collate

    predictor = make_predictor(case.model, case.size, case.mm)
    if case.calm is not None:
        case.calm(predictor.model)
    images = pictures(case.size, 2, seed=1)
    samples = [Sample(image) for image in images]
    inputs = predictor.network_input(samples)
    graph = graph_for(predictor, options(case, inputs))
    with torch.no_grad(), predictor.in_scope():
        eager = [one.numpy() for one in graph(inputs)]
        packed = [item for sample in samples for item in predictor._packed(sample)]
        outputs = predictor.model.test_step(pseudo_collate(packed))
    return Made(
        case, predictor, graph, images, inputs, eager, outputs, list(predictor.predict(images, batch_size=2))
    )


def options(case: Case, inputs: torch.Tensor, **more: Any) -> GraphOptions:
    """What a case's graph is asked to be."""
    return GraphOptions((inputs.shape[3], inputs.shape[2]), max_detections=case.rows, **more)


def check_onnx(made: Made, folder: Path, agree: Agree) -> None:
    """The ONNX file answers as the graph, for two pictures, for one, and for another size where any can be."""
    case, graph, inputs = made.case, made.graph, made.inputs
    with torch.no_grad():
        batches = [(inputs, made.eager), (inputs[1:], [one[1:] for one in made.eager])]
        if not case.fixed:
            graph = graph_for(made.predictor, options(case, inputs, dynamic_size=True))
            height, width = inputs.shape[2:]
            other = torch.nn.functional.interpolate(inputs[:1], (height + 64, width + 32), mode="bilinear")
            batches.append((other, [one.numpy() for one in graph(other)]))
    written = write_onnx(folder / "m.onnx", graph, opset=max(case.opset, 17))
    assert written.dynamic_batch and written.dynamic_size is not bool(case.fixed)
    assert list(written.outputs) == list(graph.output_names)
    sessions = onnxruntime.SessionOptions()
    sessions.intra_op_num_threads, sessions.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(str(written.path), sessions, providers=["CPUExecutionProvider"])
    for given, expected in batches:
        answers = session.run(None, {"images": given.numpy()})
        assert [(one.shape, one.dtype) for one in answers] == [(one.shape, one.dtype) for one in expected]
        agree(expected, answers)


def check_torchscript(made: Made, folder: Path, agree: Agree, plain: PlainTorch) -> None:
    """The TorchScript file answers as the graph where only torch is, for two pictures and for one."""
    written = write_torchscript(folder / "m.pt", made.graph)
    for first in (0, 1):
        answers = plain.run(written.path, made.inputs[first:].numpy())
        agree([one[first:] for one in made.eager], answers)


def check_refusals(made: Made) -> None:
    """An opset that lacks an operator, and any size where there is only one, are refused before any work."""
    case = made.case
    check_opset(made.graph, case.opset)
    if case.opset > 13:
        with pytest.raises(ConfigError, match=f"needs {case.opset} or later"):
            check_opset(made.graph, case.opset - 1)
    if case.fixed:
        with pytest.raises(Exception, match="dynamic_size") as caught:
            graph_for(made.predictor, options(case, made.inputs, dynamic_size=True))
        assert case.fixed in str(caught.value)
