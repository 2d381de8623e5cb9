"""Run exported models with NumPy, OpenCV and LiteRT: no TensorFlow and no Keras.

The names are imported when they are first used, so that `--help` is answered at once.
"""

import importlib
from typing import Any

_PUBLIC = {
    "FaceResult": "fer_keras.runtime.recognizer",
    "Recognizer": "fer_keras.runtime.recognizer",
    "default_model": "fer_keras.runtime.shipped",
}

__all__ = [*_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)
