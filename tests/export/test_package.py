"""Packages: what is in them, safe names, the same bytes for the same files."""

import os
import shutil
import subprocess
import zipfile

import pytest

from trainer.export.export_format import load_format
from trainer.export.package import copy_runtimes, safe, write_package
from trainer.export.readme import header, requirements

NASTY = ['a"b', "back\\slash", "zwei\nZeilen", "日本", "%d {x} $y"]


def metadata(kind="onnx", task="detection", **given):
    return {
        "task": task, "model": "rtmdet-s", "classes": NASTY, "palette": [[1, 2, 3]] * len(NASTY), "format": kind,
        "precision": "fp32", "file": "rtmdet-s.onnx", "skeleton": [[0, 1]], "keypoints": ["x", "y"],
        "thresholds": {"score": 0.001, "nms_iou": 0.65, "max_detections": 300, "shown": 0.3},
        "outputs": [{"name": "boxes", "dtype": "float32", "shape": [None, 300, 4]}],
        "input": {
            "name": "images", "dtype": "float32", "batch": None, "size": [640, 480], "dynamic_size": False,
            "divisor": 32, "channels": "bgr", "mean": [103.53, 0.0, 1e-7], "std": [57.375, 1.0, 58.395],
            "resize": "fit", "pad_value": [114.0] * 3, "box_padding": 1.25, "udp": False, **given,
        },
    }  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    one = tmp_path / "onnx"
    copy_runtimes(one / "runtimes", metadata())
    (one / "rtmdet-s.onnx").write_bytes(os.urandom(1000))
    (one / "metadata.json").write_text("{}")
    (one / ".hidden").write_text("no")
    return one


def test_what_is_in_it(folder):
    with zipfile.ZipFile(write_package(folder, "7")) as package:
        names = package.namelist()
    assert names == sorted(names)
    assert {"rtmdet-s.onnx", "metadata.json", "runtimes/README.md"} <= set(names)
    assert {
        f"runtimes/python/{name}" for name in ("model_wrapper.py", "requirements.txt", "README.md")
    } <= set(names)
    cpp = (
        "CMakeLists.txt",
        "main.cpp",
        "model_wrapper.h",
        "model_wrapper.cpp",
        "model_metadata.h",
        "README.md",
    )
    assert {f"runtimes/cpp/{name}" for name in cpp} <= set(names)
    assert not [name for name in names if ".hidden" in name or name.endswith(".zip") or "__pycache__" in name]


def test_torchscript_has_python_only(tmp_path):
    copy_runtimes(tmp_path, metadata("torchscript"))
    assert sorted(one.name for one in tmp_path.iterdir()) == ["README.md", "python"]
    assert "torch" in (tmp_path / "python" / "requirements.txt").read_text()
    assert "onnxruntime" not in (tmp_path / "python" / "requirements.txt").read_text()
    assert requirements(load_format("onnx").requirements).splitlines() == [
        *("numpy", "opencv-python-headless", "onnxruntime>=1.17")
    ]


def test_the_same_files_give_the_same_bytes(folder, tmp_path):
    first = write_package(folder, "7").read_bytes()
    for one in folder.rglob("*"):
        os.utime(one, (1e9, 1e9))
        if one.is_file():
            one.chmod(0o600)
    assert write_package(folder, "7").read_bytes() == first  # nor is the package packed
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    assert write_package(copy, "7").read_bytes() == first
    (copy / "metadata.json").write_text("{ }")
    assert write_package(copy, "7").read_bytes() != first


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("rtmdet-s", "rtmdet-s"),
        ("mmdet/rtmdet/rtmdet_s_8xb32", "mmdet-rtmdet-rtmdet_s_8xb32"),
        ("../../etc/passwd", "etc-passwd"),
        ("a b\0c:d", "a-b-c-d"),
        ("日本", "model"),
        ("..", "model"),
    ],
)
def test_names_are_safe(folder, name, expected):
    assert safe(name) == expected
    assert write_package(folder, name) == folder / f"export_{expected}.zip"


def test_the_readme_says_how_an_image_becomes_an_input(folder):
    text = (folder / "runtimes" / "README.md").read_text()
    assert "640 x 480 px" in text and "114 114 114" in text and "`boxes`" in text and "open x 300 x 4" in text
    assert "0.65" in text and "zwei" in text


@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++")
def test_the_header_compiles_whatever_classes_are_called(tmp_path):
    (tmp_path / "model_metadata.h").write_text(
        header(metadata(batch=4, dtype="uint8", resize="crop")), "utf-8"
    )
    program = """
        #include "model_metadata.h"
        #include <cstdio>
        int main() {
          static_assert(metadata::width == 640 && metadata::height == 480 && metadata::batch == 4, "");
          static_assert(metadata::uint8_input && metadata::resize == metadata::Resize::crop, "");
          for (const auto& name : metadata::classes) std::printf("%s%c", name.c_str(), 0);
          return metadata::palette.size() == 5 && metadata::skeleton[0][1] == 1 ? 0 : 1;
        }"""
    (tmp_path / "main.cpp").write_text(program)
    subprocess.run(
        ["g++", "-std=c++17", "-Wall", "-Werror", "-o", "main", "main.cpp"], cwd=tmp_path, check=True
    )
    said = subprocess.run([tmp_path / "main"], check=True, capture_output=True).stdout
    assert said.decode().split("\0")[:-1] == NASTY


def test_python_and_cpp_readmes_name_the_file(folder):
    for language in ("python", "cpp"):
        assert "rtmdet-s.onnx" in (folder / "runtimes" / language / "README.md").read_text()
