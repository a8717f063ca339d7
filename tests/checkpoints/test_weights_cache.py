from pathlib import Path

import pytest

from trainer.checkpoints.weights_cache import cached_path, stated_hash, weights_dir


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("rtmdet_s_8xb32-300e_coco_20220905_161602-387a891e.pth", "387a891e"),
        ("hrnet_w32_coco_256x192-c78dce93_20200708.pth", "c78dce93"),
        ("gfl_r50_fpn_1x_coco_20200629_121244-25944287.pth", "25944287"),
        ("resnet50-0676ba61.pth", "0676ba61"),
        ("model-20220905.pth", None),
        ("ddq_detr_5scale_coco_1x.pth", None),
        ("best.pth", None),
    ],
)
def test_hashes_in_names(name, expected):
    assert stated_hash(name) == expected


def test_every_published_file_has_a_place_of_its_own():
    from trainer.zoo.metafiles import entries

    urls = {entry.weights for entry in entries().values() if entry.weights}
    assert len(urls) > 900
    assert len({cached_path(url, Path("/w")) for url in urls}) == len(urls)
    assert sum(stated_hash(cached_path(url, Path("/w")).name) is not None for url in urls) > 0.99 * len(urls)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://download.openmmlab.com/a/b%2Bc-387a891e.pth", "b+c-387a891e.pth"),
        ("https://github.com/x/y/v1/model.pth", "github.com/x/y/v1/model.pth"),
        ("https://user:key@host:8000/model.pth", "host/model.pth"),
        ("https://host/../../etc/model.pth", "host/etc/model.pth"),
        (
            "s3://training-checkpoints/checkpoints/17/best.pt",
            "s3/training-checkpoints/checkpoints/17/best.pt",
        ),
    ],
)
def test_places(url, expected):
    assert cached_path(url, Path("/w")) == Path("/w") / expected


def test_what_is_asked_for_tells_files_apart():
    one, other = (cached_path(f"https://host/get?id={number}", Path("/w")) for number in (1, 2))
    assert one != other and one.parent == Path("/w/host")


def test_the_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("TRAINER_WEIGHTS", raising=False)
    monkeypatch.setenv("TRAINER_CACHE", str(tmp_path))
    assert weights_dir() == tmp_path / "weights"
    monkeypatch.setenv("TRAINER_WEIGHTS", str(tmp_path / "mine"))
    assert weights_dir() == tmp_path / "mine"
