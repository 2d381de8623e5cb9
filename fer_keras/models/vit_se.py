"""`vit_se`: a vision transformer whose pooled vector passes a squeeze-and-excitation gate.

Sources: Aouayeb et al., "Learning Vision Transformer with Squeeze and Excitation for Facial
Expression Recognition" (arXiv:2107.03107, 2021), the gate as in the public program
jerry940100/Facial-Expression-Recognition; the encoder is ViT-B/16 of Dosovitskiy et al., "An Image
is Worth 16x16 Words" (ICLR 2021); the gate is that of Hu et al., "Squeeze-and-Excitation Networks"
(CVPR 2018).

The paper gates attention features, the program one pooled vector, with a ReLU where the gate of
2018 has a sigmoid. A ReLU gate has no upper end, and one that is zero everywhere gives the same
logits for all pictures and no gradient. Both gates and both places are options.
"""

from collections.abc import Sequence
from typing import Annotated, Any

import keras

from fer_keras.common.constraints import Choices, Count, Positive, Rate
from fer_keras.common.errors import ConfigError

_GATES = ("sigmoid", "relu")
_PLACES = ("class_token", "tokens")

# Two blocks of 32 channels on patches of 8 pixels: some 26,000 parameters.
SMALL = {"patch_size": 8, "hidden": 32, "depth": 2, "heads": 2, "mlp": 64}


@keras.saving.register_keras_serializable(package="fer_keras")
class ClassToken(keras.layers.Layer):
    """Puts one learned token in front of the tokens of each picture (Dosovitskiy et al. 2021)."""

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Creates the token `(1, 1, hidden)`, zero at first."""
        self.token = self.add_weight(
            name="token", shape=(1, 1, input_shape[-1]), initializer="zeros"
        )
        super().build(input_shape)

    def call(self, tokens: Any) -> Any:
        """Makes `(batch, 1 + tokens, hidden)` of `(batch, tokens, hidden)`."""
        batch, _, hidden = keras.ops.shape(tokens)
        token = keras.ops.broadcast_to(self.token, (batch, 1, hidden))
        return keras.ops.concatenate([token, tokens], axis=1)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Any:
        """Returns the shape with one token more."""
        batch, tokens, hidden = input_shape
        return batch, None if tokens is None else tokens + 1, hidden


@keras.saving.register_keras_serializable(package="fer_keras")
class PositionEmbedding(keras.layers.Layer):
    """Adds one learned vector for each position (Dosovitskiy et al. 2021)."""

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Creates the table `(1, tokens, hidden)`."""
        self.positions = self.add_weight(
            name="positions",
            shape=(1, *input_shape[1:]),
            initializer=keras.initializers.RandomNormal(stddev=0.02),
        )
        super().build(input_shape)

    def call(self, tokens: Any) -> Any:
        """Returns `(batch, tokens, hidden)` plus the table."""
        return tokens + self.positions

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Any:
        """Returns the input shape."""
        return input_shape


