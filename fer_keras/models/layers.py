"""Layers and building blocks that more than one network uses."""

from collections.abc import Sequence
from typing import Any

import keras

from fer_keras.errors import ConfigError, ModelFileError


@keras.saving.register_keras_serializable(package="fer_keras")
class ClassNames(keras.layers.Layer):
    """Identity on `logits` that carries the ordered class names inside the model file.

    Args:
        class_names: Names in the order of the logits' last axis.
        **kwargs: Options of `keras.layers.Layer`.

    Raises:
        ConfigError: If the names are empty or not unique, or do not fit the logits.
    """

    def __init__(self, class_names: Sequence[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        names = () if isinstance(class_names, str) else tuple(class_names)
        if (
            not names
            or len(set(names)) != len(names)
            or not all(isinstance(name, str) and name for name in names)
        ):
            raise ConfigError(
                "Invalid value for `class_names`. Expected a sequence of different names. "
                f"Received: class_names={class_names!r}"
            )
        self.class_names = names

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Checks that there is one name for every logit."""
        if input_shape[-1] != len(self.class_names):
            raise ConfigError(
                f"The network has {input_shape[-1]} logits but {len(self.class_names)} class names "
                f"were given: {', '.join(self.class_names)}."
            )
        super().build(input_shape)

    def call(self, logits: Any) -> Any:
        """Returns `logits` `(batch, classes)` unchanged."""
        return logits

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Any:
        """Returns the input shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments from which Keras rebuilds the layer."""
        return {**super().get_config(), "class_names": list(self.class_names)}


def with_class_names(network: Any, class_names: Sequence[str]) -> Any:
    """Makes a network carry the names of its classes.

    Args:
        network: Functional model whose outputs are a dict with `logits` `(batch, classes)`.
        class_names: Names in the order of the logits.

    Returns:
        A model on the same graph and the same weights, whose `logits` pass a `ClassNames` layer
        (which replaces an earlier one); the other outputs are unchanged.

    Raises:
        ConfigError: If the network has no `logits` or their number is not that of the names.
    """
    outputs = network.output
    if not isinstance(outputs, dict) or "logits" not in outputs:
        found = sorted(outputs) if isinstance(outputs, dict) else type(outputs).__name__
        raise ConfigError(
            "The network cannot carry class names. Expected a dict of outputs with 'logits'. "
            f"Received: {found}"
        )
    logits = outputs["logits"]
    producer = logits._keras_history.operation
    if isinstance(producer, ClassNames):
        logits = producer.input
    named = ClassNames(class_names, name="class_names")(logits)
    return keras.Model(network.input, {**outputs, "logits": named}, name=network.name)


def class_names_of(model: Any) -> tuple[str, ...]:
    """Reads the class names that a model carries.

    Args:
        model: A Keras model; nested models are searched too.

    Returns:
        The names in the order of the logits.

    Raises:
        ModelFileError: If the model carries none, or more than one set that differ.
    """
    layers = model._flatten_layers()
    found = {layer.class_names for layer in layers if isinstance(layer, ClassNames)}
    if len(found) != 1:
        what = "no class names" if not found else f"{len(found)} different sets of class names"
        raise ModelFileError(
            f"Model {model.name!r} carries {what}; expected one. Add them with "
            "`fer_keras.models.layers.with_class_names(network, class_names)`."
        )
    return found.pop()


def conv(
    x: Any,
    filters: int,
    kernel_size: int,
    *,
    strides: int = 1,
    use_bias: bool = False,
    name: str,
) -> Any:
    """Convolution with the symmetric padding of PyTorch.

    Keras' `padding="same"` pads only bottom and right where an even size is halved; `k // 2`
    pixels on every side keep the centres of the kernels where the papers have them.

    Args:
        x: Feature map `(batch, h, w, c)`.
        filters: Number of output channels.
        kernel_size: Odd kernel size in pixels.
        strides: Step in pixels.
        use_bias: Whether a bias is added (needless before batch normalisation).
        name: Name of the layer.

    Returns:
        Feature map `(batch, ceil(h / strides), ceil(w / strides), filters)`.
    """
    padding = "same"
    if strides > 1 and kernel_size > 1:
        x = keras.layers.ZeroPadding2D(kernel_size // 2, name=f"{name}_pad")(x)
        padding = "valid"
    return keras.layers.Conv2D(
        filters,
        kernel_size,
        strides=strides,
        padding=padding,
        use_bias=use_bias,
        kernel_initializer="he_normal",
        name=name,
    )(x)


def batch_norm(x: Any, *, name: str, gamma: str = "ones") -> Any:
    """Batch normalisation with PyTorch's constants (momentum 0.9, epsilon 1e-5 in Keras' terms).

    Args:
        x: Feature map `(batch, h, w, c)`.
        name: Name of the layer.
        gamma: Initialiser of the scale.

    Returns:
        Tensor of the same shape.
    """
    return keras.layers.BatchNormalization(
        momentum=0.9, epsilon=1e-5, gamma_initializer=gamma, name=name
    )(x)


def conv_bn(
    x: Any,
    filters: int,
    kernel_size: int,
    *,
    strides: int = 1,
    activation: str | None = "relu",
    name: str,
) -> Any:
    """Convolution, batch normalisation and activation.

    Args:
        x: Feature map `(batch, h, w, c)`.
        filters: Number of output channels.
        kernel_size: Odd kernel size in pixels.
        strides: Step in pixels.
        activation: Keras activation, or `None`.
        name: Name of the convolution and stem of the other names.

    Returns:
        Feature map `(batch, ceil(h / strides), ceil(w / strides), filters)`.
    """
    x = conv(x, filters, kernel_size, strides=strides, name=name)
    x = batch_norm(x, name=f"{name}_bn")
    if activation is None:
        return x
    return keras.layers.Activation(activation, name=f"{name}_{activation}")(x)


@keras.saving.register_keras_serializable(package="fer_keras")
class ClassVectors(keras.layers.Layer):
    """Cosines between unit vectors `(batch, d)` and the fixed unit vector of every class.

    The vectors are a non-trainable weight, so they are saved with the network; give them with
    `set_vectors`. The words they stand for are in the config, so a loaded network can say them.

    Args:
        words: The word of each class, in the order of the classes.
        space: What the vectors are: `"word"`, `"centred"` (their mean is taken off) or `"random"`.
        **kwargs: Options of `keras.layers.Layer`.
    """

    def __init__(self, words: Sequence[str], space: str = "word", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.words = tuple(words)
        self.space = space

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Creates the table `(classes, d)`."""
        self.vectors = self.add_weight(
            name="vectors",
            shape=(len(self.words), input_shape[-1]),
            initializer="zeros",
            trainable=False,
        )
        super().build(input_shape)

    def set_vectors(self, vectors: Any) -> None:
        """Fills the table.

        Args:
            vectors: `(classes, d)`, rows of length 1.
        """
        self.vectors.assign(vectors)

    def call(self, inputs: Any) -> Any:
        """Returns the cosines `(batch, classes)`, -1..1, of unit vectors `(batch, d)`."""
        return keras.ops.matmul(inputs, keras.ops.transpose(self.vectors))

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Any:
        """Returns `(batch, classes)`."""
        return (*input_shape[:-1], len(self.words))

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments from which Keras rebuilds the layer."""
        return {**super().get_config(), "words": list(self.words), "space": self.space}
