"""The C++ code answers as the Python code, where there is what it needs: OpenCV's and onnxruntime's headers.

``ONNXRUNTIME_INCLUDE`` names the folder of onnxruntime_cxx_api.h; the library is that of the Python package.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from tests.export.models import pictures
from trainer.export.package import copy_runtimes
from trainer.export.runtimes.python.model_wrapper import Model

_PLACES = (
    os.environ.get("ONNXRUNTIME_INCLUDE", ""),
    "/usr/include/onnxruntime",
    "/usr/local/include/onnxruntime",
)
HEADERS = next(
    (place for place in _PLACES if place and (Path(place) / "onnxruntime_cxx_api.h").is_file()), None
)
OPENCV = Path("/usr/include/opencv4/opencv2/imgcodecs.hpp").is_file()

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(HEADERS is None or not OPENCV, reason="no headers of onnxruntime or OpenCV"),
    pytest.mark.skipif(shutil.which("cmake") is None, reason="no cmake"),
]


def _metadata(resize):
    given = {
        "name": "images", "dtype": "float32", "batch": None, "size": [96, 64], "dynamic_size": False, "divisor": 32,
        "channels": "rgb", "mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375], "resize": resize,
        "pad_value": [114.0, 113.0, 112.0], "box_padding": 1.25, "udp": resize == "crop",
    }  # fmt: skip
    objects = {"boxes": [None, 1, 4], "scores": [1, 1], "labels": [1, 1]}
    shapes = {"keypoints": [None, 2, 3]} if resize == "crop" else objects
    return {
        "task": "pose" if resize == "crop" else "detection",
        "model": "m", "classes": ["a"], "palette": [[1, 2, 3]], "format": "onnx", "precision": "fp32",
        "file": "m.onnx", "input": given, "keypoints": ["x", "y"], "skeleton": [[0, 1]],
        "outputs": [{"name": name, "dtype": "float32", "shape": shape} for name, shape in shapes.items()],
        "thresholds": {"score": 0.0, "nms_iou": None, "max_detections": 1, "shown": 0.0},
    }  # fmt: skip


def _file(path, resize):
    """A network that answers sums of its input's values: what is prepared otherwise is answered otherwise."""
    places = (2, 3) if resize == "crop" else (1, 4)
    random, count = np.random.default_rng(0), places[0] * places[1]
    weights = (random.random((3 * 64 * 96, count)) - 0.5).astype(np.float32) / 5
    # Far from each other, so that the corners keep their order.
    shift = np.array([[0, 0, 0.25, 500, 500, 0.75]] if resize == "crop" else [[20, 20, 70, 50]], np.float32)
    nodes = [
        helper.make_node("Flatten", ["images"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["sums"]),
        helper.make_node("Add", ["sums", "shift"], ["moved"]),
        helper.make_node("Reshape", ["moved", "shape"], ["keypoints" if resize == "crop" else "boxes"]),
    ]
    outputs = [("keypoints" if resize == "crop" else "boxes", ["batch", *places])]
    if resize != "crop":
        value = helper.make_tensor("value", TensorProto.FLOAT, [1, 1], [0.5])
        nodes.append(helper.make_node("Constant", [], ["scores"], value=value))
        outputs.append(("scores", [1, 1]))
        nodes.append(helper.make_node("Cast", ["zero"], ["labels"], to=TensorProto.INT64))
        outputs.append(("labels", [1, 1]))
    graph = helper.make_graph(
        nodes,
        "m",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, 64, 96])],
        [helper.make_tensor_value_info(name, _type(name), shape) for name, shape in outputs],
        [
            onnx.numpy_helper.from_array(weights, "weights"),
            onnx.numpy_helper.from_array(shift, "shift"),
            onnx.numpy_helper.from_array(np.zeros((1, 1), np.float32), "zero"),
            onnx.numpy_helper.from_array(np.array([-1, *places], np.int64), "shape"),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def _type(name):
    return TensorProto.INT64 if name == "labels" else TensorProto.FLOAT


@pytest.mark.parametrize("resize", ["fit", "stretch", "center", "border", "crop"])
def test_it_answers_as_python(tmp_path, resize):
    metadata = _metadata(resize)
    copy_runtimes(tmp_path / "runtimes", metadata)
    (tmp_path / "metadata.json").write_text(json.dumps(metadata))
    _file(tmp_path / "m.onnx", resize)
    cv2.imwrite(str(tmp_path / "a.png"), pictures((150, 100), 1)[0])
    (library,) = Path(onnxruntime.__file__).parent.glob("capi/libonnxruntime.so.*")
    (tmp_path / "lib").mkdir()
    for name in ("libonnxruntime.so", "libonnxruntime.so.1"):  # the wheel has neither name
        (tmp_path / "lib" / name).symlink_to(library)
    library = tmp_path / "lib" / "libonnxruntime.so"
    source, build = tmp_path / "runtimes" / "cpp", tmp_path / "build"
    words = [
        f"-DONNXRUNTIME_INCLUDE={HEADERS}",
        f"-DONNXRUNTIME_LIBRARY={library}",
        "-DCMAKE_CXX_FLAGS=-Wall -Werror",
    ]
    subprocess.run(["cmake", "-S", source, "-B", build, *words], check=True, capture_output=True)
    subprocess.run(["cmake", "--build", build], check=True, capture_output=True)
    command = [build / "predict", tmp_path / "m.onnx", tmp_path / "a.png", tmp_path / "drawn.png", "0"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    (result,) = Model(tmp_path / "m.onnx").predict(tmp_path / "a.png", 0.0)
    assert said[0] == ("-" if resize == "crop" else "a") and float(said[1]) == pytest.approx(
        float(result.scores[0]), rel=1e-3, abs=1e-3
    )
    # Of a px; corners move by several when the image is prepared otherwise.
    assert np.allclose([float(side) for side in said[2:6]], result.boxes[0], atol=0.5)
    if resize == "crop":
        assert np.allclose([float(one) for one in said[6:]], result.keypoints[0].ravel(), atol=0.5)
    assert cv2.imread(str(tmp_path / "drawn.png")).shape == (100, 150, 3)
