"""Pictures of a run, drawn from its event log and curves by a process of its own: ``python -m trainer.plots <run>``.

Imports matplotlib only where something is drawn, and neither torch nor OpenMMLab.
"""
