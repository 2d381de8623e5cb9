"""`clip_transformer`: an encoder for every frame, a transformer over the frames.

Source: the ViViT-like network of the public program jerry940100/Facial-Expression-Recognition,
after the factorised encoder of Arnab et al., "ViViT: A video vision transformer" (ICCV 2021,
section 3.3). In the source the temporal token is drawn anew in every call and its place is not the
one that is read, and frames have no positions; here a learned class token comes first, is read, and
every frame has a learned position. Blocks normalise first (Dosovitskiy et al., ICLR 2021).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from fer_keras.common.constraints import Count, Rate
from fer_keras.common.errors import ConfigError
from fer_keras.models.clips import SMALL_ENCODER, read_frames

INPUT_KIND = "clip"
SMALL = {**SMALL_ENCODER, "hidden": 8, "depth": 1, "heads": 2, "mlp": 8}


@keras.saving.register_keras_serializable(package="fer_keras")
class ClassTokenAndPositions(keras.layers.Layer):
    """Puts a learned token before the frames' tokens and adds a learned vector for each place."""

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Creates the token `(1, 1, hidden)` and the table `(1, frames, hidden)`."""
        _, frames, hidden = input_shape
        normal = keras.initializers.RandomNormal(stddev=0.02)
        self.token = self.add_weight(name="token", shape=(1, 1, hidden), initializer=normal)
        self.positions = self.add_weight(
            name="positions", shape=(1, frames, hidden), initializer=normal
        )
        super().build(input_shape)

    def call(self, tokens: Any) -> Any:
        """Makes `(batch, 1 + frames, hidden)` of `(batch, frames, hidden)`."""
        batch, _, hidden = keras.ops.shape(tokens)
        token = keras.ops.broadcast_to(self.token, (batch, 1, hidden))
        return keras.ops.concatenate([token, tokens + self.positions], axis=1)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Any:
        """Returns the shape with one token more."""
        batch, frames, hidden = input_shape
        return batch, None if frames is None else frames + 1, hidden


@keras.saving.register_keras_serializable(package="fer_keras")
class VisibleTokens(keras.layers.Layer):
    """Which tokens every token may look at: the class token and the real frames."""

    def call(self, real: Any) -> Any:
        """Makes a bool mask `(batch, 1, 1 + frames)` of `(batch, frames)`, 1 for real frames."""
        visible = keras.ops.concatenate([keras.ops.ones_like(real[:, :1]), real], axis=1)
        return keras.ops.expand_dims(keras.ops.cast(visible, "bool"), 1)

    def compute_output_spec(self, real: Any) -> Any:
        """Returns shape and type of the mask."""
        batch, frames = real.shape
        return keras.KerasTensor((batch, 1, frames + 1), "bool")


def build(
    clip_shape: tuple[int, int, int, int],
    num_classes: int,
    *,
    encoder: Any = "compact",
    encoder_options: Mapping[str, Any] | None = None,
    encoder_weights: str = "none",
    train_encoder: bool = True,
    hidden: Count = 64,
    depth: Count = 2,
    heads: Count = 4,
    mlp: Count = 128,
    dropout: Rate = 0.1,
) -> Any:
    """Builds the network.

    Args:
        clip_shape: `(frames, height, width, channels)`.
        num_classes: Number of classes.
        encoder: Reads every frame: a name that `fer_keras.models.encoders` knows or a `keras.Model`
            with an `embedding`. In an experiment also a `.keras` file, a run folder or an
            experiment.
        encoder_options: Options of the encoder, where it is given by its name.
        encoder_weights: `"none"`, `"imagenet"`, or in an experiment a file.
        train_encoder: Whether the encoder's weights are trained.
        hidden: Channels of a token, a multiple of `heads`.
        depth: Transformer blocks.
        heads: Attention heads of each block.
        mlp: Channels between the two dense layers of each block.
        dropout: Rate after attention and dense layers of each block, and before the classifier, in
            [0, 1).

    Returns:
        `keras.Model` from raw pixels in 0..255 `(batch, frames, height, width, channels)` to
        `logits` `(batch, num_classes)` of the class token, `frame_logits` `(batch, frames,
        num_classes)` of the frames' tokens by the same classifier (each has seen the whole clip),
        `frame_mask` `(batch, frames)`, `attention` `(batch, frames)`, what the class token looks at
        in the last block (mean of the heads; what is missing to 1 is itself), and `embedding`
        `(batch, hidden)`.

    Raises:
        ConfigError: If `hidden` is no multiple of `heads` or the encoder does not fit the frames.
    """
    if hidden % heads:
        raise ConfigError(
            f"Invalid value for `hidden`. Expected a multiple of heads={heads}. Received: "
            f"hidden={hidden!r}"
        )
    frames = clip_shape[0]
    clip, vectors, real = read_frames(
        clip_shape, encoder, encoder_options, encoder_weights, train_encoder
    )
    visible = VisibleTokens(name="visible_tokens")(real)
    x = keras.layers.Dense(hidden, name="frame_tokens")(vectors)
    x = ClassTokenAndPositions(name="class_token_and_positions")(x)
    shares: Any = None
    for block in range(1, depth + 1):
        x, shares = _block(x, visible, heads, mlp, dropout, name=f"block{block}")
    x = _layer_norm(x, name="encoder")
    class_token = keras.layers.Cropping1D((0, frames), name="encoded_class_token")(x)
    class_token = keras.layers.Reshape((hidden,), name="embedding")(class_token)
    frame_tokens = keras.layers.Cropping1D((1, 0), name="encoded_frames")(x)
    # (batch, heads, from, to): of the class token, which is the first, to the frames.
    attention = keras.ops.mean(shares[:, :, 0, 1:], axis=1)
    classifier = keras.layers.Dense(num_classes, name="logits")
    drop = keras.layers.Dropout(dropout, name="dropout")
    outputs = {
        "logits": classifier(drop(class_token)),
        "frame_logits": classifier(drop(frame_tokens)),
        "frame_mask": real,
        "attention": attention,
        "embedding": class_token,
    }
    return keras.Model(clip, outputs, name="clip_transformer")


def _block(
    x: Any, visible: Any, heads: int, mlp: int, dropout: float, *, name: str
) -> tuple[Any, Any]:
    """A block's tokens, and what its heads looked at `(batch, heads, tokens, tokens)`."""
    hidden = x.shape[-1]
    y = _layer_norm(x, name=f"{name}_attention")
    attend = keras.layers.MultiHeadAttention(heads, hidden // heads, name=f"{name}_attention")
    y, shares = attend(y, y, attention_mask=visible, return_attention_scores=True)
    y = keras.layers.Dropout(dropout, name=f"{name}_attention_dropout")(y)
    x = keras.layers.Add(name=f"{name}_attention_add")([x, y])
    y = _layer_norm(x, name=f"{name}_mlp")
    y = keras.layers.Dense(mlp, activation="gelu", name=f"{name}_mlp_dense1")(y)
    y = keras.layers.Dense(hidden, name=f"{name}_mlp_dense2")(y)
    y = keras.layers.Dropout(dropout, name=f"{name}_mlp_dropout")(y)
    return keras.layers.Add(name=f"{name}_mlp_add")([x, y]), shares


def _layer_norm(x: Any, *, name: str) -> Any:
    # Keras' own epsilon is 1e-3.
    return keras.layers.LayerNormalization(epsilon=1e-6, name=f"{name}_norm")(x)
