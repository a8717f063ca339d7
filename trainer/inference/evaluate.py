"""The metrics of a checkpoint on a split, as training's own validation computes them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from trainer.engine.metrics.names import split_per_class
from trainer.inference.predictor import Predictor
from trainer.inference.quiet import quiet
from trainer.inference.samples import split_loader


@dataclass(frozen=True)
class Evaluation:
    """Metrics under the field's names, those of each class, and how many images (pose: boxes) were looked at.

    ``curves`` are those of a training's ``curves/epoch_<n>.json``; empty where the evaluator is the user's own.
    """

    metrics: dict[str, float]
    per_class: dict[str, dict[str, float]]
    images: int
    curves: dict[str, Any] = field(default_factory=dict)


def evaluate(
    predictor: Predictor,
    split: str = "val",
    batch_size: int | None = None,
    workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Evaluate with the run's own data, pipeline and evaluator.

    Args:
        batch_size: images a step; None for the run's own.
        workers: data loader processes.
        progress: told (batches done, of how many).

    Raises:
        TrainerError: the split is not there, or what failed.
    """
    import torch
    from mmengine.evaluator import Evaluator
    from mmengine.runner import Runner

    from trainer.engine.failures import as_trainer_error
    from trainer.engine.metrics.curves import take_curves

    loader_config = copy.deepcopy(split_loader(predictor.config, split))
    loader_config.update(num_workers=workers, persistent_workers=workers > 0)
    if batch_size is not None:
        loader_config["batch_size"] = 1 if predictor.one_at_a_time else batch_size
    try:
        with quiet(), predictor.in_scope(), torch.no_grad():
            loader = Runner.build_dataloader(_config(loader_config))
            evaluator = Evaluator(_config(_evaluator(predictor.config, split)))
            evaluator.dataset_meta = loader.dataset.metainfo
            for index, batch in enumerate(loader):
                evaluator.process(data_samples=predictor.model.val_step(batch), data_batch=batch)
                if progress is not None:
                    progress(index + 1, len(loader))
            values = evaluator.evaluate(len(loader.dataset))
            compute = take_curves(evaluator)
            curves = compute() if compute is not None else {}
    except Exception as error:
        raise as_trainer_error(error) from error
    flat, per_class = split_per_class(values)
    return Evaluation(flat, per_class, len(loader.dataset), curves)


def _evaluator(config: dict[str, Any], split: str) -> Any:
    """The split's evaluator: validation's, with the split's annotations."""
    if split == "test":
        return copy.deepcopy(config["test_evaluator"])
    evaluators = copy.deepcopy(config["val_evaluator"])
    if split == "train":
        ann_file = split_loader(config, "train")["dataset"]["ann_file"]
        for one in evaluators if isinstance(evaluators, list) else [evaluators]:
            if "ann_file" in one:
                one["ann_file"] = ann_file
    return evaluators


def _config(value: Any) -> Any:
    from mmengine.config import ConfigDict

    return [ConfigDict(one) for one in value] if isinstance(value, list) else ConfigDict(value)
