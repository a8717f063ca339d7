"""What a job starts from when nobody says: the model's published weights, where they can be had."""

from __future__ import annotations

import os
from collections.abc import MutableMapping

from trainer.checkpoints.remote_file import current_tag, shown_url
from trainer.checkpoints.weight_spec import NONE, PUBLISHED, resolve_weights
from trainer.checkpoints.weights_cache import cached_path
from trainer.core.errors import TrainerError
from trainer.core.remote_faults import RemoteFault
from trainer.core.secrets import mask_text


def leave_read_only(environment: MutableMapping[str, str], base: str) -> None:
    """Where mounted weights can't be added to and aren't this model's, download to the trainer's own cache."""
    folder = environment.get("TRAINER_WEIGHTS")
    if not folder or os.access(folder, os.W_OK):
        return
    try:
        there = cached_path(resolve_weights(PUBLISHED, base)).is_file()
    except TrainerError:
        there = False
    if not there:
        del environment["TRAINER_WEIGHTS"]
        os.environ.pop("TRAINER_WEIGHTS", None)


def usual_weights(base: str) -> tuple[str, str]:
    """``coco`` where the published weights of a base config are at hand or can be fetched, else ``none``; and a note.

    Args:
        base: the model's base config, ``package::path``.
    """
    try:
        url = resolve_weights(PUBLISHED, base)
    except TrainerError:
        return NONE, "training starts from random weights: none are published for this model"
    if cached_path(url).is_file():
        return PUBLISHED, f"training starts from {cached_path(url)}"
    try:
        current_tag(url)
    except (RemoteFault, OSError) as error:
        return NONE, (
            f"training starts from RANDOM weights: {shown_url(url)} can't be had ({mask_text(str(error))}). "
            f"Mount a folder "
            "with the file and name it by MODEL_WEIGHTS_DIR, or say what is meant by CONFIG's pretrained"
        )
    return PUBLISHED, f"training starts from {shown_url(url)}"
