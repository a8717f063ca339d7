"""Rows of one class each, moved between heads with different classes."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from trainer.engine.weights.class_dependence import LEADING, ClassAxis


def mix_rows(
    own: torch.Tensor, given: torch.Tensor, axis: ClassAxis, rows: Sequence[int | None]
) -> torch.Tensor | None:
    """``own`` with the rows of ``given`` where ``rows`` says so; None when no row of it can be taken.

    Args:
        own: the model's tensor, whose classes are those of ``rows``.
        given: the file's.
        axis: where the classes are; the other dimensions are the same in both.
        rows: for each class of ``own`` the one of ``given``, or None to leave it as it is.
    """
    if not axis.known:
        return None
    lead = LEADING[axis.extra]
    pairs = [(lead + here, lead + there) for here, there in enumerate(rows) if there is not None]
    pairs += [(place, place) for place in range(lead)]
    if not pairs:
        return None
    if axis.extra and not lead:
        pairs.append((-1, -1))  # the background
    ours, theirs = _by_class(own, axis).clone(), _by_class(given, axis).to(own)
    ours[[here for here, _ in pairs]] = theirs[[there for _, there in pairs]]
    return _back(ours, own.shape, axis)


def _by_class(tensor: torch.Tensor, axis: ClassAxis) -> torch.Tensor:
    """(classes + extra, times, ...)"""
    first = tensor.detach().movedim(axis.dim, 0)
    rest = first.shape[1:]
    if axis.by_class:
        return first.reshape(-1, axis.times, *rest)
    return first.reshape(axis.times, -1, *rest).transpose(0, 1)


def _back(tensor: torch.Tensor, shape: torch.Size, axis: ClassAxis) -> torch.Tensor:
    ordered = tensor if axis.by_class else tensor.transpose(0, 1)
    moved = ordered.reshape(shape[axis.dim], *tensor.shape[2:])
    return moved.movedim(0, axis.dim).contiguous()
