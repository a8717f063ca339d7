"""What the writers of ONNX and TorchScript promise for any graph, on a small one."""

from __future__ import annotations

import json
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from trainer.core.errors import ConfigError, FrameworkError
from trainer.export.graph import Graph, GraphOptions
from trainer.export.graph.preprocess import Preprocess
from trainer.export.onnx_file import write_onnx
from trainer.export.torchscript_file import METADATA, write_torchscript


class Model(nn.Module):
    """What a graph wants of a model, small."""

    def __init__(self, rgb: bool = True) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.SyncBatchNorm(4), nn.ReLU())
        self.data_preprocessor = nn.Module()
        self.data_preprocessor._channel_conversion = rgb
        self.data_preprocessor._enable_normalize = True
        self.data_preprocessor.register_buffer("mean", torch.tensor([10.0, 20.0, 30.0]).view(-1, 1, 1))
        self.data_preprocessor.register_buffer("std", torch.tensor([1.0, 2.0, 4.0]).view(-1, 1, 1))


class Small(Graph):
    output_names = ("segmentation",)

    def forward(self, images):
        return (self.model.backbone(self.prepare(images)).argmax(1),)


def graph(kind=Small, rgb=True, **options):
    torch.manual_seed(0)
    model = Model(rgb).eval()
    config = {"val_dataloader": {"dataset": {"type": "Some", "pipeline": []}}}
    told = {"task": "semantic_segmentation", "name": "small", "config": config}
    predictor = SimpleNamespace(model=model, in_scope=nullcontext, **told)
    return kind(predictor, GraphOptions(**{"size": (24, 16), **options})).eval()


def session(path):
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def same(path, one, inputs):
    (answer,) = session(path).run(None, {"images": inputs.numpy()})
    np.testing.assert_array_equal(answer, one(inputs)[0].numpy())


@pytest.mark.parametrize("opset", [13, 17, 20])
def test_onnx_of_each_opset(tmp_path, opset):
    one = graph()
    written = write_onnx(tmp_path / "m.onnx", one, opset=opset)
    proto = onnx.load(written.path)
    onnx.checker.check_model(proto, full_check=True)
    assert [entry.version for entry in proto.opset_import] == [opset] == [written.opset]
    assert written.size_bytes == written.path.stat().st_size
    same(written.path, one, one.example(3))


def test_what_is_open_and_what_is_not(tmp_path):
    fixed = write_onnx(tmp_path / "f.onnx", graph(batch=1))
    assert fixed.inputs == {"images": (1, 3, 16, 24)} and fixed.outputs == {"segmentation": (1, 16, 24)}
    assert not fixed.dynamic_batch
    batch = write_onnx(tmp_path / "b.onnx", graph())
    assert batch.inputs == {"images": ("batch", 3, 16, 24)} and batch.outputs["segmentation"][0] == "batch"
    one = graph(dynamic_size=True)
    size = write_onnx(tmp_path / "s.onnx", one)
    assert size.inputs == {"images": ("batch", 3, "height", "width")} and size.dynamic_size
    same(size.path, one, torch.randn(1, 3, 40, 9))


def test_metadata_is_inside(tmp_path):
    about = {"classes": ["a", "ä"], "task": "t", "size": [24, 16]}
    write_onnx(tmp_path / "m.onnx", graph(), metadata=about)
    inside = session(tmp_path / "m.onnx").get_modelmeta().custom_metadata_map
    assert json.loads(inside["classes"]) == ["a", "ä"] and inside["task"] == "t"
    write_torchscript(tmp_path / "m.pt", graph(), metadata=about)
    extra = {METADATA: ""}
    torch.jit.load(tmp_path / "m.pt", _extra_files=extra)
    assert json.loads(extra[METADATA]) == about


def test_torchscript(tmp_path):
    one = graph()
    written = write_torchscript(tmp_path / "m.pt", one)
    assert written.size_bytes == written.path.stat().st_size
    loaded = torch.jit.load(written.path)
    inputs = one.example(3)
    assert torch.equal(loaded(inputs)[0], one(inputs)[0])


