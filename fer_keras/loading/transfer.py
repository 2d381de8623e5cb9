"""Copies the weights of a trained network into one with other classes."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fer_keras.common.errors import ConfigError
from fer_keras.common.labels import class_name
from fer_keras.loading.exported_weights import ExportedWeights
from fer_keras.models import build_network

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


def with_classes(trained: Any, class_names: Sequence[str]) -> tuple[Any, list[str]]:
    """The network of a file for other classes, with its weights wherever they fit.

    Args:
        trained: With a dict of named outputs, carrying class names.
        class_names: The new ones, in order.

    Returns:
        A network of the same graph whose classifiers have one neuron for each new class, and the
        names of layers with fresh weights. Where the answers of the trained one come from a fixed
        table of its method (words, points), a fresh layer `logits` on its `embedding` takes the
        place of it.

    Raises:
        ConfigError: The classifiers of the graph are of an unknown kind.
        ModelFileError: The trained network carries no class names.
    """
    import keras

    from fer_keras.models.layers import ClassNames, class_names_of, with_class_names

    known = class_names_of(trained)
    layers = trained._flatten_layers(recursive=False, include_self=False)
    heads = [layer for layer in layers if is_classifier(layer.name) and layer.weights]
    if not all(isinstance(layer, keras.layers.Dense | keras.layers.Conv2D) for layer in heads):
        heads = []
    if heads:
        config = copy.deepcopy(trained.get_config())
        names = {layer.name for layer in heads}
        # Networks inside, as of a fusion, keep their classes.
        flat = not any(isinstance(layer, keras.Model) for layer in layers)
        for each in config["layers"]:
            inner = each["config"]
            # Shapes follow from the graph; these are still those of the old classes.
            each.pop("build_config", None)
            if each["name"] in names:
                inner["units" if "units" in inner else "filters"] = len(class_names)
            elif flat and each["class_name"] == "Reshape" and is_classifier(each["name"]):
                # The classifiers of branches, side by side.
                inner["target_shape"] = (*inner["target_shape"][:-1], len(class_names))
            elif each["class_name"] == ClassNames.__name__:
                inner["class_names"] = list(class_names)
        network = keras.Model.from_config(config)
        copied, fresh = copy_layers(network, class_names, trained)
        if copied:
            return network, fresh
    embedding = trained.output.get("embedding")
    if embedding is None:
        raise ConfigError(
            f"network.weights: expected a classifier of {len(known)} classes that can be replaced, "
            f"or an output `embedding`. Received: network {trained.name!r} with "
            f"{', '.join(sorted(trained.output))}."
        )
    logits = keras.layers.Dense(len(class_names), name="logits")(embedding)
    outputs = {"logits": logits, "embedding": embedding}
    if "features" in trained.output:
        outputs["features"] = trained.output["features"]
    network = keras.Model(trained.input, outputs, name=trained.name)
    return with_class_names(network, class_names), ["logits"]


def fill_from_export(
    network: Any,
    class_names: Sequence[str],
    weights: ExportedWeights,
    pictures: npt.NDArray[Any] | None = None,
    wide: Any = None,
) -> tuple[list[str], str]:
    """Fills a network from an exported one; a `compact` network may be narrower than it.

    Args:
        network: Receives the weights.
        class_names: The classes of its logits, in order; one that is new keeps fresh weights.
        weights: Of the export.
        pictures: Training pictures, for the channels of a narrower network and for statistics.
        wide: The network that has these weights, where there is one; else it is built.

    Returns:
        The layers with fresh weights, and words about what else was done.

    Raises:
        ConfigError: The network is narrower and there are no pictures.
    """
    from fer_keras.models.compact import narrow
    from fer_keras.models.folded import fill_folded

    layers, how = dict(weights.layers), ""
    ours = {layer.name: layer for layer in network.layers}
    if weights.network == network.name and has_other_widths(network, layers):
        if pictures is None:
            raise ConfigError(
                "network.weights: expected pictures, by which the channels of a narrower network "
                f"are chosen. Received none: {weights.path}"
            )
        if wide is None:
            wide = build_network(
                "compact", weights.image_shape, len(weights.class_names), **weights.options
            )
            fill_folded(wide, layers)
        layers, how = narrow(layers, wide, network, pictures), ", narrowed"
    whole = True
    if "logits" in layers and "logits" in ours:
        theirs, fresh_ones = list(layers.pop("logits")), ours["logits"].get_weights()
        values, whole = _by_class(theirs, fresh_ones, weights.class_names, class_names, -1)
        if values is not None:
            layers["logits"] = (values[0], values[1])
    fresh = fill_folded(network, layers, pictures)
    if not whole and "logits" not in fresh:
        fresh = [*fresh, "logits"]
    return fresh, how


def has_other_widths(network: Any, layers: Mapping[str, Any]) -> bool:
    """Whether a `compact` network has layers of these names with other numbers of channels.

    Args:
        network: Of `build_network`.
        layers: Name of a layer -> its kernel and its bias.
    """
    ours = {layer.name: layer for layer in network.layers}
    return network.name == "compact" and any(
        name in ours and tuple(ours[name].kernel.shape) != kernel.shape
        for name, (kernel, _) in layers.items()
        if name != "logits"
    )


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
