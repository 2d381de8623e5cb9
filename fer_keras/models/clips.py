"""What networks over clips share: frames that are padding, one encoder for all frames, the outputs.

A clip is `(frames, height, width, channels)` of raw pixels 0..255. A frame whose pixels are all 0
is padding and stands after the real ones. So padding is part of the picture and needs no second
input: it passes through uint8 files, tf.data, `model.fit`, `.keras` and TFLite as it is.

Every such network has a layer `frame_features`, which holds the `layer` that reads each frame by
itself, and a layer `frame_mask`. What lies behind both is the sequence head: an export cuts there.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from fer_keras.models.encoders import build_encoder
from fer_keras.models.layers import FrozenEncoder

# An encoder of 8 channels, for tests.
SMALL_ENCODER = {
    "encoder": "compact",
    "encoder_options": {"stem_filters": 4, "widths": [8], "depths": [1]},
}


@keras.saving.register_keras_serializable(package="fer_keras")
class FrameMask(keras.layers.Layer):
    """1 for real frames, 0 for padding: frames whose pixels are all 0."""

    def call(self, clip: Any) -> Any:
        """Returns `(batch, frames)` of a clip `(batch, frames, height, width, channels)`."""
        return keras.ops.cast(keras.ops.max(clip, axis=(2, 3, 4)) > 0, self.compute_dtype)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Any:
        """Returns `(batch, frames)`."""
        return tuple(input_shape[:2])


@keras.saving.register_keras_serializable(package="fer_keras")
class EveryFrame(keras.layers.Layer):
    """A layer or network that is applied to every frame by itself, all frames in one call.

    Args:
        layer: From `(batch, ...)` to `(batch, ...)`.
        **kwargs: Options of `keras.layers.Layer`.
    """

    def __init__(self, layer: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.layer = layer

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Builds the layer for one frame."""
        if not self.layer.built:
            self.layer.build((None, *input_shape[2:]))
        super().build(input_shape)

    def call(self, clip: Any) -> Any:
        """Returns `(batch, frames, ...)`, what the layer makes of each frame of a clip."""
        flat = keras.ops.reshape(clip, (-1, *clip.shape[2:]))
        features = self.layer(flat)
        return keras.ops.reshape(features, (-1, clip.shape[1], *features.shape[1:]))

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Any:
        """Returns `(batch, frames, ...)`."""
        one = self.layer.compute_output_shape((None, *input_shape[2:]))
        return (*input_shape[:2], *one[1:])

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments from which Keras rebuilds the layer."""
        return {**super().get_config(), "layer": keras.saving.serialize_keras_object(self.layer)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "EveryFrame":
        """Rebuilds the layer, its inner one first; Keras' safe mode holds for both."""
        layer = keras.saving.deserialize_keras_object(config["layer"])
        return cls(**{**config, "layer": layer})


def read_frames(
    clip_shape: tuple[int, int, int, int],
    encoder: Any,
    encoder_options: Mapping[str, Any] | None,
    encoder_weights: str,
    train_encoder: bool,
) -> tuple[Any, Any, Any]:
    """The first half of a network over clips: one encoder for all frames.

    Args:
        clip_shape: `(frames, height, width, channels)`.
        encoder: As `fer_keras.models.encoders.build_encoder` takes it.
        encoder_options: Its options, where it is given by its name.
        encoder_weights: `"none"` or `"imagenet"`.
        train_encoder: Whether its weights are trained; frozen, it is always in inference mode.

    Returns:
        The input `(batch, frames, height, width, channels)`, the frames' vectors `(batch, frames,
        d)`, and the mask `(batch, frames)`.
    """
    built = build_encoder(encoder, clip_shape[1:], encoder_options, encoder_weights)
    if not train_encoder:
        built = FrozenEncoder(built, name="frozen_encoder")
    clip = keras.Input(clip_shape, name="clip")
    real = FrameMask(name="frame_mask")(clip)
    return clip, EveryFrame(built, name="frame_features")(clip), real


def mean_of_real(x: Any, real: Any, *, name: str) -> Any:
    """The mean over the frames that are not padding.

    Args:
        x: `(batch, frames, d)`.
        real: `(batch, frames)`, 1 or 0.
        name: Name of the layer.

    Returns:
        `(batch, d)`.
    """
    return keras.layers.GlobalAveragePooling1D(name=name)(x, mask=real)
