"""What a sweep searches: parameters, where each applies, and what their values are on a command line."""

from trainer.sweep.space.parse_space import Plan, make_plan, read_space
from trainer.sweep.space.space import Parameter, Space, Values

__all__ = ["Parameter", "Plan", "Space", "Values", "make_plan", "read_space"]
