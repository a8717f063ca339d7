"""Imports all that this package registers with mmengine; every config of ours names it."""

import trainer.engine.amp
import trainer.engine.frozen_backbone
import trainer.engine.layer_decay
import trainer.engine.metrics
import trainer.engine.worker_seeds  # noqa: F401
