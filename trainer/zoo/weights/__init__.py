"""Weights to start from: what ``model.weights`` means, where files are kept, how they come there. No torch here.

>>> from trainer.zoo.weights import fetch, settle
>>> fetch(settle("coco", "mmdet::rtmdet/rtmdet_s_8xb32-300e_coco.py"))  # doctest: +SKIP
PosixPath('.../weights/rtmdet_s_8xb32-300e_coco_20220905_161602-387a891e.pth')
"""

from trainer.zoo.weights.cache import place, weights_dir
from trainer.zoo.weights.download import fetch
from trainer.zoo.weights.words import is_remote, settle

__all__ = ["fetch", "is_remote", "place", "settle", "weights_dir"]
