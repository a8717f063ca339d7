"""Variables and options of the four scripts: names, precedence, ``.env``, empty values, forms."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trainer.core.errors import ConfigError
from trainer.platform.settings.environment_variables import (
    ALIASES,
    JOB_IDS,
    OPTIONS,
    Given,
    Variables,
    callback_url,
    read,
)
from trainer.platform.settings.task_names import LONG, SPELLINGS, task_of


def test_for_train_the_command_line_wins_over_the_environment() -> None:
    variables = read(
        "train", ["--job-id", "7", "--model-name=yolox-s"], {"JOB_ID": "42", "MODEL_NAME": "rtmdet-s"}
    )
    assert variables.job_id() == 7
    assert variables.get("MODEL_NAME") == Given("yolox-s", "--model-name")


@pytest.mark.parametrize("kind", ["predict", "export", "evaluate"])
def test_for_the_others_the_environment_wins_over_the_command_line(kind: str) -> None:
    name = JOB_IDS[kind]
    option = next(option for option, variable in OPTIONS[kind].items() if variable == name)
    assert read(kind, [option, "7"], {name: "42"}).job_id() == 42
    assert read(kind, [option, "7"], {}).job_id() == 7
    assert read(kind, [option, "7"], {"JOB_ID": "42"}).job_id() == 42


@pytest.mark.parametrize(("kind", "name", "other"), [
    (kind, name, other) for kind, names in ALIASES.items() for name, others in names.items() for other in others
])  # fmt: skip
def test_both_dialects_name_a_variable_and_the_backend_s_name_wins(kind: str, name: str, other: str) -> None:
    assert read(kind, [], {other: "1"}).text(name) == "1"
    assert read(kind, [], {other: "1", name: "2"}).text(name) == "2"


def test_config_of_train_comes_from_the_file_then_the_option_then_the_variable(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text('{"from": "file"}')
    words = ["--config-file", str(file), "--config", '{"from": "option"}']
    stored = {"CONFIG": '{"from": "variable"}'}
    assert read("train", words, stored).config() == ({"from": "file"}, "--config-file")
    assert read("train", words[2:], stored).config() == ({"from": "option"}, "--config")
    assert read("train", [], stored).config() == ({"from": "variable"}, "CONFIG")
    assert read("train", [], {"CONFIG": " "}).config() == ({}, "CONFIG")


def test_config_of_the_others_comes_from_the_variable_then_the_file(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text('{"from": "file"}')
    words = ["--config-file", str(file), "--config", '{"from": "option"}']
    assert read("predict", words, {"CONFIG": '{"from": "variable"}'}).config()[0] == {"from": "variable"}
    assert read("predict", words, {}).config()[0] == {"from": "file"}
    assert read("export", words, {"EXPORT_CONFIG": '{"opset_version": 17}'}).config() == (
        {"opset_version": 17},
        "EXPORT_CONFIG",
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{not json", "CONFIG is not JSON"),
        ("[1]", "CONFIG: expected a JSON object, got list"),
        ('{"lr0": NaN}', "NaN is no JSON number"),
    ],
)
def test_a_malformed_config_is_named(text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        read("train", [], {"CONFIG": text}).config()


def test_a_config_file_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match=r"--config-file /nowhere/c\.json: can't be read"):
        read("train", ["--config-file", "/nowhere/c.json"], {}).config()


def test_an_empty_variable_is_none() -> None:
    variables = read("train", [], {"DATASET_ID": "", "MODEL_NAME": "  ", "JOB_ID": ""})
    assert variables.get("DATASET_ID") is None and variables.get("MODEL_NAME") is None
    with pytest.raises(ConfigError, match=r"JOB_ID \(or --job-id\) is missing"):
        variables.job_id()


def test_dotenv_adds_and_never_replaces(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(
        "# a comment\nexport JOB_ID=1\nMODEL_NAME='rtmdet-s'\nCALLBACK_URL=\"http://backend:8000\" # there\nEMPTY\n"
    )
    variables = read("train", [], {"JOB_ID": "42"}, [tmp_path / "nowhere", tmp_path])
    assert variables.job_id() == 42
    assert variables.get("MODEL_NAME") == Given("rtmdet-s", "MODEL_NAME in .env")
    assert variables.callback_url() == "http://backend:8000/api/v1"
    assert "EMPTY" not in variables.environment


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("http://backend:8000", "http://backend:8000/api/v1"),
        ("http://backend:8000/", "http://backend:8000/api/v1"),
        ("http://backend:8000/api/v1", "http://backend:8000/api/v1"),
        ("https://host/other/api/v1/", "https://host/other/api/v1"),
        ("http://[::1]:8000", "http://[::1]:8000/api/v1"),
    ],
)
def test_a_callback_address_without_a_path_gets_one(given: str, used: str) -> None:
    assert read("train", [], {"CALLBACK_URL": given}).callback_url() == used


@pytest.mark.parametrize("url", ["backend:8000", "ftp://x", "http://", "http://host:port", "http://h/a?b=c"])
def test_what_is_no_callback_address_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="CALLBACK_URL"):
        callback_url(Given(url, "CALLBACK_URL"))


def test_no_password_in_the_message_about_an_address() -> None:
    with pytest.raises(ConfigError) as error:
        callback_url(Given("ftp://me:geheim-geheim@host", "CALLBACK_URL"))
    assert "geheim" not in str(error.value)


@pytest.mark.parametrize("number", ["x", "4.5", "-1", "²", "1e3"])
def test_a_job_has_a_whole_number(number: str) -> None:
    with pytest.raises(ConfigError, match="expected the job's number"):
        Variables("train", {"JOB_ID": number}).job_id()


def test_an_unknown_option_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="Did you mean '--model-name'"):
        read("train", ["--modelname", "x"], {})
    with pytest.raises(ConfigError, match="--log-level LOUD: expected one of DEBUG"):
        read("train", ["--log-level", "LOUD"], {})
    assert read("train", ["--log-level", "info"], {}).log_level == "INFO"


@pytest.mark.parametrize(
    ("task", "word"), [(task, word) for task, words in SPELLINGS.items() for word in words]
)
def test_every_spelling_of_a_task(task: str, word: str) -> None:
    for text in (word, word.upper(), word.replace("_", "-"), f" {word.title()} "):
        assert task_of(text) == task


def test_segmentation_is_what_the_model_can_do() -> None:
    assert task_of("segmentation", ["semantic_segmentation"]) == "semantic_segmentation"
    assert task_of("segmentation", ["instance_segmentation", "detection"]) == "instance_segmentation"


def test_a_task_that_this_trainer_has_not() -> None:
    with pytest.raises(ConfigError, match="TASK_TYPE='image_classification' is no task of this trainer"):
        task_of("image_classification")
    with pytest.raises(ConfigError, match="Did you mean 'pose_estimation'"):
        task_of("pose_estimatoin")
    assert set(LONG) == set(SPELLINGS)


def test_every_script_has_the_contract_s_options() -> None:
    assert json.loads(json.dumps(OPTIONS)) == {
        "train": {"--job-id": "JOB_ID", "--model-name": "MODEL_NAME", "--dataset-s3-uri": "DATASET_S3_URI"},
        "predict": {
            "--inference-job-id": "INFERENCE_JOB_ID",
            "--training-job-id": "TRAINING_JOB_ID",
            "--checkpoint-s3-uri": "CHECKPOINT_S3_URI",
            "--images-s3-uri": "IMAGES_S3_URI",
        },
        "export": {
            "--export-job-id": "EXPORT_JOB_ID",
            "--training-job-id": "TRAINING_JOB_ID",
            "--checkpoint-s3-uri": "CHECKPOINT_S3_URI",
            "--export-format": "EXPORT_FORMAT",
        },
        "evaluate": {
            "--test-run-id": "TEST_RUN_ID",
            "--training-job-id": "TRAINING_JOB_ID",
            "--checkpoint-s3-uri": "CHECKPOINT_S3_URI",
            "--dataset-s3-uri": "DATASET_S3_URI",
        },
    }
