"""From a checkpoint to a model that predicts, without running anything that is in the checkpoint."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trainer.checkpoints.checkpoint_modules import import_trusted
from trainer.checkpoints.config_allowlist import check_config
from trainer.checkpoints.resolve_checkpoint import ResolvedCheckpoint, find_checkpoint
from trainer.checkpoints.safe_config_parser import parse_config
from trainer.config_tree.traverse import get_path, traverse
from trainer.core.errors import CheckpointError, FrameworkError, ResourceError
from trainer.core.user_modules import import_modules, missing_part
from trainer.inference.autocast import use_half_precision
from trainer.inference.predictor import Predictor
from trainer.inference.predictor_base import BasePredictor
from trainer.inference.suppress_output import suppress_output

DEVICES = ("auto", "cpu", "gpu")
# The model, its config, what is said of it, its epoch, and whether the overlap of its NMS is as it was asked for.
_Loaded = tuple[Any, dict[str, Any], dict[str, Any], int | None, bool]


def load_model(
    checkpoint: str | Path | ResolvedCheckpoint | None = None,
    device: str = "auto",
    output_dir: str | Path = "runs",
    half: bool = False,
    nms_iou: float | None = None,
    imports: Sequence[str] = (),
) -> BasePredictor:
    """The model of a checkpoint or an exported file, ready to predict.

    Args:
        checkpoint: a run's folder, id or id prefix, ``latest`` (also None), a ``.pth`` file that was trained here, an
            exported file, its folder or its package; also as ``https://``, ``s3://`` or a model in MLflow
            (``models:/...``, ``runs:/...``); ``pretrained:<model>`` is a model of the zoo with
            its published weights and classes.
        device: ``auto`` (a GPU where there is one), ``cpu`` or ``gpu``.
        output_dir: where runs are looked up.
        half: compute in bfloat16 (CPU) or float16 (GPU) where that is safe. An exported file has its own precision.
        nms_iou: overlap from which two boxes are duplicates; None: as the model has it. An exported file keeps its own.
        imports: modules of your own that the model needs. Those of installed plug-ins, and those that the
            checkpoint's own run has recorded, are imported without being named.

    Raises:
        CheckpointError: missing, damaged, untrusted, or not of the model that it says.
        ConfigError: no run, or more than one, has that name; or a module of ``imports`` can't be imported.
        ResourceError: a GPU is asked for and there is none.
    """
    found = (
        checkpoint if isinstance(checkpoint, ResolvedCheckpoint) else find_checkpoint(checkpoint, output_dir)
    )
    if found.exported:
        from trainer.inference.exported_predictor import ExportedPredictor

        import_modules(imports)
        return ExportedPredictor(found, device, half, nms_iou)
    return load_checkpoint(found, device, half, nms_iou, imports)


def load_checkpoint(
    found: ResolvedCheckpoint,
    device: str = "auto",
    half: bool = False,
    nms_iou: float | None = None,
    imports: Sequence[str] = (),
) -> Predictor:
    """The model of a ``.pth`` file, with its network and its config; raises as :func:`load_model`."""
    with suppress_output():
        where = _prepare(device)
        model, config, about, epoch, has_nms = (_published if found.published else _own)(
            found, nms_iou, imports
        )
        model.to(where).eval()
        if half:
            use_half_precision(model)
        predictor = Predictor(model=model, config=config, about=about, epoch=epoch, found=found)
        if not has_nms:
            predictor.notes.append(f"nms_iou is ignored: {predictor.name} removes no duplicates")
        return predictor


def _own(found: ResolvedCheckpoint, nms_iou: float | None, imports: Sequence[str]) -> _Loaded:
    """A model that was trained here."""
    meta, weights = _read(found.path)
    about = meta["trainer"]
    config = parse_config(about["config"])
    check_config(config, import_trusted(config, found, imports))
    has_nms = nms_iou is None or _set_nms(config["model"], nms_iou)
    model = _build(config, found.path)
    _load_weights(model, weights, found.path, about["model"])
    model.dataset_meta = meta.get("dataset_meta") or {}
    return model, config, about, meta.get("epoch"), has_nms


def _published(found: ResolvedCheckpoint, nms_iou: float | None, imports: Sequence[str]) -> _Loaded:
    """A model of the zoo."""
    from trainer.inference.pretrained_model import describe_pretrained, fill_pretrained

    assert found.published is not None
    import_modules(imports)
    config, about, facts = describe_pretrained(found.path, found.published)
    has_nms = nms_iou is None or _set_nms(config["model"], nms_iou)
    model = _build(config, found.path)
    model.dataset_meta = facts
    fill_pretrained(model, found.path, found.published, config)
    return model, config, about, None, has_nms


def _prepare(device: str) -> Any:
    """The torch device, after the repairs that must come before the first import of an mm* package."""
    from trainer.engine import compat

    compat.apply()
    if device == "cpu":
        compat.hide_gpus()
    import torch
    from mmengine.logging import MMLogger

    from trainer.core.cpu_budget import set_threads

    # Its messages are for training's log; errors come as exceptions.
    MMLogger.get_current_instance().setLevel("ERROR")
    if device not in DEVICES:
        raise ResourceError(f"device={device}: one of {', '.join(DEVICES)}")
    if device == "gpu" and not torch.cuda.is_available():
        raise ResourceError("device=gpu, but torch sees no GPU; device=cpu or auto would run here")
    set_threads()
    return torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """(meta, weights) of a file, read as tensors and plain values only."""
    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"there is no checkpoint {path}") from None
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise CheckpointError(f"{path} can't be loaded as tensors and plain values only: {reason}") from None
    meta = content.get("meta") if isinstance(content, dict) else None
    about = meta.get("trainer") if isinstance(meta, dict) else None
    weights = content.get("state_dict") if isinstance(content, dict) else None
    needed = ("config", "task", "model", "classes")
    if (
        not isinstance(about, dict)
        or any(key not in about for key in needed)
        or not isinstance(weights, dict)
    ):
        raise CheckpointError(
            f"{path} was not trained here: it doesn't say its config, task, model and classes"
        )
    assert meta is not None
    return meta, weights


def _set_nms(model: dict[str, Any], iou: float) -> bool:
    """Change the overlap of the model's last NMS, wherever its config has it; whether it has one."""
    found = False
    for path, value in list(traverse(model)):
        mine = "test_cfg" in path and "rpn" not in path
        if not mine or path[-1] not in ("iou_threshold", "nms_thr") or not isinstance(value, (int, float)):
            continue
        get_path(model, path[:-1])[path[-1]] = iou
        found = True
    return found


def _build(config: dict[str, Any], path: Path) -> Any:
    """The model, built in its own package's scope; other models in this process keep theirs."""
    from mmengine.config import ConfigDict
    from mmengine.registry import MODELS, DefaultScope

    import trainer.engine.registered  # noqa: F401 - what our configs name

    try:
        with DefaultScope.overwrite_default_scope(config.get("default_scope")):
            return MODELS.build(ConfigDict(copy.deepcopy(config["model"])))
    except Exception as error:
        reason = missing_part(error) or " ".join(f"{type(error).__name__}: {error}".split())
        raise FrameworkError(f"the model in {path} can't be built: {reason}") from error


def _load_weights(model: Any, weights: dict[str, Any], path: Path, name: str) -> None:
    from trainer.engine.checkpoint.file import as_current

    try:
        model.load_state_dict(as_current(model, weights), strict=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(
            f"the weights in {path} are not those of its model {name}: {reason[:300]}"
        ) from None
