"""The code that travels with an export prepares images as validation does, and puts answers back where they belong."""

import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.export.models import pictures
from tests.mmconfig.bases import FASTER, HRNET, RTMDET, RTMO, RTMPOSE, SEGFORMER, YOLOX, build
from trainer.config_tree.traverse import leaf_dataset
from trainer.export.inputs import input_of
from trainer.export.runtimes.python import model_wrapper
from trainer.export.runtimes.python.model_wrapper import Model, draw

CENTERNET = "mmdet::centernet/centernet_r18-dcnv2_8xb16-crop512-140e_coco.py"
WIDE = pictures((150, 100), 1)[0]
BOX = np.array([20, 10, 70, 95], np.float32)


def _metadata(given, task="detection", outputs=("boxes", "scores", "labels"), **others):
    return {
        "task": task,
        "classes": ["a", "b"],
        "palette": [[255, 0, 0], [0, 255, 0]],
        "input": given,
        "outputs": [{"name": name} for name in outputs],
        "thresholds": {"shown": 0.3},
        **others,
    }


def _given(**others):
    return {
        "name": "images", "dtype": "float32", "batch": None, "size": [96, 96], "dynamic_size": False, "divisor": 32,
        "channels": "bgr", "mean": [0.0] * 3, "std": [1.0] * 3, "resize": "fit", "pad_value": [114.0] * 3,
        "box_padding": 1.25, "udp": False, **others,
    }  # fmt: skip


class _Fixed:
    """A runtime that always answers the same."""

    def __init__(self, **outputs):
        self.outputs, self.batches = outputs, []

    def run(self, name, outputs, batch):
        self.batches.append(batch)
        return [np.repeat(self.outputs[one], len(batch), 0) for one in outputs]


def _network_input(config, image, box=None):
    """What training's own validation makes of an image (C, H, W)."""
    from mmengine.config import ConfigDict
    from mmengine.registry import MODELS, DefaultScope

    from trainer.inference.predictor import _build_step, _collate

    first, *steps = leaf_dataset(config["val_dataloader"])["pipeline"]
    facts = {
        "img": image.astype(np.float32) if first.get("to_float32") else image,
        "img_shape": image.shape[:2],
        "ori_shape": image.shape[:2],
        "img_id": 0,
        "img_path": "",
    }
    if box is not None:
        facts |= {"bbox": box[None], "bbox_score": np.ones(1, np.float32)}
    with DefaultScope.overwrite_default_scope(config["default_scope"]):
        for step in steps:
            if step["type"] != "LoadAnnotations":
                facts = _build_step(step)(facts)
        preprocessor = MODELS.build(ConfigDict(config["model"]["data_preprocessor"]))
        inputs = preprocessor(_collate([facts]), False)["inputs"]
    return inputs[0].numpy()


@pytest.fixture(scope="module", autouse=True)
def _packages():
    from trainer.inference.load_model import _prepare

    _prepare("cpu")
    for package in ("mmdet", "mmpose", "mmseg"):  # the registries are filled
        importlib.import_module(f"{package}.datasets")
        importlib.import_module(f"{package}.models")


