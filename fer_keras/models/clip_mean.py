"""`clip_mean`: every frame of a clip scored by itself, and the mean of the scores.

The control of the networks that read a course: it cannot know the order of the frames. What another
network of the same encoder gains on it is what the order tells.
"""

from collections.abc import Mapping
from typing import Any

import keras

from fer_keras.common.constraints import Rate
from fer_keras.models.clips import SMALL_ENCODER, mean_of_real, read_frames

INPUT_KIND = "clip"
SMALL = SMALL_ENCODER


def build(
    clip_shape: tuple[int, int, int, int],
    num_classes: int,
    *,
    encoder: Any = "compact",
    encoder_options: Mapping[str, Any] | None = None,
    encoder_weights: str = "none",
    train_encoder: bool = True,
    dropout: Rate = 0.3,
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
        dropout: Rate before the classifier, in [0, 1).

    Returns:
        `keras.Model` from raw pixels in 0..255 `(batch, frames, height, width, channels)` to
        `logits` `(batch, num_classes)`, the mean of `frame_logits` `(batch, frames, num_classes)`
        over the real frames, `frame_mask` `(batch, frames)` and `embedding` `(batch, d)`, the mean
        of the frames' vectors.

    Raises:
        ConfigError: If the encoder does not fit the frames.
    """
    clip, vectors, real = read_frames(
        clip_shape, encoder, encoder_options, encoder_weights, train_encoder
    )
    dropped = keras.layers.Dropout(dropout, name="dropout")(vectors)
    scores = keras.layers.Dense(num_classes, name="frame_logits")(dropped)
    outputs = {
        "logits": mean_of_real(scores, real, name="logits"),
        "frame_logits": scores,
        "frame_mask": real,
        "embedding": mean_of_real(vectors, real, name="embedding"),
    }
    return keras.Model(clip, outputs, name="clip_mean")
