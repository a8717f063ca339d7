"""EXPORT_CONFIG as overrides of the export command, and settings that no file can have."""

import pytest

from trainer.config.compose import compose
from trainer.core.errors import ConfigError
from trainer.export.settings import formats, from_export_config, precision
from trainer.schema import Export


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        # As published.
        (
            '{"opset_version": 17, "input_shape": [1, 3, 480, 640]}',
            ["opset=17", "batch=1", "size=[640,480]"],
        ),
        # As the backend sends it: nulls are explicit.
        (
            {
                "opset_version": None,
                "dynamic_axes": None,
                "embed_preprocessing": False,
                "simplify": True,
                "workspace_size_gb": None,
                "fp16": False,
                "int8": False,
                "minimum_deployment_target": None,
                "task_type": "detection",
            },
            ["preprocess=false", "simplify=true", "half=false", "int8=false"],
        ),
        ({"dynamic_axes": {"images": [0]}, "opset_version": 17}, ["opset=17", "batch=dynamic"]),
        (
            {"input_shape": [1, 3, 64, 64], "dynamic_axes": {"images": [0, 2, 3]}},
            ["batch=dynamic", "size=[64,64]", "dynamic_size=true"],
        ),
        (
            {"dynamic_axes": {"images": {"0": "batch", "2": "h"}, "output0": [1]}},
            ["batch=dynamic", "dynamic_size=true"],
        ),
        ({"input_shape": [-1, 3, None, None]}, ["batch=dynamic", "dynamic_size=true"]),
        ({"input_shape": [480, 640, 3]}, ["size=[640,480]"]),
        ({"input_shape": [480, 640]}, ["size=[640,480]"]),
        ({"imgsz": 320, "batch_size": 4}, ["size=[320,320]", "batch=4"]),
        ({"fp16": True, "workspace_size_gb": 2, "conf": 0.25, "iou": 0.45, "max_det": 300},
         ["half=true", "workspace_gb=2", "score_threshold=0.25", "nms_iou=0.45", "max_detections=300"]),
        ({"quantization_type": "INT8", "calibration_dataset_size": 50}, ["int8=true", "calibration_images=50"]),
        ({"quantization_type": "none", "tolerance": 0.01}, ["tolerance=0.01"]),
        ("", []),
        ({}, []),
    ],
)  # fmt: skip
def test_keys(content, expected):
    overrides, _ = from_export_config(content)
    assert sorted(overrides) == sorted(expected)
    compose("export", ["checkpoint=x", *overrides])  # and they are right


def test_what_is_ignored_is_told():
    overrides, notes = from_export_config(
        {"pruning_amount": 0.3, "opset_verison": 17, "validate_outputs": True, "x": None}
    )
    assert overrides == [] and len(notes) == 3
    assert any("pruning_amount" in note for note in notes)
    assert any("opset_verison" in note and "'opset_version'" in note for note in notes)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "no JSON"),
        ("[1]", "JSON object"),
        ({"opset_version": "17"}, "opset_version: expected an integer, got '17'"),
        ({"fp16": 1}, "fp16: expected true or false"),
        ({"input_shape": [1, 4, 8, 8]}, "3 channels"),
        ({"input_shape": "640"}, "input_shape: expected [batch, 3, height, width]"),
        ({"dynamic_axes": {"images": [7]}}, "dimensions from 0 to 3"),
        ({"dynamic_axes": [0]}, "dynamic_axes: expected an object"),
        ({"imgsz": -1}, "imgsz: expected a size"),
        ({"batch": 0}, "batch: expected an integer >= 1"),
        ({"quantization_type": "int4"}, "quantization_type: expected one of"),
    ],
)
def test_mistakes(content, words):
    with pytest.raises(ConfigError) as error:
        from_export_config(content)
    assert words in str(error.value)


def test_all_mistakes_at_once():
    with pytest.raises(ConfigError, match="opset_version.*fp16"):
        from_export_config({"opset_version": "a", "fp16": "b"})


def test_several_formats():
    assert formats(Export(format="tensorrt")) == ("tensorrt",)
    assert formats(Export(format=["tensorrt", "onnx", "onnx"])) == ("onnx", "tensorrt")
    config, _ = compose("export", ["checkpoint=x", "format=torchscript,onnx"])
    assert formats(config) == ("onnx", "torchscript")
    with pytest.raises(ConfigError, match="one or several of onnx, torchscript, tensorrt"):
        compose("export", ["checkpoint=x", "format=[onnx,coreml]"])


def test_precisions_that_no_file_has():
    assert [precision(Export(**one)) for one in ({}, {"half": True}, {"int8": True})] == [
        "fp32",
        "fp16",
        "int8",
    ]
    with pytest.raises(ConfigError, match="one precision"):
        formats(Export(half=True, int8=True))
    with pytest.raises(
        ConfigError,
        match="a torchscript file has no 8-bit integers; format=onnx or tensorrt",
    ):
        formats(Export(format=["onnx", "torchscript"], int8=True))
