"""``python -m trainer models``: lists, cards, weights; without torch."""

from __future__ import annotations

import functools
import hashlib
import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from trainer.cli.command_line import main
from trainer.schema.conf_folders import Conf
from trainer.zoo.model_names import ModelNames

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def own_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of weights."""
    monkeypatch.setenv("TRAINER_WEIGHTS", str(tmp_path / "weights"))
    return tmp_path / "weights"


def listed(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict]:
    assert main(["models", "--json", *words]) == 0
    return json.loads(capsys.readouterr().out)


def test_without_words_the_named_models(capsys: pytest.CaptureFixture[str]) -> None:
    found = listed(capsys)
    assert {card["name"] for card in found} == {model.name for model in ModelNames(Conf()).named}
    assert len(found) >= 60
    assert {card["task"] for card in found} == {
        "detection",
        "instance_segmentation",
        "semantic_segmentation",
        "pose",
    }
    card = next(card for card in found if card["name"] == "rtmdet-s")
    assert card["base"] == "mmdet::rtmdet/rtmdet_s_8xb32-300e_coco.py"
    assert card["tasks"] == ["detection"]
    assert card["params"] == 8886924
    assert card["published"] == [{"task": "detection", "dataset": "COCO", "metrics": {"box AP": 44.5}}]
    assert card["weights"].endswith("-387a891e.pth")
    assert card["weights_cached"] is None


def test_words_find_models_and_the_packages_own_configs(capsys: pytest.CaptureFixture[str]) -> None:
    found = listed(capsys, "dino", "swin")
    names = [card["name"] for card in found]
    assert names[0] == "dino-swin-l"
    assert "mmdet/dino/dino-5scale_swin-l_8xb2-12e_coco" in names
    # The named one's own base isn't listed a second time.
    assert "mmdet/dino/dino-5scale_swin-l_8xb2-36e_coco" not in names
    assert all("dino" in name and "swin" in name for name in names)
    by_alias = listed(capsys, "Segformer_MiT-B0")
    assert by_alias[0]["name"] == "segformer-b0"


def test_all_lists_what_can_be_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    found = listed(capsys, "--all")
    assert len(found) > 1700
    assert len({card["base"] for card in found}) == len(found)
    assert all(card["tasks"] for card in found)
    assert not [card for card in found if "panoptic" in card["name"]]


def test_a_task_and_an_order(capsys: pytest.CaptureFixture[str]) -> None:
    found = listed(capsys, "task=instance_segmentation", "sort=map")
    figures = [
        one["metrics"]["mask AP"]
        for card in found
        for one in card["published"]
        if one["task"] == "instance_segmentation"
    ]
    assert len(figures) == len(found) >= 8
    assert figures == sorted(figures, reverse=True)
    assert all("instance_segmentation" in card["tasks"] for card in found)

    sizes = [card["params"] for card in listed(capsys, "sort=params")]
    counted = [size for size in sizes if size is not None]
    assert counted == sorted(counted)
    assert sizes[: len(counted)] == counted, "what isn't known comes last"
    names = [card["name"] for card in listed(capsys, "task=pose", "sort=name")]
    assert names == sorted(names)


def test_figures_of_pose_models_compare_though_some_are_written_in_percent(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["models", "task=pose", "sort=map"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("rtmpose-l")
    assert "AP 75.8" in lines[1]


def test_the_table_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    text = capsys.readouterr().out
    row = next(line for line in text.splitlines() if line.startswith("mask-rcnn-r50 "))
    assert " ".join(row.split()) == "mask-rcnn-r50 instances 44.4 M 269 G box 38.2, mask 34.7 to fetch"
    bisenet = next(line for line in text.splitlines() if line.startswith("bisenetv2 "))
    assert "Cityscapes" in bisenet


def test_weights_at_hand_are_told(
    capsys: pytest.CaptureFixture[str], own_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_weights.mkdir()
    name = "rtmdet_s_8xb32-300e_coco_20220905_161602-387a891e.pth"
    (own_weights / name).write_bytes(b"x")
    (card,) = [card for card in listed(capsys) if card["weights_cached"]]
    assert card["name"] == "rtmdet-s"
    assert card["weights_cached"] == str(own_weights / name)


def test_show_is_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    card = listed(capsys, "show", "fcos_r50_fpn")
    assert isinstance(card, dict)
    assert card["name"] == "fcos-r50"
    assert card["promised"]["box AP"] == 38.5
    assert card["published"][0]["metrics"]["box AP"] == 36.6
    assert card["options"]["runtime.epochs"] == 12
    assert card["options"]["optimizer"] == "sgd"
    assert [one["name"] for one in listed(capsys, "show", "yolox-s", "yolox-m")] == ["yolox-s", "yolox-m"]


def test_show_says_what_a_model_is_and_what_can_be_changed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "show", "fcos-r50"]) == 0
    text = capsys.readouterr().out
    for words in (
        "mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py",
        "32.3 M",
        "box AP 36.6 on COCO",
        "box AP 38.5 (metafile: 36.6), 32.1 M parameters",
        "runtime.epochs=",
        "optimizer.lr=",
        "model=fcos-r50 dataset=coco dataset.path=<folder> model.weights=coco",
        "models fetch fcos-r50",
    ):
        assert words in text, words


def test_show_knows_every_config(capsys: pytest.CaptureFixture[str]) -> None:
    card = listed(capsys, "show", "mmdet/yolact/yolact_r50_8xb8-55e_coco")
    assert (card["name"], card["task"]) == ("mmdet/yolact/yolact_r50_8xb8-55e_coco", "instance_segmentation")
    assert card["params"] > 30e6


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["show", "rtmdet-ss"], "Did you mean 'rtmdet-s'"),
        (["show"], "name a model"),
        (["fetch"], "name models or URLs"),
        (["fetch", "rtmdet-ss"], "Did you mean 'rtmdet-s'"),
        (["fetch", "yolox-m"], "no weights are published"),
        (["zzzzzz"], "no model with 'zzzzzz'"),
        (["rtmdet", "task=pose", "zzz"], "for pose"),
        (["task=posee"], "task: expected one of"),
        (["show", "mmdet/panoptic_fpn/panoptic-fpn_r50_fpn_1x_coco"], "is for panoptic segmentation"),
    ],
)
def test_mistakes(capsys: pytest.CaptureFixture[str], words: list[str], expected: str) -> None:
    assert main(["models", *words]) == 2
    assert expected in capsys.readouterr().err


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The URL of a file whose name tells its hash."""
    content = b"weights" * 1000
    folder = tmp_path / "served"
    folder.mkdir()
    name = f"net-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    (folder / name).write_bytes(content)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None: ...

    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{httpd.server_port}/{name}"
    httpd.shutdown()


def test_fetch_brings_weights_into_the_folder(
    capsys: pytest.CaptureFixture[str], own_weights: Path, server: str, tmp_path: Path
) -> None:
    assert main(["models", "fetch", server]) == 0
    file = own_weights / server.rpartition("/")[2]
    assert file.read_bytes() == b"weights" * 1000
    assert str(file) in capsys.readouterr().out
    other = tmp_path / "usb"
    assert listed(capsys, "fetch", server, f"to={other}") == [str(other / file.name)]


def test_neither_list_nor_card_imports_torch() -> None:
    code = """
import sys
from trainer.cli.command_line import main
assert main(["models", "--all", "--json"]) == 0 and main(["models", "show", "rtmdet-s"]) == 0
heavy = {name.partition(".")[0] for name in sys.modules} & {"torch", "mmcv", "mmdet", "mmseg", "mmpose", "mlflow"}
sys.exit(f"imported: {heavy}" if heavy else 0)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
