"""`mini_xception`: 58,423 parameters of separable convolutions, the smallest network here.

Source: Arriaga, Valdenegro-Toro and Plöger, "Real-time Convolutional Neural Networks for Emotion
and Gender Classification" (arXiv:1710.07557, 2017), section 3, figure "mini-Xception"; separable
modules after Chollet, "Xception" (CVPR 2017).
"""

from typing import Annotated, Any

import keras

from fer_keras.common.constraints import Choices, NotNegative
from fer_keras.models.layers import ACTIVATIONS, FusedBatchNormalization, activate, every_nth

# Channels of the four residual modules (section 3).
_WIDTHS = (16, 32, 64, 128)


def build(
    image_shape: tuple[int, int, int],
    num_classes: int,
    *,
    l2: NotNegative = 0.01,
    activation: Annotated[str, Choices(ACTIVATIONS)] = "relu",
) -> Any:
    """Builds the network.

    With 7 classes and one channel it has 58,423 parameters at any picture size, the 1,472 moving
    statistics of batch normalisation included: 56,951 are trained.

    Args:
        image_shape: `(height, width, channels)`; the source uses 48x48x1 and 64x64x1.
        num_classes: Number of classes.
        l2: Factor of the L2 penalty on the two first convolutions, as in the authors' program.
        activation: One of `fer_keras.models.layers.ACTIVATIONS`; the source has `"relu"`.

    Returns:
        `keras.Model` from raw pixels in 0..255 to `logits` `(batch, num_classes)`, the mean of
        `class_maps` `(batch, h, w, num_classes)`; `features` `(batch, h, w, 128)`, from which the
        maps are convolved, and their mean `embedding` `(batch, 128)`. The maps are 3x3 at 48x48.
    """
    image = keras.Input(image_shape, name="image")
    x = keras.layers.Rescaling(1 / 127.5, offset=-1.0, name="scale")(image)
    for index in (1, 2):
        x = keras.layers.Conv2D(
            8,
            3,
            use_bias=False,
            kernel_regularizer=keras.regularizers.L2(l2) if l2 else None,
            name=f"conv{index}",
        )(x)
        x = FusedBatchNormalization(name=f"conv{index}_bn")(x)
        x = activate(x, activation, name=f"conv{index}")
    for index, width in enumerate(_WIDTHS, start=1):
        x = _residual_module(x, width, activation, name=f"module{index}")
    embedding = keras.layers.GlobalAveragePooling2D(name="embedding")(x)
    class_maps = keras.layers.Conv2D(num_classes, 3, padding="same", name="class_maps")(x)
    logits = keras.layers.GlobalAveragePooling2D(name="logits")(class_maps)
    outputs = {
        "logits": logits,
        "embedding": embedding,
        "features": x,
        "class_maps": class_maps,
    }
    return keras.Model(image, outputs, name="mini_xception")


def _residual_module(x: Any, filters: int, activation: str, *, name: str) -> Any:
    shortcut = every_nth(x, 2, name=f"{name}_shortcut_every_nth")
    shortcut = keras.layers.Conv2D(filters, 1, use_bias=False, name=f"{name}_shortcut")(shortcut)
    shortcut = FusedBatchNormalization(name=f"{name}_shortcut_bn")(shortcut)
    y = _separable_bn(x, filters, name=f"{name}_separable1")
    y = activate(y, activation, name=name)
    y = _separable_bn(y, filters, name=f"{name}_separable2")
    y = keras.layers.MaxPooling2D(3, strides=2, padding="same", name=f"{name}_pool")(y)
    return keras.layers.Add(name=f"{name}_add")([y, shortcut])


def _separable_bn(x: Any, filters: int, *, name: str) -> Any:
    x = keras.layers.SeparableConv2D(filters, 3, padding="same", use_bias=False, name=name)(x)
    return FusedBatchNormalization(name=f"{name}_bn")(x)
