"""Layers and building blocks that more than one network uses."""

from collections.abc import Sequence
from typing import Any

import keras

from fer_keras.common.errors import ConfigError, ModelFileError
from fer_keras.models.torch_maps import keep_maps_in_place

# Here, since every method needs this module, and so every training.
if keras.backend.backend() == "torch":
    keep_maps_in_place()

# Of ImageNet's pixels in 0..1, red, green and blue.
_IMAGENET_MEAN: tuple[float, ...] = (0.485, 0.456, 0.406)
_IMAGENET_STD: tuple[float, ...] = (0.229, 0.224, 0.225)

ACTIVATIONS = ("relu", "leaky_relu", "prelu", "elu", "silu")


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


@keras.saving.register_keras_serializable(package="fer_keras")
class MirrorImage(keras.layers.Layer):
    """Turns pictures `(batch, ..., height, width, channels)` left to right."""

    def call(self, images: Any) -> Any:
        """Returns the mirrored pictures, of the same shape."""
        return keras.ops.flip(images, axis=-2)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Any:
        """Returns the input shape."""
        return input_shape


@keras.saving.register_keras_serializable(package="fer_keras")
class FrozenEncoder(keras.layers.Layer):
    """An encoder that is used as it is: no weight is trained, no moving statistic drifts.

    `trainable = False` alone leaves dropout on, and `training=False` given in a functional graph is
    replaced by the value with which the whole graph is called; so the encoder is called here.

    Args:
        encoder: `keras.Model` from pictures `(batch, height, width, channels)`, raw pixels 0..255,
            to vectors `(batch, d)`; it is frozen.
        **kwargs: Options of `keras.layers.Layer`.
    """

    def __init__(self, encoder: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        encoder.trainable = False
        self.encoder = encoder

    def call(self, pictures: Any) -> Any:
        """Returns `(batch, d)` of one picture each, `(batch, k, d)` of `(batch, k, h, w, c)`."""
        if len(pictures.shape) == 4:
            return self.encoder(pictures, training=False)
        number, *picture_shape = pictures.shape[1:]
        flat = keras.ops.reshape(pictures, (-1, *picture_shape))
        vectors = self.encoder(flat, training=False)
        return keras.ops.reshape(vectors, (-1, number, vectors.shape[-1]))

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Any:
        """Returns `(batch, d)` or `(batch, k, d)`."""
        return (*input_shape[:-3], self.encoder.output.shape[-1])

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments from which Keras rebuilds the layer."""
        return {
            **super().get_config(),
            "encoder": keras.saving.serialize_keras_object(self.encoder),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "FrozenEncoder":
        """Rebuilds the layer, its encoder first; Keras' safe mode holds for both."""
        encoder = keras.saving.deserialize_keras_object(config["encoder"])
        return cls(**{**config, "encoder": encoder})


def every_nth(x: Any, strides: int, *, name: str) -> Any:
    """Keeps every n-th row and column; a 1x1 convolution of them is the strided one.

    oneDNN 3.7, on which TensorFlow convolves on CPUs, writes outside its buffer in the gradient of
    a strided 1x1 convolution of few channels: below 16 with AVX-512, below 8 with AVX2. That ends
    the process or makes the gradient wrong.

    Args:
        x: Feature map `(batch, h, w, c)`.
        strides: n, in pixels.
        name: Name of the layer.

    Returns:
        Feature map `(batch, ceil(h / n), ceil(w / n), c)`.
    """
    return keras.layers.AveragePooling2D(1, strides=strides, name=name)(x)


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
    if strides > 1 and kernel_size == 1:
        x = every_nth(x, strides, name=f"{name}_every_nth")
        strides = 1
    elif strides > 1:
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


def imagenet_normalised(image: Any) -> Any:
    """Pixels less ImageNet's mean, over its deviation; their means over the colours for grey ones.

    Args:
        image: `(batch, h, w, 1 or 3)`, 0..255.

    Returns:
        Tensor of the same shape.
    """
    mean, std = _IMAGENET_MEAN, _IMAGENET_STD
    if image.shape[-1] == 1:
        mean, std = (sum(mean) / 3,), (sum(std) / 3,)
    return keras.layers.Rescaling(
        scale=[1 / (255 * s) for s in std],
        offset=[-m / s for m, s in zip(mean, std, strict=True)],
        name="scale",
    )(image)


def scaled(image: Any, normalisation: str) -> Any:
    """Pixels in 0..1.

    Args:
        image: `(batch, h, w, c)`, 0..255.
        normalisation: `"imagenet"` for `imagenet_normalised`, `"none"` for no more than that.

    Returns:
        Tensor of the same shape.
    """
    if normalisation == "imagenet":
        return imagenet_normalised(image)
    return keras.layers.Rescaling(1 / 255, name="scale")(image)


@keras.saving.register_keras_serializable(package="fer_keras")
class Resizing(keras.layers.Resizing):
    """Keras' layer, which leaves it to the caller whether a network is trained.

    In Keras' layers for pictures `training` is True where nothing is said, and what a layer is
    called with holds for all layers behind it: `network(pictures)` would normalise by the batch and
    change the statistics.
    """

    def call(self, data: Any, training: bool | None = None) -> Any:
        """Returns the pictures in the new size; see Keras' layer."""
        return super().call(data, training=bool(training))


@keras.saving.register_keras_serializable(package="fer_keras")
class FusedBatchNormalization(keras.layers.BatchNormalization):
    """Keras' layer, on TensorFlow and PyTorch trained by one operation in the place of a dozen.

    The function of the weights, and the statistics that it keeps, are Keras'. Keras works mean,
    variance and result out step by step, each of which reads the map anew, forwards and backwards.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Returns the normalised maps, of the same shape; see Keras' layer."""
        fused = (
            keras.backend.backend() in _FUSED
            and training
            and self.trainable
            and not self.synchronized
            and not self.renorm
            and mask is None
            and len(inputs.shape) == 4
            and self.axis in (-1, 3)
            and self.scale
            and self.center
        )
        if not fused:
            return super().call(inputs, training=training, mask=mask)
        gamma, beta = (keras.ops.cast(each, "float32") for each in (self.gamma, self.beta))
        outputs, mean, variance = _FUSED[keras.backend.backend()](inputs, gamma, beta, self.epsilon)
        keep = self.momentum
        self.moving_mean.assign(self.moving_mean * keep + mean * (1 - keep))
        self.moving_variance.assign(self.moving_variance * keep + variance * (1 - keep))
        return outputs


def _normalise_tensorflow(x: Any, gamma: Any, beta: Any, epsilon: float) -> tuple[Any, Any, Any]:
    """The normalised maps, and mean and variance of the channels."""
    import tensorflow as tf

    outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=x, scale=gamma, offset=beta, mean=[], variance=[], epsilon=epsilon, is_training=True
    )
    # The operation divides the variance that it reports by n - 1.
    count = tf.cast(tf.size(x) / tf.size(mean), tf.float32)
    return outputs, mean, variance * (count - 1) / count


