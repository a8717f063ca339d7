"""Hydra plug-in: ``hydra/sweeper=openmmlab_trainer`` for any Hydra application. See docs/sweeps.md."""
