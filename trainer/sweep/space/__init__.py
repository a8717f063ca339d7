"""What a sweep searches: parameters, where each applies, and what their values are on a command line."""

from trainer.sweep.space.parse_space import SweepPlan, make_plan, read_space
from trainer.sweep.space.space import Parameter, SearchSpace, Values

__all__ = ["Parameter", "SearchSpace", "SweepPlan", "Values", "make_plan", "read_space"]
