"""Weights into a model: read without running code, fitted by name and shape, and told what happened.

>>> from trainer.engine.weights.safe_reader import read
>>> from trainer.engine.weights.match import fit_weights
"""