def _normalise_torch(x: Any, gamma: Any, beta: Any, epsilon: float) -> tuple[Any, Any, Any]:
    """The normalised maps, and mean and variance of the channels, which carry no gradient."""
    import torch

    outputs, mean, deviation_inverse = torch.native_batch_norm(
        x.permute(0, 3, 1, 2), gamma, beta, None, None, True, 0.0, epsilon
    )
    variance = deviation_inverse.detach() ** -2 - epsilon
    return outputs.permute(0, 2, 3, 1), mean.detach(), variance


_FUSED = {"tensorflow": _normalise_tensorflow, "torch": _normalise_torch}


def batch_norm(x: Any, *, name: str, gamma: str = "ones") -> Any:
    """Batch normalisation with PyTorch's constants (momentum 0.9, epsilon 1e-5 in Keras' terms).

    Args:
        x: Feature map `(batch, h, w, c)`.
        name: Name of the layer.
        gamma: Initialiser of the scale.

    Returns:
        Tensor of the same shape.
    """
    return FusedBatchNormalization(momentum=0.9, epsilon=1e-5, gamma_initializer=gamma, name=name)(
        x
    )


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
        activation: One of `ACTIVATIONS`, or `None`.
        name: Name of the convolution and stem of the other names.

    Returns:
        Feature map `(batch, ceil(h / strides), ceil(w / strides), filters)`.
    """
    x = conv(x, filters, kernel_size, strides=strides, name=name)
    x = batch_norm(x, name=f"{name}_bn")
    return x if activation is None else activate(x, activation, name=name)


def activate(x: Any, activation: str, *, name: str) -> Any:
    """One of `ACTIVATIONS`.

    Args:
        x: `(batch, h, w, c)` or `(batch, d)`.
        activation: `"relu"`; `"leaky_relu"`, a hundredth below zero; `"prelu"`, a learned slope
            below zero for each channel (He et al., ICCV 2015), which starts at 0.25; `"elu"`
            (Clevert et al., ICLR 2016); `"silu"` (Elfwing et al., 2018).
        name: Of what stands before it.

    Returns:
        Tensor of the same shape.
    """
    if activation == "leaky_relu":
        return keras.layers.LeakyReLU(0.01, name=f"{name}_leaky_relu")(x)
    if activation == "prelu":
        places = list(range(1, len(x.shape) - 1))
        slope = keras.initializers.Constant(0.25)
        return keras.layers.PReLU(
            alpha_initializer=slope, shared_axes=places, name=f"{name}_prelu"
        )(x)
    return keras.layers.Activation(activation, name=f"{name}_{activation}")(x)


@keras.saving.register_keras_serializable(package="fer_keras")
class ClassVectors(keras.layers.Layer):
    """Cosines between unit vectors `(batch, d)` and the fixed unit vector of every class.

    The vectors are a non-trainable weight, so they are saved with the network; give them with
    `set_vectors`. The words they stand for are in the config, so a loaded network can say them.

    Args:
        words: The word of each class, in the order of the classes.
        space: What the vectors are: `"word"`, `"centred"` (their mean is taken off), `"random"` or
            `"valence_arousal"`.
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


