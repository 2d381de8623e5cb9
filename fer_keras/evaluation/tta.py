"""Test-time augmentation: the mean of a network's logits over several views of each picture.

Ten crops need larger pictures and are for evaluation; the mirror image can be part of a network.

Source: Krizhevsky, Sutskever and Hinton, "ImageNet Classification with Deep Convolutional Neural
Networks" (NeurIPS 2012, section 4.1); the public FER2013 baselines average over ten crops of 44
pixels. They average logits, not probabilities.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from fer_keras.common.errors import ConfigError

# Pictures whose crops are held in memory together.
_BLOCK = 64


def mirror_average(network: Any) -> Any:
    """A network that looks at each picture and at its mirror image.

    Args:
        network: Functional Keras model from one picture to a dict of outputs with `logits`
            `(batch, classes)`.

    Returns:
        A functional model on the same weights whose outputs, `logits` and where there is one
        `valence_arousal`, are means over the picture and its mirror image. It costs twice the time.
    """
    import keras

    from fer_keras.models.layers import MirrorImage, class_names_of, with_class_names

    image = keras.Input(network.inputs[0].shape[1:], name="image")
    mirrored = MirrorImage(name="mirror", dtype="float32")(image)
    views = [network(view, training=False) for view in (image, mirrored)]
    means = {
        name: keras.layers.Average(name=f"mirror_average{suffix}", dtype="float32")(
            [view[name] for view in views]
        )
        for name, suffix in (("logits", ""), ("valence_arousal", "_affect"))
        if name in network.output
    }
    return with_class_names(keras.Model(image, means, name=network.name), class_names_of(network))


def ten_crop(images: npt.NDArray[Any], size: int) -> npt.NDArray[Any]:
    """Cuts the four corners and the centre, and mirrors them.

    Args:
        images: `(batch, height, width, channels)`.
        size: Side of the square crops in pixels, at most the height and the width.

    Returns:
        `(batch, 10, size, size, channels)` of the same type: top left, top right, bottom left,
        bottom right, centre, then their mirror images in the same order.

    Raises:
        ConfigError: The pictures are smaller than the crops.
    """
    height, width = images.shape[1:3]
    if not 0 < size <= min(height, width):
        raise ConfigError(
            f"Ten crops need pictures of at least the crops' size. Expected size from 1 to "
            f"{min(height, width)} for pictures of {width}x{height}. Received: size={size!r}"
        )
    bottom, right = height - size, width - size
    corners = ((0, 0), (0, right), (bottom, 0), (bottom, right), (bottom // 2, right // 2))
    crops = np.stack([images[:, y : y + size, x : x + size] for y, x in corners], axis=1)
    return np.concatenate([crops, crops[:, :, :, ::-1]], axis=1)


def predict_logits(
    predict: Callable[[npt.NDArray[Any]], npt.NDArray[Any]],
    images: npt.NDArray[Any],
    size: int,
) -> npt.NDArray[np.float32]:
    """The logits of each picture, averaged over its ten crops.

    Args:
        predict: From crops `(n, size, size, channels)` to logits `(n, classes)`, for instance
            `LoadedModel.logits`.
        images: `(batch, height, width, channels)`, at least one.
        size: Side of the crops in pixels: the input size of the network.

    Returns:
        `(batch, classes)` float32.

    Raises:
        ConfigError: There is no picture, or the pictures are smaller than the crops.
    """
    if not len(images):
        raise ConfigError("Ten crops need at least one picture. Received none.")
    blocks = []
    for start in range(0, len(images), _BLOCK):
        crops = ten_crop(images[start : start + _BLOCK], size)
        logits = predict(crops.reshape(-1, *crops.shape[2:]))
        blocks.append(logits.reshape(*crops.shape[:2], -1).mean(axis=1, dtype=np.float64))
    return np.concatenate(blocks).astype(np.float32)
