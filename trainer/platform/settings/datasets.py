"""Which data set a job means, and which split of it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.core.atomic_files import atomic_write
from trainer.core.errors import ConfigError, DatasetError
from trainer.core.s3 import bucket_of
from trainer.data.records import shares_of
from trainer.data.sources.dataset_cache import datasets_dir
from trainer.platform.settings.environment_variables import Given, Variables
from trainer.platform.settings.setting_keys import Pair
from trainer.platform.storage.s3_stores import S3Store, local_path

_ID = re.compile(r"[\w.+-]+")
_COMPLETE = ".complete"  # the mark of the platform's own cache of data sets
_HASH_LETTERS = 16


@dataclass(frozen=True)
class DataPlace:
    """A data set: the name that it is tracked by, where it lies, and how that follows from the variables."""

    name: str
    path: str
    source: str
    note: str

    @property
    def pairs(self) -> list[Pair]:
        found: list[Pair] = [("dataset", "auto"), ("dataset.name", self.name), ("dataset.path", self.path)]
        # The platform's folders are made of links into its shared cache.
        return found if "://" in self.path else [*found, ("dataset.follow_links", True)]


def find_dataset(variables: Variables) -> DataPlace:
    """The data set by LOCAL_DATASET_PATH, DATASET_S3_URI or DATASET_ID; a complete folder of the platform's shared
    cache is used where it lies.

    Raises:
        ConfigError: none is named, or nothing can be meant by it.
    """
    local = variables.get("LOCAL_DATASET_PATH", "DATASET_PATH")
    named = variables.get("DATASET_S3_URI")
    number = variables.get("DATASET_ID")
    if local:
        return _local(local, number)
    given = named or number
    if given is None:
        raise ConfigError(
            f"{variables.named('DATASET_S3_URI')} or DATASET_ID is missing: the data set's id, s3://bucket/prefix, or "
            "LOCAL_DATASET_PATH, a folder"
        )
    if number and not _ID.fullmatch(number.value):
        raise ConfigError(f"{number.source}={number.value!r}: expected a data set's id, such as ds_abc123")
    cached = _cached(variables)
    name = number.value if number else given.value.rstrip("/").rpartition("/")[2]
    if cached:
        return DataPlace(name, str(cached), "DATASET_VERSION_HASH", "the shared cache has it")
    value = given.value
    if value.startswith("s3://"):
        return DataPlace(name, value, given.source, "")
    if "://" in value or value.startswith(("/", "./", "../", "~")):
        return _local(given, number)
    key = value.strip("/")
    if not key or not all(map(_ID.fullmatch, key.split("/"))) or ".." in key.split("/"):
        raise ConfigError(
            f"{given.source}={value!r}: expected a data set's id, s3://bucket/prefix or a folder"
        )
    prefix = key if "/" in key else f"datasets/{key}"
    return DataPlace(name, f"s3://{bucket_of('external')}/{prefix}/", given.source, "")


def split_of(config: Mapping[str, Any] | None, variables: Variables, work: Path) -> tuple[list[Pair], str]:
    """The split that CONFIG (its ``split_config``) or else the snapshot asks for, and where that is said.

    A draw that nobody asked for (``source: auto``) only gives its share and seed; what the data set says of its own
    images comes before it.

    Args:
        config: CONFIG's ``split_config``.
        work: the job's folder; ``split.json`` is written there.

    Raises:
        NetworkError: the results store is named but doesn't answer.
        DatasetError: the snapshot's metadata can't be read.
    """
    source = "CONFIG.split_config"
    if config is None:
        snapshot = variables.get("SNAPSHOT_ID")
        config = _of_snapshot(snapshot, variables) if snapshot else None
        source = f"snapshot {snapshot.value}" if snapshot else ""
    if config is None:
        return [], ""
    splits = config.get("splits") or config.get("custom_splits")
    if config.get("source") == "auto" and not splits and not config.get("exclude_images"):
        pairs: list[Pair] = []
        shares, seed = shares_of(dict(config)), config.get("seed")
        if shares and shares[0] <= 0.9:
            pairs.append(("dataset.val_ratio", round(shares[0], 6)))
        if isinstance(seed, int) and not isinstance(seed, bool) and seed >= 0:
            pairs.append(("dataset.seed", seed))
        return pairs, source
    if not splits and not config.get("exclude_images") and not shares_of(dict(config)):
        return [], source
    path = atomic_write(work / "split.json", json.dumps(config, ensure_ascii=False))
    return [("dataset.split_file", str(path))], source


def _of_snapshot(snapshot: Given, variables: Variables) -> Mapping[str, Any] | None:
    if not _ID.fullmatch(snapshot.value):
        raise ConfigError(
            f"{snapshot.source}={snapshot.value!r}: expected a snapshot's id, such as snap_0123456789ab"
        )
    if not any(
        variables.get(name) for name in ("INTERNAL_STORAGE_ENDPOINT", "S3_ENDPOINT", "AWS_ENDPOINT_URL")
    ):
        return None
    key = f"snapshots/{snapshot.value}/metadata.json"
    store = S3Store()
    content = store.read(key)
    if content is None:
        return None
    try:
        found = json.loads(content).get("split_config")
    except (ValueError, AttributeError) as error:
        raise DatasetError(f"{store.uri(key)} is no JSON object: {error}") from None
    return found if isinstance(found, dict) else None


def _local(given: Given, number: Given | None) -> DataPlace:
    path = local_path(given.value)
    if path is None:
        raise ConfigError(f"{given.source}={given.value!r}: expected an id, s3://bucket/prefix or a folder")
    path = path.absolute()
    if not path.exists():
        raise DatasetError(f"{given.source}: there is no {path}")
    return DataPlace(number.value if number else path.name, str(path), given.source, "")


def _cached(variables: Variables) -> Path | None:
    """The data set in the cache that the platform's trainers share: a folder named by the version, marked complete."""
    version = variables.text("DATASET_VERSION_HASH").lower()
    if not re.fullmatch(r"[0-9a-f]{16,}", version) or not variables.get("DATASET_CACHE_DIR"):
        return None
    folder = datasets_dir() / version[:_HASH_LETTERS]
    return folder if (folder / _COMPLETE).is_file() else None
