"""A trainer for OpenMMLab: Hydra config groups compose into MMEngine configs.

>>> from trainer import load_model
>>> for prediction in load_model("latest").predict(["a.jpg", "b.jpg"]):
...     print(prediction.names, prediction.scores)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainer.core.installation import VERSION as __version__

if TYPE_CHECKING:
    from trainer.inference.load_model import load_model

__all__ = ["__version__", "load_model"]


def __getattr__(name: str) -> Any:
    """``load_model`` is imported when it is first asked for: torch and the OpenMMLab packages take seconds."""
    if name == "load_model":
        from trainer.inference.load_model import load_model

        return load_model
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
