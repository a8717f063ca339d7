"""What ``source=...`` means: images of a file, folder, glob, list or store, or a video's frames. Imports no torch."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from trainer.core.errors import DatasetError, did_you_mean
from trainer.inference.samples import IMAGES, Sample, find_images
from trainer.inference.video import VIDEOS, Video

LISTS = (".txt", ".lst", ".list")
SHOWN = 3


@dataclass(frozen=True)
class ImageSource:
    """Images to predict on.

    Attributes:
        samples: makes a new iterator over them; each is read when it is its turn.
        count: how many there are; None where that isn't known before the end.
        single: whether one image was named, so that it has to be readable.
        video: where they are a video's frames.
    """

    samples: Callable[[], Iterable[Sample]]
    count: int | None
    single: bool = False
    video: Video | None = None


def open_source(source: str | Path) -> ImageSource:
    """The images that ``source`` names.

    Args:
        source: an image, a folder, a glob, a video, a text file with an image on each line (relative to its own
            folder, or to the working directory), or ``s3://bucket/prefix``.

    Raises:
        DatasetError: there are none.
        NetworkError: the store doesn't answer, or refuses.
    """
    text = str(source)
    if text.startswith("s3://"):
        return _stored(text)
    path = Path(text).expanduser()
    if path.is_file() and path.suffix.lower() in VIDEOS:
        video = Video.open(path)
        return ImageSource(video.samples, video.frames, video=video)
    if path.is_file() and path.suffix.lower() in LISTS:
        paths = _listed(path)
    else:
        paths = _named(text)
    return ImageSource(
        lambda: (Sample(one) for one in paths), len(paths), single=path.is_file() and len(paths) == 1
    )


def _named(text: str) -> list[Path]:
    try:
        return find_images(text)
    except DatasetError as error:
        path = Path(text).expanduser()
        if path.exists() or not path.parent.is_dir() or any(mark in text for mark in "*?["):
            raise
        near = did_you_mean(path.name, [one.name for one in path.parent.iterdir()])
        raise DatasetError(f"{error}{near}") from None


def _listed(file: Path) -> list[Path]:
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"source={file}: can't be read as a list of images ({error})") from None
    paths, missing = [], []
    for line in lines:
        if not line or line.startswith("#"):
            continue
        name = Path(line).expanduser()
        places = [name] if name.is_absolute() else [file.parent / name, name]
        found = next((one for one in places if one.is_file()), None)
        if found is None:
            missing.append(line)
        else:
            paths.append(found)
    if missing:
        more = ", ..." if len(missing) > SHOWN else ""
        raise DatasetError(
            f"source={file}: {len(missing)} of its images are not there: {', '.join(missing[:SHOWN])}{more}"
        )
    if not paths:
        raise DatasetError(f"source={file}: no image in this list")
    return paths


@dataclass(frozen=True)
class StoredImage:
    """An object in a store that is read when it is its turn."""

    store: object
    key: str
    uri: str

    def __str__(self) -> str:
        return self.uri

    def read(self) -> bytes:
        """Its content, tried again after faults.

        Raises:
            DatasetError: it isn't there any more.
            NetworkError: the store doesn't answer, or refuses.
        """
        from trainer.core.remote_faults import ObjectMissing
        from trainer.data.sources.bucket import Bucket

        store = self.store
        assert isinstance(store, Bucket)

        def ask() -> bytes:
            with store.reading(store.look(self.key), 0) as content:
                return b"".join(content.chunks)

        try:
            return store.again(ask)
        except ObjectMissing:
            raise DatasetError(f"there is no {self.uri}") from None


def _stored(uri: str) -> ImageSource:
    try:
        return _objects(uri)
    except DatasetError as error:  # the store speaks of a data set's path
        raise DatasetError(str(error).replace("dataset.path", "source")) from None


def _objects(uri: str) -> ImageSource:
    from trainer.core.remote_faults import ObjectMissing
    from trainer.core.s3 import split_uri
    from trainer.data.sources.bucket import Bucket

    bucket, key = split_uri(uri)
    store = Bucket(bucket)
    if key.lower().endswith(VIDEOS):
        raise DatasetError(f"source={uri}: a video has to be a local file")
    if key.lower().endswith(IMAGES):
        with contextlib.suppress(ObjectMissing):
            store.look(key)
            image = StoredImage(store, key, uri)
            return ImageSource(lambda: [Sample(image)], 1, single=True)
        raise DatasetError(f"source={uri}: there is no such image")
    prefix = f"{key.strip('/')}/" if key.strip("/") else ""
    keys = [one.key for one in store.listing(prefix) if one.key.lower().endswith(IMAGES)]
    if not keys:
        raise DatasetError(f"source={uri}: no image below it ({' '.join(IMAGES)})")

    def samples() -> Iterator[Sample]:
        for key in keys:
            yield Sample(StoredImage(store, key, f"s3://{bucket}/{key}"))

    return ImageSource(samples, len(keys))
