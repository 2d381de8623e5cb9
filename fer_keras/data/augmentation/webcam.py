"""What webcams and rooms do to a picture of a face, for the policies `camera` and its kin.

Keras has no layer for these losses, or one that costs a training step too much. Each function takes
images `(batch, height, width, channels)` in 0..255 and an int32 seed `(2,)`; values above and below
are cut off after the last one. One size or width holds for all pictures of a step where a resize of
each picture by itself would take longer than the training step.
"""

import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf

Change = Callable[[Any, Any], Any]


def dim(images: Any, seed: Any) -> Any:
    """Half the pictures under another light: 0.35 to 1.3 times as bright, evenly on a log scale."""
    draws = tf.random.stateless_uniform((2, tf.shape(images)[0], 1, 1, 1), seed)
    low, high = math.log(0.35), math.log(1.3)
    gain = tf.exp(low + draws[0] * (high - low))
    return tf.where(draws[1] < 0.5, images * gain, images)


def coarsen(images: Any, seed: Any) -> Any:
    """A sixth of the pictures as from far away: a third to three quarters of their pixels a side.

    One size for all pictures of a step: a resize of each picture by itself would take longer than
    the training step.
    """
    batch, side = tf.shape(images)[0], tf.shape(images)[1:3]
    chosen = tf.random.stateless_uniform((batch, 1, 1, 1), tf.random.fold_in(seed, 0)) < 1 / 6
    share = tf.random.stateless_uniform((), tf.random.fold_in(seed, 1), 0.33, 0.75)
    small = tf.cast(tf.cast(side, tf.float32) * share, tf.int32)
    coarse = tf.image.resize(tf.image.resize(images, small, antialias=True), side)
    return tf.where(chosen, coarse, images)


def defocus(images: Any, seed: Any) -> Any:
    """A sixth of the pictures blurred by a Gaussian, one sigma of 0.6 to 2 pixels for a step."""
    batch, channels = tf.shape(images)[0], images.shape[-1]
    chosen = tf.random.stateless_uniform((batch, 1, 1, 1), tf.random.fold_in(seed, 0)) < 1 / 6
    sigma = tf.random.stateless_uniform((), tf.random.fold_in(seed, 1), 0.6, 2.0)
    kernel = tf.exp(-0.5 * (tf.range(-4.0, 5.0) / sigma) ** 2)
    kernel = tf.tile((kernel / tf.reduce_sum(kernel))[:, None, None, None], (1, 1, channels, 1))
    padded = tf.pad(images, [[0, 0], [4, 4], [4, 4], [0, 0]], mode="SYMMETRIC")
    rows = tf.nn.depthwise_conv2d(padded, kernel, [1, 1, 1, 1], "VALID")
    blurred = tf.nn.depthwise_conv2d(
        rows, tf.transpose(kernel, (1, 0, 2, 3)), [1, 1, 1, 1], "VALID"
    )
    return tf.where(chosen, blurred, images)


def grain(chance: float, most: float) -> Change:
    """Sensor noise: Gaussian, of another strength for each picture.

    Args:
        chance: Share of the pictures.
        most: Largest standard deviation, in grey levels of 255.

    Returns:
        A function of images `(batch, height, width, channels)` and an int32 seed `(2,)`.
    """

    def add(images: Any, seed: Any) -> Any:
        draws = tf.random.stateless_uniform(
            (2, tf.shape(images)[0], 1, 1, 1), tf.random.fold_in(seed, 0)
        )
        noise = tf.random.stateless_normal(tf.shape(images), tf.random.fold_in(seed, 1))
        return images + tf.where(draws[0] < chance, draws[1] * most, 0.0) * noise

    return add


def hide(images: Any, seed: Any) -> Any:
    """A rectangle over 40 % of the pictures: a hand, a mask, glasses; of any grey.

    It is 0.3 to 1 times as wide and 0.12 to 0.42 times as high as the picture, and lies anywhere.
    """
    batch = tf.shape(images)[0]
    size = tf.cast(tf.shape(images)[1:3], tf.float32)
    draws = tf.random.stateless_uniform((6, batch, 1, 1), seed)
    height, width = size[0] * (0.12 + 0.3 * draws[0]), size[1] * (0.3 + 0.7 * draws[1])
    top, left = draws[2] * (size[0] - height), draws[3] * (size[1] - width)
    y = tf.range(size[0])[None, :, None]
    x = tf.range(size[1])[None, None, :]
    inside = (y >= top) & (y < top + height) & (x >= left) & (x < left + width)
    covered = inside & (draws[4] < 0.4)
    return tf.where(covered[..., None], 255.0 * draws[5][..., None], images)


