"""The interface of a data format, and helpers for those who write one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from trainer.core.errors import ConfigError
from trainer.data.convert.copy_images import ImageCopier
from trainer.data.files import Folder
from trainer.data.records import LoadedRecords, Problems, Records, SplitRule
from trainer.schema import Dataset

TRAIN_FOLDERS = ("train", "training", "train2017", "train2014")
SPLIT_FOLDERS = {
    "train": TRAIN_FOLDERS,
    "val": ("val", "valid", "validation", "val2017", "val2014"),
    "test": ("test", "testing", "test2017"),
}


@dataclass(frozen=True)
class FormatPart:
    """A source of labels: one annotation file, or a folder that holds many of them.

    The data set is prepared again when the content of ``path`` changes.

    Attributes:
        split: the split that all of it belongs to; None if the files say so themselves.
        images: the folder that the user named for its images.
    """

    path: Path
    split: str | None = None
    images: Path | None = None


class DataFormat(ABC):
    """A way to store a labelled data set on disk. ``dataset.format`` chooses it by its name.

    A new format is a subclass and an entry point in the group ``trainer.formats``, which also gives it its name
    (docs/data.md, "A format of your own"). It then takes part in ``dataset=auto``, training, ``check`` and
    ``convert``.

    Attributes:
        title: the format's name in a sentence, with the words "data set".
        layout: what a folder of this format contains, for messages.
        tasks: the tasks whose labels it can hold.
        writable_tasks: the tasks for which ``convert to=<name>`` can write it; none unless :meth:`write_records`
            is there.
        version: raise it when the reader's result changes; what was prepared before is then prepared again.

    Example:
        Boxes in a CSV file beside the images:

        >>> import csv, tempfile
        >>> from PIL import Image
        >>> from trainer.data.formats import Category, open_image, read_annotation
        >>> class CsvFormat(DataFormat):
        ...     title = "CSV data set"
        ...     layout = "boxes.csv with lines of file,class,x,y,width,height"
        ...     tasks = ("detection",)
        ...
        ...     def matches(self, folder, task):
        ...         return "boxes.csv" if folder.has("boxes.csv") else None
        ...
        ...     def read_records(self, parts, dataset, task, problems):
        ...         folder = opened(dataset)
        ...         records = new_records(folder, dataset, source="boxes.csv")
        ...         rows = list(csv.reader((folder.root / "boxes.csv").open()))
        ...         names = sorted({row[1] for row in rows})
        ...         records.categories = [Category(name, i) for i, name in enumerate(names)]
        ...         for file in sorted({row[0] for row in rows}):
        ...             image = open_image(folder, file, problems)
        ...             if image is None:
        ...                 continue
        ...             records.images.append(image)
        ...             for line, (name, category, *box) in enumerate(rows, 1):
        ...                 if name != file:
        ...                     continue
        ...                 raw = {"id": line, "bbox": [float(number) for number in box]}
        ...                 where = f"boxes.csv, line {line}"
        ...                 annotation = read_annotation(raw, names.index(category), image, where, problems)
        ...                 if annotation is not None:
        ...                     image.annotations.append(annotation)
        ...         return records
        >>> root = Path(tempfile.mkdtemp())
        >>> Image.new("RGB", (64, 48)).save(root / "a.png")
        >>> _ = (root / "boxes.csv").write_text("a.png,cat,10,12,24,16\\n")
        >>> dataset, problems = Dataset(format="csv", path=str(root)), Problems()
        >>> parts = CsvFormat().find_parts(dataset, "detection", problems)
        >>> records = CsvFormat().read_records(parts, dataset, "detection", problems)
        >>> [(image.name, image.annotations[0].bbox) for image in records.images]
        [('a.png', (10.0, 12.0, 24.0, 16.0))]
    """

    title: ClassVar[str]
    layout: ClassVar[str]
    tasks: ClassVar[tuple[str, ...]]
    writable_tasks: ClassVar[tuple[str, ...]] = ()
    version: ClassVar[int] = 1

    @abstractmethod
    def matches(self, folder: Folder, task: str) -> str | None:
        """Recognise a folder by a few looks, without reading all of it.

        Returns:
            The name of the file or folder that shows that ``folder`` is of this format and may hold labels for
            ``task``; None if it is of another format.
        """

    def find_parts(self, dataset: Dataset, task: str, problems: Problems) -> list[FormatPart]:
        """Find what has to be read for ``task``: the data set's folder as a whole, unless a subclass knows better.

        Returns:
            The parts; none after an error was added to ``problems``.
        """
        folder = folder_of(dataset, problems)
        if folder is None:
            return []
        if self.matches(opened(dataset), task) is None:
            problems.error(
                f"{folder} is no {self.title} for task={task}: it needs {self.layout}{held(folder)}"
            )
            return []
        return [FormatPart(folder)]

    @abstractmethod
    def read_records(
        self, parts: list[FormatPart], dataset: Dataset, task: str, problems: Problems
    ) -> Records:
        """Read the images with their annotations.

        Whatever the files contain, this raises nothing: every mistake goes to ``problems``, and what it concerns is
        left out.
        """

    def write_records(
        self, folder: Path, task: str, loaded: LoadedRecords, copier: ImageCopier
    ) -> dict[str, int]:
        """Write a data set in this format into the empty ``folder`` (for ``convert``).

        Args:
            folder: the folder to fill; ``folder/images`` exists.
            loaded: the records and their splits.
            copier: puts images into ``folder/images``; use no other way, so that hard links and renamed files work.

        Returns:
            The number of annotations (semantic segmentation: of masks) of each split.

        Raises:
            ConfigError: this format can only be read.
        """
        raise ConfigError(f"a {self.title} can be read, but not written")


def new_records(folder: Folder, dataset: Dataset, source: str) -> Records:
    """Return records without images for a reader to fill; ``source`` names the data set in messages."""
    return Records(folder.root, [], [], SplitRule(dataset.val_ratio, dataset.seed), source=source)


def folder_of(dataset: Dataset, problems: Problems) -> Path | None:
    """Return the data set's folder, or None after adding an error because there is none."""
    if not dataset.path:
        problems.error(
            f"dataset.path is not set; dataset.format={dataset.format} needs the data set's folder"
        )
        return None
    folder = root_of(dataset)
    if not folder.is_dir():
        problems.error(f"dataset.path: {folder} {'is not a folder' if folder.exists() else 'does not exist'}")
        return None
    return folder


