"""The model outside training: loading a checkpoint or an exported file, predicting, drawing, evaluating.

>>> from trainer import load_model
>>> for prediction in load_model("latest").predict(["a.jpg", "b.jpg"]):
...     print(prediction.names, prediction.scores)
"""
