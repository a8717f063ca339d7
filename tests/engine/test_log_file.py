"""``train.log`` and mmengine's loggers, which outlive a run."""

from __future__ import annotations

import logging
from pathlib import Path

from mmengine.logging import MMLogger
from mmengine.model import BaseModule
from torch import nn

from trainer.engine.log_file import LogFile


class Layer(BaseModule):
    def __init__(self) -> None:
        super().__init__(init_cfg={"type": "Constant", "layer": "Linear", "val": 0.5})
        self.linear = nn.Linear(2, 2)


def test_a_model_is_initialised_after_a_run_ended(tmp_path: Path) -> None:
    """mmengine writes to the stream of each file handler of its current logger, closed or not."""
    MMLogger.get_current_instance().setLevel("ERROR")  # as predicting leaves it
    with LogFile(tmp_path / "train.log") as log:
        other = logging.NullHandler()
        log.add_handler(other)
        log.take_mmengine().info("said by mmengine")
    assert "said by mmengine" in (tmp_path / "train.log").read_text()
    for logger in MMLogger._instance_dict.values():
        assert log.handler not in logger.handlers and other not in logger.handlers
    layer = Layer()
    layer.init_weights()
    assert float(layer.linear.weight.detach().mean()) == 0.5
