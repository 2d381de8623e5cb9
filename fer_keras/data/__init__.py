"""Data sets by name: describe, prepare, load. Importing this needs no TensorFlow."""

from typing import Any

from fer_keras.data.load import (
    describe,
    find_source,
    is_available,
    load_samples,
    prepare,
    require_source,
)
from fer_keras.data.registry import list_datasets
from fer_keras.data.samples import DatasetInfo, Samples

__all__ = [
    "DatasetInfo",
    "Samples",
    "describe",
    "find_source",
    "is_available",
    "list_datasets",
    "load_dataset",
    "load_samples",
    "prepare",
    "require_source",
]


def __getattr__(name: str) -> Any:
    if name == "load_dataset":  # its module imports TensorFlow
        from fer_keras.data.pipeline import load_dataset

        return load_dataset
    raise AttributeError(f"module 'fer_keras.data' has no attribute {name!r}")