@keras.saving.register_keras_serializable(package="fer_keras")
class ChannelPool(keras.layers.Layer):
    """The largest value or the mean of the channels at each place of a map.

    Args:
        reduction: `"max"` or `"mean"`.
        **kwargs: Options of `keras.layers.Layer`.

    Raises:
        ConfigError: An unknown reduction.
    """

    def __init__(self, reduction: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if reduction not in ("max", "mean"):
            raise ConfigError(
                "Invalid value for `reduction`. Expected 'max' or 'mean'. Received: "
                f"reduction={reduction!r}"
            )
        self.reduction = reduction

    def call(self, inputs: Any) -> Any:
        """Returns `(batch, h, w, 1)` of a feature map `(batch, h, w, c)`."""
        reduce = keras.ops.max if self.reduction == "max" else keras.ops.mean
        return reduce(inputs, axis=-1, keepdims=True)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Any:
        """Returns `(batch, h, w, 1)`."""
        return (*input_shape[:-1], 1)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments from which Keras rebuilds the layer."""
        return {**super().get_config(), "reduction": self.reduction}


def cbam(x: Any, *, reduction: int = 16, name: str) -> tuple[Any, Any, Any]:
    """Convolutional block attention: a gate for every channel, then one for every place.

    Woo et al., "CBAM: Convolutional Block Attention Module" (ECCV 2018), section 3.

    Args:
        x: Feature map `(batch, h, w, c)`.
        reduction: Channels for one hidden unit of the channel gate.
        name: Stem of the layers' names.

    Returns:
        The gated map `(batch, h, w, c)`, the channel gate `(batch, c)` and the spatial gate
        `(batch, h, w, 1)`, both 0..1.
    """
    filters = x.shape[-1]
    # The narrowest published layer has 64 / 16 units; fewer, in narrow versions, can all be silent.
    hidden = keras.layers.Dense(
        max(4, filters // reduction), activation="relu", name=f"{name}_hidden"
    )
    weigh = keras.layers.Dense(filters, name=f"{name}_weigh")
    mean = keras.layers.GlobalAveragePooling2D(name=f"{name}_mean")(x)
    largest = keras.layers.GlobalMaxPooling2D(name=f"{name}_max")(x)
    channel = keras.layers.Add(name=f"{name}_sum")([weigh(hidden(mean)), weigh(hidden(largest))])
    channel = keras.layers.Activation("sigmoid", name=f"{name}_channel_gate")(channel)
    columns = keras.layers.Reshape((1, 1, filters), name=f"{name}_channel_column")(channel)
    x = keras.layers.Multiply(name=f"{name}_channel")([x, columns])
    places = [ChannelPool(kind, name=f"{name}_channel_{kind}")(x) for kind in ("max", "mean")]
    spatial = keras.layers.Concatenate(name=f"{name}_places")(places)
    spatial = conv(spatial, 1, 7, name=f"{name}_conv")
    # PyTorch's momentum 0.01, where all other layers have 0.1.
    spatial = FusedBatchNormalization(momentum=0.99, epsilon=1e-5, name=f"{name}_conv_bn")(spatial)
    spatial = keras.layers.Activation("sigmoid", name=f"{name}_spatial_gate")(spatial)
    return keras.layers.Multiply(name=f"{name}_spatial")([x, spatial]), channel, spatial


def stack(vectors: Sequence[Any], *, name: str) -> Any:
    """Lays vectors of one length beside each other.

    Args:
        vectors: n tensors `(batch, d)`.
        name: Name of the last layer and stem of the other's.

    Returns:
        Tensor `(batch, n, d)`.
    """
    joined = keras.layers.Concatenate(name=f"{name}_joined")(vectors)
    return keras.layers.Reshape((len(vectors), vectors[0].shape[-1]), name=name)(joined)
