"""S3 clients for the platform's two stores, and for any other by boto3's own variables.

The external store holds data sets, the internal one checkpoints, exports and results::

    EXTERNAL_STORAGE_ENDPOINT / _ACCESS_KEY / _SECRET_KEY    EXTERNAL_BUCKET_DATASETS (training-datasets)
    INTERNAL_STORAGE_ENDPOINT / _ACCESS_KEY / _SECRET_KEY    INTERNAL_BUCKET_CHECKPOINTS (training-checkpoints)

Where none of these is set, boto3 decides as always (``AWS_*`` variables, profiles, roles), with ``S3_ENDPOINT`` as
one more name for the endpoint. boto3 is imported when a client is made, not before.
"""

from __future__ import annotations

import os
from typing import Any

from trainer.core.errors import ConfigError, ResourceError

STORES = ("external", "internal")
_BUCKETS = {
    "external": ("EXTERNAL_BUCKET_DATASETS", "training-datasets"),
    "internal": ("INTERNAL_BUCKET_CHECKPOINTS", "training-checkpoints"),
}


def split_uri(uri: str) -> tuple[str, str]:
    """``s3://bucket/some/key`` as (bucket, key); the key may be empty.

    Raises:
        ConfigError: it is no such URI.
    """
    scheme, _, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme != "s3" or not bucket:
        raise ConfigError(f"{uri!r} is no S3 URI: expected s3://bucket/key")
    return bucket, key


def bucket_of(store: str) -> str:
    """The bucket that a store is for: ``external`` data sets, ``internal`` checkpoints."""
    variable, usual = _BUCKETS[store]
    return os.environ.get(variable) or usual


def store_of(bucket: str, prefer: str = "internal") -> str | None:
    """Which store holds a bucket: the one it is named for, else ``prefer``, else the only one that is set."""
    stores = [store for store in STORES if os.environ.get(_variable(store, "ENDPOINT"))]
    named = [store for store in stores if bucket_of(store) == bucket]
    preferred = [store for store in stores if store == prefer]
    return next(iter([*named, *preferred, *stores]), None)


def client(bucket: str, prefer: str = "internal", **options: Any) -> Any:
    """A boto3 S3 client for the store that holds ``bucket`` (see :func:`store_of`); ``options`` of botocore's Config.

    Raises:
        ResourceError: boto3 isn't installed.
    """
    try:
        import boto3
        from botocore.config import Config
    except ImportError:
        raise ResourceError("s3:// needs boto3: pip install boto3") from None
    store = store_of(bucket, prefer)
    if store is None:
        endpoint = os.environ.get("S3_ENDPOINT") or None
        access = secret = None
    else:
        endpoint, access, secret = (
            os.environ.get(_variable(store, name)) or None
            for name in ("ENDPOINT", "ACCESS_KEY", "SECRET_KEY")
        )
    settings: dict[str, Any] = {
        "signature_version": "s3v4",
        "retries": {"mode": "standard", "max_attempts": 3},
        "connect_timeout": 10,
        "read_timeout": 60,
        # Stores that aren't Amazon's know no other checksums.
        "request_checksum_calculation": "when_required",
        "response_checksum_validation": "when_required",
    }
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=access,
        aws_secret_access_key=secret,
        config=Config(**{**settings, **options}),
    )


def endpoint_variable(bucket: str, prefer: str = "internal") -> str:
    """The environment variable that names the endpoint of the store that holds ``bucket``."""
    store = store_of(bucket, prefer)
    if store is None and os.environ.get("S3_ENDPOINT"):
        return "S3_ENDPOINT"
    return _variable(store or prefer, "ENDPOINT")


def key_variables(bucket: str, prefer: str = "internal") -> str:
    """The environment variables that hold the keys of the store that holds ``bucket``, as a message names them."""
    store = store_of(bucket, prefer)
    keys = " and ".join(_variable(store or prefer, name) for name in ("ACCESS_KEY", "SECRET_KEY"))
    return keys if store else f"{keys} (or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY)"


def _variable(store: str, name: str) -> str:
    return f"{store.upper()}_STORAGE_{name}"
