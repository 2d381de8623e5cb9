"""Moves pictures: rotation, shear, shift and scale in one resampling."""

from typing import Any

import tensorflow as tf


def affine(images: Any, strengths: Any, *, fill_mode: str = "NEAREST") -> Any:
    """Rotation, shear, shift and scale around the centre in one resampling.

    Args:
        images: `(batch, height, width, channels)`.
        strengths: `(5, batch)`: angle in radians, shear across, shifts across and down as shares of
            the picture, and change of size (0.1 = 1.1 times).
        fill_mode: `NEAREST`: where a picture ends, its last pixels go on; `CONSTANT`: black.

    Returns:
        float32 of the same shape.
    """
    size = tf.cast(tf.shape(images)[1:3], tf.float32)
    angle, shear, across, down, change = tf.unstack(strengths)
    # The transform goes from a pixel of the result to one of the source.
    cos, sin = tf.cos(angle) / (1 + change), tf.sin(angle) / (1 + change)
    a, b, c, d = cos, shear * cos - sin, sin, shear * sin + cos
    y0, x0 = (size[0] - 1) / 2, (size[1] - 1) / 2
    x = x0 + across * size[1] - a * x0 - b * y0
    y = y0 + down * size[0] - c * x0 - d * y0
    zero = tf.zeros_like(a)
    warped = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(images, tf.float32),
        transforms=tf.stack([a, b, x, c, d, y, zero, zero], axis=1),
        output_shape=tf.shape(images)[1:3],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode=fill_mode,
    )
    # The operator forgets the size, which later layers ask for.
    return tf.ensure_shape(warped, images.shape)
