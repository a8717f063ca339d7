"""``data.yaml`` of a YOLO data set: its classes, its keypoints, and which images each split has."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import yaml

from trainer.data.annotation_document import is_background
from trainer.data.files import IMAGE_SUFFIXES, Folder, decode, inside
from trainer.data.formats.data_format import split_folders
from trainer.data.records import Category, Problems

_YAMLS = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
_KEYS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
_CLASS_FILES = ("classes.txt", "labels/classes.txt", "obj.names", "train/labels/classes.txt")


@dataclass
class Description:
    """``labels`` maps a class number as a line has it to the label, ``background`` holds those that mean nothing.

    ``images`` are the names of each split's images, relative to the folder (``all``: nobody says which split);
    ``prefixes`` the folders in front of an image's own name; ``points`` is ``kpt_shape``.
    """

    file: str | None = None
    categories: list[Category] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)
    background: set[str] = field(default_factory=set)
    images: dict[str, list[str]] = field(default_factory=dict)
    prefixes: set[str] = field(default_factory=set)
    points: tuple[int, int] | None = None
    pose: dict[str, Any] = field(default_factory=dict)


def label_name(image: str) -> str:
    """Where the labels of an image are: its last folder ``images`` read as ``labels``, the suffix as ``.txt``."""
    folders, _, file = image.rpartition("/")
    parts = folders.split("/") if folders else []
    for i in range(len(parts) - 1, -1, -1):
        if parts[i] == "images":
            parts[i] = "labels"
            break
    return "/".join([*parts, f"{file.rpartition('.')[0] or file}.txt"])


def yaml_file(folder: Folder) -> str | None:
    """``data.yaml`` or its like; another YAML file when it is the only one that names classes and ``train``."""
    for name in _YAMLS:
        if folder.has(name):
            return name
    others = [
        name for name in folder.files(frozenset({".yaml", ".yml"}), deep=False) if _describes(folder, name)
    ]
    return others[0] if len(others) == 1 else None


def describe(folder: Folder, classes: list[str], problems: Problems) -> Description:
    """What ``data.yaml`` says; without one, the folders' names and ``classes.txt``. ``classes`` wins over both."""
    found = Description(file=yaml_file(folder))
    raw = _load(folder, found.file, problems) if found.file else {}
    names = {str(i): name for i, name in enumerate(classes)} or _names(raw, found.file, problems)
    if not names and not found.file:
        names = _listed_names(folder, problems)
    if not names:
        wanted = (
            "names is missing or empty" if found.file else "there is no data.yaml with names, nor classes.txt"
        )
        problems.error(f"{found.file or folder.root}: {wanted}; dataset.classes=[a,b] names the classes, too")
    for number, name in names.items():
        if is_background(name):
            found.background.add(number)
        else:
            found.labels[number] = len(found.categories)
            found.categories.append(Category(name, int(number)))
    for name, count in Counter(names.values()).items():
        if count > 1:
            problems.error(f"{found.file or 'classes'}: two categories have the same name", repr(name))
    _pose(found, raw, problems)
    _images(found, raw, folder, problems)
    return found


def _describes(folder: Folder, name: str) -> bool:
    quiet = Problems()
    raw = _load(folder, name, quiet)
    return "names" in raw and "train" in raw


def _load(folder: Folder, name: str, problems: Problems) -> dict[str, Any]:
    content = folder.read(name, problems)
    text = decode(content, name, problems) if content is not None else None
    if text is None:
        return {}
    try:
        loader = _Loader(text)
        try:
            raw = loader.get_single_data()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = f", line {mark.line + 1} column {mark.column + 1}" if mark else ""
        problems.error(f"{name} is not YAML: {error.problem or error.context}{at}")
        return {}
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError, TypeError) as error:
        problems.error(
            f"{name} is not YAML: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
        )
        return {}
    if not isinstance(raw, dict):
        problems.error(f"{name} must hold keys (names, train, val), not {type(raw).__name__}")
        return {}
    return raw


