"""Copies the weights of a trained network into one with other classes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fer_keras.common.labels import class_name

_Arrays = list[npt.NDArray[Any]]

# Layers with a neuron for each class, and one that reads such neurons.
_CLASSIFIERS = ("logits", "class_maps")
_READERS = ("_valence_arousal",)


def copy_layers(
    network: Any, class_names: Sequence[str], trained: Any
) -> tuple[list[str], list[str]]:
    """Copies the layers whose names and shapes are the same, and classifiers class by class.

    Classifiers (`logits`, `branch1_logits`, `class_maps`) and the neurons that read them
    (`branch1_valence_arousal`) are matched by the names of the classes. A class that the trained
    network does not know keeps its fresh weights.

    Args:
        network: Receives the weights.
        class_names: The classes of its logits, in order.
        trained: The trained network; where its classifiers are asked for, it carries class names.

    Returns:
        The names of the layers that were filled, and of those that were not or not wholly.

    Raises:
        ModelFileError: The trained network carries no class names.
    """
    from fer_keras.models.layers import class_names_of

    theirs = {layer.name: layer.get_weights() for layer in trained.layers}
    copied: list[str] = []
    fresh: list[str] = []
    for layer in network.layers:
        if not layer.weights:
            continue
        values, whole = theirs.get(layer.name), True
        if values is not None and layer.name.endswith((*_CLASSIFIERS, *_READERS)):
            axis = -1 if is_classifier(layer.name) else 0
            known = class_names_of(trained)
            values, whole = _by_class(values, layer.get_weights(), known, class_names, axis)
        shapes = [tuple(weight.shape) for weight in layer.weights]
        fits = values is not None and [value.shape for value in values] == shapes
        if fits:
            layer.set_weights(values)
        (copied if fits and whole else fresh).append(layer.name)
    return copied, fresh


def is_classifier(layer: str) -> bool:
    """Whether a layer has a neuron for each class, by its name.

    Args:
        layer: Such as `branch1_logits`.
    """
    return layer.endswith(_CLASSIFIERS)


def _by_class(
    theirs: _Arrays, ours: _Arrays, known: Sequence[str], wanted: Sequence[str], axis: int
) -> tuple[_Arrays | None, bool]:
    """Kernel and bias with our classes along an axis, and whether all of them are known there."""
    places = [class_name(name) for name in known]
    names = [class_name(name) for name in wanted]
    pairs = [(names.index(name), places.index(name)) for name in names if name in places]
    if not pairs or len(theirs) != len(ours):
        return None, False
    to, source = np.array(pairs).T
    values = [value.copy() for value in ours]
    # A bias has classes where the outputs are classes.
    by_class = len(values) if axis == -1 else 1
    for number, (value, other) in enumerate(zip(values, theirs, strict=True)):
        if number >= by_class:
            values[number] = other
        elif np.delete(value.shape, axis).tolist() != np.delete(other.shape, axis).tolist():
            return None, False
        elif axis == -1:
            value[..., to] = other[..., source]
        else:
            value[to] = other[source]
    return values, len(pairs) == len(names)
