"""What a sweep searches: parameters, where each applies, and what their values are on a command line."""

from trainer.sweep.space.model import Parameter, Space, Values
from trainer.sweep.space.read import Plan, make_plan, read_space

__all__ = ["Parameter", "Plan", "Space", "Values", "make_plan", "read_space"]
