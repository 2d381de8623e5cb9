"""The augmentation of published programs does what its numbers say."""

import numpy as np
import tensorflow as tf

from fer_keras.data.augmentation.recipes import jitter, resized_crop

SEED = tf.constant([3, 4])


def ramp(count: int, side: int = 32) -> np.ndarray:
    """Columns and rows that say where they are."""
    y, x = np.mgrid[:side, :side].astype(np.float32)
    return np.repeat(np.stack([x, y, 100 + 0 * x], axis=-1)[np.newaxis], count, axis=0)


def test_a_resized_crop() -> None:
    side, count = 32, 400
    cropped = np.asarray(resized_crop((0.08, 1.0), (3 / 4, 4 / 3))(tf.constant(ramp(count)), SEED))
    assert cropped.shape == (count, side, side, 3)
    width, height = (
        (cropped[:, -1, -1, axis] - cropped[:, 0, 0, axis] + 1) / side for axis in (0, 1)
    )
    share, aspect = width * height, width / height
    assert 0.05 < share.min() < 0.15
    assert 0.9 < share.max() < 1.02
    assert 0.7 < np.quantile(aspect, 0.02) < np.quantile(aspect, 0.98) < 1.45
    # All of it lies in the picture, and the mean place is the middle.
    assert cropped[..., :2].min() > -1e-3
    assert cropped[..., :2].max() < side - 1 + 1e-3
    assert abs(cropped[..., 0].mean() - (side - 1) / 2) < 1


def test_jitter() -> None:
    grey = np.full((2000, 4, 4, 1), 60, np.float32)
    grey[:, :2] = 100
    changed = np.asarray(jitter(0.5)(tf.constant(grey), SEED))
    light = changed.mean(axis=(1, 2, 3)) / 80
    assert 0.5 < light.min() < 0.52
    assert 1.48 < light.max() < 1.5
    contrast = (changed[:, 0, 0, 0] - changed[:, 3, 0, 0]) / (40 * light)
    assert 0.5 < contrast.min() < 0.52
    assert 1.48 < contrast.max() < 1.501
