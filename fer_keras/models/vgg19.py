"""`vgg19`: VGG19 as it is used on CIFAR and FER2013, with batch normalisation and one dense layer.

Source: Simonyan and Zisserman, "Very Deep Convolutional Networks" (ICLR 2015), configuration E, in
the form of the public FER2013 baseline WuJie1010/Facial-Expression-Recognition.Pytorch (44x44x3,
71.5 % on PublicTest and 73.1 % on PrivateTest by its own figures, with ten crops and the epoch
chosen on PrivateTest). It is not the network of 140 million parameters for 224x224 pictures.
"""

from typing import Annotated, Any

import keras

from fer_keras.common.constraints import Choices, Positive, Rate
from fer_keras.common.errors import ConfigError
from fer_keras.models.layers import ACTIVATIONS, activate, batch_norm, conv

# (channels, convolutions) of each stage; every stage ends in a 2x2 maximum.
_STAGES = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))

# 4 to 32 channels: some 80,000 parameters.
SMALL = {"width": 1 / 16}


def build(
    image_shape: tuple[int, int, int],
    num_classes: int,
    *,
    width: Positive = 1.0,
    dropout: Rate = 0.5,
    activation: Annotated[str, Choices(ACTIVATIONS)] = "relu",
) -> Any:
    """Builds the network.

    At the source's 44x44x3 with 7 classes 20,038,983 parameters are trained and the map shrinks
    44, 22, 11, 5, 2, 1. The source flattens that 1x1 map. Here it is averaged over its positions,
    which is the same for sides of 32 to 63 pixels and leaves larger pictures possible.

    Args:
        image_shape: `(height, width, channels)`, at least 32 pixels high and wide.
        num_classes: Number of classes.
        width: Factor of all channels, above 0; the products are rounded.
        dropout: Rate before the classifier, in [0, 1).
        activation: One of `fer_keras.models.layers.ACTIVATIONS`; the source has `"relu"`.

    Returns:
        `keras.Model` from raw pixels in 0..255 to `logits` `(batch, num_classes)`, `embedding`
        `(batch, 512 * width)` and `features` `(batch, height // 32, width // 32, 512 * width)`.

    Raises:
        ConfigError: If the picture is too small.
    """
    if min(image_shape[:2]) < 32:
        raise ConfigError(
            "Invalid value for `image_shape`. Expected at least 32x32 pixels, which five stages "
            f"halve to 1x1. Received: image_shape={image_shape!r}"
        )
    image = keras.Input(image_shape, name="image")
    x = keras.layers.Rescaling(1 / 255, name="scale")(image)
    for stage, (channels, num_convs) in enumerate(_STAGES, start=1):
        filters = max(1, round(channels * width))
        for index in range(1, num_convs + 1):
            name = f"stage{stage}_conv{index}"
            # The bias is needless before batch normalisation; the source has it.
            x = conv(x, filters, 3, use_bias=True, name=name)
            x = batch_norm(x, name=f"{name}_bn")
            x = activate(x, activation, name=name)
        x = keras.layers.MaxPooling2D(2, name=f"stage{stage}_pool")(x)
    embedding = keras.layers.GlobalAveragePooling2D(name="embedding")(x)
    dropped = keras.layers.Dropout(dropout, name="dropout")(embedding)
    logits = keras.layers.Dense(num_classes, name="logits")(dropped)
    outputs = {"logits": logits, "embedding": embedding, "features": x}
    return keras.Model(image, outputs, name="vgg19")
