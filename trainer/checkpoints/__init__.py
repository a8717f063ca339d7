"""Weights to start from: what ``model.weights`` means, where files are kept, how they come there. No torch here.

>>> from trainer.checkpoints import fetch_weights, resolve_weights
>>> fetch_weights(resolve_weights("coco", "mmdet::rtmdet/rtmdet_s_8xb32-300e_coco.py"))  # doctest: +SKIP
PosixPath('.../weights/rtmdet_s_8xb32-300e_coco_20220905_161602-387a891e.pth')
"""

from trainer.checkpoints.download import fetch_weights
from trainer.checkpoints.weight_spec import is_remote, resolve_weights
from trainer.checkpoints.weights_cache import cached_path, weights_dir

__all__ = ["cached_path", "fetch_weights", "is_remote", "resolve_weights", "weights_dir"]
