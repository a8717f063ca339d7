"""Exports: what is kept, what it says of itself, and that the proof finds what is wrong."""

import json
import zipfile

import numpy as np
import onnx
import pytest
import torch

from tests.export.data import IMAGES, small_detector
from trainer.config_tree.traverse import leaf_dataset
from trainer.core.errors import ConfigError, DatasetError, FrameworkError, ResourceError
from trainer.export import onnx_file
from trainer.export.exporter import Exporter
from trainer.export.proof import prove as proving
from trainer.schema import Export

QUICK = {"compile_seconds": 0, "simplify": False, "package": False}


@pytest.fixture(scope="module")
def predictor(tmp_path_factory):
    return small_detector(tmp_path_factory.mktemp("data"))


@pytest.fixture
def exporter(predictor, tmp_path, monkeypatch):
    """``exporter(**settings)``; latencies are taken once, not often."""
    monkeypatch.setattr(proving, "median_seconds", lambda call: (call(), 0.01)[1])

    def make(**settings):
        return Exporter(predictor, Export(**{**QUICK, **settings}), tmp_path / "export", lambda text: None)

    return make


@pytest.fixture(scope="module")
def onnx_export(predictor, tmp_path_factory):
    """One made with the defaults."""
    folder = tmp_path_factory.mktemp("onnx")
    return Exporter(predictor, Export(compile_seconds=0, id="7"), folder, lambda text: None).export("onnx")


def test_what_is_kept(onnx_export):
    assert sorted(one.name for one in onnx_export.folder.iterdir()) == [
        *("export_7.zip", "metadata.json", "proof.json", "rtmdet-tiny.onnx", "runtimes")
    ]
    assert [one.name for one in onnx_export.folder.parent.iterdir()] == ["onnx"]  # no drafts
    with zipfile.ZipFile(onnx_export.package) as package:
        assert {"rtmdet-tiny.onnx", "metadata.json", "proof.json"} <= set(package.namelist())
        assert package.read("metadata.json") == (onnx_export.folder / "metadata.json").read_bytes()
        assert package.read("rtmdet-tiny.onnx") == onnx_export.file.read_bytes()


def test_the_proof(onnx_export):
    proof = json.loads((onnx_export.folder / "proof.json").read_text())
    assert proof["holds"] and proof["failures"] == [] and not proof["forced"]
    # It ran where neither OpenMMLab nor the trainer nor torch was.
    assert proof["modules"] == ["onnxruntime"] and proof["runtime"].startswith("onnxruntime ")
    assert proof["batches"] == [1, IMAGES] and proof["compared"] == IMAGES
    assert {one["output"] for one in proof["differences"]} == {"boxes", "scores", "labels"}
    assert all(one["relative"] <= 1e-3 and one["magnitude"] > 0 for one in proof["differences"])
    assert proof["agreement"]["expected"] >= 20 and proof["agreement"]["share"] == 1
    metric = proof["metric"]
    assert metric["name"] == "mAP50-95" and metric["images"] == IMAGES and metric["whole"]
    assert metric["checkpoint"] > 0.3 and abs(metric["checkpoint"] - metric["runtime"]) <= 0.001
    assert [one["batch"] for one in proof["latency"]] == [1, 8]
    assert all(
        one["runtime"] > 0 and one["eager"] > 0 and one["compiled"] is None for one in proof["latency"]
    )
    assert proof["size_bytes"] == onnx_export.file.stat().st_size and proof["precision"] == "fp32"


def test_the_file_says_what_it_is(onnx_export):
    metadata = json.loads((onnx_export.folder / "metadata.json").read_text())
    proto = onnx.load(onnx_export.file)
    inside = {entry.key: entry.value for entry in proto.metadata_props}
    onnx.checker.check_model(proto)
    assert json.loads(inside["classes"]) == metadata["classes"] == metadata["class_names"]
    assert json.loads(inside["input"]) == metadata["input"] and inside["precision"] == "fp32"
    assert set(metadata) - set(inside) == {"created_at", "export_info", "proof"}
    assert [entry.version for entry in proto.opset_import if not entry.domain] == [17]
    assert [one.name for one in proto.graph.output] == [one["name"] for one in metadata["outputs"]]
    # Both of the platform's families of keys.
    assert metadata["framework"] == "mmdet" and metadata["export_format"] == "onnx"
    assert metadata["input_shape"] == [64, 64, 3] and metadata["input_dtype"] == "float32"
    assert metadata["output_shape"] == [[-1, 20, 4], [-1, 20], [-1, 20]]
    assert metadata["postprocessing"] == {
        "nms": True, "confidence_threshold": 0.001, "iou_threshold": 0.65, "max_detections": 20,
    }  # fmt: skip
    assert metadata["preprocessing"]["mean"] == metadata["input"]["mean"] and metadata["num_classes"] == 10
    assert metadata["input_spec"]["shape"] == [1, 3, 64, 64]
    assert metadata["model_info"] == {
        "name": "rtmdet-tiny", "class_names": metadata["classes"], "task_type": "detection",
    }  # fmt: skip
    assert metadata["export_config"]["opset"] == 17 and metadata["proof"]["holds"]


def test_torchscript_runs_where_only_torch_is(exporter):
    exported = exporter().export("torchscript")
    assert exported.proof.holds and exported.proof.modules == ("torch",)
    assert exported.metadata["opset"] is None and exported.file.suffix == ".torchscript"
    files = {"metadata.json": ""}
    torch.jit.load(str(exported.file), _extra_files=files)
    assert json.loads(files["metadata.json"])["classes"] == exported.metadata["classes"]
    assert exported.proof.metric.checkpoint > 0.3


