"""Building TensorRT engines, as far as that can be seen without a GPU: what the builder is told, and what it refuses.

The engine itself, its answers and its speed have not been looked at: no machine with a GPU was there.
"""

import sys
import types

import pytest
import torch

from trainer.core.errors import FrameworkError, ResourceError
from trainer.export.tensorrt_engine import build_engine, missing, profile

INPUT = {"name": "images", "batch": None, "size": [640, 480], "dynamic_size": False, "divisor": 32}


class _Told(types.SimpleNamespace):
    """What the package was told."""


@pytest.fixture
def tensorrt(monkeypatch):
    """A package with the names and the signatures of tensorrt 10 and 11 that are used."""
    told = _Told(wrong=[], engine=b"engine", flags=None, shapes=None, workspace=None, onnx=None)

    class ILogger:
        pass

    class Builder:
        def __init__(self, logger):
            assert isinstance(logger, ILogger)
            self.logger = logger

        def create_network(self, flags):
            told.flags = flags
            return "network"

        def create_builder_config(self):
            return types.SimpleNamespace(
                set_memory_pool_limit=lambda pool, size: setattr(told, "workspace", (pool, size)),
                add_optimization_profile=lambda one: setattr(told, "added", one),
            )

        def create_optimization_profile(self):
            return types.SimpleNamespace(set_shape=lambda *shapes: setattr(told, "shapes", shapes))

        def build_serialized_network(self, network, config):
            if told.engine is None:
                self.logger.log("error", "no implementation for NonMaxSuppression")
            return told.engine

    class OnnxParser:
        def __init__(self, network, logger):
            assert network == "network" and isinstance(logger, ILogger)

        num_errors = property(lambda self: len(told.wrong))

        def parse(self, content):
            told.onnx = content
            return not told.wrong

        def get_error(self, index):
            return types.SimpleNamespace(desc=lambda: told.wrong[index])

    module = types.ModuleType("tensorrt")
    module.ILogger, module.Builder, module.OnnxParser = ILogger, Builder, OnnxParser
    module.Logger = types.SimpleNamespace(ERROR="error", INTERNAL_ERROR="internal")
    module.NetworkDefinitionCreationFlag = types.SimpleNamespace(STRONGLY_TYPED=1)
    module.MemoryPoolType = types.SimpleNamespace(WORKSPACE="workspace")
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    return told


@pytest.fixture
def onnx(tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(b"onnx")
    return path


def test_what_the_builder_is_told(tensorrt, onnx, tmp_path):
    build_engine(onnx, tmp_path / "m.engine", INPUT, 2.5)
    assert (tmp_path / "m.engine").read_bytes() == b"engine" and tensorrt.onnx == b"onnx"
    assert tensorrt.flags == 2  # strongly typed: precision is that of the ONNX file
    assert tensorrt.workspace == ("workspace", int(2.5 * 2**30))
    assert tensorrt.shapes == ("images", (1, 3, 480, 640), (1, 3, 480, 640), (8, 3, 480, 640))


def test_a_fixed_input_has_no_profile(tensorrt, onnx, tmp_path):
    build_engine(onnx, tmp_path / "m.engine", {**INPUT, "batch": 2}, 1)
    assert tensorrt.shapes is None


@pytest.mark.parametrize(
    ("given", "shapes"),
    [
        ({"batch": 4}, ((4, 3, 480, 640),) * 3),
        ({"dynamic_size": True, "batch": 1}, ((1, 3, 224, 320), (1, 3, 480, 640), (1, 3, 480, 640))),
        ({"dynamic_size": True, "size": [100, 40]}, ((1, 3, 32, 32), (1, 3, 40, 100), (8, 3, 64, 128))),
    ],
)
def test_profiles(given, shapes):
    assert profile({**INPUT, **given}) == shapes


def test_refusals_say_why(tensorrt, onnx, tmp_path):
    tensorrt.wrong.append("node 7: unsupported")
    with pytest.raises(FrameworkError, match="can't read m.onnx: node 7: unsupported"):
        build_engine(onnx, tmp_path / "m.engine", INPUT, 1)
    tensorrt.wrong.clear()
    tensorrt.engine = None
    with pytest.raises(FrameworkError, match="can't build m.onnx: no implementation for NonMaxSuppression"):
        build_engine(onnx, tmp_path / "m.engine", INPUT, 1)
    assert not (tmp_path / "m.engine").exists()


def test_no_gpu(tensorrt, onnx, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ResourceError, match="sees no GPU"):
        build_engine(onnx, tmp_path / "m.engine", INPUT, 1)


def test_no_package(onnx, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    assert "pip install tensorrt" in missing()
    with pytest.raises(ResourceError, match="tensorrt can't be imported"):
        build_engine(onnx, tmp_path / "m.engine", INPUT, 1)
