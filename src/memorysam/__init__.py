"""Multi-modal semantic segmentation with SAM2: several registered sensors as the frames of one video.

import memorysam
model = memorysam.load("runs/mine")
result = model.predict({"rgb": "a.png", "depth": "b.png"})
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from memorysam.errors import MemorySAMError
    from memorysam.opening import load
    from memorysam.predict import Predictor
    from memorysam.prediction import Prediction
    from memorysam.spec import Classes, Modality, Task

__version__ = "0.1.0"
__all__ = ["Classes", "MemorySAMError", "Modality", "Prediction", "Predictor", "Task", "load"]

_HOME = {
    "Classes": "spec",
    "MemorySAMError": "errors",
    "Modality": "spec",
    "Prediction": "prediction",
    "Predictor": "predict",
    "Task": "spec",
    "load": "opening",
}


def __getattr__(name: str) -> Any:
    """Import late: the command line must start at once, and PyTorch takes seconds."""
    if name in _HOME:
        from importlib import import_module

        return getattr(import_module(f"memorysam.{_HOME[name]}"), name)
    raise AttributeError(f"module 'memorysam' has no attribute {name!r}")
