"""Facial expression recognition in Keras 3: train, compare, calibrate, export, run on a camera.

The public names are imported when they are first used, so that `import fer_keras` is instant and
the runtime needs no TensorFlow.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "load_dataset": "fer_keras.data",
    "build_model": "fer_keras.loading.presets",
    "list_networks": "fer_keras.models",
    "build_method": "fer_keras.methods",
    "list_methods": "fer_keras.methods",
    "load_model": "fer_keras.loading",
    "list_models": "fer_keras.runtime.shipped",
    "Recognizer": "fer_keras.runtime.recognizer",
    "Experiment": "fer_keras.config",
    "track": "fer_keras.tracking.notebook",
}

__all__ = [*_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'fer_keras' has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])


# By name, so that the runtime, which imports this file too, is seen to need no Keras.
importlib.import_module("fer_keras.common.keras_layers").register_when_imported()
