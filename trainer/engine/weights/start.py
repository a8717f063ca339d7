"""What a training starts from: told to mmengine before the model is built, loaded when it is initialised."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmengine.hooks import EMAHook
from mmengine.model import is_model_wrapper
from mmengine.runner import CheckpointLoader
from torch import nn

from trainer.checkpoints import fetch_weights, is_remote
from trainer.core.errors import CheckpointError, TrainerError
from trainer.data.bundle import DataBundle
from trainer.engine.weights.backbone import SCHEME, all_reports
from trainer.engine.weights.layout import open_checkpoint
from trainer.engine.weights.loading_report import LoadingReport
from trainer.engine.weights.match import MatchTarget, match_weights
from trainer.engine.weights.safe_reader import read
from trainer.mmconfig.initial_weights import pretrained_places, strip_pretrained
from trainer.schema import Experiment

logger = logging.getLogger("trainer")


class StartingWeights:
    """The weights of one training.

    Args:
        cfg: the final config; ``load_from`` and each ``Pretrained`` name a file or a URL. Not changed.
        tell: gets the reports when all is loaded.
    """

    def __init__(
        self, cfg: Any, exp: Experiment, bundle: DataBundle, tell: Callable[[list[LoadingReport]], None]
    ) -> None:
        self.source = cfg.get("load_from")
        self.path: Path | None = None
        self.trust, self.tell = exp.model.trust_weights, tell
        names = bundle.keypoints.names if bundle.keypoints is not None else bundle.classes
        self.goal = MatchTarget(cfg, exp.task.name, names, exp.model.base, exp.model.name)
        self._contents: dict[Path, Any] = {}

    def take_over(self, cfg: Any, resumed: bool = False) -> None:
        """Change a Runner's config so that files come through our reader, and the checkpoint is left to us.

        What isn't at hand is downloaded now, before the model is built.

        A resumed training starts from its own checkpoint, so nothing else is read.
        """
        if resumed:
            strip_pretrained(cfg["model"])
            return
        self.path = _local(self.source) if self.source else None
        cfg["load_from"] = None
        for node, key in pretrained_places(cfg["model"]):
            node[key] = f"{SCHEME}{_local(node[key])}"
        CheckpointLoader.register_scheme(SCHEME, self._read_for_mmengine, force=True)

    def initialise(self, initialise: Callable[[], None]) -> None:
        """Run ``initialise``, in which backbones load their files; complaints name the file.

        Raises:
            CheckpointError: a file can't be loaded into its part of the model.
        """
        try:
            initialise()
        except TrainerError:
            raise
        except Exception as error:
            if not self._contents:
                raise
            files = ", ".join(map(str, self._contents))
            reason = " ".join(str(error).split())[:300]
            raise CheckpointError(
                f"the pretrained backbone can't be loaded from {files}: {reason}"
            ) from error

    def load(self, runner: Any) -> None:
        """Load the checkpoint into a Runner's initialised model, and into its moving average.

        Raises:
            CheckpointError: it can't be read, or doesn't fit.
        """
        model: nn.Module = runner.model.module if is_model_wrapper(runner.model) else runner.model
        reports = all_reports(model, self._contents)
        self._contents.clear()
        if self.path is not None:
            checkpoint = open_checkpoint(read(self.path, self.trust), self.path)
            reports.append(match_weights(model, checkpoint, self.goal, self.path.name))
        if not reports:
            return
        for hook in runner.hooks:
            if isinstance(hook, EMAHook):  # copied the model before it was initialised
                hook.ema_model.module.load_state_dict(model.state_dict())
        for report in reports:
            if report.complete:  # what isn't is told louder
                logger.info("weights: %s", report)
        self.tell(reports)

    def _read_for_mmengine(self, filename: str, map_location: Any = None) -> Any:
        path = Path(filename.removeprefix(SCHEME))
        if path not in self._contents:
            self._contents[path] = read(path, self.trust)
        return self._contents[path]


def _local(source: str) -> Path:
    """The file that a URL or path means, downloaded where it isn't there."""
    path = fetch_weights(source) if is_remote(source) else Path(source).expanduser()
    if not path.is_file():
        raise CheckpointError(f"there is no file {source}, which this model's weights are named by")
    return path.absolute()
