"""A trainer for OpenMMLab: Hydra config groups compose into MMEngine configs."""

__version__ = "0.1.0"
