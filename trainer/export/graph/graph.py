"""The base of all exported graphs, and what every one of them answers.

Coordinates are px of the network's input tensor; the caller maps them back by the scale and the padding that it
applied, and then cuts boxes at the picture's edges and drops empty ones where the model does (``cut_at_edges``,
``drop_empty``). Outputs by task, for N pictures with K rows each (``max_detections``; unused rows have score 0 and
label -1), the best score first:

===================== ==============================================================================================
detection             boxes (N, K, 4) float32 xyxy, scores (N, K) float32, labels (N, K) int64
instance segmentation and masks (N, K, H, W) uint8: the probability times 255; the object is where it is >= 128
semantic segmentation segmentation (N, H, W) int64
pose, top-down        keypoints (N, K, 3) float32 x, y, score of the one person that each input shows
pose, bottom-up       boxes, scores, keypoints (N, P, K, 3) for P persons
===================== ==============================================================================================

Probabilities, since a caller that scales a mask to its picture loses less of its edge than with bits, for the same
memory.
"""

from __future__ import annotations

import copy
from typing import Any, ClassVar

import torch
from torch import nn

from trainer.config_tree.traverse import leaf_dataset, type_name
from trainer.core.errors import FrameworkError
from trainer.export.graph.deform import in_plain_torch
from trainer.export.graph.layers import make_exportable
from trainer.export.graph.options import GraphOptions
from trainer.export.graph.padding_mask import valid_sides
from trainer.export.graph.preprocess import Preprocess
from trainer.inference.suppress_output import suppress_output

DETECTION = ("boxes", "scores", "labels")
INSTANCES = (*DETECTION, "masks")


class Graph(nn.Module):
    """A model with its decoding, as plain tensors in and out; a subclass is a family.

    The OpenMMLab model is under ``model`` (a copy, in evaluation mode). In an ONNX file the network's nodes are called
    after the module that they are in (``/backbone/conv1/Conv``), and those of everything else (normalising, decoding,
    NMS) have names of one part (``/TopK_1``). The latter stay float32 in files of lower precision: coordinates need it.

    Attributes:
        output_names: of what :meth:`forward` returns, in its order.
        min_opset: the lowest ONNX opset that has the operators, ``min_opset_reason`` says which one needs it.
        not_the_network: parts of the graph that are modules, too, without being the network.
        padded_later: pictures are padded after the model's pipeline, which then knows where they end.
        cut_at_edges: whether the model cuts boxes at the picture's edges.
        drop_empty: whether it then leaves out those of which nothing is left.
        multiple_of: height and width must be multiples of it where they are open (``dynamic_size``).
    """

    input_name: ClassVar[str] = "images"
    output_names: tuple[str, ...] = ()
    not_the_network: ClassVar[tuple[str, ...]] = ("prepare", "priors", "field", "proposals")
    min_opset: int = 13
    min_opset_reason: str = ""
    cut_at_edges: bool = True
    drop_empty: bool = False
    multiple_of: int = 32

    def __init__(self, predictor: Any, options: GraphOptions) -> None:
        """
        Args:
            predictor: a :class:`trainer.inference.predictor.Predictor`.
        """
        super().__init__()
        self.options, self.task = options, str(predictor.task)
        steps = {
            type_name(step): step for step in leaf_dataset(predictor.config["val_dataloader"])["pipeline"]
        }
        self.padded_later = "Pad" not in steps and bool(steps.get("Resize", {}).get("keep_ratio"))
        self.cut_at_edges = self.cut_at_edges and "Pad" not in steps
        self.model = _network(predictor)
        if in_plain_torch(self.model):
            self.min_opset = max(self.min_opset, 16)
            self.min_opset_reason = "where GridSample is: its deformable convolutions need it"
        make_exportable(self.model)
        self.prepare = Preprocess(predictor.model.data_preprocessor) if options.preprocess else nn.Identity()

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """``images`` (N, 3, H, W), uint8 or float32 as the options say -> a tensor for each of ``output_names``."""
        raise NotImplementedError

    def ends(self, pixels: torch.Tensor) -> tuple[Any, Any]:
        """Where boxes are cut, height and width in px: at the ends of the input ``pixels`` (N, 3, H, W), or of each
        picture in it (N, 1)."""
        if not self.padded_later:
            return tuple(pixels.shape[-2:])
        height, width = valid_sides(pixels, self.model.data_preprocessor)
        return height.unsqueeze(1), width.unsqueeze(1)

    def example(self, batch: int | None = None) -> torch.Tensor:
        """Noise of the right shape and type, to trace with: ``batch`` pictures (default: the options', or 2)."""
        width, height = self.options.size
        shape = (batch or self.options.batch or 2, 3, height, width)
        generator = torch.Generator().manual_seed(0)
        pixels = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
        return pixels if self.options.preprocess else (pixels.float() - 114) / 58

    def probe(self, part: Any) -> Any:
        """What ``part(pixels)`` gives for a float tensor (1, 3, H, W) of zeros: to learn the sizes of feature maps
        when a graph is built, without gradients."""
        width, height = self.options.size
        with torch.no_grad(), suppress_output():
            return part(torch.zeros(1, 3, height, width))

    def dynamic_axes(self) -> dict[str, dict[int, str]]:
        """The open dimensions of the input and the outputs, as torch.onnx.export takes them."""
        axes: dict[str, dict[int, str]] = {name: {} for name in (self.input_name, *self.output_names)}
        if self.options.batch is None:
            for dimensions in axes.values():
                dimensions[0] = "batch"
        if self.options.dynamic_size:
            axes[self.input_name] |= {2: "height", 3: "width"}
            for name, (high, wide) in {"masks": (2, 3), "segmentation": (1, 2)}.items():
                if name in axes:
                    axes[name] |= {high: "height", wide: "width"}
        return {name: dimensions for name, dimensions in axes.items() if dimensions}


def refuse(predictor: Any, why: str) -> FrameworkError:
    """The error for a model that has no exported form."""
    return FrameworkError(f"{predictor.name} can't be exported: {why}")


def _network(predictor: Any) -> nn.Module:
    """A copy of the model to be traced: on the CPU, float32, synchronised batch norms as plain ones."""
    from mmengine.model import revert_sync_batchnorm

    with suppress_output(), predictor.in_scope():
        model = revert_sync_batchnorm(copy.deepcopy(predictor.model).cpu().float())
    return model.eval().requires_grad_(False)
