"""The augmentation of published programs, which `augment` offers as policies beside its own.

Of DDAMFN (Zhang et al. 2023) and DDAMFN++, ESR, MA-Net and the diversified networks. Every picture
is mirrored by half a chance. In most it is, by another chance, turned and moved, and what comes in
at the edges is black; then a rectangle is erased (Zhong et al., "Random Erasing Data Augmentation",
AAAI 2020). Their programs erase after ImageNet's normalisation with 0, which is ImageNet's mean
colour.
"""

import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf
from keras import layers

from fer_keras.data.augmentation.affine import affine

Change = Callable[[Any, Any], Any]

_MEAN_COLOUR = (0.485, 0.456, 0.406)
# The default of PyTorch's RandomErasing: height / width of the rectangle.
_ASPECTS = (0.3, 3.3)


def sometimes_warp(
    chance: float, *, rotation: float, shift: float, scale: tuple[float, float] = (1.0, 1.0)
) -> Change:
    """Rotation, scale and shift of some pictures, in one resampling; black beyond the edges.

    Args:
        chance: Share of the pictures that are changed.
        rotation: Largest rotation in degrees, either way.
        shift: Largest shift as a share of the picture; it is one of whole pixels.
        scale: Smallest and largest size, 1 being that of the picture.

    Returns:
        A function of images `(batch, height, width, channels)` and an int32 seed `(2,)`.
    """

    def warp(images: Any, seed: Any) -> Any:
        draws = tf.random.stateless_uniform((5, tf.shape(images)[0]), seed)
        chosen = tf.cast(draws[0] < chance, tf.float32)
        size = tf.cast(tf.shape(images)[1:3], tf.float32)
        angle = (2 * draws[1] - 1) * rotation * math.pi / 180
        change = scale[0] + draws[2] * (scale[1] - scale[0]) - 1
        across, down = (
            tf.round((2 * draw - 1) * shift * side) / side
            for draw, side in ((draws[3], size[1]), (draws[4], size[0]))
        )
        strengths = tf.stack([angle, tf.zeros_like(angle), across, down, change])
        return affine(images, chosen * strengths, fill_mode="CONSTANT")

    return warp


def sometimes_erase(chance: float, area: tuple[float, float]) -> Change:
    """A rectangle in the mean colour over some pictures, wherever it fits.

    Args:
        chance: Share of the pictures.
        area: Smallest and largest share of the picture that it covers.

    Returns:
        A function of images `(batch, height, width, channels)` and an int32 seed `(2,)`.
    """

    def erase(images: Any, seed: Any) -> Any:
        size = tf.cast(tf.shape(images)[1:3], tf.float32)
        draws = tf.random.stateless_uniform((5, tf.shape(images)[0], 1, 1), seed)
        share = area[0] + draws[1] * (area[1] - area[0])
        low, high = math.log(_ASPECTS[0]), math.log(_ASPECTS[1])
        aspect = tf.exp(low + draws[2] * (high - low))
        height = size[0] * tf.minimum(tf.sqrt(share * aspect), 1.0)
        width = size[1] * tf.minimum(tf.sqrt(share / aspect), 1.0)
        top, left = draws[3] * (size[0] - height), draws[4] * (size[1] - width)
        y = tf.range(size[0])[None, :, None]
        x = tf.range(size[1])[None, None, :]
        inside = (y >= top) & (y < top + height) & (x >= left) & (x < left + width)
        colour = [255 * value for value in _MEAN_COLOUR]
        if images.shape[-1] != len(colour):
            colour = [sum(colour) / len(colour)]
        covered = (inside & (draws[0] < chance))[..., None]
        return tf.where(covered, tf.constant(colour, images.dtype), images)

    return erase


def jitter(strength: float) -> Change:
    """Brightness, then contrast about the mean grey, each by a factor about 1.

    Args:
        strength: 0.5 = factors from 0.5 to 1.5.

    Returns:
        A function of images `(batch, height, width, channels)` and an int32 seed `(2,)`.
    """

    def change(images: Any, seed: Any) -> Any:
        import tensorflow as tf

        shape = (2, tf.shape(images)[0], 1, 1, 1)
        light, contrast = tf.unstack(
            tf.random.stateless_uniform(shape, seed, 1 - strength, 1 + strength)
        )
        lit = tf.clip_by_value(images * light, 0.0, 255.0)
        mean = tf.reduce_mean(lit, axis=(1, 2, 3), keepdims=True)
        return tf.clip_by_value(mean + contrast * (lit - mean), 0.0, 255.0)

    return change


