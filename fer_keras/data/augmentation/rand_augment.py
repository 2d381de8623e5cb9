"""RandAugment for grey faces: two operations a picture, out of eight that suit them.

Cubuk et al., "RandAugment: Practical automated data augmentation with a reduced search space"
(NeurIPS 2020, section 3): every picture gets N operations drawn with equal chance, all of one
strength, and nothing is learned as it is by AutoAugment. Theirs are made for photographs of
things: colour and posterising say nothing about a grey face, inverted parts (solarising) are no
face, and Keras' layer turns by up to 144 degrees at medium strength, equalises by one histogram of
the whole batch, and draws the same operations for all pictures of it.
"""

import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf
from keras import layers

from fer_keras.data.augmentation.affine import affine
from fer_keras.data.augmentation.step_seeds import draw_from, step_seeds

OPERATIONS = (
    "rotation", "shear", "shift", "scale",
    "brightness", "contrast", "sharpness", "equalisation",
)  # fmt: skip
_NUM_GEOMETRIC = 4
_RANGE = (0.0, 255.0)


def rand_augment(num_operations: int = 2) -> Callable[[Any, Any], Any]:
    """Makes the step of a policy.

    A picture that draws several geometric operations is resampled once for all of them; those on
    grey levels follow, in the order of `OPERATIONS`. Strengths are drawn evenly, up to: 25 degrees,
    shear 0.2, a shift of 10 % and a scale of 0.85 to 1.15; brightness 25 % of the range, contrast
    0.5 to 1.5 times, sharpness from blurred to twice as sharp.

    Args:
        num_operations: Different operations for each picture.

    Returns:
        A function of images `(batch, height, width, channels)` float32 in 0..255 and an int32 seed
        `(2,)`.
    """
    brightness = layers.RandomBrightness(0.25, value_range=_RANGE)
    contrast = layers.RandomContrast(0.5, value_range=_RANGE)

    def augment(images: Any, seed: Any) -> Any:
        seeds = step_seeds(seed)
        for layer in (brightness, contrast):
            draw_from(layer, seeds)
        batch = tf.shape(images)[0]
        order = tf.random.stateless_uniform((batch, len(OPERATIONS)), seeds.next())
        ranks = tf.argsort(tf.argsort(order, axis=1), axis=1)
        chosen = ranks < num_operations
        images = affine(images, _strengths(chosen[:, :_NUM_GEOMETRIC], seeds.next()))
        changes: tuple[Callable[[Any], Any], ...] = (
            lambda x: brightness(x, training=True),
            lambda x: contrast(x, training=True),
            lambda x: _sharpen(x, seeds.next()),
            equalise,
        )
        for column, change in enumerate(changes, start=_NUM_GEOMETRIC):
            # A quarter of the pictures draws it: the work for the others would be thrown away.
            rows = tf.where(chosen[:, column])
            changed = tf.clip_by_value(change(tf.gather(images, rows[:, 0])), *_RANGE)
            images = tf.tensor_scatter_nd_update(images, rows, changed)
        return images

    return augment


def _strengths(chosen: Any, seed: Any) -> Any:
    """Angle, shear, shift across and down, and change of size, 0 where not chosen, `(5, batch)`."""
    draws = tf.random.stateless_uniform((5, tf.shape(chosen)[0]), seed, -1.0, 1.0)
    limits = tf.constant([25 * math.pi / 180, 0.2, 0.1, 0.1, 0.15])[:, None]
    columns = tf.gather(tf.cast(chosen, tf.float32), [0, 1, 2, 2, 3], axis=1)
    return draws * limits * tf.transpose(columns)


def _sharpen(images: Any, seed: Any) -> Any:
    """Between a 3x3 mean of the picture and the picture with twice its differences from that."""
    # Sums of shifted pictures: a pooling of maps with one channel takes a CPU ten times as long.
    padded = tf.pad(images, [[0, 0], [1, 1], [1, 1], [0, 0]], mode="SYMMETRIC")
    rows = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    smooth = (rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]) / 9.0
    factor = tf.random.stateless_uniform((tf.shape(images)[0], 1, 1, 1), seed, 0.0, 2.0)
    return smooth + factor * (images - smooth)


def equalise(images: Any) -> Any:
    """Spreads the grey levels of every channel of every picture over the whole range.

    Args:
        images: `(batch, height, width, channels)` in 0..255.

    Returns:
        float32 of the same shape; a picture of one grey level stays as it is.
    """
    shape = tf.shape(images)
    num_planes, pixels = shape[0] * shape[3], shape[1] * shape[2]
    planes = tf.reshape(tf.transpose(images, (0, 3, 1, 2)), (num_planes, pixels))
    flat = tf.cast(tf.round(planes), tf.int32)
    # One histogram for each plane: the levels of plane i are numbered from 256 i.
    numbered = tf.reshape(flat + 256 * tf.range(num_planes)[:, None], (-1,))
    ones = tf.ones_like(numbered, tf.float32)
    histogram = tf.math.unsorted_segment_sum(ones, numbered, 256 * num_planes)
    ends = tf.cumsum(tf.reshape(histogram, (num_planes, 256)), axis=1)
    total = ends[:, -1:]
    first = tf.reduce_min(tf.where(ends > 0, ends, total), axis=1, keepdims=True)
    table = 255.0 * tf.math.divide_no_nan(ends - first, total - first)
    spread = tf.reshape(tf.gather(tf.reshape(table, (-1,)), numbered), (num_planes, pixels))
    spread = tf.where(total > first, spread, planes)
    spread = tf.reshape(spread, (shape[0], shape[3], shape[1], shape[2]))
    return tf.ensure_shape(tf.transpose(spread, (0, 2, 3, 1)), images.shape)
