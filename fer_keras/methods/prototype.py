"""A latent point for each class: the nearest one is predicted, and a decoder may draw the face.

The idea of an encoder and decoder with one point for each class comes from a project write-up
without a source; the classifier is that of Snell, Swersky and Zemel, "Prototypical Networks for
Few-shot Learning" (NeurIPS 2017), section 2.3, with points that are learned.
"""

from collections.abc import Sequence
from typing import Annotated, Any

import keras
from keras import ops

from fer_keras.common.constraints import Choices, Count, NotNegative, Positive
from fer_keras.common.errors import ConfigError
from fer_keras.methods.base import Method, check_outputs, soft_cross_entropy

DECODERS = ("convolutional", "transformer")
_DECODER_FILTERS = (32, 16, 8)
# Of the transformer: side of a patch in pixels, length of its vector, heads and blocks.
_PATCH, _WIDTH, _HEADS, _BLOCKS = 8, 64, 4, 2


@keras.saving.register_keras_serializable(package="fer_keras")
class ClassPoints(keras.layers.Layer):
    """Logits that fall with the squared distance from a learned point for each class.

    Args:
        num_classes: Number of points.
        temperature: What the squared distances are divided by, above 0.
        **kwargs: Options of `keras.layers.Layer`.
    """

    def __init__(self, num_classes: int, temperature: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.temperature = temperature

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Creates the points `(classes, d)`."""
        self.points = self.add_weight(
            name="points",
            shape=(self.num_classes, input_shape[-1]),
            initializer=keras.initializers.RandomNormal(stddev=0.1),
        )
        super().build(input_shape)

    def call(self, latent: Any) -> Any:
        """Returns `-|z - point|^2 / temperature`, `(batch, classes)`, of `(batch, d)`."""
        differences = ops.expand_dims(latent, 1) - self.points
        return -ops.sum(ops.square(differences), axis=-1) / self.temperature

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Any:
        """Returns `(batch, classes)`."""
        return (input_shape[0], self.num_classes)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments from which Keras rebuilds the layer."""
        own = {"num_classes": self.num_classes, "temperature": self.temperature}
        return {**super().get_config(), **own}


class Prototype(Method):
    """Trains `logits` by cross-entropy and, with a decoder, latent points to hold the picture.

    Attributes:
        decoder: From `embedding` `(batch, d)` to pictures `(batch, height, width, channels)` with
            0..1 for 0..255; None without one. It is trained and checkpointed with the network, and
            neither saved nor exported with it.
    """

    required_outputs = ("logits", "embedding")

    def __init__(
        self,
        network: keras.Model,
        class_names: Sequence[str],
        *,
        reconstruction: float,
        decoder: str,
    ) -> None:
        """Wraps a network that already ends in class points; `build` makes one."""
        super().__init__(network, class_names)
        self.reconstruction = reconstruction
        self.decoder: Any = None
        if reconstruction:
            height, width, channels = network.inputs[0].shape[1:]
            build = build_transformer if decoder == "transformer" else build_decoder
            self.decoder = build(network.output["embedding"].shape[-1], (height, width, channels))

    def call(self, inputs: Any, training: bool | None = None) -> dict[str, Any]:
        """The network's outputs, and while training `reconstruction_error`; see `Method.call`."""
        outputs = super().call(inputs, training=training)
        if training and self.decoder is not None:
            drawn = ops.cast(self.decoder(outputs["embedding"], training=training), "float32")
            error = ops.square(drawn - ops.cast(inputs, "float32") / 255.0)
            outputs["reconstruction_error"] = ops.mean(error, axis=(1, 2, 3))
        return outputs

    def sample_losses(self, y: Any, outputs: dict[str, Any], training: bool) -> Any:
        """Cross-entropy and, while training, weighed squared error of the picture, `(batch,)`."""
        losses = soft_cross_entropy(y, outputs["logits"])
        if training and self.decoder is not None:
            losses = losses + self.reconstruction * outputs["reconstruction_error"]
        return losses


def build_decoder(dimensions: int, image_shape: tuple[int, int, int]) -> keras.Model:
    """A small network from latent points to pictures.

    Args:
        dimensions: Length of a point.
        image_shape: `(height, width, channels)`.

    Returns:
        From `(batch, dimensions)` to `(batch, height, width, channels)`, about 0..1: a map of an
        eighth of the size that is doubled three times.
    """
    height, width, channels = image_shape
    rows, columns = -(-height // 8), -(-width // 8)
    point = keras.Input((dimensions,), name="point")
    x = keras.layers.Dense(rows * columns * _DECODER_FILTERS[0], activation="relu", name="spread")(
        point
    )
    x = keras.layers.Reshape((rows, columns, _DECODER_FILTERS[0]), name="map")(x)
    for number, filters in enumerate(_DECODER_FILTERS, start=1):
        x = keras.layers.UpSampling2D(2, name=f"double{number}")(x)
        x = keras.layers.Conv2D(
            filters, 3, padding="same", activation="relu", name=f"decoder{number}"
        )(x)
    x = keras.layers.Conv2D(channels, 3, padding="same", name="picture")(x)
    cut = ((0, 8 * rows - height), (0, 8 * columns - width))
    return keras.Model(point, keras.layers.Cropping2D(cut, name="cut")(x), name="decoder")


def build_transformer(dimensions: int, image_shape: tuple[int, int, int]) -> keras.Model:
    """A small transformer from latent points to pictures, patch by patch.

    Every patch of 8x8 pixels has a vector that is a linear function of the point; two blocks of
    attention (Vaswani et al., NeurIPS 2017, normalised before each part) let patches look at each
    other, and a linear layer draws each of them.

    Args:
        dimensions: Length of a point.
        image_shape: `(height, width, channels)`.

    Returns:
        From `(batch, dimensions)` to `(batch, height, width, channels)`, about 0..1.
    """
    height, width, channels = image_shape
    rows, columns = -(-height // _PATCH), -(-width // _PATCH)
    layers = keras.layers
    point = keras.Input((dimensions,), name="point")
    x = layers.Dense(rows * columns * _WIDTH, name="spread")(point)
    x = layers.Reshape((rows * columns, _WIDTH), name="tokens")(x)
    for block in range(1, _BLOCKS + 1):
        y = layers.LayerNormalization(epsilon=1e-6, name=f"block{block}_norm1")(x)
        attention = layers.MultiHeadAttention(
            _HEADS, _WIDTH // _HEADS, name=f"block{block}_attention"
        )
        x = layers.Add(name=f"block{block}_add1")([x, attention(y, y)])
        y = layers.LayerNormalization(epsilon=1e-6, name=f"block{block}_norm2")(x)
        y = layers.Dense(2 * _WIDTH, activation="gelu", name=f"block{block}_dense1")(y)
        y = layers.Dense(_WIDTH, name=f"block{block}_dense2")(y)
        x = layers.Add(name=f"block{block}_add2")([x, y])
    x = layers.LayerNormalization(epsilon=1e-6, name="norm")(x)
    x = layers.Dense(_PATCH * _PATCH * channels, name="patches")(x)
    x = layers.Reshape((rows, columns, _PATCH, _PATCH, channels), name="grid")(x)
    x = layers.Permute((1, 3, 2, 4, 5), name="lines")(x)
    x = layers.Reshape((_PATCH * rows, _PATCH * columns, channels), name="picture")(x)
    cut = ((0, _PATCH * rows - height), (0, _PATCH * columns - width))
    return keras.Model(point, layers.Cropping2D(cut, name="cut")(x), name="decoder")


def build(
    network: keras.Model,
    class_names: Sequence[str],
    *,
    dimensions: Count = 32,
    temperature: Positive = 1.0,
    reconstruction: NotNegative = 0.0,
    decoder: Annotated[str, Choices(DECODERS)] = "convolutional",
) -> Prototype:
    """Puts a latent space with a learned point for each class on a network.

    The loss is the cross-entropy of `logits = -|z - point|^2 / temperature` and, with a decoder,
    `reconstruction` times the mean squared error of the picture it draws from `z` (grey levels in
    0..1). The classifier of the given network is not part of the new graph.

    Args:
        network: Functional network of single pictures with the output `embedding` `(batch, d)`.
        class_names: The ordered names of the classes.
        dimensions: Of the latent space, at least 1.
        temperature: Squared distance that a logit falls by 1 for, above 0.
        reconstruction: Weight of the decoder's error, not negative; 0 = no decoder. An error is
            about 0.05 at first, so weights of 1 to 10 are felt.
        decoder: `"convolutional"`, or `"transformer"`, with `vit_se` an encoder-decoder with
            attention on both sides.

    Returns:
        The method. Its network has the outputs `logits`, `embedding` `(batch, dimensions)` (the
        latent point) and `features` where the given network has them.

    Raises:
        ConfigError: The network has no fitting `embedding`, or no pictures to reconstruct.
    """
    check_outputs(network, ("embedding",), "prototype")
    if reconstruction and len(network.inputs[0].shape) != 4:
        raise ConfigError(
            "reconstruction needs a network of single pictures (batch, height, width, channels), "
            f"received inputs {tuple(network.inputs[0].shape)} of network {network.name!r}."
        )
    # float32 also under mixed precision: half precision blurs near distances.
    latent = keras.layers.Dense(dimensions, dtype="float32", name="latent")(
        network.output["embedding"]
    )
    logits = ClassPoints(len(class_names), temperature, dtype="float32", name="logits")(latent)
    outputs = {"logits": logits, "embedding": latent}
    if "features" in network.output:
        outputs["features"] = network.output["features"]
    return Prototype(
        keras.Model(network.input, outputs, name=network.name),
        class_names,
        reconstruction=reconstruction,
        decoder=decoder,
    )
