"""``hydra/sweeper=openmmlab_trainer``: sweeps of other Hydra applications, with our space, samplers and stores.

The plug-in that Hydra finds is ``hydra_plugins/trainer_sweeper``. A function that wants pruning calls
:func:`report_value`.
"""

from trainer.sweep.hydra_sweeper.report_value import report_value

__all__ = ["report_value"]
