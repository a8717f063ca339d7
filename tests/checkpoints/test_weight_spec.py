"""What ``model.weights`` means, and what is said when nothing can be meant."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from trainer.checkpoints import resolve_weights
from trainer.checkpoints.backbone_urls import resolve_backbone_url
from trainer.checkpoints.weight_spec import pin_weights
from trainer.core.errors import CheckpointError, ConfigError
from trainer.runs.manifest import Manifest
from trainer.runs.run import Run

RTMDET = "mmdet::rtmdet/rtmdet_s_8xb32-300e_coco.py"


@pytest.fixture
def output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs"


def make_run(output: Path, *names: str) -> Run:
    run = Run.create(output, "cats", "rtmdet-s")
    for name in names:
        with Manifest(run.checkpoints).replacing(name, {"epoch": 1}) as file:
            file.write(name.encode())
    return run


@pytest.mark.parametrize("word", ["none", "backbone"])
def test_words_that_are_no_file(word, output):
    assert resolve_weights(word.upper(), RTMDET, output) == word


@pytest.mark.parametrize("word", ["coco", "COCO", "published"])
def test_what_the_authors_published(word, output):
    url = resolve_weights(word, RTMDET, output)
    assert url.startswith("https://") and url.endswith(
        "rtmdet_s_8xb32-300e_coco_20220905_161602-387a891e.pth"
    )


def test_nothing_published(output):
    base = "mmdet::rtmdet/rtmdet_tiny_1xb4-20e_balloon.py"
    with pytest.raises(ConfigError, match=r"no weights are published for .* Did you mean 'mmdet::rtmdet/"):
        resolve_weights("coco", base, output)


def test_a_previous_run_is_its_best_checkpoint(output):
    run = make_run(output, "last", "best")
    for name in ("latest", run.id, run.id[:-2], str(run.dir)):
        assert resolve_weights(name, RTMDET, output) == str(run.checkpoints / "best.pth")


def test_a_run_without_a_checkpoint(output):
    make_run(output)
    with pytest.raises(CheckpointError, match=r"model\.weights=latest: no checkpoint of run"):
        resolve_weights("latest", RTMDET, output)


def test_files_are_found_from_here(output, tmp_path):
    (tmp_path / "mine.pth").write_bytes(b"")
    assert resolve_weights("mine.pth", RTMDET, output) == str(tmp_path / "mine.pth")
    with pytest.raises(ConfigError, match=r"no file mien\.pth\. Did you mean 'mine\.pth'"):
        resolve_weights("mien.pth", RTMDET, output)


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("cocco", "Did you mean 'coco'"),
        ("backbones", "Did you mean 'backbone'"),
        ("lates", "Did you mean 'latest'"),
        ("yes", "expected none, coco, backbone, a path"),
        ("htps://host/a.pth", "Did you mean 'https'"),
        ("torchvision://resnet5", "Did you mean 'resnet50'"),
    ],
)
def test_bad_words(word, hint, output):
    with pytest.raises(ConfigError, match=hint) as caught:
        resolve_weights(word, RTMDET, output)
    assert str(caught.value).startswith("model.weights")


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("torchvision://resnet50", "resnet50-"),
        ("open-mmlab://resnet50_v1c", "resnet50_v1c-"),
        ("open-mmlab://resnet50_caffe", "resnet50_caffe-"),
        ("mmcls://mobilenet_v2", "mobilenet_v2_"),
    ],
)
def test_names_of_backbones(name, file):
    assert resolve_backbone_url(name).rpartition("/")[2].startswith(file)


def test_every_backbone_that_the_packages_name_is_known():
    import re

    from trainer.config_tree.config_files import PACKAGES, configs_dir

    names = set()
    for package in PACKAGES:
        for path in (configs_dir(package) or Path()).rglob("*.py"):
            found = re.findall(
                r"['\"]((?:torchvision|open-mmlab|mmcls)://[^'\"{]+)['\"]", path.read_text("utf-8")
            )
            names.update(found)
    assert len(names) > 50
    assert all(resolve_backbone_url(name).startswith("https://") for name in names)


def test_a_run_that_was_meant_stays_the_same_one():
    typed = ["model.weights=latest", "runtime.epochs=2"]
    assert pin_weights(typed, "/runs/a/best.pth") == ["model.weights=/runs/a/best.pth", "runtime.epochs=2"]
    assert pin_weights(["model.weights=coco"], "https://host/a.pth") == ["model.weights=coco"]
    assert pin_weights(["model.weights=none"], None) == ["model.weights=none"]


def test_no_torch_is_imported():
    code = (
        "import sys; from trainer.checkpoints import fetch_weights, resolve_weights; "
        f"resolve_weights('coco', {RTMDET!r}); resolve_weights('none', ''); import trainer.core.s3, "
        f"trainer.mmconfig.initial_weights; "
        "print(sorted({'torch', 'mmengine', 'boto3', 'mmdet'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