@pytest.mark.parametrize(
    ("base", "task", "size", "resize"),
    [
        (RTMDET, "detection", (96, 96), "fit"),
        (YOLOX, "detection", (96, 96), "fit"),
        (FASTER, "detection", (96, 64), "fit"),
        ("mmdet::ssd/ssd300_coco.py", "detection", (96, 96), "stretch"),
        (CENTERNET, "detection", (150, 100), "border"),
        (SEGFORMER, "semantic_segmentation", (96, 64), "fit"),
        (RTMPOSE, "pose", (64, 96), "crop"),
        (HRNET, "pose", (64, 96), "crop"),
        ("mmpose::body_2d_keypoint/topdown_heatmap/coco/td-hm_hrnet-w32_udp-8xb64-210e_coco-256x192.py", "pose",
         (64, 96), "crop"),
        (RTMO, "pose", (96, 96), "center"),
    ],
)  # fmt: skip
def test_images_are_prepared_as_in_validation(base, task, size, resize):
    config = build(base, task, dataset__image_size=list(size))
    given = input_of(config, None, batch=None, dynamic_size=False, preprocess=False)
    if resize == "border":
        size = (160, 128)  # the next multiples of 32
    assert given["resize"] == resize and tuple(given["size"]) == size
    model = Model.around(_Fixed(), _metadata(given, task))
    box = BOX if resize == "crop" else None
    # A base's (96, 64) is the long and the short side, a file's are width and height.
    # And a bordered file's size is for images of one size.
    any_shape = resize in ("stretch", "center", "crop") or size[0] == size[1]
    tall = [np.ascontiguousarray(WIDE[:, :60])] if any_shape else []
    for image in (WIDE, *tall):
        mine, place = model.prepare(image, box)
        its = _network_input(config, image, box)
        assert mine.shape == (3, size[1], size[0]) and place.size == image.shape[1::-1]
        high, wide = its.shape[1:]  # mmseg doesn't pad, and Faster R-CNN no further than its divisor
        assert high <= size[1] and wide <= size[0]
        # warpAffine rounds coordinates, and matrices may differ in their last digits.
        step = 1.0 / min(given["std"]) if resize in ("crop", "center") else 1e-5
        assert np.abs(mine[:, :high, :wide] - its).max() <= 1.01 * step
        assert (
            np.allclose(mine[:, :high, :wide], its, atol=1e-5)
            or np.mean(np.abs(its - mine[:, :high, :wide])) < 0.01
        )
    # The same with normalising in the file.
    raw = input_of(config, None, batch=None, dynamic_size=False, preprocess=True)
    bytes_, _ = Model.around(_Fixed(), _metadata(raw, task)).prepare(WIDE, box)
    assert bytes_.dtype == np.uint8 and raw["channels"] == "rgb"
    floats = (bytes_.transpose(1, 2, 0).astype(np.float32) - raw["mean"]) / raw["std"]
    floats = floats if given["channels"] == "rgb" else floats[..., ::-1]
    mine, _ = model.prepare(WIDE, box)
    assert np.abs(floats.transpose(2, 0, 1) - mine).max() <= 0.51 / min(
        given["std"]
    )  # the padding is rounded


@pytest.mark.parametrize("resize", ["fit", "stretch", "center", "border", "crop"])
def test_answers_are_put_back(resize):
    model = Model.around(_Fixed(), _metadata(_given(resize=resize)))
    dot = np.zeros((100, 150, 3), np.uint8)
    dot[40:44, 50:54] = 255  # its middle is (52, 42)
    array, place = model.prepare(dot, BOX if resize == "crop" else None)
    ys, xs = np.nonzero(array[0] > 130)
    middle = np.array([xs.mean() + 0.5, ys.mean() + 0.5], np.float32)
    assert np.abs(place.back(middle) - [52, 42]).max() < 1


def test_a_dynamic_size_is_filled_up_to_the_divisor():
    model = Model.around(_Fixed(), _metadata(_given(dynamic_size=True, size=[128, 128])))
    assert model.prepare(WIDE)[0].shape == (3, 96, 128)
    assert model.prepare(WIDE[:, :50])[0].shape == (3, 128, 64)


