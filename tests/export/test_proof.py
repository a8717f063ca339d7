"""The proof fails when the file answers otherwise than the network."""

import json

import onnx
import pytest
import torch
from torch import nn

from trainer.errors import FrameworkError
from trainer.export.network import Network
from trainer.export.network_onnx import write_onnx
from trainer.export.proof import prove


class _Model(nn.Module):
    """Nested outputs, as detectors have them."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, inputs, data_samples=None, mode="tensor"):
        assert mode == "tensor"
        x = self.conv(inputs)
        return [x, x[:, :, ::2, ::2]], [x.mean((2, 3))]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    torch.manual_seed(0)
    network = Network(_Model()).eval()
    path = tmp_path_factory.mktemp("export") / "m.onnx"
    dynamic, names = write_onnx(
        path, network, torch.rand(2, 3, 16, 24), 18, {"classes": ["a", "b"], "task": "t"}
    )
    return network, path, dynamic, names


def test_the_file_says_what_it_is(exported):
    _, path, dynamic, names = exported
    proto = onnx.load(path)
    onnx.checker.check_model(proto)
    facts = {entry.key: entry.value for entry in proto.metadata_props}
    assert json.loads(facts["classes"]) == ["a", "b"] and facts["task"] == "t"
    assert dynamic and names == ["output_0_0", "output_0_1", "output_1_0"]
    assert [one.name for one in proto.graph.output] == names
    assert [entry.version for entry in proto.opset_import if not entry.domain] == [18]


def test_the_same_answers_hold(exported):
    network, path, dynamic, names = exported
    proof = prove(path, network, torch.rand(3, 3, 16, 24), names, dynamic, 1e-4)
    assert proof.holds and proof.batches == (1, 3) and proof.images == 3
    assert [one.output for one in proof.differences] == names
    assert proof.differences[0].shape == (4, 16, 24) and proof.differences[0].magnitude > 0
    assert proof.torch_seconds > 0 and proof.runtime_seconds > 0
    json.dumps(proof.to_json(), allow_nan=False)


def test_other_answers_do_not_hold(exported):
    _, path, dynamic, names = exported
    other = Network(_Model()).eval()
    proof = prove(path, other, torch.rand(2, 3, 16, 24), names, dynamic, 1e-2)
    assert not proof.holds and proof.worst.relative > 1e-2


def test_nan_does_not_hold(exported):
    network, path, dynamic, names = exported
    proof = prove(path, network, torch.full((1, 3, 16, 24), float("nan")), names, dynamic, 1e-2)
    assert not proof.holds


def test_what_is_no_onnx_file_is_an_error(exported, tmp_path):
    network, _, dynamic, names = exported
    (tmp_path / "m.onnx").write_bytes(b"no")
    with pytest.raises(FrameworkError, match="onnxruntime can't load"):
        prove(tmp_path / "m.onnx", network, torch.rand(1, 3, 16, 24), names, dynamic, 1e-2)


def test_a_network_that_cannot_be_exported_is_an_error(tmp_path):
    class Odd(_Model):
        def forward(self, inputs, data_samples=None, mode="tensor"):
            return self.conv(inputs) if float(inputs.sum()) > 0 else inputs

    with pytest.raises(FrameworkError, match="can't be exported"):
        write_onnx(tmp_path / "m.onnx", Network(Odd()).eval(), torch.rand(2, 3, 8, 8), 18, {})
    assert not (tmp_path / "m.onnx").exists()
