"""Which data set, split, run and weights a training job means. No torch in here.

Of the contract's defects of earlier trainers (12.3), here: no validation on the training data where a split is
asked for, and ids of splits compared as text (5.4).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.data import folders
from trainer.checkpoints.weight_spec import resolve_weights
from trainer.checkpoints.weights_cache import cached_path
from trainer.config.compose import compose
from trainer.core.errors import ConfigError, DatasetError, NetworkError
from trainer.data.prepare import prepare
from trainer.platform import job_environment, job_run
from trainer.platform.jobs import PlatformJob, train_job
from trainer.platform.settings import default_weights
from trainer.platform.settings.datasets import find_dataset, split_of
from trainer.platform.settings.environment_variables import Variables, read
from trainer.platform.storage import s3_stores
from trainer.runs.run import Run

Content = Callable[[], dict[str, bytes]]
BASE = "mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py"


def variables(**given: str) -> Variables:
    return read("train", [], given)


@pytest.mark.parametrize(
    ("given", "name", "path"),
    [
        ({"DATASET_S3_URI": "ab12", "DATASET_ID": ""}, "ab12", "s3://training-datasets/datasets/ab12/"),
        ({"DATASET_S3_URI": "datasets/ab12"}, "ab12", "s3://training-datasets/datasets/ab12/"),
        ({"DATASET_S3_URI": "s3://training-datasets/datasets/ab12/", "DATASET_ID": "ab12"}, "ab12",
         "s3://training-datasets/datasets/ab12/"),
        ({"DATASET_S3_URI": "s3://mine/some/where"}, "where", "s3://mine/some/where"),
        ({"DATASET_ID": "ds_abc123"}, "ds_abc123", "s3://training-datasets/datasets/ds_abc123/"),
    ],
)  # fmt: skip
def test_every_form_of_a_data_set_s_name(given: dict[str, str], name: str, path: str) -> None:
    found = find_dataset(variables(**given))
    assert (found.name, found.path) == (name, path)
    assert ("dataset.follow_links", True) not in found.pairs


def test_the_bucket_is_the_variable_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXTERNAL_BUCKET_DATASETS", "other")
    assert find_dataset(variables(DATASET_ID="a")).path == "s3://other/datasets/a/"


def test_a_folder_by_path_or_file_uri(tmp_path: Path) -> None:
    for given in (
        {"LOCAL_DATASET_PATH": str(tmp_path), "DATASET_ID": "elsewhere"},
        {"DATASET_S3_URI": tmp_path.as_uri(), "DATASET_ID": "elsewhere"},
        {"DATASET_S3_URI": str(tmp_path), "DATASET_ID": "elsewhere"},
    ):
        found = find_dataset(variables(**given))
        assert (found.name, found.path) == ("elsewhere", str(tmp_path))
        assert ("dataset.follow_links", True) in found.pairs
    with pytest.raises(DatasetError, match=r"LOCAL_DATASET_PATH: there is no /nowhere"):
        find_dataset(variables(LOCAL_DATASET_PATH="/nowhere"))


@pytest.mark.parametrize("uri", ["../secret", "a b", "datasets/../x", "ftp://host/x", "a//b"])
def test_what_names_no_data_set_is_refused(uri: str) -> None:
    with pytest.raises((ConfigError, DatasetError), match="DATASET_S3_URI"):
        find_dataset(variables(DATASET_S3_URI=uri))


def test_the_platform_s_shared_cache_is_read_where_it_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = "1bb25f37" * 8
    given = {"DATASET_ID": "ds_1", "DATASET_VERSION_HASH": version, "DATASET_CACHE_DIR": str(tmp_path)}
    monkeypatch.setenv("DATASET_CACHE_DIR", str(tmp_path))
    assert find_dataset(variables(**given)).path.startswith("s3://")
    folder = folders.make("dice", tmp_path / version[:16], "detection")
    assert find_dataset(variables(**given)).path.startswith("s3://"), "an incomplete folder isn't used"
    (folder / ".complete").touch()
    assert find_dataset(variables(**given)).path == str(folder)


def test_a_split_of_config_goes_before_the_snapshot_s(s3_store: Content, tmp_path: Path) -> None:
    chosen = {"source": "job_override", "splits": {"1": "val", "2": "train"}}
    snapshot(chosen)
    given = variables(SNAPSHOT_ID="snap_1", INTERNAL_STORAGE_ENDPOINT="set")
    (pair,), said = split_of(None, given, tmp_path)
    assert pair == ("dataset.split_file", str(tmp_path / "split.json")) and said == "snapshot snap_1"
    assert json.loads((tmp_path / "split.json").read_text()) == chosen
    mine = {"train_ratio": 0.7, "val_ratio": 0.3, "seed": 1}
    _, said = split_of(mine, given, tmp_path)
    assert said == "CONFIG.split_config" and json.loads((tmp_path / "split.json").read_text()) == mine


def test_a_draw_that_nobody_asked_for_leaves_the_data_set_s_own_split(
    s3_store: Content, tmp_path: Path
) -> None:
    snapshot({"source": "auto", "method": "auto", "ratio": 0.7, "seed": 7})
    given = variables(SNAPSHOT_ID="snap_1", INTERNAL_STORAGE_ENDPOINT="set")
    assert split_of(None, given, tmp_path)[0] == [("dataset.val_ratio", 0.3), ("dataset.seed", 7)]
    assert not (tmp_path / "split.json").exists()


def test_a_snapshot_that_says_nothing_or_is_damaged(s3_store: Content, tmp_path: Path) -> None:
    given = variables(SNAPSHOT_ID="snap_1", INTERNAL_STORAGE_ENDPOINT="set")
    assert split_of(None, given, tmp_path) == ([], "")
    snapshot(None)
    assert split_of(None, given, tmp_path)[0] == []
    s3_stores.S3Store().put_bytes(b"[1", "snapshots/snap_1/metadata.json")
    with pytest.raises(DatasetError, match=r"snapshots/snap_1/metadata\.json is no JSON object"):
        split_of(None, given, tmp_path)
    assert split_of(None, variables(SNAPSHOT_ID="snap_1"), tmp_path) == ([], "")  # no store is named
    with pytest.raises(ConfigError, match="SNAPSHOT_ID"):
        split_of(None, variables(SNAPSHOT_ID="../x", INTERNAL_STORAGE_ENDPOINT="set"), tmp_path)


def test_the_split_reaches_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINER_CACHE", str(tmp_path / "cache"))
    root = folders.make("dice", tmp_path / "data", "detection")
    images = json.loads((root / "annotations_detection.json").read_text())["images"]
    val = str(images[0]["id"])  # text, as JSON's keys are
    splits = {str(image["id"]): "val" if str(image["id"]) == val else "train" for image in images}
    _, exp = prepared(
        tmp_path, CONFIG=json.dumps({"split_config": {"splits": splits}}), LOCAL_DATASET_PATH=str(root)
    )
    bundle = prepare(exp.dataset, "detection")
    counts = {name: split.num_images for name, split in bundle.splits.items()}
    assert counts["val"] == 1 and counts["train"] == len(images) - 1
    assert list(bundle.classes) == ["cat", "dog"]  # neither COCO's 80 nor __background__


def test_a_new_job_goes_on_and_begins_anew_after_its_end(tmp_path: Path) -> None:
    job, _ = prepared(tmp_path)
    assert "id=job-42" in job.overrides and "resume=auto" not in job.overrides
    first = Run.create(job.work / "runs", "ds_1-detection", "rtmdet-tiny", "job-42")
    job, _ = prepared(tmp_path)
    assert {"id=job-42", "resume=auto"} <= set(job.overrides) and job.run_dir == first.dir
    job, _ = prepared(tmp_path, RESUME="false")
    assert "id=job-42-2" in job.overrides and "resume=auto" not in job.overrides
    job_run.mark_ended(first)
    job, _ = prepared(tmp_path)
    assert "id=job-42-2" in job.overrides


def test_a_results_store_that_is_away_does_not_keep_a_job_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.core.retry.PAUSE", 0.001)
    for name, value in {"ENDPOINT": "http://127.0.0.1:9", "ACCESS_KEY": "a", "SECRET_KEY": "b"}.items():
        monkeypatch.setenv(f"INTERNAL_STORAGE_{name}", value)
    job, _ = prepared(tmp_path, INTERNAL_STORAGE_ENDPOINT="http://127.0.0.1:9")
    assert "id=job-42" in job.overrides
    with pytest.raises(NetworkError):
        s3_stores.S3Store(tries=1).read("x")


def test_settings_with_secrets_stay_off_the_command_line(tmp_path: Path) -> None:
    words, hidden = job_environment.hidden(
        ["callback.url='http://me:it''s@h/api/v1'".replace("''", "\\'"), "runtime.epochs=3"]
    )
    assert words[1] == "runtime.epochs=3" and hidden == {"TRAINER_SETTING_0": "http://me:it's@h/api/v1"}
    assert words[0] == "callback.url=${oc.env:TRAINER_SETTING_0}"


def test_weights_when_nobody_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINER_WEIGHTS", str(tmp_path))
    url = resolve_weights("coco", BASE)

    def away(url: str) -> str:
        raise default_weights.RemoteFault("no network")

    monkeypatch.setattr(default_weights, "current_tag", away)
    word, note = default_weights.usual_weights(BASE)
    assert word == "none" and "RANDOM weights" in note and "MODEL_WEIGHTS_DIR" in note
    cached_path(url).touch()
    assert default_weights.usual_weights(BASE)[0] == "coco"
    monkeypatch.setattr(default_weights, "current_tag", lambda url: "tag")
    cached_path(url).unlink()
    assert default_weights.usual_weights(BASE)[0] == "coco"


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_mounted_weights_that_are_read_only_are_left_for_the_cache(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    environment = {"TRAINER_WEIGHTS": str(tmp_path)}
    default_weights.leave_read_only(environment, BASE)
    assert environment == {}


def prepared(tmp_path: Path, **more: str) -> tuple[PlatformJob, Any]:
    """A job's preparation, without a network, and its configuration."""
    given = {
        "MODEL_NAME": "rtmdet_tiny", "DATASET_ID": "ds_1", "WORK_DIR": str(tmp_path), "CONFIG": '{"pretrained": false}',
        **more,
    }  # fmt: skip
    mistakes: list[str] = []
    job = train_job.prepare(variables(**given), 42, "http://backend:8000/api/v1", mistakes)
    assert not mistakes
    return job, compose("train", job.overrides)[0]


def snapshot(split: dict[str, Any] | None) -> None:
    content = {"snapshot_id": "snap_1", "split_config": split}
    s3_stores.S3Store().put_bytes(json.dumps(content).encode(), "snapshots/snap_1/metadata.json")
