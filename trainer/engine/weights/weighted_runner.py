"""The two places in mmengine's Runner where weights come in."""

from __future__ import annotations

from mmengine.runner import Runner

from trainer.engine.weights.start import StartingWeights


class WeightedRunner(Runner):
    """Runner whose model starts from :class:`StartingWeights`; without them, as mmengine's."""

    starting: StartingWeights | None = None

    def _init_model_weights(self) -> None:
        if self.starting is None:
            super()._init_model_weights()
        else:
            self.starting.initialise(super()._init_model_weights)

    def load_or_resume(self) -> None:
        super().load_or_resume()
        if self.starting is not None:
            self.starting.load(self)
