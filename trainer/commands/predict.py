"""``python -m trainer predict checkpoint=<run or file> source=<images>``: annotated pictures and JSON.

Without ``source`` the run's validation images are taken, and the contact sheet shows the ground truth beside. What is
asked: ``threshold``, ``classes``, ``max_detections``; how it is looked at: ``tta``, ``tile``, ``half``; what is written
besides: ``pictures``, ``labels``.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import track

from trainer.checkpoints.resolve_checkpoint import find_checkpoint
from trainer.commands.notes import notes_to_stderr
from trainer.core.cli_text import short
from trainer.core.errors import ConfigError, DatasetError
from trainer.inference.predict_options import PredictOptions
from trainer.schema import Predict

if TYPE_CHECKING:
    from trainer.inference.prediction_writer import Written
    from trainer.inference.predictor_base import BasePredictor
    from trainer.inference.samples import Sample
    from trainer.inference.sources import ImageSource
    from trainer.inference.stream import SampleResult

PICTURES = 32
"""Images predicted on when neither ``source`` nor ``max_images`` says which."""


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
    from trainer.inference.sources import open_source

    source = None if config.source is None else open_source(config.source)
    # Imported after the first mistakes were found: torch and the OpenMMLab packages take seconds.
    from trainer.inference.load_model import load_model

    model = load_model(found, config.device, half=config.half, nms_iou=config.nms_iou, imports=config.imports)
    source = source or _validation(model)
    count = source.count if config.max_images is None else min(config.max_images, source.count or sys.maxsize)
    words = f"{count} {'frames' if source.video else 'images'}" if source.count else "images"
    console.print(f"{model.name}, {model.task}: {short(found.path)} on {words}", soft_wrap=True)
    written = _predict(console, model, source, config, output, count if source.count else None)
    notes_to_stderr(model.notes)
    _say(console, written, output, config.pictures)
    return 0


def _validation(model: BasePredictor) -> ImageSource:
    """The first images of the run's validation split, with their ground truth."""
    from trainer.inference.evaluation_data import own_samples
    from trainer.inference.sources import ImageSource

    samples = list(islice(own_samples(model, "val"), PICTURES))
    return ImageSource(lambda: samples, len(samples))


def _predict(
    console: Console,
    model: BasePredictor,
    source: ImageSource,
    config: Predict,
    output: Path,
    count: int | None,
) -> Written:
    """Answers are written as they come; files have their names when the last one has come."""
    from trainer.inference.prediction_writer import Written, write
    from trainer.inference.stream import answers

    on_error = config.on_error or ("fail" if source.single else "skip")
    names = [field.name for field in dataclasses.fields(PredictOptions) if hasattr(config, field.name)]
    options = PredictOptions(**{**{name: getattr(config, name) for name in names}, "on_error": on_error})
    samples: Iterable[Sample] = islice(source.samples(), config.max_images)
    written = Written()
    stream = write(
        model,
        _readable(answers(model, samples, options), model),
        output,
        config.threshold,
        pictures=config.pictures,
        labels=config.labels,
        video=source.video,
        written=written,
    )
    hidden = not console.is_terminal
    for _ in track(stream, "predicting", count, console=console, transient=True, disable=hidden):
        pass
    if not written.instances and model.task != "semantic_segmentation":
        model.notes.append(f"nothing scores {config.threshold:g} or more; a lower threshold=... shows more")
    return written


def _readable(stream: Iterable[SampleResult], model: BasePredictor) -> Iterator[SampleResult]:
    """The answers; a note for each image that can't be read, an error where none can be."""
    readable, last = 0, None
    for answer in stream:
        readable += answer.error is None
        if answer.error is not None:
            last = answer.error
            model.notes.append(f"skipped: {answer.error}")
        yield answer
    if last is not None and not readable:
        raise DatasetError(f"none of the images can be read; the last: {last}")


def _say(console: Console, written: Written, output: Path, pictures: str) -> None:
    where = {
        "video": written.video if pictures != "none" else None,
        "pictures": f"{short(output)}/" if pictures != "none" and not written.video else None,
        "predictions": output / "predictions.json",
        "at a glance": written.sheet,
    }
    for name, path in where.items():
        if path is not None:
            shown = path if isinstance(path, str) else short(path)
            console.print(f"{name:<13}{shown}", soft_wrap=True)
