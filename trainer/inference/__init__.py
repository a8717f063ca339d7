"""The model outside training: loading a checkpoint, predicting, drawing, evaluating.

>>> from trainer.inference.load import load_model
>>> for prediction in load_model("latest").predict(["a.jpg", "b.jpg"]):
...     print(prediction.names, prediction.scores)
"""