def root_of(dataset: Dataset) -> Path:
    """Return the absolute path of the data set's folder, whether it exists or not."""
    return Path(dataset.path or ".").expanduser().absolute()


def opened(dataset: Dataset) -> Folder:
    """Open the data set's folder for reading."""
    return Folder(root_of(dataset), dataset.follow_links)


def named_file(folder: Path, name: str, key: str, problems: Problems) -> Path | None:
    """Return the file that the user named by ``dataset.<key>``, relative to ``folder``; None after an error."""
    path = folder / Path(name).expanduser()
    if path.is_file():
        return path
    problems.error(f"dataset.{key}: {path} does not exist{listing(folder)}")
    return None


def listing(folder: Path) -> str:
    """Return ``; there are a.json, b.json``: the JSON files near one that was not found."""
    names = sorted(
        str(path.relative_to(folder)) for pattern in ("*.json", "*/*.json") for path in folder.glob(pattern)
    )
    if not names:
        return "; the folder contains no .json file"
    return f"; there are {', '.join(names[:6])}{', ...' if len(names) > 6 else ''}"


def held(folder: Path, count: int = 8) -> str:
    """Return ``; it contains a/, b/, c.txt``: the first entries of a folder."""
    names = sorted(
        f"{path.name}/" if path.is_dir() else path.name
        for path in folder.iterdir()
        if not path.name.startswith(".")
    )
    if not names:
        return "; it is empty"
    return f"; it contains {', '.join(names[:count])}{', ...' if len(names) > count else ''}"


def split_folders(folder: Folder, below: str = "") -> dict[str, str]:
    """Return ``{"train": "images/train", ...}``: the folders in ``below`` that are named after splits."""
    by_lower_name = {name.lower(): name for name in folder.folders(below)}
    folders = {}
    for split, names in SPLIT_FOLDERS.items():
        name = next((by_lower_name[name] for name in names if name in by_lower_name), None)
        if name:
            folders[split] = f"{below}/{name}" if below else name
    return folders


def image_beside(folder: Folder, stem: str, places: Sequence[str]) -> str | None:
    """Return the image ``<place>/<stem>.<any image suffix>`` in the first of ``places`` that has one."""
    for place in places:
        for suffix in (".jpg", ".png", ".jpeg", ".JPG", ".JPEG", ".PNG", ".bmp", ".webp", ".tif", ".tiff"):
            name = f"{place}/{stem}{suffix}" if place else f"{stem}{suffix}"
            if folder.named(name):
                return name
    return None
