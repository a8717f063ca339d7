"""Images of a converted data set: under new names where old ones clash, as hard links where the disk has them."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from trainer.data.records import ImageRecord, Problems

Namer = Callable[[str, ImageRecord], str]


class ImageCopier:
    """Puts images into ``folder`` and gives them back as images of that folder."""

    def __init__(self, folder: Path, link: bool, problems: Problems) -> None:
        self.folder = folder
        self.copied = self.linked = 0
        self._link = link
        self._problems = problems
        self._taken: dict[str, tuple[Path, str]] = {}

    def place(self, split: str, images: list[ImageRecord], name_of: Namer) -> list[ImageRecord]:
        """The same images with their files below ``folder``; ``name_of(split, image)`` is the wanted name."""
        placed = []
        for image in images:
            source = (image.root, image.file_name)
            name = self._free(name_of(split, image), split, source)
            if self._taken.get(name) != source:
                self._taken[name] = source
                self._put(image, name)
            placed.append(dataclasses.replace(image, root=self.folder, file_name=name))
        return placed

    def _free(self, name: str, split: str, source: tuple[Path, str]) -> str:
        """The wanted name, else with the split in front, else with a number behind."""
        folder, _, file = name.rpartition("/")
        stem, dot, suffix = file.rpartition(".")
        behind = folder + "/" if folder else ""
        choices = [name, f"{split}/{name}"]
        number = 2
        while True:
            for choice in choices:
                if self._taken.get(choice, source) == source:
                    if choice != name:
                        self._problems.note(
                            "images renamed, because others have their name", f"{name}: {choice}"
                        )
                    return choice
            choices = [f"{behind}{stem if dot else file}_{number}{dot}{suffix if dot else ''}"]
            number += 1

    def _put(self, image: ImageRecord, name: str) -> None:
        source, target = os.path.realpath(image.root / image.file_name), self.folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if self._link:
            try:
                os.link(source, target)
                self.linked += 1
                return
            except OSError:  # another file system, or one without links
                self._link = False
        try:
            shutil.copyfile(source, target)
            self.copied += 1
        except OSError as error:
            self._problems.error("images that can't be copied", f"{image.name}: {error.strerror}")

    @property
    def how(self) -> str:
        """A word on what was done, for people."""
        if self.linked and self.copied:
            return f"{self.linked} hard links and {self.copied} copies"
        return "hard links" if self.linked else "copies"


def own_name(split: str, image: ImageRecord) -> str:
    """What the data set calls the file, below its folder ``images``."""
    return image.name.removeprefix("images/")
