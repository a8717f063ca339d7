"""An export format from another package: its files are proven, described, packed and loaded like ours."""

import json
import shutil
import sys
import zipfile
from pathlib import Path

import pytest

from tests.export.data import IMAGES, small_detector
from trainer.checkpoints.resolve_checkpoint import find_checkpoint
from trainer.config_tree.traverse import leaf_dataset
from trainer.core.errors import CheckpointError, ConfigError, FrameworkError, ResourceError
from trainer.export.export_format import format_names, load_format
from trainer.export.exporter import Exporter
from trainer.export.proof import prove as proving
from trainer.export.settings import formats
from trainer.inference.exported_predictor import format_of_file
from trainer.inference.load_model import load_model
from trainer.schema import Export

ENTRY_POINTS = "[trainer.exporters]\nonnx-gzip = onnx_gzip:OnnxGzip\n"
FORMAT = '''
"""ONNX files, compressed."""

import gzip
from pathlib import Path

from trainer.export.export_format import ExportFormat
from trainer.export.onnx_format import OnnxFormat


class OnnxGzip(ExportFormat):
    name, suffix = "onnx-gzip", ".onnx_gz"
    packages, requirements, extra = ("onnx", "onnxruntime"), ("onnxruntime>=1.17",), "export"
    precisions = ("fp32", "fp16")
    has_opset = True
    runtime_file = Path(__file__).with_name("onnx_gzip_runtime.py")

    def write(self, graph, settings, path):
        precision = OnnxFormat().write(graph, settings, path.with_suffix(".onnx"))
        path.write_bytes(gzip.compress(path.with_suffix(".onnx").read_bytes()))
        path.with_suffix(".onnx").unlink()
        return precision
'''
RUNTIME = '''
"""Runs a compressed ONNX file."""

import gzip
import json


def parsed(text):
    try:
        return json.loads(text)
    except ValueError:
        return text


class Runtime:
    name = "onnxruntime of a gzip file"

    def __init__(self, path, device, threads):
        import onnxruntime

        self.session = onnxruntime.InferenceSession(gzip.decompress(path.read_bytes()))

    def inside(self):
        entries = self.session.get_modelmeta().custom_metadata_map
        return {key: parsed(value) for key, value in entries.items()}

    def run(self, name, outputs, batch):
        return [OFFSET + value if value.dtype == "float32" else value
                for value in self.session.run(list(outputs), {name: batch})]
'''


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """``plugin(offset=0)``: a package with a format, importable; its runtime adds ``offset`` to what it answers."""

    def install(offset=0):
        folder = tmp_path / f"site-{offset}"
        info = folder / "onnx_gzip-1.dist-info"
        info.mkdir(parents=True)
        (info / "entry_points.txt").write_text(ENTRY_POINTS)
        (folder / "onnx_gzip.py").write_text(FORMAT)
        (folder / "onnx_gzip_runtime.py").write_text(RUNTIME.replace("OFFSET", str(offset)))
        monkeypatch.syspath_prepend(str(folder))
        monkeypatch.delitem(sys.modules, "onnx_gzip", raising=False)

    yield install
    sys.modules.pop("onnx_gzip", None)


@pytest.fixture(scope="module")
def predictor(tmp_path_factory):
    return small_detector(tmp_path_factory.mktemp("data"))


def _exporter(predictor, folder, monkeypatch, **settings):
    monkeypatch.setattr(proving, "median_seconds", lambda call: (call(), 0.01)[1])
    config = Export(**{"compile_seconds": 0, "simplify": False, "format": "onnx-gzip", **settings})
    return Exporter(predictor, config, folder, lambda text: None)


