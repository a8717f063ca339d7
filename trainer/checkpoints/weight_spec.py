"""What ``model.weights`` may say, and which file or URL is meant by it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trainer.checkpoints.backbone_urls import resolve_backbone_url
from trainer.core.errors import CheckpointError, ConfigError, did_you_mean, fold
from trainer.runs.run import LATEST

NONE, BACKBONE, PUBLISHED = "none", "backbone", "coco"
WORDS = (NONE, PUBLISHED, BACKBONE)
ALIASES = {"published": PUBLISHED, "pretrained": PUBLISHED}
SUFFIXES = (".pth", ".pt", ".ckpt", ".bin", ".pkl", ".tar")


def resolve_weights(weights: str, base: str, output_dir: str | Path = "runs") -> str:
    """``none``, ``backbone``, a URL, or the absolute path of a file that is there.

    Args:
        weights: ``none``, ``coco`` (also ``published``: what the base's authors published), ``backbone``, a path, a
            URL, or a previous run by folder, id, beginning of an id, or ``latest``.
        base: the model's base config, ``package::path``.
        output_dir: where runs are looked up.

    Raises:
        ConfigError: nothing can be meant by it, with the nearest choices.
        CheckpointError: a run is meant that has no whole checkpoint.
    """
    word = ALIASES.get(fold(weights), fold(weights))
    if word in (NONE, BACKBONE):
        return word
    if word == PUBLISHED:
        return _published(base)
    if is_remote(weights):
        try:
            return resolve_backbone_url(weights)
        except ConfigError as error:
            raise ConfigError(f"model.weights: {error}") from None
    path = Path(weights).expanduser()
    if path.is_file():
        return str(path.resolve())
    if path.suffix in SUFFIXES:
        raise ConfigError(f"model.weights: there is no file {weights}.{did_you_mean(weights, _beside(path))}")
    return _of_run(weights, output_dir)


def is_remote(weights: str) -> bool:
    """Whether it is a URL, or a name like ``torchvision://resnet50``."""
    return "://" in weights


def pin_weights(overrides: Sequence[str], location: str | None) -> list[str]:
    """Typed overrides in which a previous run (``model.weights=latest``) is the very file that it meant."""
    if location is None or is_remote(location):
        return list(overrides)
    key = "model.weights="
    return [
        f"{key}{location}" if word.startswith(key) and not _is_word(word.removeprefix(key)) else word
        for word in overrides
    ]


def _published(base: str) -> str:
    from trainer.zoo.metafiles import entries, weights_url

    url = weights_url(base) if "::" in base else None
    if url:
        return url
    known = [each for each, entry in entries().items() if entry.weights]
    raise ConfigError(
        f"model.weights=coco: no weights are published for {base}.{did_you_mean(base, known)} "
        "model.weights=backbone starts from a pretrained backbone, none from nothing."
    )


def _of_run(weights: str, output_dir: str | Path) -> str:
    from trainer.checkpoints.resolve_checkpoint import find_checkpoint

    try:
        return str(find_checkpoint(weights, output_dir).path)
    except CheckpointError as error:
        raise CheckpointError(f"model.weights={weights}: {error}") from None
    except ConfigError as error:
        if "could be any of" in str(error):
            raise ConfigError(f"model.weights={weights}: {error}") from None
        choices = [*WORDS, *ALIASES, LATEST, *_beside(Path(weights))]
        hint = did_you_mean(weights, choices)
        why = "" if hint else f" As a run: {str(error).partition(': ')[2] or error}"
        raise ConfigError(
            f"model.weights={weights} is no word, file or run; expected none, coco, backbone, a path, https://..., "
            f"s3://... or a previous run.{hint}{why}"
        ) from None


def _is_word(value: str) -> bool:
    return fold(value) in (*WORDS, *ALIASES) or is_remote(value)


def _beside(path: Path) -> list[str]:
    """Files of weights in the same folder, written as ``path`` is."""
    folder = path.expanduser().parent
    if not folder.is_dir():
        return []
    return sorted(str(path.parent / one.name) for one in folder.iterdir() if one.suffix in SUFFIXES)
