from __future__ import annotations

import json

import pytest
import yaml

from trainer.tracking import run_description


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
    assert run_description.parameters(tmp_path) == {f"mm.{key}": "***"}


@pytest.mark.parametrize("key", ["use_cls_token", "num_tokens", "tokenizer", "keypoints", "secretary"])
def test_what_only_sounds_like_a_secret_is_kept(tmp_path, key):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({key: True}))
    assert run_description.parameters(tmp_path) == {key: "true"}


def test_parameters_are_flat_text(make_run):
    run = make_run(None)
    found = run_description.parameters(run.dir)
    assert found["optimizer.lr"] == "0.002"
    assert found["optimizer.betas"] == "[0.9, 0.999]"
    assert found["dataset.path"] == "null"
    assert found["model.name"] == "rtmdet-s"
    assert "hunter2" not in str(found)
    assert found["mm.default_hooks.upload.url"] == "http://host/x"


def test_tags_say_who_what_and_where(make_run):
    run = make_run(None)
    tags = run_description.tags(run.dir)
    assert tags["run_id"] == run.id and tags["run_dir"] == str(run.dir)
    assert (tags["task"], tags["model"], tags["dataset"]) == ("detection", "rtmdet-s", "digits")
    assert tags["fingerprint"] == "f1e2d3" and tags["host"] == "here" and tags["launcher"] == "local"
    assert (tags["git.commit"], tags["git.dirty"], tags["git.branch"]) == ("c0ffee", "true", "main")
    assert tags["mlflow.source.git.commit"] == "c0ffee"
    assert (tags["version.torch"], tags["hardware.gpus"], tags["hardware.cores"]) == (
        "2.13.0",
        "A GPU, A GPU",
        "2",
    )
    assert "trainer_git.commit" not in tags and "sweep" not in tags


def test_the_data_set_says_how_much_of_what(log):
    data = run_description.dataset(log.started())
    assert (data.name, data.digest, data.source_type) == ("digits", "f1e2d3" * 5 + "f1", "local")
    assert json.loads(data.source) == {"uri": "/data/digits"}
    profile = json.loads(data.profile)
    assert (profile["train_images"], profile["val_annotations"], profile["num_classes"]) == (12, 9, 2)
    columns = [column["name"] for column in json.loads(data.schema)["mlflow_colspec"]]
    assert columns == ["image", "boxes", "labels"]
    built_in = log.started()
    built_in["data"]["source"] = None
    assert run_description.dataset(built_in).source_type == "code"


def test_a_directory_without_anything_is_no_crash(tmp_path):
    assert run_description.parameters(tmp_path) == {}
    assert run_description.tags(tmp_path)["run_id"] == tmp_path.name