def test_objects():
    outputs = {
        "boxes": np.array([[[0, 0, 96, 64], [10, 10, 20, 20], [1, 1, 2, 2], [0, 0, 0, 0]]], np.float32),
        "scores": np.array([[0.5, 0.9, 0.2, 0]], np.float32),
        "labels": np.array([[1, 0, 1, -1]]),
        "masks": np.zeros((1, 4, 96, 96), np.uint8),
    }
    outputs["masks"][0, 0, :32] = 255
    metadata = _metadata(_given(), "instance_segmentation", tuple(outputs))
    model = Model.around(_Fixed(**outputs), metadata)
    (result,) = model.predict(WIDE)
    assert result.scores.tolist() == pytest.approx([0.9, 0.5]) and result.names == ("a", "b")
    assert np.allclose(result.boxes[1], [0, 0, 150, 100]) and result.size == (150, 100)
    assert (
        result.masks.shape == (2, 100, 150) and result.masks[1, :49].all() and not result.masks[1, 51:].any()
    )
    assert len(model.predict(WIDE, threshold=0.1)[0].boxes) == 3
    assert len(model.predict(WIDE, threshold=0.0)[0].boxes) == 3  # never the rows that aren't used
    assert (draw(WIDE, result, metadata) != WIDE).any()


def test_boxes_at_the_edges_are_as_the_model_has_them():
    """Some models cut boxes at the picture's edges, and some of those drop what is empty then."""
    outputs = {
        "boxes": np.array(
            [[[-8, 10, 50, 80], [10, 70, 20, 90], [4, 4, 8, 8]]], np.float32
        ),  # the picture ends at 64
        "scores": np.array([[0.9, 0.8, 0.7]], np.float32),
        "labels": np.array([[0, 1, 1]]),
    }

    def found(**metadata):
        return Model.around(_Fixed(**outputs), _metadata(_given(), **metadata)).predict(WIDE)[0]

    whole = found(boxes={"cut": False, "drop_empty": False})
    assert np.allclose(whole.boxes, outputs["boxes"][0] * 150 / 96)
    cut = found(boxes={"cut": True, "drop_empty": False})
    assert (
        cut.boxes.min() == 0 and cut.boxes[:, 3].max() == 100 and cut.scores.tolist() == whole.scores.tolist()
    )
    left = found(boxes={"cut": True, "drop_empty": True})
    assert (
        left.boxes.tolist() == cut.boxes[[0, 2]].tolist()
        and left.names == ("a", "b")
        and len(left.scores) == 2
    )
    assert found().boxes.tolist() == cut.boxes.tolist()  # files made before this was told


def test_many_images_and_a_fixed_batch():
    outputs = {
        "boxes": np.zeros((1, 1, 4), np.float32), "scores": np.ones((1, 1), np.float32), "labels": np.zeros((1, 1), int)
    }  # fmt: skip
    runtime = _Fixed(**outputs)
    model = Model.around(runtime, _metadata(_given(batch=4)))
    assert len(model.predict([WIDE] * 6)) == 6
    assert [len(batch) for batch in runtime.batches] == [4, 4]
    runtime = _Fixed(**outputs)
    model = Model.around(runtime, _metadata(_given(dynamic_size=True, size=[128, 128])))
    assert len(model.predict([WIDE, WIDE, WIDE[:, :50], WIDE], batch_size=8)) == 4
    assert [batch.shape[0] for batch in runtime.batches] == [2, 1, 1]
    assert model.predict([]) == []


def test_top_down_poses_answer_for_each_box():
    points = np.array([[[48, 48, 0.5], [0, 0, 0.25]]], np.float32)
    runtime = _Fixed(keypoints=points)
    metadata = _metadata(
        _given(resize="crop"), "pose", ("keypoints",), keypoints=["x", "y"], skeleton=[[0, 1]]
    )
    model = Model.around(runtime, metadata)
    boxes = [np.array([[0, 0, 40, 40], [50, 20, 90, 60]]), np.zeros((0, 4)), None]
    first, second, third = model.predict([WIDE, WIDE, WIDE], boxes=boxes)
    assert (
        np.allclose(first.keypoints[:, 0, :2], [[20, 20], [70, 40]]) and first.scores.tolist() == [0.375] * 2
    )
    assert second.keypoints.shape == (0, 2, 3) and len(second.scores) == 0
    assert np.allclose(third.keypoints[0, 0, :2], [75, 50])  # the whole image is the box
    assert (draw(WIDE, first, metadata) != WIDE).any()