def build(
    image_shape: tuple[int, int, int],
    num_classes: int,
    *,
    patch_size: Count = 16,
    hidden: Count = 768,
    depth: Count = 12,
    heads: Count = 12,
    mlp: Count = 3072,
    gate: Annotated[str, Choices(_GATES)] = "sigmoid",
    gate_on: Annotated[str, Choices(_PLACES)] = "class_token",
    reduction: Count = 4,
    dropout: Rate = 0.1,
    norm_epsilon: Positive = 1e-6,
) -> Any:
    """Builds the network.

    The defaults are ViT-B/16. At 224x224x3 with 8 classes all 86,691,272 parameters are trained:
    85,798,656 of the encoder, 590,592 of the pooler, 295,872 of the gate, 6,152 of the classifier.

    Args:
        image_shape: `(height, width, channels)`, sides that are multiples of `patch_size`.
        num_classes: Number of classes.
        patch_size: Side of a patch in pixels; each patch becomes one token.
        hidden: Channels of a token, a multiple of `heads` and of `reduction`.
        depth: Transformer blocks.
        heads: Attention heads of each block.
        mlp: Channels between the two dense layers of each block.
        gate: Activation of the gate, `"sigmoid"` (Hu et al. 2018) or `"relu"` (the program).
        gate_on: `"class_token"`: the pooled vector is gated by itself, as in the program;
            `"tokens"`: all tokens are gated by the mean of the patch tokens, before the pooling.
        reduction: The gate's middle layer has `hidden / reduction` channels.
        dropout: Rate after the positions, after attention and dense layers of each block, and
            before the classifier, in [0, 1); 0 in the program.
        norm_epsilon: Of the layer normalisations; 1e-12 in the program.

    Returns:
        `keras.Model` from raw pixels in 0..255 to `logits` `(batch, num_classes)`, `embedding`
        `(batch, hidden)`, which the classifier reads, and `features` `(batch, height / patch_size,
        width / patch_size, hidden)`, the patch tokens after the encoder (gated with
        `gate_on="tokens"`).

    Raises:
        ConfigError: If sizes do not fit each other or the picture.
    """
    if any(side % patch_size for side in image_shape[:2]):
        raise ConfigError(
            f"Invalid value for `image_shape`. Expected sides that are multiples of patch_size="
            f"{patch_size}. Received: image_shape={image_shape!r}"
        )
    if hidden % heads or hidden % reduction:
        raise ConfigError(
            f"Invalid value for `hidden`. Expected a multiple of heads={heads} and of reduction="
            f"{reduction}. Received: hidden={hidden!r}"
        )
    image = keras.Input(image_shape, name="image")
    x = keras.layers.Rescaling(1 / 127.5, offset=-1.0, name="scale")(image)
    x = keras.layers.Conv2D(hidden, patch_size, strides=patch_size, name="patches")(x)
    rows, columns = x.shape[1:3]
    x = keras.layers.Reshape((rows * columns, hidden), name="patch_tokens")(x)
    x = ClassToken(name="class_token")(x)
    x = PositionEmbedding(name="positions")(x)
    x = keras.layers.Dropout(dropout, name="positions_dropout")(x)
    for block in range(1, depth + 1):
        x = _block(x, heads, mlp, dropout, norm_epsilon, name=f"block{block}")
    x = _layer_norm(x, norm_epsilon, name="encoder")
    if gate_on == "tokens":
        squeezed = keras.layers.Cropping1D((1, 0), name="squeezed_tokens")(x)
        squeezed = keras.layers.GlobalAveragePooling1D(name="squeeze")(squeezed)
        excited = _gate(squeezed, reduction, gate)
        excited = keras.layers.Reshape((1, hidden), name="gate_per_token")(excited)
        x = keras.layers.Multiply(name="gated")([x, excited])
    features = keras.layers.Cropping1D((1, 0), name="encoded_patches")(x)
    features = keras.layers.Reshape((rows, columns, hidden), name="features")(features)
    pooled = keras.layers.Cropping1D((0, rows * columns), name="encoded_class_token")(x)
    pooled = keras.layers.Reshape((hidden,), name="pooler_input")(pooled)
    pooled = keras.layers.Dense(hidden, activation="tanh", name="pooler")(pooled)
    embedding = pooled
    if gate_on == "class_token":
        excited = _gate(pooled, reduction, gate)
        embedding = keras.layers.Multiply(name="embedding")([pooled, excited])
    dropped = keras.layers.Dropout(dropout, name="dropout")(embedding)
    logits = keras.layers.Dense(num_classes, name="logits")(dropped)
    outputs = {"logits": logits, "embedding": embedding, "features": features}
    return keras.Model(image, outputs, name="vit_se")


def _block(x: Any, heads: int, mlp: int, dropout: float, epsilon: float, *, name: str) -> Any:
    hidden = x.shape[-1]
    y = _layer_norm(x, epsilon, name=f"{name}_attention")
    y = keras.layers.MultiHeadAttention(heads, hidden // heads, name=f"{name}_attention")(y, y)
    y = keras.layers.Dropout(dropout, name=f"{name}_attention_dropout")(y)
    x = keras.layers.Add(name=f"{name}_attention_add")([x, y])
    y = _layer_norm(x, epsilon, name=f"{name}_mlp")
    y = keras.layers.Dense(mlp, activation="gelu", name=f"{name}_mlp_dense1")(y)
    y = keras.layers.Dropout(dropout, name=f"{name}_mlp_dropout1")(y)
    y = keras.layers.Dense(hidden, name=f"{name}_mlp_dense2")(y)
    y = keras.layers.Dropout(dropout, name=f"{name}_mlp_dropout2")(y)
    return keras.layers.Add(name=f"{name}_mlp_add")([x, y])


def _layer_norm(x: Any, epsilon: float, *, name: str) -> Any:
    return keras.layers.LayerNormalization(epsilon=epsilon, name=f"{name}_norm")(x)


def _gate(squeezed: Any, reduction: int, activation: str) -> Any:
    """From `(batch, hidden)` to one factor for each channel."""
    hidden = squeezed.shape[-1]
    y = keras.layers.Dense(hidden // reduction, activation="relu", name="gate_reduce")(squeezed)
    return keras.layers.Dense(hidden, activation=activation, name="gate")(y)