def test_writing_twice_gives_the_same_bytes(tmp_path):
    # TorchScript numbers its classes through a process, so that only the first of one is the same.
    first = write_onnx(tmp_path / "m.onnx", graph()).path.read_bytes()
    assert write_onnx(tmp_path / "m.onnx", graph()).path.read_bytes() == first


@pytest.mark.parametrize("rgb", [True, False])
def test_preprocessing_inside(tmp_path, rgb):
    one = graph(rgb=rgb, preprocess=True)
    pixels = one.example(2)
    assert pixels.dtype == torch.uint8
    order = [0, 1, 2] if rgb else [2, 1, 0]  # the input is RGB, the network's order is the model's
    mean, std = torch.tensor([10.0, 20, 30]).view(-1, 1, 1), torch.tensor([1.0, 2, 4]).view(-1, 1, 1)
    expected = (pixels[:, order].float() - mean) / std
    assert torch.allclose(one.prepare(pixels), expected)
    write_onnx(tmp_path / "m.onnx", one)
    assert session(tmp_path / "m.onnx").get_inputs()[0].type == "tensor(uint8)"
    same(tmp_path / "m.onnx", one, pixels)


def test_without_a_mean_nothing_is_subtracted():
    plain = Preprocess(nn.Module())
    pixels = torch.arange(12, dtype=torch.uint8).view(1, 3, 2, 2)
    assert torch.equal(plain(pixels), pixels[:, [2, 1, 0]].float())


def test_nodes_of_the_network_are_called_after_its_modules(tmp_path):
    write_onnx(tmp_path / "m.onnx", graph(preprocess=True))
    names = {node.op_type: node.name for node in onnx.load(tmp_path / "m.onnx").graph.node}
    assert names["Conv"].startswith("/backbone/") and names["Conv"].count("/") >= 2
    assert names["ArgMax"].count("/") == names["Sub"].count("/") == 1


def test_the_models_own_weights_stay_as_they_are():
    one = graph()
    assert not any(isinstance(layer, nn.SyncBatchNorm) for layer in one.model.modules())
    assert not any(value.requires_grad for value in one.model.parameters())


@pytest.mark.parametrize("opset", [12, 21])
def test_other_opsets_are_refused(tmp_path, opset):
    with pytest.raises(ConfigError, match="one of 13 to 20"):
        write_onnx(tmp_path / "m.onnx", graph(), opset=opset)


def test_an_opset_without_the_operators_is_refused_with_the_reason(tmp_path):
    one = graph()
    one.min_opset, one.min_opset_reason = 16, "where GridSample is"
    with pytest.raises(ConfigError, match="needs 16 or later, where GridSample is"):
        write_onnx(tmp_path / "m.onnx", one, opset=15)
    assert not list(tmp_path.iterdir())


class Foreign(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def symbolic(g, x):
        return g.op("mmcv::Strange", x).setType(x.type())


class Strange(Small):
    def forward(self, images):
        return (Foreign.apply(super().forward(images)[0]),)


class Broken(Small):
    def forward(self, images):
        raise RuntimeError("no way")


@pytest.mark.parametrize("write", [write_onnx, write_torchscript])
def test_operators_that_are_not_there_are_refused(tmp_path, write):
    with pytest.raises(FrameworkError, match=r"no operator Strange|torch alone has no prim::PythonOp"):
        write(tmp_path / "m", graph(Strange))
    with pytest.raises(FrameworkError, match="can't be written as .*: RuntimeError: no way"):
        write(tmp_path / "m", graph(Broken))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("wrong", [{"size": (0, 8)}, {"batch": 0}, {"max_detections": 0}])
def test_options_are_positive(wrong):
    with pytest.raises(ValueError, match="positive"):
        GraphOptions(**{"size": (8, 8), **wrong})
