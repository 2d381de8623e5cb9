"""Questions about the graph of a network."""

from typing import Any

import keras

from fer_keras.models.layers import ClassNames


def linear_classifier(features: Any, logits: Any) -> Any | None:
    """The layer of a network whose weights make class activation maps.

    Args:
        features: Output of a functional network, a map `(batch, h, w, c)`.
        logits: Output of the same network, `(batch, classes)`.

    Returns:
        The `keras.layers.Dense` with a kernel `(c, classes)`, where the logits are linear in the
        mean of the map; None elsewhere.
    """
    classifier, tensor = None, logits
    while True:
        layer, node, _ = tensor._keras_history
        if isinstance(layer, keras.layers.Dense) and classifier is None:
            if layer.activation is not keras.activations.linear:
                return None
            classifier = layer
        elif isinstance(layer, keras.layers.GlobalAveragePooling2D):
            source = layer._inbound_nodes[node].input_tensors[0]
            return classifier if source._keras_history == features._keras_history else None
        elif not isinstance(layer, ClassNames | keras.layers.Dropout):
            return None
        tensor = layer._inbound_nodes[node].input_tensors[0]