def test_maps():
    segmentation = np.zeros((1, 96, 96), np.int64)
    segmentation[:, :32] = 1
    metadata = _metadata(_given(), "semantic_segmentation", ("segmentation",))
    (result,) = Model.around(_Fixed(segmentation=segmentation), metadata).predict(WIDE)
    assert result.segmentation.shape == (100, 150) and (result.segmentation[:49] == 1).all()
    assert not result.segmentation[51:].any() and (draw(WIDE, result, metadata) != WIDE).any()


def _file(folder: Path) -> Path:
    """An ONNX file that answers one box, its metadata inside."""
    constants = {
        "boxes": (TensorProto.FLOAT, [1, 1, 4], [10.0, 10.0, 50.0, 40.0]),
        "scores": (TensorProto.FLOAT, [1, 1], [0.875]),
        "labels": (TensorProto.INT64, [1, 1], [1]),
    }
    nodes = [
        helper.make_node("Constant", [], [name], value=helper.make_tensor(name, *what))
        for name, what in constants.items()
    ]
    graph = helper.make_graph(
        nodes,
        "one",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, 96, 96])],
        [helper.make_tensor_value_info(name, what[0], what[1]) for name, what in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    for key, value in _metadata(_given()).items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value if isinstance(value, str) else json.dumps(value)
    onnx.save(model, folder / "one.onnx")
    return folder / "one.onnx"


def test_metadata_inside_the_file_is_enough(tmp_path):
    model = Model(_file(tmp_path))
    assert model.metadata["input"] == _given() and model.task == "detection"
    (result,) = model.predict(WIDE)
    assert result.names == ("b",) and np.allclose(
        result.boxes, np.array([[10, 10, 50, 40]]) * 150 / 96, atol=1e-4
    )


def test_mistakes(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no exported model .*none\.onnx"):
        Model(tmp_path / "none.onnx")
    (tmp_path / "a.pth").touch()
    with pytest.raises(ValueError, match="expected one of .onnx"):
        Model(tmp_path / "a.pth")
    model = Model(_file(tmp_path))
    with pytest.raises(ValueError, match="can't be read as an image"):
        model.predict(tmp_path / "a.pth")
    with pytest.raises(ValueError, match="uint8 array"):
        model.predict(WIDE.astype(np.float32))


def _linked(source, target):
    """A second name for a file; a copy on another file system."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def test_a_clean_environment_is_enough(tmp_path):
    """numpy, opencv and onnxruntime: nothing else that is installed here can even be found."""
    clean = tmp_path / "clean"
    clean.mkdir()
    for module in ("numpy", "cv2", "onnxruntime"):
        place = Path(__import__(module).__file__).parent
        shutil.copytree(place, clean / place.name, copy_function=_linked)  # cv2 looks where a link leads to
        for libraries in place.parent.glob("*.libs"):
            if not (clean / libraries.name).exists():
                (clean / libraries.name).symlink_to(libraries)
    package = tmp_path / "package"
    package.mkdir()
    _file(package)
    wrapper = package / "model_wrapper.py"
    wrapper.write_text(Path(model_wrapper.__file__).read_text())
    cv2.imwrite(str(package / "a.png"), WIDE)
    code = (
        f"import runpy, sys; sys.path.insert(0, {str(clean)!r}); "
        "sys.argv = ['model_wrapper.py', 'one.onnx', 'a.png', '--output', 'drawn.png']; "
        "runpy.run_path('model_wrapper.py', run_name='__main__'); "
        "print(sorted(name for name in ('torch', 'mmdet', 'trainer', 'onnx') if name in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], cwd=package, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    answer, modules = done.stdout.splitlines()
    assert modules == "[]" and json.loads(answer)["names"] == ["b"]
    assert cv2.imread(str(package / "drawn.png")).shape == WIDE.shape
