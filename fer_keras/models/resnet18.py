"""`resnet18`: ResNet18 as it is used on CIFAR and FER2013, or with the early halvings of ImageNet.

Source: He et al., "Deep Residual Learning for Image Recognition" (CVPR 2016), sections 3 and 4.2,
in the form of the public FER2013 baseline WuJie1010/Facial-Expression-Recognition.Pytorch (44x44x3,
71.2 % on PublicTest and 73.0 % on PrivateTest by its own figures, with ten crops and the epoch
chosen on PrivateTest). A 3x3 convolution stands for the 7x7 one and the maximum of ImageNet's form,
which RUL (Zhang et al., NeurIPS 2021) trains at 224 pixels from MS-Celeb-1M.
"""

from typing import Annotated, Any, Literal

import keras

from fer_keras.common.constraints import Choices, Positive, Rate
from fer_keras.common.errors import ConfigError
from fer_keras.config import Deviation
from fer_keras.models.layers import ACTIVATIONS, activate, batch_norm, conv, conv_bn, scaled

# Channels of the four stages of two blocks each; all but the first halve the map.
_CHANNELS = (64, 128, 256, 512)
_POOLINGS = ("global", "valid4")

# 4 to 32 channels: some 45,000 parameters.
SMALL = {"width": 1 / 16}
DEVIATIONS = (
    Deviation(
        "pooling",
        "the first 4x4 places of the last 6x6 map",
        "all places; --set network.options.pooling=valid4",
        "theirs drops two rows and columns",
    ),
)


def build(
    image_shape: tuple[int, int, int],
    num_classes: int,
    *,
    width: Positive = 1.0,
    stem: Literal["small", "imagenet"] = "small",
    normalisation: Literal["none", "imagenet"] = "none",
    pooling: Annotated[str, Choices(_POOLINGS)] = "global",
    dropout: Rate = 0.5,
    activation: Annotated[str, Choices(ACTIVATIONS)] = "relu",
) -> Any:
    """Builds the network.

    At the source's 44x44x3 with 7 classes 11,172,423 parameters are trained and the map shrinks
    44, 44, 22, 11, 6. At 224x224x3 with the stem of ImageNet there are 11,180,103 of them.

    Args:
        image_shape: `(height, width, channels)`.
        num_classes: Number of classes.
        width: Factor of all channels, above 0; the products are rounded.
        stem: `"small"`, a 3x3 convolution; `"imagenet"`, a 7x7 one and a 3x3 maximum, each of which
            halves the map.
        normalisation: What the pixels in 0..1 become: `"none"` leaves them; `"imagenet"` takes
            ImageNet's mean and deviation of each colour.
        pooling: What the embedding averages of the last map: `"global"` all of it, `"valid4"` the
            first 4x4 positions as in the source, whose pooling drops what does not fill a second
            window: the last two rows and columns of 6x6. That needs sides of 25 to 56 pixels.
        dropout: Rate before the classifier, in [0, 1).
        activation: One of `fer_keras.models.layers.ACTIVATIONS`; the source has `"relu"`.

    Returns:
        `keras.Model` from raw pixels in 0..255 to `logits` `(batch, num_classes)`, `embedding`
        `(batch, 512 * width)` and `features` `(batch, ceil(height / 8), ceil(width / 8), 512 *
        width)`; with the stem of ImageNet a quarter of these sides.

    Raises:
        ConfigError: If an option does not fit the picture.
    """
    shrinks = 4 if stem == "imagenet" else 1
    if pooling == "valid4" and not all(
        25 * shrinks <= side <= 56 * shrinks for side in image_shape[:2]
    ):
        raise ConfigError(
            f"Invalid value for `image_shape`. Expected sides of {25 * shrinks} to {56 * shrinks} "
            "pixels with "
            f"pooling='valid4'; 'global' takes any. Received: image_shape={image_shape!r}"
        )
    image = keras.Input(image_shape, name="image")
    x = scaled(image, normalisation)
    filters = [max(1, round(channels * width)) for channels in _CHANNELS]
    if stem == "imagenet":
        x = conv_bn(x, filters[0], 7, strides=2, activation=activation, name="stem")
        # After the activation a border of zeros is as good as one of minus infinity.
        x = keras.layers.ZeroPadding2D(1, name="stem_pool_pad")(x)
        x = keras.layers.MaxPooling2D(3, strides=2, name="stem_pool")(x)
    else:
        x = conv_bn(x, filters[0], 3, activation=activation, name="stem")
    for stage, stage_filters in enumerate(filters, start=1):
        for block in (1, 2):
            strides = 2 if stage > 1 and block == 1 else 1
            name = f"stage{stage}_block{block}"
            x = _residual_block(x, stage_filters, strides, activation, name=name)
    if pooling == "valid4":
        pooled = keras.layers.AveragePooling2D(4, name="pool")(x)
        embedding = keras.layers.Flatten(name="embedding")(pooled)
    else:
        embedding = keras.layers.GlobalAveragePooling2D(name="embedding")(x)
    dropped = keras.layers.Dropout(dropout, name="dropout")(embedding)
    logits = keras.layers.Dense(num_classes, name="logits")(dropped)
    outputs = {"logits": logits, "embedding": embedding, "features": x}
    return keras.Model(image, outputs, name="resnet18")


def _residual_block(x: Any, filters: int, strides: int, activation: str, *, name: str) -> Any:
    shortcut = x
    if strides > 1:
        shortcut = conv_bn(x, filters, 1, strides=strides, activation=None, name=f"{name}_shortcut")
    y = conv_bn(x, filters, 3, strides=strides, activation=activation, name=f"{name}_conv1")
    y = conv(y, filters, 3, name=f"{name}_conv2")
    y = batch_norm(y, name=f"{name}_conv2_bn")
    y = keras.layers.Add(name=f"{name}_add")([shortcut, y])
    return activate(y, activation, name=name)
