"""The latency with torch.compile: measured, or in words why not."""

import threading

import pytest
import torch
from torch import nn

from trainer.export.graph.options import GraphOptions
from trainer.export.proof.compiled import compiled_seconds


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.options = GraphOptions((8, 8))
        self.conv = nn.Conv2d(3, 2, 3)

    def forward(self, images):
        return (self.conv(images),)


def test_it_is_given_up():
    words = compiled_seconds(Small(), [(1, 3, 8, 8), (8, 3, 8, 8)], 1, 0.2)
    assert words == {1: "not compiled in 0.2 s", 8: "not compiled in 0.2 s"}


def test_what_can_not_be_sent_to_the_process():
    graph = Small()
    graph.lock = threading.Lock()
    assert compiled_seconds(graph, [(1, 3, 8, 8)], 1, 60)[1].startswith("not measured: ")


@pytest.mark.slow
def test_it_is_measured():
    found = compiled_seconds(_module(), [(1, 3, 8, 8)], 1, 300)
    assert isinstance(found[1], float) and found[1] > 0


def _module():
    """A module of this repository, so that the process finds it."""
    from trainer.export.graph.preprocess import Preprocess

    graph = Preprocess(None)
    graph.options = GraphOptions((8, 8))
    assert torch.is_tensor(graph(torch.zeros(1, 3, 8, 8)))
    return graph
