"""Data sets from a real S3 server: equal to the local folder, and nothing fetched that isn't needed."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil

import orjson
import pytest

from tests.data.conftest import coco_of, image, write
from tests.data.folders import CASES, FORMAT_OF, make
from tests.data.sources.conftest import BUCKET, SECRET, backend, put, release, upload
from tests.data.sources.test_archives import pack
from trainer.core.errors import ConfigError, DatasetError, NetworkError, TrainerError
from trainer.data.prepare import prepare
from trainer.data.sources import dataset_cache
from trainer.data.sources.bucket import Bucket
from trainer.schema import Dataset

PREFIX = "datasets/ab12/"
URI = f"s3://{BUCKET}/{PREFIX}"


def remote(path: str = URI, form: str = "auto", task: str = "detection", **options):
    return prepare(Dataset(format=form, path=path, **options), task)


@pytest.mark.parametrize(("name", "task"), [c for c in CASES if c[1] != "instance_segmentation"])
def test_every_format_is_the_same_as_the_local_folder(name, task, s3, tmp_path):
    folder = make(name, tmp_path / "ab12", task)
    upload(folder, PREFIX)
    form = FORMAT_OF.get(name, name)
    local = prepare(Dataset(format=form, path=str(folder)), task)
    there = remote(form="auto" if form != "dice" else form, task=task)
    assert there.fingerprint == local.fingerprint
    assert there.name == local.name == "ab12"
    assert max(s3.asked.values()) == 1
    before = s3.asked.copy()
    assert remote(form="auto" if form != "dice" else form, task=task).fingerprint == local.fingerprint
    assert s3.asked == before, "all in the cache"


def test_only_what_is_named_is_fetched(s3, tmp_path):
    folder = make("dice", tmp_path / "ab12", "detection")
    image(folder / "images" / "unlabelled.png")
    image(folder / "thumbs" / "pic0.png")
    write(folder / "annotations_pose.json", {"images": []})
    write(folder / "model.bin", b"\0" * 100)
    write(folder / ".hidden" / "pic.png", b"x")
    write(folder / "captions_train2017.json", {})
    upload(folder, PREFIX)
    put(PREFIX, b"")  # what some tools make for a folder
    put("datasets/ab123/annotations.json", b"of another one, whose name begins the same")
    remote(URI.rstrip("/"))
    names = {key.removeprefix(PREFIX) for key in s3.asked}
    assert names == {
        "annotations_detection.json", "annotations_pose.json", *(f"images/pic{i}.png" for i in range(6)),
    }  # fmt: skip


def test_images_under_another_prefix(s3, tmp_path):
    """``image_root`` is a key of the store and may lead elsewhere in the bucket."""
    folder = make("dice", tmp_path / "ab12", "detection")
    local = prepare(Dataset(format="dice", path=str(folder)), "detection")
    file = folder / "annotations_detection.json"
    document = orjson.loads(file.read_bytes())
    document["storage_info"]["image_root"] = "pool/pictures/"
    put("snapshots/7/annotations_detection.json", orjson.dumps(document))
    upload(folder / "images", "pool/pictures/")
    there = remote(f"s3://{BUCKET}/snapshots/7")
    assert there.fingerprint == local.fingerprint


def test_the_version_hash_names_the_cached_folder(s3, tmp_path, monkeypatch, caplog):
    folder = make("dice", tmp_path / "ab12", "detection")
    upload(folder, PREFIX)
    content = (folder / "annotations_detection.json").read_bytes()
    version = hashlib.sha256(content).hexdigest()
    monkeypatch.setenv("DATASET_VERSION_HASH", version)
    monkeypatch.setenv("DATASET_CACHE_DIR", str(tmp_path / "shared"))
    with caplog.at_level(logging.WARNING, "trainer"):
        first = remote()
    assert not caplog.records
    [entry] = [p for p in (tmp_path / "shared").iterdir() if p.is_dir()]
    assert version[:16] in entry.name
    s3.forget()
    assert remote().fingerprint == first.fingerprint
    assert not s3.asked and not s3.listed, "no question to the store"
    monkeypatch.setenv("DATASET_VERSION_HASH", "0" * 64)
    with caplog.at_level(logging.WARNING, "trainer"):
        remote()
    assert "have changed since DATASET_VERSION_HASH was taken" in caplog.text


def test_a_new_version_links_what_it_shares_with_the_old_one(s3, tmp_path):
    folder = make("dice", tmp_path / "ab12", "detection")
    upload(folder, PREFIX)
    first = remote()
    s3.forget()
    file = folder / "annotations_detection.json"
    document = orjson.loads(file.read_bytes())
    document["annotations"][0]["bbox"] = [1, 1, 20, 20]
    put(f"{PREFIX}annotations_detection.json", orjson.dumps(document))
    image(folder / "images" / "pic3.png", 64, 48).write_bytes(
        (folder / "images" / "pic3.png").read_bytes() + b"\0"
    )
    put(f"{PREFIX}images/pic3.png", (folder / "images" / "pic3.png").read_bytes())
    assert remote().fingerprint != first.fingerprint
    assert {key.removeprefix(PREFIX) for key in s3.asked} == {"annotations_detection.json", "images/pic3.png"}


@pytest.mark.parametrize("form", ["zip", "tar.gz"])
def test_archives_on_s3(form, s3, tmp_path):
    folder = make("coco", tmp_path / "cats", "detection")
    put(f"packed/cats.{form}", pack(folder, tmp_path / f"cats.{form}", "cats/").read_bytes())
    there = remote(f"s3://{BUCKET}/packed/cats.{form}")
    assert there.fingerprint == prepare(Dataset(format="coco", path=str(folder)), "detection").fingerprint
    assert there.name == "cats"
    remote(f"s3://{BUCKET}/packed/cats.{form}")
    assert s3.asked[f"packed/cats.{form}"] == 1 + 2  # two questions for its ETag
    put("packed/bad.zip", b"PK nonsense")
    with pytest.raises(DatasetError, match=r"s3://training-datasets/packed/bad.zip is no whole archive"):
        remote(f"s3://{BUCKET}/packed/bad.zip")
    with pytest.raises(DatasetError, match=r"there is no s3://training-datasets/packed/none.zip"):
        remote(f"s3://{BUCKET}/packed/none.zip")


def test_masks_that_are_missing_are_named(s3, tmp_path):
    folder = make("dice_singular", tmp_path / "ab12", "semantic_segmentation")
    (folder / "masks" / "pic2_mask.png").unlink()
    upload(folder, PREFIX)
    text = told(task="semantic_segmentation", on_error="skip")
    assert f"masks that annotations.json names are not below {URI} (1): masks/pic2_mask.png" in text


def test_a_profile_that_there_is_not(s3, monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    assert "nobody" in told(kind=NetworkError)


def told(path: str = URI, kind: type[TrainerError] = DatasetError, **options) -> str:
    with pytest.raises(kind) as caught:
        remote(path, **options)
    text = str(caught.value)
    assert SECRET not in text and "/cache/" not in text
    return text


def test_all_missing_images_are_named_at_once(s3, tmp_path):
    folder = make("coco", tmp_path / "ab12", "detection")
    for i in (1, 2, 4):
        next(folder.rglob(f"pic{i}.png")).unlink()
    upload(folder, PREFIX)
    text = told()
    assert f"images that instances_train2017.json names are not below {URI} (2): pic1.png, pic2.png" in text
    assert f"images that instances_val2017.json names are not below {URI} (1): pic4.png" in text
    assert not any(key.endswith(".png") for key in s3.asked), "told before the first image is fetched"
    assert "dataset.on_error=skip leaves out" in text
    bundle = remote(on_error="skip")
    assert (bundle.train.num_images, bundle.val.num_images) == (2, 1)


def test_objects_that_go_away_while_it_is_fetched(s3, tmp_path, monkeypatch):
    upload(make("dice", tmp_path / "ab12", "detection"), PREFIX)

    def vanish(method: str, key: str, count: int) -> None:
        for i in range(4):
            backend().buckets[BUCKET].keys.pop(f"{PREFIX}images/pic{i}.png")

    s3.trouble = lambda method, key, count: vanish(method, key, count) if key.endswith("json") else None
    text = told()
    assert (
        "objects that were listed are not there (4): s3://training-datasets/datasets/ab12/images/pic0.png"
        in text
    )
    s3.forget()
    upload(make("dice", tmp_path / "ab12", "detection"), PREFIX)
    monkeypatch.setenv("DATASET_CACHE_DIR", str(tmp_path / "another"))
    s3.trouble = lambda method, key, count: (
        put(f"{PREFIX}images/pic5.png", b"new") if key.endswith("json") else None
    )
    assert "pic5.png was changed while the data set was fetched; start again" in told()


@pytest.mark.parametrize(
    "name", ["../../out.png", "/etc/out.png", "images/../../../out.png", "a\\..\\..\\b.png"]
)
def test_names_that_lead_out(name, s3, tmp_path):
    """In the keys of objects and in the annotation file; nothing is written outside the cache."""
    folder = make("dice", tmp_path / "box" / "ab12", "detection")
    upload(folder, PREFIX)
    before = {p for p in tmp_path.rglob("*") if "cache" not in p.parts}
    document = orjson.loads((folder / "annotations_detection.json").read_bytes())
    document["images"][0]["file_name"] = name
    put(f"{PREFIX}annotations_detection.json", orjson.dumps(document))
    text = told()
    assert "annotations_detection.json: file_name must be a path inside" in text and repr(name) in text
    put(f"{PREFIX}{name}", b"evil")
    assert f"objects whose names lead out of a folder (1): {name!r}" in told()
    assert {p for p in tmp_path.rglob("*") if "cache" not in p.parts} == before


def test_a_name_that_is_file_and_folder(s3, tmp_path):
    upload(make("dice", tmp_path / "ab12", "detection"), PREFIX)
    put(f"{PREFIX}images/pic0.png/labels.txt", b"")
    assert "'images/pic0.png' is an object and a folder of others" in told()


def test_what_is_not_there(s3):
    assert told() == f"dataset.path: nothing lies below {URI}"
    text = told("s3://no-such-bucket/x")
    assert (
        "there is no bucket 'no-such-bucket' at http://127.0.0.1" in text
        and "EXTERNAL_STORAGE_ENDPOINT" in text
    )
    assert "can't be a bucket's name" in told("s3://a b/x")
    put(f"{PREFIX}readme.txt", b"hello")
    assert "no data set for task=detection" in str(_error())
    put(f"{PREFIX}annotations.json", b'{"classes": [')
    assert "annotations.json is not JSON" in told() and f"{URI}annotations.json" in told()
    assert "no S3 URI" in told("gs://bucket/x", ConfigError)


def _error() -> TrainerError:
    with pytest.raises(TrainerError) as caught:
        remote()
    return caught.value


def test_keys_that_are_missing_wrong_or_in_the_path(s3, monkeypatch):
    s3.trouble = lambda method, key, count: "500"
    text = told(kind=NetworkError)
    assert (
        "the store answers 500" in text and "6 tries in a row" in text and "EXTERNAL_STORAGE_ENDPOINT" in text
    )
    monkeypatch.setenv("EXTERNAL_STORAGE_ENDPOINT", "http://127.0.0.1:9")
    assert "EXTERNAL_STORAGE_ENDPOINT names the store" in told(kind=NetworkError)
    monkeypatch.setenv("EXTERNAL_STORAGE_ENDPOINT", "nonsense")
    assert "EXTERNAL_STORAGE_ENDPOINT is no URL" in told(kind=NetworkError)
    assert "keys don't belong into an s3:// path" in told(f"s3://me:{SECRET}@bucket/x")
    monkeypatch.setenv("EXTERNAL_STORAGE_ENDPOINT", s3.endpoint)
    for name in ("EXTERNAL_STORAGE_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("EXTERNAL_STORAGE_SECRET_KEY")
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    text = told(kind=NetworkError)
    assert text == (
        f"s3://{BUCKET}: no credentials; set EXTERNAL_STORAGE_ACCESS_KEY and EXTERNAL_STORAGE_SECRET_KEY"
    )


def test_keys_that_the_store_refuses(s3):
    s3.trouble = lambda method, key, count: "403"
    text = told(kind=NetworkError)
    assert (
        "refuses (SignatureDoesNotMatch); check EXTERNAL_STORAGE_ACCESS_KEY and EXTERNAL_STORAGE_SECRET"
        in text
    )
    assert len(s3.listed) == 1, "asking again won't help"


def test_what_was_evicted_is_fetched_again(s3, tmp_path, cache):
    upload(make("dice", tmp_path / "ab12", "detection"), PREFIX)
    first = remote()
    [entry] = (p for p in (cache / "datasets").iterdir() if p.is_dir())
    shutil.rmtree(entry)
    again = remote()
    assert again.fingerprint == first.fingerprint and set(s3.asked.values()) == {2}
    listed = [again.train.image_root / entry["file_name"] for entry in coco_of(again.train)["images"]]
    assert len(listed) == 4 and all(path.is_file() for path in listed)


def test_the_two_stores(s3, monkeypatch):
    monkeypatch.setenv("INTERNAL_STORAGE_ENDPOINT", "http://inside:9002")
    assert Bucket("pictures").endpoint == Bucket(BUCKET).endpoint == s3.endpoint
    assert Bucket("training-checkpoints").endpoint == "http://inside:9002"
    monkeypatch.delenv("EXTERNAL_STORAGE_ENDPOINT")
    assert Bucket("pictures").endpoint == "http://inside:9002"


def test_what_is_written_about_it(s3, tmp_path, capsys):
    upload(make("dice", tmp_path / "ab12", "detection"), PREFIX)
    remote()
    [note] = (tmp_path / "cache" / "datasets").glob("*/source.json")
    about = json.loads(note.read_bytes())
    assert about["source"] == URI and about["files"] == 7 and about["bytes"] > 1000
    said = capsys.readouterr().err
    assert (
        "fetching 6 files of" in said
        and "fetching 1 file of" in said
        and SECRET not in said + note.read_text()
    )
    release()
    assert dataset_cache.size_of(note.parent / "data") == about["bytes"]