def hide_rows(images: Any, seed: Any) -> Any:
    """A band over the whole width of 35 % of the pictures, in their mean grey: eyes, nose or mouth.

    It is 0.12 to 0.42 times as high as the picture and lies at any height.
    """
    height = tf.cast(tf.shape(images)[1], tf.float32)
    draws = tf.random.stateless_uniform((3, tf.shape(images)[0], 1), seed)
    rows = height * (0.12 + 0.3 * draws[0])
    top = draws[1] * (height - rows)
    y = tf.range(height)[None, :]
    covered = (y >= top) & (y < top + rows) & (draws[2] < 0.35)
    mean = tf.reduce_mean(images, axis=(1, 2), keepdims=True)
    return tf.where(covered[..., None, None], mean, images)


def pixelate(images: Any, seed: Any) -> Any:
    """A fifth of the pictures in blocks, as by digital zoom: a sixth to half of their pixels."""
    batch, side = tf.shape(images)[0], tf.shape(images)[1:3]
    chosen = tf.random.stateless_uniform((batch, 1, 1, 1), tf.random.fold_in(seed, 0)) < 1 / 5
    share = tf.random.stateless_uniform((), tf.random.fold_in(seed, 1), 1 / 6, 1 / 2)
    small = tf.cast(tf.round(tf.cast(side, tf.float32) * share), tf.int32)
    blocks = tf.image.resize(tf.image.resize(images, small, method="area"), side, method="nearest")
    return tf.where(chosen, blocks, images)


def fade(images: Any, seed: Any) -> Any:
    """A fifth of the pictures with 0.15 to 0.8 of their contrast about their mean: haze, a veil."""
    draws = tf.random.stateless_uniform((2, tf.shape(images)[0], 1, 1, 1), seed)
    mean = tf.reduce_mean(images, axis=(1, 2, 3), keepdims=True)
    faded = mean + (images - mean) * (0.15 + 0.65 * draws[0])
    return tf.where(draws[1] < 1 / 5, faded, images)


def bend(images: Any, seed: Any) -> Any:
    """A fifth of the pictures under a gamma curve of exponent 1/3 to 3, evenly on a log scale."""
    draws = tf.random.stateless_uniform((2, tf.shape(images)[0], 1, 1, 1), seed)
    exponent = tf.exp((2 * draws[0] - 1) * math.log(3.0))
    bent = 255 * (tf.clip_by_value(images, 0.0, 255.0) / 255) ** exponent
    return tf.where(draws[1] < 1 / 5, bent, images)


def light_from_a_side(images: Any, seed: Any) -> Any:
    """A sixth of the pictures darker towards one side, at any angle, to 0.1 to 0.8 of the light."""
    draws = tf.random.stateless_uniform((3, tf.shape(images)[0], 1, 1), seed)
    height, width = images.shape[1:3]
    angle = 2 * math.pi * draws[0]
    across, down = tf.linspace(-0.5, 0.5, width)[None, None], tf.linspace(-0.5, 0.5, height)
    way = tf.cos(angle) * across + tf.sin(angle) * down[None, :, None]
    # Of a picture's corners, at 45 degrees, the one is at -0.71 and the other at 0.71.
    dark = tf.clip_by_value(0.5 + way / (tf.abs(tf.cos(angle)) + tf.abs(tf.sin(angle))), 0.0, 1.0)
    gain = 1 - dark * (0.2 + 0.7 * draws[1])
    return tf.where((draws[2] < 1 / 6)[..., None], images * gain[..., None], images)


def compress(images: Any, seed: Any) -> Any:
    """A sixth of the pictures through a JPEG of quality 4 to 50, evenly on a log scale."""
    draws = tf.random.stateless_uniform((2, tf.shape(images)[0]), seed)
    low, high = math.log(4.0), math.log(50.0)
    quality = tf.cast(tf.exp(low + draws[0] * (high - low)), tf.int32)
    rows = tf.where(draws[1] < 1 / 6)[:, 0]

    def through(row: Any) -> Any:
        return tf.image.adjust_jpeg_quality(images[row] / 255, quality[row]) * 255

    def changed() -> Any:
        coded = tf.map_fn(through, rows, fn_output_signature=images.dtype)
        return tf.tensor_scatter_nd_update(images, rows[:, None], coded)

    # tf.image refuses values outside of its range, which noise brings.
    images = tf.clip_by_value(images, 0.0, 255.0)
    return tf.cond(tf.size(rows) > 0, changed, lambda: images)


def some_pictures(share: float, *changes: Change) -> Change:
    """Several changes, one after the other, of a share of the pictures; the others stay clean.

    Args:
        share: 0 to 1.
        changes: Functions of images and a seed.

    Returns:
        A function of images `(batch, height, width, channels)` and an int32 seed `(2,)`.
    """

    def apply(images: Any, seed: Any) -> Any:
        chosen = tf.random.stateless_uniform((tf.shape(images)[0], 1, 1, 1), seed) < share
        changed = images
        for number, change in enumerate(changes):
            changed = change(changed, tf.random.fold_in(seed, number))
        return tf.where(chosen, changed, images)

    return apply
