"""`vgg13`: the VGG13 of FER+, trained by its authors with four ways to read the votes.

Source: Barsoum, Zhang, Canton Ferrer and Zhang, "Training Deep Networks for Facial Expression
Recognition with Crowd-Sourced Label Distribution" (ICMI 2016), section 4 and figure 4; the network
family is Simonyan and Zisserman, "Very Deep Convolutional Networks" (ICLR 2015).
"""

from typing import Any

import keras

from fer_keras.common.constraints import Count, Rate
from fer_keras.common.errors import ConfigError

# (channels, convolutions) of each stage; every stage ends in a 2x2 maximum and dropout.
_STAGES = ((64, 2), (128, 2), (256, 3), (256, 3))


def build(
    image_shape: tuple[int, int, int],
    num_classes: int,
    *,
    conv_dropout: Rate = 0.25,
    dense_dropout: Rate = 0.5,
    dense_units: Count = 1024,
) -> Any:
    """Builds the network.

    It has 8,757,704 parameters, all trained, at the source's 64x64x1 with 8 classes. There is no
    batch normalisation: the weights start from Glorot's uniform distribution.

    Args:
        image_shape: `(height, width, channels)`, at least 16 pixels high and wide; the source uses
            64x64x1.
        num_classes: Number of classes.
        conv_dropout: Rate after every stage, in [0, 1).
        dense_dropout: Rate after each of the two dense layers, in [0, 1).
        dense_units: Width of the two dense layers.

    Returns:
        `keras.Model` from raw pixels in 0..255 to `logits` `(batch, num_classes)`, `embedding`
        `(batch, dense_units)` and `features` `(batch, height // 16, width // 16, 256)`.

    Raises:
        ConfigError: If the picture is too small.
    """
    if min(image_shape[:2]) < 16:
        raise ConfigError(
            "Invalid value for `image_shape`. Expected at least 16x16 pixels, which four stages "
            f"halve to 1x1. Received: image_shape={image_shape!r}"
        )
    image = keras.Input(image_shape, name="image")
    x = keras.layers.Rescaling(1 / 127.5, offset=-1.0, name="scale")(image)
    for stage, (width, num_convs) in enumerate(_STAGES, start=1):
        for index in range(1, num_convs + 1):
            x = keras.layers.Conv2D(
                width, 3, padding="same", activation="relu", name=f"stage{stage}_conv{index}"
            )(x)
        x = keras.layers.MaxPooling2D(2, name=f"stage{stage}_pool")(x)
        features = x
        x = keras.layers.Dropout(conv_dropout, name=f"stage{stage}_dropout")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    for index in (1, 2):
        x = keras.layers.Dense(dense_units, activation="relu", name=f"dense{index}")(x)
        embedding = x
        x = keras.layers.Dropout(dense_dropout, name=f"dense{index}_dropout")(x)
    logits = keras.layers.Dense(num_classes, name="logits")(x)
    outputs = {"logits": logits, "embedding": embedding, "features": features}
    return keras.Model(image, outputs, name="vgg13")
