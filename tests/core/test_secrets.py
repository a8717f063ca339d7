"""Secrets are masked by name, form and value, and nothing else is."""

from __future__ import annotations

import json
import logging
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.core import secrets
from trainer.core.secrets import (
    MASK,
    MaskingFormatter,
    is_secret,
    learn_environment,
    learn_secret,
    learn_variable,
    mask_strings,
    mask_text,
    masked,
    masked_words,
)
from trainer.runs.run import Run

# Long and odd enough that no text holds one by chance.
PRINTABLE = st.characters(min_codepoint=33, max_codepoint=0x17F, exclude_categories=("Cc", "Zs"))


def is_odd(text: str) -> bool:
    common = text.lower() in secrets._WORDS  # a password of "password" is masked where its key tells
    return len(set(text)) > 4 and "*" not in text and "${" not in text and not common


SECRETS = st.text(PRINTABLE, min_size=8, max_size=40).filter(is_odd)
SECRET_KEYS = st.sampled_from(
    [
        "password", "db.password", "mm.model.api_key", "AWS_SECRET_ACCESS_KEY", "aws_access_key_id", "hf_token",
        "token", "client_secret", "accessToken", "secretKey", "authorization", "s3.session_token", "auth",
        "storage.credentials", "private_key", "ssh_key", "mlflow_tracking_token", "passphrase",
    ]
)  # fmt: skip


@pytest.fixture(autouse=True)
def nothing_learned() -> Iterator[None]:
    secrets._learned.clear()
    yield
    secrets._learned.clear()


@pytest.mark.parametrize(
    "key",
    [
        "use_cls_token", "num_tokens", "token_dim", "with_cls_token", "mask_token", "cls_token", "num_extra_tokens",
        "tokenizer", "query_token", "model.backbone.out_token", "keypoint", "key", "with_auth_head", "auxiliary_head",
        "author", "secretary", "bypass", "model.bbox_head.loss_cls.beta", "optimizer.lr", "key_indices", "passes",
    ],
)  # fmt: skip
def test_what_only_looks_like_one_is_left_alone(key: str) -> None:
    assert not is_secret(key)
    assert masked({key: "value"}) == {key: "value"}
    assert mask_text(f"{key}=value, '{key}': 'value'") == f"{key}=value, '{key}': 'value'"


@given(SECRET_KEYS, SECRETS)
def test_a_secret_keys_value_is_masked_wherever_it_lies(key: str, secret: str) -> None:
    config = {"a": [{key: secret}], key: {"user": secret, "more": [secret]}, "b": (1, {"c": {key: secret}})}
    assert secret not in json.dumps(masked(config), ensure_ascii=False)
    assert masked_words([f"{key}={secret}", f"+{key}={secret}"]) == [f"{key}={MASK}", f"+{key}={MASK}"]


@given(SECRET_KEYS, SECRETS)
def test_a_learned_value_is_masked_in_any_text(key: str, secret: str) -> None:
    learn_secret({"mm": {key: secret}})
    try:
        for text in (
            f"login with {secret} failed",
            f"x{secret}y",
            repr({"x": secret}),
            json.dumps([secret]),
            json.dumps([secret], ensure_ascii=False),
            f"http://host/?q={quote(secret, safe='')}",
        ):
            assert secret not in mask_text(text)
            assert MASK in mask_text(text)
    finally:
        secrets._learned.clear()


@given(st.text(string.ascii_letters, min_size=1, max_size=12), SECRETS)
def test_user_and_password_in_a_url(user: str, secret: str) -> None:
    url = f"{user}:{quote(secret, safe='')}@host:8080/path"
    for scheme in ("http", "https", "postgresql+psycopg2", "s3", "ftp"):
        assert mask_text(f"at {scheme}://{url} now") == f"at {scheme}://{MASK}@host:8080/path now"


@given(SECRETS.filter(lambda text: not set(text) & set("/\\?#")))
def test_a_password_with_an_at_sign_leaves_nothing(secret: str) -> None:
    assert mask_text(f"postgresql://user:{secret}@host/db") == f"postgresql://{MASK}@host/db"


