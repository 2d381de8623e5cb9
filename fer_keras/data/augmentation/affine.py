"""Moves pictures: rotation, shear, shift, scale and perspective in one resampling."""

from typing import Any

import tensorflow as tf


def affine(images: Any, strengths: Any, *, tilt: Any = None, fill_mode: str = "NEAREST") -> Any:
    """Rotation, shear, shift and scale around the centre in one resampling.

    Args:
        images: `(batch, height, width, channels)`.
        strengths: `(5, batch)`: angle in radians, shear across, shifts across and down as shares of
            the picture, and change of size (0.1 = 1.1 times).
        tilt: `(2, batch)`, across and down, their sizes together below 1; None for no perspective.
            A plane that is turned out of the picture: by t the left (upper) edge is 1 - t and the
            right (lower) one 1 + t times as large.
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
    middle_x, middle_y = x0 + across * size[1], y0 + down * size[0]
    p, q = tf.unstack(tf.zeros_like(strengths[:2]) if tilt is None else tilt)
    p, q = p / x0, q / y0
    at_zero = 1 - p * x0 - q * y0
    rows = [
        a + middle_x * p, b + middle_x * q, middle_x * at_zero - a * x0 - b * y0,
        c + middle_y * p, d + middle_y * q, middle_y * at_zero - c * x0 - d * y0,
        p, q,
    ]  # fmt: skip
    warped = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(images, tf.float32),
        transforms=tf.stack(rows, axis=1) / at_zero[:, None],
        output_shape=tf.shape(images)[1:3],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode=fill_mode,
    )
    # The operator forgets the size, which later layers ask for.
    return tf.ensure_shape(warped, images.shape)
