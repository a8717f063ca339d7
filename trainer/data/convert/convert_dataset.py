"""A data set of any format -> a folder of another one, whole or not at all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from trainer.core.atomic_files import atomic_write
from trainer.core.cache_folder import build_folder
from trainer.core.errors import ConfigError, DatasetError
from trainer.core.installation import VERSION
from trainer.data.convert.copy_images import ImageCopier
from trainer.data.formats.data_format import DataFormat, root_of
from trainer.data.formats.format_registry import load_format, load_formats
from trainer.data.load_records import find_source, load_records
from trainer.schema import Dataset

MARKER = "converted.json"


@dataclass(frozen=True)
class Converted:
    """What was made: ``splits`` is images and annotations of each, ``images`` how the files came there."""

    target: Path
    source: str
    source_format: str
    to: str
    task: str
    classes: tuple[str, ...]
    splits: dict[str, dict[str, int]]
    images: str
    notes: tuple[str, ...]


def convert(
    dataset: Dataset, task: str, to: str, target: Path, *, overwrite: bool = False, link: bool = True
) -> Converted:
    """Write ``dataset`` into ``target`` as ``to``.

    The work is done beside ``target`` and renamed at the end. A folder that holds something is only replaced with
    ``overwrite``, and only when this function made it.

    Raises:
        ConfigError: ``target`` is in the way, or inside the source, or ``to`` can't be written for the task.
        DatasetError: with every mistake found in the data set.
    """
    target = Path(target).expanduser().absolute()
    target_format = _target_format(to, task)
    _refuse_target(target, dataset, overwrite)
    source = find_source(dataset, task)
    loaded = load_records(source)
    done: dict[str, Any] = {}

    def fill(folder: Path) -> None:
        (folder / "images").mkdir()
        copier = ImageCopier(folder / "images", link and source.origin is None, loaded.problems)
        counts = target_format.write_records(folder, task, loaded, copier)
        loaded.problems.raise_any(source.name)
        done["result"] = Converted(
            target=target,
            source=source.origin or str(root_of(source.dataset)),
            source_format=source.dataset.format,
            to=to,
            task=task,
            classes=tuple(category.name for category in loaded.records.categories),
            splits={s: {"images": len(p), "annotations": counts[s]} for s, p in loaded.splits.items()},
            images=copier.how,
            notes=((source.note,) if source.note else ()) + loaded.problems.notes,
        )
        marker = {"written_by": f"openmmlab-trainer {VERSION}", **as_json(done["result"])}
        atomic_write(folder / MARKER, orjson.dumps(marker, option=orjson.OPT_INDENT_2))

    try:
        build_folder(target, fill, replace=target.is_dir())
    except OSError as error:
        raise DatasetError(f"{target} can't be written: {error.strerror or error}") from error
    result: Converted = done["result"]
    return result


def as_json(result: Converted) -> dict[str, Any]:
    """The result for machines."""
    return {
        "target": str(result.target),
        "source": result.source,
        "source_format": result.source_format,
        "format": result.to,
        "task": result.task,
        "classes": result.classes,
        "splits": result.splits,
        "images": result.images,
        "notes": result.notes,
    }


def _target_format(to: str, task: str) -> DataFormat:
    """Return the format to write; it must be able to hold labels for ``task``."""
    target_format = load_format(to)
    if task not in target_format.writable_tasks:
        writable = [name for name, each in load_formats().items() if task in each.writable_tasks]
        if target_format.writable_tasks:
            reason = f"can't hold labels for task={task}; it is for {', '.join(target_format.writable_tasks)}"
        else:
            reason = "can be read, but not written"
        raise ConfigError(f"to={to} {reason}. Write to={' or to='.join(writable)}.")
    return target_format


def _refuse_target(target: Path, dataset: Dataset, overwrite: bool) -> None:
    if dataset.path:
        source, place = root_of(dataset).resolve(), target.resolve()
        if place == source or place.is_relative_to(source) or source.is_relative_to(place):
            raise ConfigError(
                f"target={target}: source and target must not lie in each other; source is {source}"
            )
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise ConfigError(f"target={target} is not a folder; name a new one")
    if not target.is_dir() or not any(target.iterdir()):
        return
    ours = _is_ours(target)
    if not overwrite:
        again = "; overwrite=true replaces it" if ours else ""
        raise ConfigError(f"target={target} is there and holds something{again}")
    if not ours:
        raise ConfigError(
            f"target={target} was not written by this command ({MARKER} is missing), so it isn't replaced; name another"
        )


def _is_ours(target: Path) -> bool:
    try:
        marker = orjson.loads((target / MARKER).read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return False
    return isinstance(marker, dict) and str(marker.get("written_by", "")).startswith("openmmlab-trainer")
