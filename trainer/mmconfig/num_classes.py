"""Number of classes or keypoints, wherever a model says it.

The main head says how many classes the base was made for; every other place in the model that says the same number
follows, so auxiliary and cascade heads, fusion heads and loss weights are found without a list of models. Heads with
another meaning (a region proposal's single class, a boundary head's two) keep theirs.
"""

from __future__ import annotations

from typing import Any

from trainer.config_tree.traverse import Cfg, traverse

_CLASS_KEYS = ("num_classes", "num_things_classes")
_POINT_KEYS = ("num_keypoints", "out_channels", "num_joints")


def set_num_classes(model: Cfg, count: int) -> int:
    """Set the number of classes; returns how many places were changed (0: nothing in the model says one)."""
    old = main_num_classes(model)
    if old is None:
        return 0
    changed = 0
    for path, value in list(traverse(model)):
        parent = _parent(model, path)
        if not isinstance(parent, dict) or _is_proposal(path):
            continue
        if path[-1] in _CLASS_KEYS and value == old:
            parent[path[-1]] = count
            changed += 1
        elif path[-1] == "num_stuff_classes":
            parent[path[-1]] = 0
        elif path[-1] == "class_weight" and isinstance(value, (list, tuple)):
            parent[path[-1]] = _class_weight(value, old, count)
    for path, value in list(traverse(model)):
        if path[-1] == "class_weight" and value is None:
            del _parent(model, path)["class_weight"]
    return changed


def main_num_classes(model: Cfg) -> int | None:
    """The number of classes of the head that answers: box, decode, panoptic or mask head; None when none is stated."""
    counts: list[tuple[int, int]] = []
    for path, value in traverse(model):
        if path[-1] in _CLASS_KEYS and isinstance(value, int) and not _is_proposal(path):
            counts.append((_rank(path), value))
    return min(counts, key=lambda item: item[0])[1] if counts else None


def set_num_keypoints(model: Cfg, count: int) -> int:
    """Set the number of keypoints in a pose model; returns how many places were changed."""
    head = model.get("head") or {}
    old = next((head[key] for key in _POINT_KEYS if isinstance(head.get(key), int)), None)
    if old is None:
        return 0
    if any(path[-1] == "heatmap_type" and value == "combined" for path, value in traverse(head)):
        count *= 3  # UDP's: where a keypoint is, and how far off in x and y
    changed = 0
    for path, value in list(traverse(head)):
        if path[-1] in _POINT_KEYS and value == old:
            _parent(head, path)[path[-1]] = count
            changed += 1
        elif path[-1] == "out_channels" and isinstance(value, (list, tuple)) and set(value) == {old}:
            _parent(head, path)[path[-1]] = type(value)(count for _ in value)
            changed += 1
    return changed


def _class_weight(weights: Any, old: int, count: int) -> Any:
    """Weights that are all alike (plus perhaps one for background) are made again; measured ones are dropped."""
    body, rest = list(weights[:old]), list(weights[old:])
    if len(weights) in (old, old + 1) and len(set(body)) == 1:
        return type(weights)(body[:1] * count + rest)
    return None


def _rank(path: tuple[Any, ...]) -> int:
    """Main heads before fusion and auxiliary ones, and those before anything else."""
    text = ".".join(str(part) for part in path)
    for rank, word in enumerate(
        ("bbox_head", "decode_head", "panoptic_head", "mask_head", "fusion", "auxiliary")
    ):
        if word in text:
            return rank
    return 9


def _is_proposal(path: tuple[Any, ...]) -> bool:
    return any(part in ("rpn_head", "semantic_head", "backbone", "track_head", "reid") for part in path)


def _parent(root: Any, path: tuple[Any, ...]) -> Any:
    for key in path[:-1]:
        root = root[key]
    return root
