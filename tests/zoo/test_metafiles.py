"""What the packages' metafiles publish, and that they are read once."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from trainer.config_tree.config_files import PACKAGES, list_configs
from trainer.schema.conf_folders import Conf
from trainer.zoo import metafiles
from trainer.zoo.metafiles import entries, published, weights_url
from trainer.zoo.model_names import ModelNames


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache folder of this module's own."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("TRAINER_CACHE", str(folder))
        entries.cache_clear()
        yield folder
    entries.cache_clear()


def test_figures_by_task_and_data_set() -> None:
    assert published("mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py") == [
        {"task": "detection", "dataset": "COCO", "metrics": {"box AP": 38.2}},
        {"task": "instance_segmentation", "dataset": "COCO", "metrics": {"mask AP": 34.7}},
    ]
    assert published("mmseg::segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512") == [
        {"task": "semantic_segmentation", "dataset": "ADE20K"}
        | {"metrics": {"mIoU": 37.41, "mIoU(ms+flip)": 38.34}}
    ]
    pose = published("mmpose::body_2d_keypoint/topdown_heatmap/coco/td-hm_res50_8xb64-210e_coco-256x192.py")
    assert [(one["task"], one["dataset"]) for one in pose] == [("pose", "COCO")]
    assert published("mmdet::no/such_config.py") == []


def test_weights_are_one_file_of_the_config_itself() -> None:
    url = weights_url("mmdet::rtmdet/rtmdet_s_8xb32-300e_coco")
    assert url is not None
    assert url.endswith("/rtmdet_s_8xb32-300e_coco_20220905_161602-387a891e.pth")
    assert weights_url("mmdet::rtmdet/no_such_config.py") is None
    assert all(entry.weights.startswith("http") for entry in entries().values() if entry.weights)


def test_of_entries_for_one_config_the_one_whose_weights_are_its_own() -> None:
    # mmseg's metafile names this config twice, first with the weights of the 80k schedule.
    entry = entries()["mmseg::deeplabv3plus/deeplabv3plus_r101-d8_4xb4-160k_ade20k-512x512.py"]
    assert "160k_ade20k" in str(entry.weights)
    assert entry.published[0]["metrics"]["mIoU"] == 45.47


@pytest.mark.parametrize(
    ("base", "why"),
    [
        ("mmdet::gn+ws/faster-rcnn_r50_fpn_gn-ws-all_1x_coco.py", "the metafile writes gn%2Bws"),
        ("mmdet::ddq/ddq-detr-5scale_r50_8xb2-12e_coco.py", "the metafile names another folder"),
        ("mmdet::rpn/rpn_r50_fpn_2x_coco.py", "the metafile names no folder"),
    ],
)
def test_a_config_is_found_however_its_metafile_writes_it(base: str, why: str) -> None:
    assert base in entries(), why


def test_a_heading_is_no_data_set() -> None:
    base = "mmseg::ocrnet/ocrnet_hr18_4xb2-40k_cityscapes-512x1024.py"
    assert published(base)[0]["dataset"] == "Cityscapes"
    assert not [e for e in entries().values() for one in e.published if one["dataset"].startswith("#")]


def test_every_entry_is_an_installed_config() -> None:
    known = {f"{package}::{config}.py" for package in PACKAGES for config in list_configs(package)}
    assert set(entries()) <= known
    # 1,599 entries, of which a few name one config twice or one that isn't there.
    assert len(entries()) > 1500


def test_named_models_have_figures_and_weights_but_for_those_that_have_none() -> None:
    conf = Conf()
    bases = {model.name: str(conf.read("model", model.name)["base"]) for model in ModelNames(conf).named}
    assert {name for name, base in bases.items() if not published(base)} == {"yolox-m", "yolox-nano"}
    assert {name for name, base in bases.items() if not weights_url(base)} == {"yolox-m", "yolox-nano"}


def test_metafiles_are_read_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = entries()
    (kept,) = (cache / "zoo").glob("index-*.json")
    entries.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(metafiles, "read", lambda package: pytest.fail("the metafiles were read again"))
        assert entries() == before

    kept.write_bytes(b'{"cut off')
    entries.cache_clear()
    assert entries() == before, "a damaged file is made anew"

    entries.cache_clear()
    monkeypatch.setattr(metafiles, "package_version", lambda package: "9.9.9")
    assert entries() == before
    assert len(list((cache / "zoo").glob("index-*.json"))) == 2, "another version has a file of its own"
    entries.cache_clear()


def test_without_a_cache_the_figures_are_there_all_the_same(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_folder() -> Path:
        raise OSError("read-only")

    shutil.rmtree(cache / "zoo", ignore_errors=True)
    monkeypatch.setattr(metafiles, "cache_dir", no_folder)
    entries.cache_clear()
    assert weights_url("mmdet::rtmdet/rtmdet_s_8xb32-300e_coco.py")
    assert not (cache / "zoo").exists()
    entries.cache_clear()
