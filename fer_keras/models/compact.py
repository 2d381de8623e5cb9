"""`compact`: a small residual network for 48x48 faces that trains on two CPU cores in minutes.

The residual blocks are those of He et al., "Deep Residual Learning for Image Recognition"
(CVPR 2016, section 3), with the average-pooled shortcut of He et al., "Bag of Tricks for Image
Classification" (CVPR 2019, section 4, ResNet-D). What is our own is where the work goes: only the
stem runs at half resolution, because large maps of few channels cost a CPU the most time for each
multiplication.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import keras

from fer_keras.common.constraints import Count, Length, Rate
from fer_keras.common.errors import ConfigError
from fer_keras.models.layers import batch_norm, conv, conv_bn


def build(
    image_shape: tuple[int, int, int],
    num_classes: int,
    *,
    stem_filters: Count = 32,
    widths: Annotated[Sequence[Count], Length(1)] = (64, 128, 256),
    depths: Sequence[Count] = (1, 1, 1),
    first_stride: Literal[1, 2] = 2,
    dropout: Rate = 0.3,
) -> Any:
    """Builds the network.

    Args:
        image_shape: `(height, width, channels)`.
        num_classes: Number of classes.
        stem_filters: Channels of the first convolution, which halves the picture.
        widths: Channels of each stage; every stage after the first halves the map.
        depths: Residual blocks of each stage.
        first_stride: 2 = the first stage halves the map too; 1 = it works at the size of the stem,
            which costs about four times its time.
        dropout: Rate before the classifier, in [0, 1).

    Returns:
        `keras.Model` from raw pixels in 0..255 to `logits` `(batch, num_classes)`, `embedding`
        `(batch, widths[-1])` and `features` `(batch, h, w, widths[-1])`: 3x3 at 48x48
        with the defaults.

    Raises:
        ConfigError: If there are not as many widths as depths.
    """
    if len(widths) != len(depths):
        raise ConfigError(
            "Invalid value for `widths` and `depths`. Expected as many widths as depths. "
            f"Received: widths={widths!r}, depths={depths!r}"
        )
    image = keras.Input(image_shape, name="image")
    x = keras.layers.Rescaling(1 / 64, offset=-2.0, name="scale")(image)
    x = conv_bn(x, stem_filters, 3, strides=2, name="stem")
    for stage, (width, depth) in enumerate(zip(widths, depths, strict=True), start=1):
        for block in range(1, depth + 1):
            strides = 1 if block > 1 else first_stride if stage == 1 else 2
            x = _residual_block(x, width, strides, name=f"stage{stage}_block{block}")
    embedding = keras.layers.GlobalAveragePooling2D(name="embedding")(x)
    dropped = keras.layers.Dropout(dropout, name="dropout")(embedding)
    logits = keras.layers.Dense(num_classes, name="logits")(dropped)
    outputs = {"logits": logits, "embedding": embedding, "features": x}
    return keras.Model(image, outputs, name="compact")


def _residual_block(x: Any, filters: int, strides: int, *, name: str) -> Any:
    shortcut = x
    if strides > 1:
        # Averaging first: a strided 1x1 convolution would throw three of four pixels away.
        shortcut = keras.layers.AveragePooling2D(
            strides, padding="same", name=f"{name}_shortcut_pool"
        )(shortcut)
    if strides > 1 or x.shape[-1] != filters:
        shortcut = conv_bn(shortcut, filters, 1, activation=None, name=f"{name}_shortcut")
    y = conv_bn(x, filters, 3, strides=strides, name=f"{name}_conv1")
    y = conv(y, filters, 3, name=f"{name}_conv2")
    y = batch_norm(y, name=f"{name}_conv2_bn")
    y = keras.layers.Add(name=f"{name}_add")([shortcut, y])
    return keras.layers.Activation("relu", name=f"{name}_relu")(y)
