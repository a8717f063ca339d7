"""The model as MLflow loads it. A copy of this file travels with each logged model (models from code)."""

from __future__ import annotations

import warnings
from typing import Any

import mlflow
from mlflow.pyfunc import PythonModel

# It would take them for the signature, and has no type for "an array or text".
warnings.filterwarnings("ignore", message=".*Add type hints to the `predict` method")


class TrainedModel(PythonModel):
    """Answers for images with a checkpoint that was trained by ``trainer``, which has to be installed."""

    def load_context(self, context: Any) -> None:
        from trainer.inference.load import load_model

        self.predictor = load_model(context.artifacts["checkpoint"])

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        """One answer an image; what may be asked and what an answer holds: trainer.tracking.model_io."""
        from trainer.tracking.model_io import read_images, to_answer

        chosen = params or {}
        images = read_images(model_input, chosen.get("channels", "BGR"))
        answers = self.predictor.predict(images, threshold=float(chosen.get("threshold", 0.0)))
        return [to_answer(answer) for answer in answers]


mlflow.models.set_model(TrainedModel())
