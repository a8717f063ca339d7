"""``python -m trainer predict checkpoint=<run> source=<image, folder or glob>``: annotated pictures and JSON.

Without ``source`` the run's validation images are taken, and the contact sheet shows the ground truth beside.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import track

from trainer.commands.common import notes_to_stderr
from trainer.config.schema import Predict
from trainer.errors import ConfigError
from trainer.inference.locate import find_checkpoint
from trainer.storage import atomic_file, atomic_write
from trainer.words import short

if TYPE_CHECKING:
    import numpy as np

    from trainer.inference.predictor import Predictor
    from trainer.inference.samples import Sample

PICTURES = 32
"""Images predicted on when neither ``source`` nor ``max_images`` says which."""
SHEET = 12


def main(config: Predict, overrides: list[str]) -> int:
    """Predict and return the exit code.

    Raises:
        TrainerError: no such checkpoint or image, or one that can't be read.
    """
    console = Console(file=sys.stdout, highlight=False)  # bound now: libraries' own words are redirected
    found = find_checkpoint(config.checkpoint, config.output_dir)
    output = Path(config.output).expanduser() if config.output else found.folder("predictions")
    if output.exists() and not output.is_dir():
        raise ConfigError(f"output={output}: there is a file of that name; a folder is needed")
    # Imported after the first mistakes were found: torch and the OpenMMLab packages take seconds.
    from trainer.inference.load import load_model

    samples = _samples_of(config.source)
    predictor = load_model(found, config.device)
    limit = config.max_images or (PICTURES if config.source is None else None)
    chosen = list(islice(samples if samples is not None else _validation(predictor), limit))
    console.print(
        f"{predictor.name}, {predictor.task}: {short(found.path)} on {len(chosen)} images", soft_wrap=True
    )
    sheet = _predict(console, predictor, chosen, config, output)
    notes_to_stderr(predictor.notes)
    console.print(f"pictures     {short(output)}/", soft_wrap=True)
    console.print(f"predictions  {short(output / 'predictions.json')}", soft_wrap=True)
    console.print(f"at a glance  {short(sheet)}", soft_wrap=True)
    return 0


def _samples_of(source: str | None) -> list[Sample] | None:
    from trainer.inference.samples import Sample, find_images

    return None if source is None else [Sample(path) for path in find_images(source)]


def _validation(predictor: Predictor) -> Iterator[Sample]:
    from trainer.inference.samples import split_samples

    return split_samples(predictor.config, "val", predictor.task, predictor.classes)


def _predict(
    console: Console, predictor: Predictor, samples: list[Sample], config: Predict, output: Path
) -> Path:
    """Write predictions.json and a picture an image as the answers come, then the sheet; returns the sheet's path."""
    from trainer.inference.draw import draw, read_image
    from trainer.inference.sheet import grid

    pairs: list[tuple[np.ndarray, np.ndarray | None]] = []
    answers: Iterable[Any] = predictor.predict(samples, config.batch_size, config.threshold)
    names, found = _names(samples), 0
    with atomic_file(output / "predictions.json") as file:
        file.write(_opening(predictor, config.threshold).encode())
        hidden = not console.is_terminal
        shown = track(answers, "predicting", len(samples), console=console, transient=True, disable=hidden)
        for index, (sample, prediction) in enumerate(zip(samples, shown, strict=True)):
            line = json.dumps({**prediction.to_json(), "picture": names[index]}, ensure_ascii=False)
            file.write(f"{',' if index else ''}\n  {line}".encode())
            found += len(prediction)
            image = read_image(str(sample.image))
            options = (predictor.palette, predictor.skeleton)
            picture = draw(image, prediction, *options, threshold=config.threshold)
            _save(output / names[index], picture)
            if len(pairs) < SHEET:
                truth = draw(image, sample.truth, *options) if sample.truth is not None else None
                pairs.append((picture, truth))
        file.write(b"\n]}\n")
    if not found and predictor.task != "semantic_segmentation":
        predictor.notes.append(
            f"nothing scores {config.threshold:g} or more; a lower threshold=... shows more"
        )
    return _save(output / "sheet.png", grid(pairs))


def _opening(predictor: Predictor, threshold: float) -> str:
    about = {
        "run_id": predictor.about.get("run_id"),
        "checkpoint": str(predictor.found.path),
        "task": predictor.task,
        "model": predictor.name,
        "classes": list(predictor.classes),
        "threshold": threshold,
    }
    if predictor.task == "pose":
        names = predictor.model.dataset_meta.get("keypoint_id2name") or {}
        about["keypoints"] = [str(names[index]) for index in sorted(names)]
        about["skeleton"] = predictor.skeleton
    return json.dumps(about, ensure_ascii=False)[:-1] + ', "images": ['


def _names(samples: list[Sample]) -> list[str]:
    """A picture's name an image: the image's own, made different where two folders have the same."""
    names: list[str] = []
    taken = {"sheet.png"}
    for sample in samples:
        stem = Path(str(sample.image)).stem
        name, number = f"{stem}.png", 1
        while name in taken:
            number += 1
            name = f"{stem}-{number}.png"
        taken.add(name)
        names.append(name)
    return names


def _save(path: Path, picture: np.ndarray) -> Path:
    import cv2

    return atomic_write(path, cv2.imencode(".png", picture)[1].tobytes())