class _Loader(yaml.SafeLoader):
    """Safe, without aliases: some that refer to each other make a few lines endless."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            event = self.peek_event()
            raise yaml.composer.ComposerError(None, None, "aliases are not read", event.start_mark)
        return super().compose_node(parent, index)


def _names(raw: dict[str, Any], file: str | None, problems: Problems) -> dict[str, str]:
    names = raw.get("names")
    if names is None:
        return {}
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict):
        problems.error(f"{file}: names must be a list, or numbers with names, not {type(names).__name__}")
        return {}
    found: dict[str, str] = {}
    for number, name in names.items():
        text = str(number)
        if not (text.isascii() and text.isdigit() and len(text) < 10):
            problems.error(f"{file}: names must be numbered from 0", repr(text[:40]))
        elif not isinstance(name, (str, int, float)) or not str(name).strip():
            problems.error(f"{file}: a category without a name", f"names: {text}")
        else:
            found[str(int(text))] = str(name).strip()
    count = raw.get("nc")
    if count is not None and count != len(names):
        problems.error(f"{file}: nc is {str(count)[:40]}, names has {len(names)}")
    return dict(sorted(found.items(), key=lambda pair: int(pair[0])))


def _listed_names(folder: Folder, problems: Problems) -> dict[str, str]:
    for file in _CLASS_FILES:
        if folder.has(file):
            content = folder.read(file, problems)
            text = decode(content, file, problems) if content is not None else None
            names = [line.strip() for line in (text or "").splitlines() if line.strip()]
            return {str(i): name for i, name in enumerate(names)}
    return {}


def _pose(found: Description, raw: dict[str, Any], problems: Problems) -> None:
    shape = raw.get("kpt_shape")
    if shape is None:
        return
    if not (
        isinstance(shape, list)
        and len(shape) == 2
        and all(type(n) is int for n in shape)
        and 0 < shape[0] <= 10_000
        and shape[1] in (2, 3)
    ):
        problems.error(f"{found.file}: kpt_shape must be [number of points, 2 or 3], not {str(shape)[:60]}")
        return
    found.points = (shape[0], shape[1])
    names = raw.get("kpt_names", raw.get("keypoint_names"))
    if isinstance(names, dict):  # a list for each class; a model learns one set
        names = next(iter(names.values()), None)
    found.pose = {
        "name": found.categories[0].name if found.categories else "object",
        "keypoints": names if isinstance(names, list) else None,
        "flip_idx": raw.get("flip_idx"),
        "skeleton": raw.get("skeleton"),
        "sigmas": raw.get("sigmas"),
    }


def _images(found: Description, raw: dict[str, Any], folder: Folder, problems: Problems) -> None:
    places: dict[str, list[str]] = {}
    for split, keys in _KEYS.items():
        value = next((raw[key] for key in keys if raw.get(key)), None)
        values = value if isinstance(value, list) else [value] if value else []
        for text in values:
            place = _place(text, raw.get("path"), split, found.file, folder, problems)
            if place is not None:
                places.setdefault(split, []).append(place)
    if not places and found.file is None:
        places = _usual(folder)
    if not places and found.file and not any(raw.get(key) for keys in _KEYS.values() for key in keys):
        places = _usual(folder)
    # The same place for train and val: nobody has split the data set.
    if places.get("val") and places.get("val") == places.get("train"):
        problems.note(f"{found.file}: val is the same as train, so the split is drawn")
        places["all"] = places.pop("train")
        del places["val"]
    for split, listed in places.items():
        names: list[str] = []
        for place in listed:
            if place.endswith(".txt"):
                names += _listed_images(place, folder, found, problems)
            else:
                images = folder.files(IMAGE_SUFFIXES, place)
                found.prefixes.add(place)
                names += images
                if not images:
                    problems.error(f"{found.file or folder.root}: {split} has no image", place or ".")
        found.images[split] = names


def _usual(folder: Folder) -> dict[str, list[str]]:
    """``images/train`` and so on, ``train/images`` and so on, else all images in one heap."""
    inner = split_folders(folder, "images")
    if inner:
        return {split: [name] for split, name in inner.items()}
    outer = {
        split: [f"{name}/images" if folder.has(f"{name}/images") else name]
        for split, name in split_folders(folder).items()
    }
    if outer:
        return outer
    return {"all": ["images" if folder.has("images") else ""]}


def _place(
    text: Any, path: Any, split: str, file: str | None, folder: Folder, problems: Problems
) -> str | None:
    """A folder or list that ``data.yaml`` names, relative to the data set's folder.

    ``path`` and ``../`` in front often tell of another machine or tool; what is there in this folder counts.
    """
    if not isinstance(text, str) or not text.strip():
        problems.error(f"{file}: {split} must be a folder, a .txt file or a list of them", repr(text)[:60])
        return None
    text = text.strip().replace("\\", "/")
    root = str(path).strip().replace("\\", "/") if isinstance(path, str) else ""
    choices = [f"{root}/{text}" if root and not text.startswith("/") else text, text]
    bare = text
    while bare.startswith(("../", "./")):
        bare = bare.split("/", 1)[1]
    choices.append(bare)
    for choice in choices:
        relative = _relative(choice, folder)
        if relative is not None and (relative == "" or folder.has(relative)):
            if choice is choices[-1] and bare != text.removeprefix("./"):
                problems.note(
                    f"{file}: {split}: {text} was read as {relative}, which is in the data set's folder"
                )
            return relative
    problems.error(f"{file}: {split}: no such folder or .txt file inside {folder.root}", text[:120])
    return None


def _relative(text: str, folder: Folder) -> str | None:
    """A path, absolute or relative to the folder, as one below it; an empty text is the folder itself."""
    if text.startswith("/"):
        root = str(folder.root).rstrip("/")
        if text.rstrip("/") == root:
            return ""
        if not text.startswith(f"{root}/"):
            return None
        text = text[len(root) + 1 :]
    if os.path.normpath(text or ".") == ".":
        return ""
    return inside(text)


def _listed_images(place: str, folder: Folder, found: Description, problems: Problems) -> list[str]:
    """The images that a .txt file lists: relative to the data set's folder or to the list's own, or absolute.

    An absolute path of another machine is found again by what follows its folder ``images``.
    """
    content = folder.read(place, problems)
    text = decode(content, place, problems) if content is not None else None
    base = os.path.dirname(place)
    names = []
    moved = 0
    for number, line in enumerate((text or "").splitlines(), 1):
        line = line.strip().replace("\\", "/")
        if not line:
            continue
        relative = _relative(line, folder)
        if relative is None and "/images/" in line and inside(line.rpartition("/images/")[2]):
            relative = f"images/{inside(line.rpartition('/images/')[2])}"
            moved += 1
        if not relative:
            problems.error(
                f"{place}: images must be inside the data set's folder", f"line {number}: {line[:120]}"
            )
            continue
        beside = f"{base}/{relative}" if base else relative
        names.append(relative if folder.has(relative) or not folder.has(beside) else beside)
    if moved:
        problems.note(f"{place}: {moved} paths of another folder were looked up by what follows images/")
    # Longer prefixes count first: the name of an image is what follows its split's folder.
    found.prefixes.add("images")
    found.prefixes.update(f"images/{name}" for name in ("train", "val", "valid", "test"))
    if not names:
        problems.error(f"{place} lists no image")
    return names