def resized_crop(area: tuple[float, float], aspect: tuple[float, float]) -> Change:
    """A part of each picture, brought to the size of the whole.

    Args:
        area: Smallest and largest share of the picture.
        aspect: Smallest and largest width / height of the part.

    Returns:
        A function of images `(batch, height, width, channels)` and an int32 seed `(2,)`.
    """

    def crop(images: Any, seed: Any) -> Any:
        import tensorflow as tf

        batch, size = tf.shape(images)[0], tf.shape(images)[1:3]
        draws = tf.random.stateless_uniform((4, batch), seed)
        share = area[0] + draws[0] * (area[1] - area[0])
        low, high = math.log(aspect[0]), math.log(aspect[1])
        ratio = tf.exp(low + draws[1] * (high - low))
        height = tf.minimum(tf.sqrt(share / ratio), 1.0)
        width = tf.minimum(tf.sqrt(share * ratio), 1.0)
        top, left = draws[2] * (1 - height), draws[3] * (1 - width)
        boxes = tf.stack([top, left, top + height, left + width], axis=1)
        return tf.image.crop_and_resize(images, boxes, tf.range(batch), size)

    return crop


def _mirrored_and(*changes: Change) -> Callable[[Any], list[Any]]:
    def layers_of(image_shape: tuple[int, int, int]) -> list[Any]:
        return [layers.RandomFlip("horizontal"), *changes]

    return layers_of


RECIPES: dict[str, Callable[[Any], list[Any]]] = {
    # FER+: 16 of 112 pixels of padding before a random crop.
    "ddamfn_ferplus": _mirrored_and(
        sometimes_warp(0.2, rotation=10, shift=16 / 112), sometimes_erase(0.5, (0.02, 0.25))
    ),
    "ddamfn_rafdb": _mirrored_and(
        sometimes_warp(0.2, rotation=5, shift=8 / 112), sometimes_erase(0.5, (0.02, 0.25))
    ),
    "ddamfn_rafdb_pp": _mirrored_and(
        sometimes_warp(0.5, rotation=5, shift=8 / 112), sometimes_erase(0.5, (0.02, 0.25))
    ),
    "ddamfn_affectnet": _mirrored_and(
        sometimes_warp(0.7, rotation=20, shift=0.2, scale=(0.8, 1.0)),
        sometimes_erase(0.5, (0.02, 0.33)),
    ),
    "ddamfn_affectnet_pp": _mirrored_and(
        sometimes_warp(0.7, rotation=20, shift=0.2, scale=(0.8, 1.0)),
        sometimes_erase(1.0, (0.05, 0.05)),
    ),
    # The ensembles of Siqueira et al. 2020, and the diversified MA-Net on FER+ and AffectNet.
    "esr": _mirrored_and(
        jitter(0.5), sometimes_warp(1.0, rotation=30, shift=0.1, scale=(1.0, 1.25))
    ),
    # RUL (Zhang et al. 2021).
    "rul": _mirrored_and(sometimes_erase(0.5, (0.02, 0.25))),
    # The FER2013 baselines: 44 of 48 pixels, here brought back to the size of the whole.
    "crop": _mirrored_and(resized_crop(((44 / 48) ** 2, (44 / 48) ** 2), (1.0, 1.0))),
    # MA-Net (Zhao et al. 2021): PyTorch's defaults of a random crop.
    "manet": _mirrored_and(resized_crop((0.08, 1.0), (3 / 4, 4 / 3))),
    # The diversified networks on RAF-DB: 32 of 224 pixels of padding before a random crop.
    "diversified_rafdb": _mirrored_and(
        sometimes_warp(0.2, rotation=20, shift=32 / 224), sometimes_erase(0.5, (0.02, 0.25))
    ),
    # The same of 96 pixels.
    "diversified_rafdb_96": _mirrored_and(
        sometimes_warp(0.2, rotation=20, shift=32 / 96), sometimes_erase(0.5, (0.02, 0.25))
    ),
}