def test_its_files_are_proven_described_packed_and_loaded(plugin, predictor, tmp_path, monkeypatch):
    plugin()
    assert format_names() == ["onnx", "torchscript", "tensorrt", "onnx-gzip"]
    exported = _exporter(predictor, tmp_path / "export", monkeypatch, id="9").export("onnx-gzip")
    assert exported.file.name == "rtmdet-tiny.onnx_gz" and exported.folder.name == "onnx-gzip"
    # The proof ran its runtime, and nothing of ours or of OpenMMLab.
    assert exported.proof.holds and exported.proof.runtime == "onnxruntime of a gzip file"
    assert exported.proof.modules == ("onnxruntime",) and exported.proof.compared == IMAGES
    assert exported.proof.agreement.share == 1 and exported.proof.metric.checkpoint > 0.3
    metadata = json.loads((exported.folder / "metadata.json").read_text())
    assert (metadata["format"], metadata["precision"], metadata["opset"]) == ("onnx-gzip", "fp32", 17)
    assert metadata["proof"]["holds"]
    with zipfile.ZipFile(exported.package) as package:
        names = set(package.namelist())
        assert package.read("runtimes/python/runtime.py").decode() == RUNTIME.replace("OFFSET", "0")
        assert "onnxruntime>=1.17" in package.read("runtimes/python/requirements.txt").decode()
    assert {"rtmdet-tiny.onnx_gz", "metadata.json", "proof.json"} <= names
    assert not [name for name in names if "cpp" in name]
    # Its folder, its file and its package answer as the checkpoint does; alone the file says itself what it is.
    image = tmp_path / "image.png"
    (tmp_path / "alone").mkdir()
    alone = tmp_path / "alone" / "m.onnx_gz"
    alone.write_bytes(exported.file.read_bytes())
    images = Path(leaf_dataset(predictor.config["val_dataloader"])["data_prefix"]["img"])
    shutil.copyfile(images / "0.png", image)
    (expected,) = predictor.predict(image, threshold=0.1)
    for path in (exported.folder, exported.file, exported.package, alone):
        model = load_model(path, "cpu")
        assert model.about["format"] == "onnx-gzip" and model.classes == predictor.classes
        (answer,) = model.predict(image, threshold=0.1)
        assert answer.scores == pytest.approx(expected.scores, abs=1e-3) and len(answer)


def test_a_runtime_that_answers_otherwise_fails_the_proof(plugin, predictor, tmp_path, monkeypatch):
    plugin(offset=1)
    with pytest.raises(FrameworkError, match="answers of the exported onnx-gzip file differ from PyTorch's"):
        _exporter(predictor, tmp_path / "export", monkeypatch).export("onnx-gzip")
    assert list((tmp_path / "export").iterdir()) == []


def test_what_it_can_not_do_is_said_before_the_work(plugin, predictor, tmp_path, monkeypatch):
    plugin()
    with pytest.raises(ConfigError, match="a onnx-gzip file has no 8-bit integers; format=onnx or tensorrt"):
        formats(Export(format="onnx-gzip", int8=True))
    assert formats(Export(format=["onnx-gzip", "onnx"])) == ("onnx", "onnx-gzip")
    with pytest.raises(ConfigError, match="no 'onnx-gzi' .*onnx-gzip"):
        formats(Export(format="onnx-gzi"))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ResourceError, match=r"format=onnx-gzip: the package onnxruntime .*trainer\[export\]"):
        _exporter(predictor, tmp_path / "export", monkeypatch).export("onnx-gzip")


def test_without_it_its_files_are_no_models(tmp_path):
    file = tmp_path / "m.onnx_gz"
    file.touch()
    assert format_names() == ["onnx", "torchscript", "tensorrt"]
    with pytest.raises(
        CheckpointError, match=r"no exported file: expected one of \.onnx, \.torchscript, \.pt"
    ):
        format_of_file(file)
    assert not find_checkpoint(file).exported


@pytest.mark.parametrize("name", ["onnx", "torchscript", "tensorrt"])
def test_our_own_are_in_the_same_form(name):
    export_format = load_format(name)
    assert export_format.name == name and export_format.requirements and export_format.packages
    assert export_format.supports("fp32") and "python" in export_format.languages
