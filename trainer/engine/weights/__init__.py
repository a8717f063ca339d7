"""Weights into a model: read without running code, fitted by name and shape, and told what happened.

>>> from trainer.engine.weights.read import read
>>> from trainer.engine.weights.fit import fit_weights
"""
