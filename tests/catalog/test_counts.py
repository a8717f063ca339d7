"""Parameters and multiply-adds: as published, shipped for these versions, counted anew for others."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from trainer.catalog import counts
from trainer.catalog.count_models import differences, report
from trainer.catalog.counts import all_bases, named_bases
from trainer.schema.conf_folders import Conf
from trainer.zoo.model_names import ModelNames

# Millions: the first eight as promised to users.
PUBLISHED = {
    "rtmdet-s": 8.9,
    "rtmdet-m": 24.7,
    "yolox-s": 9.0,
    "yolox-m": 25.3,
    "faster-rcnn-r50": 41.5,
    "mask-rcnn-r50": 44.2,
    "retinanet-r50": 37.7,
    "fcos-r50": 32.1,
    # Not in the packages' files: a cross-check against figures in common use, whose sources were not looked up.
    "faster-rcnn-r101": 60.5,
    "atss-r50": 32.1,
    "cascade-rcnn-r50": 69.2,
    "detr-r50": 41.3,
    "dino-r50": 47.4,
    "dino-swin-l": 218,
    "centernet-r18": 14.2,
    # RTMDet's README.
    "rtmdet-l": 52.3,
}
# Billions of multiply-adds at the stated size, from the tables in RTMDet's and RTMPose's READMEs.
FLOPS = {
    "rtmdet-tiny": (8.1, [640, 640]),
    "rtmdet-s": (14.8, [640, 640]),
    "rtmdet-m": (39.27, [640, 640]),
    "rtmdet-l": (80.23, [640, 640]),
    "rtmdet-x": (141.67, [640, 640]),
    "rtmpose-s": (0.68, [192, 256]),
    "rtmpose-m": (1.93, [192, 256]),
    "rtmpose-l": (4.16, [192, 256]),
}
YOLOX = "mmdet::yolox/yolox_nano_8xb8-300e_coco.py"


@pytest.fixture(scope="module")
def rows() -> dict[str, dict]:
    conf = Conf()
    shipped = counts.shipped()
    return {model.name: shipped[conf.read("model", model.name)["base"]] for model in ModelNames(conf).named}


@pytest.mark.parametrize(("name", "millions"), PUBLISHED.items())
def test_parameters_agree_with_the_published_ones(rows: dict[str, dict], name: str, millions: float) -> None:
    tolerance = 0.02 if name == "centernet-r18" else 0.015
    assert rows[name]["params"] / 1e6 == pytest.approx(millions, rel=tolerance)


@pytest.mark.parametrize(("name", "expected"), FLOPS.items())
def test_multiply_adds_agree_with_the_published_ones(
    rows: dict[str, dict], name: str, expected: tuple[float, list[int]]
) -> None:
    assert rows[name]["flops"] / 1e9 == pytest.approx(expected[0], rel=0.015)
    assert rows[name]["size"] == expected[1]


def test_every_named_model_is_counted_but_for_those_that_need_a_package(rows: dict[str, dict]) -> None:
    assert {name for name, row in rows.items() if "params" not in row} == {"vitpose-s", "vitpose-b"}
    assert all("flops" in row for row in rows.values() if "params" in row)


def test_the_shipped_file_lists_every_installed_config_for_these_versions() -> None:
    if not counts.is_current():
        pytest.skip("other versions are installed than the file was counted with")
    assert set(counts.shipped()) == set(all_bases())


def test_the_files_text_is_read_back_as_it_was() -> None:
    rows = {"b": {"params": 1}, "a": {"reason": 'needs "x"'}}
    content = orjson.loads(counts.counts_file_text(rows))
    assert content["models"] == rows
    assert list(content["models"]) == ["a", "b"]
    assert content["versions"] == counts.versions()
    whole = counts.SHIPPED.read_text(encoding="utf-8")
    assert orjson.loads(whole)["models"] == counts.shipped()


def test_other_versions_are_counted_once_into_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAINER_CACHE", str(tmp_path))
    monkeypatch.setattr(counts, "package_version", lambda package: "9.9.9")
    told: list[str] = []
    found = counts.read_counts([YOLOX], told.append)
    assert found == {YOLOX: counts.shipped()[YOLOX]}
    assert told == ["counting the parameters of 1 models, once for the installed versions"]

    def count_again(*args: object, **options: object) -> None:
        raise AssertionError("counted twice")

    monkeypatch.setattr("trainer.catalog.counts.count", count_again)
    assert counts.read_counts([YOLOX], told.append) == found
    assert len(told) == 1


def test_where_nothing_can_be_counted_that_is_said_and_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAINER_CACHE", str(tmp_path))
    monkeypatch.setattr(counts, "package_version", lambda package: "9.9.9")
    monkeypatch.setattr("sys.executable", "/bin/false")
    told: list[str] = []
    assert counts.read_counts([YOLOX], told.append) == {}
    assert "counting parameters failed" in told[-1]
    assert not list(tmp_path.rglob("counts-*.json"))


def test_the_report_counts_reasons() -> None:
    rows = {
        "mmdet::a.py": {"params": 1},
        "mmdet::b.py": {"reason": "needs lap"},
        "mmseg::c.py": {"reason": "needs lap"},
    }
    text = report(rows)
    assert "mmdet: 1 of 2 built" in text
    assert "all: 1 of 3" in text
    assert "    2  needs lap" in text


def test_differences_are_told_by_base() -> None:
    right = counts.shipped()[YOLOX]
    assert differences({YOLOX: right}) == {}
    wrong = {**right, "params": 1}
    assert differences({YOLOX: wrong}) == {YOLOX: (right, wrong)}


def test_named_bases_are_those_of_the_files() -> None:
    assert YOLOX in named_bases()
    assert len(named_bases()) == len(ModelNames(Conf()).named)
