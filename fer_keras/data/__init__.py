"""Data sets by name: describe, prepare, load.

The names are imported when they are first used: `load_dataset` needs TensorFlow, the others do not.
"""

import importlib
from typing import Any

from fer_keras.common.installed import require

_PUBLIC = {
    "DatasetInfo": "fer_keras.data.samples",
    "Samples": "fer_keras.data.samples",
    "describe": "fer_keras.data.load",
    "find_source": "fer_keras.data.load",
    "is_available": "fer_keras.data.load",
    "list_datasets": "fer_keras.data.registry",
    "load_dataset": "fer_keras.data.pipeline",
    "load_samples": "fer_keras.data.load",
    "prepare": "fer_keras.data.load",
    "require_source": "fer_keras.data.load",
}

__all__ = [*_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "load_dataset":
        # Here: its module imports TensorFlow.
        require("load_dataset", "tensorflow", "tensorflow_datasets")
    return getattr(importlib.import_module(_PUBLIC[name]), name)
