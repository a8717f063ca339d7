"""Weights to start from: what ``model.weights`` means, where files are kept, how they come there. No torch here.

>>> from trainer.checkpoints import fetch, settle
>>> fetch(settle("coco", "mmdet::rtmdet/rtmdet_s_8xb32-300e_coco.py"))  # doctest: +SKIP
PosixPath('.../weights/rtmdet_s_8xb32-300e_coco_20220905_161602-387a891e.pth')
"""

from trainer.checkpoints.download import fetch
from trainer.checkpoints.weight_spec import is_remote, settle
from trainer.checkpoints.weights_cache import place, weights_dir

__all__ = ["fetch", "is_remote", "place", "settle", "weights_dir"]
