from __future__ import annotations

import pytest
import yaml

from trainer.tracking import describe


@pytest.mark.parametrize(
    "key",
    [
        "password",
        "a.api_key",
        "aws.secret_access_key",
        "hf_token",
        "x.token",
        "authToken_secret",
        "db.passwd",
        "api-key",
    ],
)
def test_secrets_are_masked(tmp_path, key):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"mm": {key: "hunter2"}}))
    assert describe.parameters(tmp_path) == {f"mm.{key}": "***"}


@pytest.mark.parametrize("key", ["use_cls_token", "num_tokens", "tokenizer", "keypoints", "secretary"])
def test_what_only_sounds_like_a_secret_is_kept(tmp_path, key):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({key: True}))
    assert describe.parameters(tmp_path) == {key: "true"}


def test_parameters_are_flat_text(make_run):
    run = make_run(None)
    found = describe.parameters(run.dir)
    assert found["optimizer.lr"] == "0.002"
    assert found["optimizer.betas"] == "[0.9, 0.999]"
    assert found["dataset.path"] == "null"
    assert found["model.name"] == "rtmdet-s"
    assert "hunter2" not in str(found)
    assert found["mm.default_hooks.upload.url"] == "http://host/x"


def test_tags_say_who_what_and_where(make_run):
    run = make_run(None)
    tags = describe.tags(run.dir)
    assert tags["run_id"] == run.id and tags["run_dir"] == str(run.dir)
    assert (tags["task"], tags["model"], tags["dataset"]) == ("detection", "rtmdet-s", "digits")
    assert tags["fingerprint"] == "f1e2d3" and tags["host"] == "here" and tags["trainer_version"]


def test_a_directory_without_anything_is_no_crash(tmp_path):
    assert describe.parameters(tmp_path) == {}
    assert describe.tags(tmp_path)["run_id"] == tmp_path.name
