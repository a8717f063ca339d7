"""The model as MLflow loads it. A copy of this file travels with each logged model (models from code)."""

from __future__ import annotations

from typing import Any

import mlflow
import numpy as np
from mlflow.pyfunc import PythonModel


class TrainedModel(PythonModel):
    """Answers for images with a checkpoint that was trained by ``trainer``, which has to be installed."""

    def load_context(self, context: Any) -> None:
        from trainer.inference.load_model import load_model

        self.predictor = load_model(context.artifacts["checkpoint"])

    # MLflow has no type for "an array or text"; this is one that it makes no signature of.
    def predict(self, context: Any, model_input: np.ndarray, params: dict[str, Any] | None = None) -> Any:
        """One answer an image; what may be asked and what an answer holds: trainer.tracking.model_io."""
        from trainer.tracking.model_io import read_images, to_answer

        chosen = params or {}
        images = read_images(model_input, chosen.get("channels", "BGR"))
        answers = self.predictor.predict(images, threshold=float(chosen.get("threshold", 0.0)))
        return [to_answer(answer) for answer in answers]


mlflow.models.set_model(TrainedModel())