@given(SECRETS)
def test_no_writer_lets_a_learned_secret_through(
    tmp_path_factory: pytest.TempPathFactory, secret: str
) -> None:
    learn_secret({"password": secret})
    try:
        run = Run.create(tmp_path_factory.getbasetemp() / "writers", "e", "m")
        run.update(note=f"with {secret}", nested={"why": [secret]})
        run.write_result({"error": {"type": "X", "message": f"{secret!r} refused"}})
        for path in run.dir.iterdir():
            text = path.read_text()
            assert secret not in text and json.dumps(secret)[1:-1] not in text
        try:
            raise ValueError(secret)
        except ValueError as error:
            info = (type(error), error, error.__traceback__)
        record = logging.LogRecord("trainer", logging.ERROR, "", 0, "at %s", (secret,), info)
        assert secret not in MaskingFormatter("%(message)s").format(record)
    finally:
        secrets._learned.clear()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://host:80/a@b.png", "http://host:80/a@b.png"),
        ("s3://bucket/image@2x.png", "s3://bucket/image@2x.png"),
        ("https://ghp_abc@github.com/x", f"https://{MASK}@github.com/x"),
        ("mysql://u:p/@ss@host/db", f"mysql://{MASK}@host/db"),
        ("https://b/x?X-Amz-Signature=abc&part=2", f"https://b/x?X-Amz-Signature={MASK}&part=2"),
        ("https://b/x?sig=abc&token=d#e", f"https://b/x?sig={MASK}&token={MASK}#e"),
        ("Authorization: Bearer abc.def", f"Authorization: {MASK}"),
        ("connect(password='a b', timeout=3)", f"connect(password='{MASK}', timeout=3)"),
        ('{"secret_key": "abc", "size": 3}', f'{{"secret_key": "{MASK}", "size": 3}}'),
        ("password=None token=", "password=None token="),
        ("key AKIAABCDEFGHIJKLMNOP.", f"key {MASK}."),
        ("password=${oc.env:PW}", "password=${oc.env:PW}"),
        ("http://me:${oc.env:PW}@host", "http://me:${oc.env:PW}@host"),
        ("http://${oc.env:ME}:${oc.env:PW}@host", "http://${oc.env:ME}:${oc.env:PW}@host"),
        ("http://${oc.env:ME}:pw@host", f"http://{MASK}@host"),
    ],
)  # fmt: skip
def test_forms(text: str, expected: str) -> None:
    assert mask_text(text) == expected


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("mm.x={password: abc, num_tokens: 3}", f"mm.x={{password: {MASK}, num_tokens: 3}}"),
        ("mm.api_key=${oc.env:KEY}", "mm.api_key=${oc.env:KEY}"),
        ("'mm.api_key=${oc.env:KEY}'", "'mm.api_key=${oc.env:KEY}'"),
        ("mm.api_key=${oc.env:KEY,abc}", f"mm.api_key=${{oc.env:KEY,{MASK}}}"),
        ("optimizer.lr=0.1", "optimizer.lr=0.1"),
        ("tracking.uri=http://a:b@c", f"tracking.uri=http://{MASK}@c"),
    ],
)
def test_words(word: str, expected: str) -> None:
    assert masked_words([word]) == [expected]


def test_the_environment() -> None:
    learn_environment(
        {
            "MINIO_TOKEN": "first-one", "AWS_SECRET_ACCESS_KEY": "second/one", "SMTP_PASS": "third-one",
            "DB": "postgresql://me:fourth-one@host/db",
            "PWD": "/work-here", "OLDPWD": "/work-there", "NUM_TOKENS": "1234567", "TOKEN_FILE": "/run/token-file",
            "TOKENIZERS_PARALLELISM": "sometimes", "HOSTNAME": "some-worker",
            "SHORT_TOKEN": "abc", "KEYBOARD": "qwertz",
        }
    )  # fmt: skip
    said = (
        "first-one second/one third-one fourth-one /work-here /work-there 1234567 /run/token-file sometimes"
    )
    assert mask_text(f"{said} some-worker abc qwertz") == (
        f"{MASK} {MASK} {MASK} {MASK} /work-here /work-there 1234567 /run/token-file sometimes some-worker abc qwertz"
    )


def test_a_short_secret_is_not_looked_for_inside_words() -> None:
    learn_secret({"password": "docker"})
    assert mask_text("docker dockerfile 'docker'") == f"{MASK} dockerfile '{MASK}'"


def test_a_key_of_many_lines_is_masked_line_by_line() -> None:
    learn_secret({"private_key": "-----BEGIN KEY-----\nMIIEvQIBADANBg\nkqhkiG9w0BAQEF\n-----END KEY-----"})
    assert mask_text("a MIIEvQIBADANBg b") == f"a {MASK} b"


def test_what_a_configuration_takes_from_the_environment_is_named_not_told(tmp_path: Path) -> None:
    learn_variable("DSN", "alpha;beta;gamma")
    learn_variable("DATA", str(tmp_path))
    learn_variable("SERVER", "https://tracking.example")
    text = f"alpha;beta;gamma {tmp_path} https://tracking.example"
    assert mask_text(text) == f"${{oc.env:DSN}} {tmp_path} https://tracking.example"


def test_numbers_and_switches() -> None:
    assert masked({"password": 123456, "auth": False, "token": None}) == {
        "password": MASK,
        "auth": False,
        "token": None,
    }
    event: dict[str, Any] = {"losses": {"token": 0.3}, "password": "abc"}
    assert mask_strings(event) == {"losses": {"token": 0.3}, "password": MASK}


def test_long_words_take_no_time() -> None:
    mask_text("a" * 200_000 + "://" + "b" * 200_000)