@pytest.mark.parametrize("kind", ["onnx", "torchscript"])
def test_half_precision(exporter, onnx_export, kind):
    # On six images of a random network a single object that changes its rank moves the metric.
    exported = exporter(half=True, metric_tolerance=0.3).export(kind)
    assert exported.folder.name == f"{kind}-fp16" and exported.proof.precision == "fp16"
    assert exported.metadata["precision"] == "fp16" and exported.proof.holds
    if kind == "onnx":
        assert exported.file.stat().st_size < 0.8 * onnx_export.file.stat().st_size
        kinds = {one.type.tensor_type.elem_type for one in onnx.load(exported.file).graph.output}
        assert kinds == {onnx.TensorProto.FLOAT, onnx.TensorProto.INT64}


def test_int8_is_calibrated_and_measured(exporter):
    exported = exporter(int8=True, calibration_images=3, metric_tolerance=1.0).export("onnx")
    assert exported.folder.name == "onnx-int8" and exported.proof.precision == "int8"
    operators = {node.op_type for node in onnx.load(exported.file).graph.node}
    assert {"QuantizeLinear", "DequantizeLinear", "NonMaxSuppression"} <= operators
    # A random network's scores are so near to each other that 8 bits rank them anew: what it loses is only measured.
    assert exported.proof.agreement.expected > 20 and exported.proof.agreement.found > 10
    assert exported.proof.metric.checkpoint > 0.3 and exported.proof.metric.runtime >= 0
    assert [line for line in exported.metadata["export_config"].items() if line[0] == "int8"] == [
        ("int8", True)
    ]


def test_bytes_go_in_and_the_batch_is_fixed(exporter):
    exported = exporter(preprocess=True, batch=4, opset=13).export("onnx")
    assert exported.proof.holds and exported.proof.batches == (4,)
    assert [one.batch for one in exported.proof.latency] == [4]
    given = onnx.load(exported.file).graph.input[0].type.tensor_type
    assert given.elem_type == onnx.TensorProto.UINT8
    assert [side.dim_value for side in given.shape.dim] == [4, 3, 64, 64]
    assert exported.metadata["input"]["channels"] == "rgb" and exported.metadata["preprocessing"]["embedded"]


def _broken(monkeypatch):
    """A writer that makes something of one weight."""
    write = onnx_file.write_onnx

    def wrong(path, graph, **options):
        write(path, graph, **options)
        proto = onnx.load(path)
        weight = max(proto.graph.initializer, key=lambda one: np.prod(one.dims))
        values = onnx.numpy_helper.to_array(weight) * 1.5
        weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
        onnx.save(proto, path)

    monkeypatch.setattr(onnx_file, "write_onnx", wrong)


def test_a_file_that_answers_otherwise_is_not_kept(exporter, tmp_path, monkeypatch):
    (tmp_path / "export" / "onnx").mkdir(parents=True)
    (tmp_path / "export" / "onnx" / "earlier").touch()
    _broken(monkeypatch)
    with pytest.raises(
        FrameworkError, match="answers of the exported onnx file differ from PyTorch's: .*force=true"
    ):
        exporter().export("onnx")
    assert [one.name for one in (tmp_path / "export").iterdir()] == ["onnx"]
    assert [one.name for one in (tmp_path / "export" / "onnx").iterdir()] == ["earlier"]


def test_force_keeps_it_marked(exporter, monkeypatch):
    _broken(monkeypatch)
    exported = exporter(force=True).export("onnx")
    assert exported.proof.forced and exported.proof.failures
    # PyTorch was asked, and doesn't answer otherwise by itself.
    rounding, metric = exported.proof.rounding, exported.proof.metric
    assert rounding.share > 0.9 and not exported.proof.remarks
    assert metric.difference > 0.05
    metadata = json.loads((exported.folder / "metadata.json").read_text())
    assert metadata["proof"]["holds"] is False and metadata["proof"]["forced"] is True


def test_tensorrt_keeps_the_onnx_file_that_it_would_be_built_from(exporter, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tensorrt", None)
    with pytest.raises(ResourceError, match=r"tensorrt.*is kept: .*onnx/rtmdet-tiny\.onnx"):
        exporter().export("tensorrt")
    assert (tmp_path / "export" / "onnx" / "rtmdet-tiny.onnx").is_file()
    assert not (tmp_path / "export" / "tensorrt").exists()


def test_far_from_its_data_it_is_proven_on_photographs(exporter, predictor, monkeypatch):
    leaf = leaf_dataset(predictor.config["val_dataloader"])
    monkeypatch.setitem(leaf, "ann_file", "/nowhere/val.json")
    exported = exporter().export("onnx")
    assert exported.proof.metric is None and "not here" in exported.proof.no_metric
    assert exported.proof.images.startswith("photographs") and exported.proof.compared == 8
    # Nothing that was to be found is on them, and the proof says so.
    assert exported.proof.agreement.expected or "no answer was compared" in exported.proof.remarks[0]
    monkeypatch.setitem(leaf_dataset(predictor.config["train_dataloader"]), "ann_file", "/nowhere/train.json")
    with pytest.raises(DatasetError, match="int8=true: the run's images"):
        exporter(int8=True).export("onnx")


def test_what_can_not_be_is_said_before_the_work(exporter, predictor, monkeypatch):
    with pytest.raises(ConfigError, match="opset=12"):
        exporter(opset=12)
    pipeline = leaf_dataset(predictor.config["val_dataloader"])["pipeline"]
    monkeypatch.setitem(
        leaf_dataset(predictor.config["val_dataloader"]), "pipeline", [*pipeline, {"type": "Mosaic"}]
    )
    with pytest.raises(FrameworkError, match="validated with Mosaic"):
        exporter()
