"""Top-down pose estimation (mmpose): the keypoints of the one person that each input shows.

RTMPose and SimCC (vectors), HRNet, SimpleBaseline, ViTPose and whatever else answers heat maps, by the codec of its
config. The mirrored picture is not looked at too: compare with ``test_cfg.flip_test=False``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from trainer.core.errors import FrameworkError
from trainer.export.graph.fixed_size import refuse_dynamic
from trainer.export.graph.graph import Graph, refuse
from trainer.export.graph.keypoint_decoding import decoder_for
from trainer.export.graph.options import GraphOptions

if TYPE_CHECKING:
    from trainer.inference.predictor import Predictor

VECTORS = ("RTMCCHead", "RTMWHead", "SimCCHead")
MAPS = ("HeatmapHead", "ViPNASHead")
STAGES = ("CPMHead", "MSPNHead")
"""Heads that answer once a stage; the last one counts."""


def fits(model: Any) -> bool:
    return type(model).__name__ == "TopdownPoseEstimator"


def build(predictor: Predictor, options: GraphOptions) -> Graph:
    head = predictor.model.head
    name, codec = type(head).__name__, getattr(head, "decoder", None)
    if name not in (*VECTORS, *MAPS, *STAGES) or codec is None:
        raise refuse(predictor, f"no graph is known for the answers of its {name}")
    made_for = tuple(int(side) for side in codec.input_size)
    refuse_dynamic(predictor, options, f"its keypoints are decoded for {_px(made_for)}")
    if tuple(options.size) != made_for:
        raise refuse(predictor, f"it is made for {_px(made_for)}, not {_px(options.size)}")
    try:
        return PoseGraph(predictor, options)
    except FrameworkError as error:
        raise refuse(predictor, str(error)) from None


class PoseGraph(Graph):
    """The head's answer, decoded as the codec does."""

    output_names = ("keypoints",)
    not_the_network = (*Graph.not_the_network, "decode")

    def __init__(self, predictor: Predictor, options: GraphOptions) -> None:
        super().__init__(predictor, options)
        head: Any = self.model.head
        self.decode = decoder_for(head.decoder)
        self.stages = type(head).__name__ in STAGES
        self.places = (self.model.test_cfg or {}).get("output_keypoint_indices")

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        model: Any = self.model
        answer = model.head(model.extract_feat(self.prepare(images)))
        answer = answer[-1] if self.stages else answer
        keypoints = self.decode(*answer) if isinstance(answer, (tuple, list)) else self.decode(answer)
        return (keypoints if self.places is None else keypoints[:, list(self.places)],)


def _px(size: Any) -> str:
    return f"{size[0]} x {size[1]} px"
