"""Questions about the graph of a network, and the outputs that it has."""

import copy
from typing import Any, Literal

from fer_keras.common.errors import ConfigError

PlainOutput = Literal["probabilities", "logits"]

# The layer that makes probabilities of the logits of a plain network.
_PROBABILITIES = "probabilities"


def plain_network(network: Any, output: PlainOutput) -> Any:
    """A network with one output, which Keras' own `compile` and `fit` understand.

    Args:
        network: With a dict of named outputs.
        output: What it is left with.

    Returns:
        A functional model on the same graph and weights; its output is `(batch, classes)`. While
        it is in memory, `named_network` finds all outputs again.
    """
    import keras

    outputs = dict(network.output)
    result = outputs["logits"]
    if output == _PROBABILITIES:
        # float32 also under mixed precision: a loss takes the logarithm of what comes out.
        result = keras.layers.Softmax(dtype="float32", name=_PROBABILITIES)(result)
    plain = keras.Model(network.input, result, name=network.name)
    # Past Keras, which would wrap the dict and look into it for weights whenever it saves.
    object.__setattr__(plain, "named_outputs", outputs)
    return plain


def named_network(network: Any) -> Any:
    """The network with a dict of named outputs behind a plain one.

    Args:
        network: With one output, as `plain_network` makes it, in memory or read from a file; one
            that has a dict already is given back as it is.

    Returns:
        A functional model on the same graph and weights. Of a network in memory with all outputs
        that it was built with, of one from a file with `logits` alone.

    Raises:
        ConfigError: The network is of another kind.
    """
    import keras

    from fer_keras.models.layers import ClassNames

    output = getattr(network, "output", None)
    if isinstance(output, dict):
        return network
    outputs = getattr(network, "named_outputs", None)
    if outputs is None and isinstance(output, keras.KerasTensor):
        layer = output._keras_history.operation
        if isinstance(layer, keras.layers.Softmax) and layer.name == _PROBABILITIES:
            output = layer.input
            layer = output._keras_history.operation
        if isinstance(layer, ClassNames) or layer.name == "logits":
            outputs = {"logits": output}
    if outputs is None:
        raise ConfigError(
            f"Expected a network of fer_keras. Received: {getattr(network, 'name', network)!r}, "
            "whose output is neither a dict with 'logits' nor made by fer_keras.build_model."
        )
    return keras.Model(network.input, outputs, name=network.name)


def linear_classifier(features: Any, logits: Any) -> Any | None:
    """The layer of a network whose weights make class activation maps.

    Args:
        features: Output of a functional network, a map `(batch, h, w, c)`.
        logits: Output of the same network, `(batch, classes)`.

    Returns:
        The `keras.layers.Dense` with a kernel `(c, classes)`, where the logits are linear in the
        mean of the map; None elsewhere.
    """
    import keras

    from fer_keras.models.layers import ClassNames

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


def keras_only(network: Any, temperature: float = 1.0) -> Any:
    """The calibrated probabilities of a network, as far as possible by Keras' own layers.

    Args:
        network: With a dict of named outputs.
        temperature: What the logits are divided by.

    Returns:
        A functional model with one output, `(batch, classes)`, and copies of the weights. It is
        loaded without this package unless the way to the logits needs one of its layers.
    """
    import keras

    from fer_keras.models.layers import ClassNames, FusedBatchNormalization

    logits = network.output["logits"]
    if isinstance(logits._keras_history.operation, ClassNames):
        logits = logits._keras_history.operation.input
    if temperature != 1.0:
        logits = keras.layers.Rescaling(1 / temperature, name="temperature")(logits)
    answers = keras.layers.Softmax(dtype="float32", name=_PROBABILITIES)(logits)
    plain = keras.Model(network.input, answers, name=network.name)
    config = copy.deepcopy(plain.get_config())
    stack: list[Any] = [config]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            if node.get("class_name") == FusedBatchNormalization.__name__:
                # The same function of the same weights.
                node |= {
                    "class_name": "BatchNormalization",
                    "module": "keras.layers",
                    "registered_name": None,
                }
            stack.extend(node.values())
        elif isinstance(node, list | tuple):
            stack.extend(node)
    built = keras.Model.from_config(config)
    built.set_weights(plain.get_weights())
    return built
