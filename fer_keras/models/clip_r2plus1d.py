"""`clip_r2plus1d`: a small network of factorised 3-D convolutions, R(2+1)D.

Tran et al., "A closer look at spatiotemporal convolutions for action recognition" (CVPR 2018,
section 3.5): a 3x3x3 convolution becomes a 3x3 one over each frame and a 3 one over time, with a
batch norm and a ReLU between them and as many channels between them as keep the number of weights.
Ours are the size, and that time is never thinned out, so that every frame has its scores; faces of
48 pixels in a dozen frames would have little left. The first spatial convolutions see one frame
each: they are the frame encoder, which a camera runs once for a new frame.
"""

from collections.abc import Sequence
from typing import Annotated, Any

import keras

from fer_keras.common.constraints import Choices, Count, Length, Rate
from fer_keras.models.clips import EveryFrame, FrameMask, mean_of_real
from fer_keras.models.layers import ACTIVATIONS, activate, batch_norm, conv, conv_bn

INPUT_KIND = "clip"
SMALL = {"stem_filters": 4, "widths": (8, 8)}


def build(
    clip_shape: tuple[int, int, int, int],
    num_classes: int,
    *,
    stem_filters: Count = 16,
    widths: Annotated[Sequence[Count], Length(1)] = (32, 64),
    dropout: Rate = 0.3,
    activation: Annotated[str, Choices(ACTIVATIONS)] = "relu",
) -> Any:
    """Builds the network.

    Args:
        clip_shape: `(frames, height, width, channels)`.
        num_classes: Number of classes.
        stem_filters: Channels of the first convolution of every frame, which halves it.
        widths: Channels of each stage; the frame encoder ends in the first, halving the map again,
            and every later stage halves it once more.
        dropout: Rate before the classifier, in [0, 1).
        activation: One of `fer_keras.models.layers.ACTIVATIONS`.

    Returns:
        `keras.Model` from raw pixels in 0..255 `(batch, frames, height, width, channels)` to
        `logits` `(batch, num_classes)`, the mean of `frame_logits` `(batch, frames, num_classes)`
        over the real frames, `frame_mask` `(batch, frames)` and `embedding` `(batch, widths[-1])`.
        A frame's logits have seen `2 * stages` frames before and after it.
    """
    clip = keras.Input(clip_shape, name="clip")
    real = FrameMask(name="frame_mask")(clip)
    encoder = _frame_encoder(clip_shape[1:], stem_filters, widths[0], activation)
    x = EveryFrame(encoder, name="frame_features")(clip)
    for stage, width in enumerate(widths, start=1):
        strides = 1 if stage == 1 else 2
        x = _block(x, real, width, strides, activation, name=f"stage{stage}")
    pooled = EveryFrame(keras.layers.GlobalAveragePooling2D(), name="frame_embeddings")(x)
    dropped = keras.layers.Dropout(dropout, name="dropout")(pooled)
    scores = keras.layers.Dense(num_classes, name="frame_logits")(dropped)
    outputs = {
        "logits": mean_of_real(scores, real, name="logits"),
        "frame_logits": scores,
        "frame_mask": real,
        "embedding": mean_of_real(pooled, real, name="embedding"),
    }
    return keras.Model(clip, outputs, name="clip_r2plus1d")


def _frame_encoder(
    image_shape: tuple[int, ...], stem_filters: int, width: int, activation: str
) -> Any:
    image = keras.Input(image_shape, name="image")
    x = keras.layers.Rescaling(1 / 64, offset=-2.0, name="scale")(image)
    x = conv_bn(x, stem_filters, 3, strides=2, activation=activation, name="stem")
    x = conv_bn(x, width, 3, strides=2, activation=activation, name="spatial")
    return keras.Model(image, x, name="frame_encoder")


def _block(x: Any, real: Any, filters: int, strides: int, activation: str, *, name: str) -> Any:
    """A residual block of two (2+1)-D convolutions, on `(batch, frames, h, w, c)`."""
    shortcut = x
    if strides > 1 or x.shape[-1] != filters:
        shortcut = EveryFrame(
            _spatial(x.shape[2:], filters, strides, 1, None), name=f"{name}_shortcut"
        )(x)
    y = _two_plus_one(x, real, filters, strides, activation, name=f"{name}_conv1")
    y = activate(y, activation, name=f"{name}_conv1")
    y = _two_plus_one(y, real, filters, 1, activation, name=f"{name}_conv2")
    y = keras.layers.Add(name=f"{name}_add")([shortcut, y])
    return activate(y, activation, name=name)


def _two_plus_one(
    x: Any, real: Any, filters: int, strides: int, activation: str, *, name: str
) -> Any:
    frames, channels = x.shape[1], x.shape[-1]
    # As many weights as 3x3x3 has: M_i of section 3.5.
    middle = 27 * channels * filters // (9 * channels + 3 * filters)
    spatial = _spatial(x.shape[2:], middle, strides, 3, activation)
    x = EveryFrame(spatial, name=f"{name}_spatial")(x)
    # Padding counts as the zeros beyond the end of the clip, whatever it shows.
    column = keras.layers.Reshape((frames, 1, 1, 1), name=f"{name}_real")(real)
    x = keras.layers.Multiply(name=f"{name}_real_frames")([x, column])
    height, width = x.shape[2:4]
    # Over time alone, so that the places of a map may stand in one row.
    x = keras.layers.Reshape((frames, height * width, middle), name=f"{name}_places")(x)
    x = keras.layers.Conv2D(
        filters,
        (3, 1),
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_temporal",
    )(x)
    x = batch_norm(x, name=f"{name}_temporal_bn")
    return keras.layers.Reshape((frames, height, width, filters), name=f"{name}_maps")(x)


def _spatial(
    map_shape: Sequence[int], filters: int, strides: int, kernel_size: int, activation: str | None
) -> Any:
    """A convolution of one frame's map with its batch norm."""
    image = keras.Input(map_shape, name="map")
    x = conv(image, filters, kernel_size, strides=strides, name="conv")
    x = batch_norm(x, name="bn")
    if activation:
        x = activate(x, activation, name="bn")
    return keras.Model(image, x, name="spatial")
