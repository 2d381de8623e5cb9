"""What a webcam does to pictures: how many, how much, and the rest left as it is."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from fer_keras.data.augmentation import webcam
from fer_keras.data.augmentation.affine import affine

SEED = [3, 1]


def changed_by(change: Any, pictures: Any, seed: list[int] = SEED) -> tuple[Any, Any]:
    """The result, and which of the pictures are others than before."""
    result = np.asarray(change(tf.constant(pictures), tf.constant(seed)))
    assert result.shape == pictures.shape
    return result, np.abs(result - pictures).max(axis=(1, 2, 3)) > 1e-3


@pytest.fixture(scope="module")
def noise() -> Any:
    drawn = np.random.default_rng(0).uniform(0, 255, (600, 24, 24, 1))
    return np.rint(drawn).astype(np.float32)


@pytest.mark.parametrize(
    ("change", "share"),
    [
        (webcam.dim, 1 / 2),
        (webcam.coarsen, 1 / 6),
        (webcam.pixelate, 1 / 5),
        (webcam.defocus, 1 / 6),
        (webcam.grain(0.3, 32), 0.3),
        (webcam.fade, 1 / 5),
        (webcam.bend, 1 / 5),
        (webcam.light_from_a_side, 1 / 6),
        (webcam.compress, 1 / 6),
        (webcam.hide, 0.4),
        (webcam.hide_rows, 0.35),
        (webcam.some_pictures(0.3, webcam.grain(1.0, 32)), 0.3),
    ],
)
def test_so_many_pictures_are_harmed(noise: Any, change: Any, share: float) -> None:
    result, changed = changed_by(change, noise)
    # Three standard deviations of a share of 600.
    assert abs(changed.mean() - share) < 3 * (share * (1 - share) / 600) ** 0.5
    np.testing.assert_array_equal(result, changed_by(change, noise)[0])
    others, _ = changed_by(change, noise, [3, 2])
    assert np.abs(others - result).max() > 1


def test_tilt_makes_one_edge_smaller_and_the_other_larger() -> None:
    band = np.zeros((2, 49, 49, 1), np.float32)
    band[:, 20:29] = 255
    nothing = tf.zeros((5, 2))
    tilted = np.asarray(affine(band, nothing, tilt=tf.constant([[0.3, 0.0], [0.0, 0.3]])))
    heights = tilted[0, :, :, 0].sum(axis=0) / 255
    np.testing.assert_allclose(heights[[0, 24, 48]], [9 * 0.7, 9, 9 * 1.3], atol=0.3)
    upside = np.asarray(
        affine(band.transpose(0, 2, 1, 3), nothing, tilt=tf.constant([[0.0, 0.0], [0.3, 0.0]]))
    )
    np.testing.assert_allclose(upside[0, :, :, 0], tilted[0, :, :, 0].T, atol=0.1)


def test_pixelate_leaves_blocks_of_one_grey(noise: Any) -> None:
    result, changed = changed_by(webcam.pixelate, noise)
    greys = [len(np.unique(picture.round(3))) for picture in result[changed]]
    assert min(greys) >= 4 * 4
    assert max(greys) <= 12 * 12


def test_light_from_a_side_falls_evenly() -> None:
    result, changed = changed_by(
        webcam.light_from_a_side, np.full((300, 20, 30, 1), 200, np.float32)
    )
    lit = result[changed][..., 0] / 200
    lowest, highest = lit.min(axis=(1, 2)), lit.max(axis=(1, 2))
    np.testing.assert_allclose(highest, 1, atol=1e-3)
    assert 0.1 <= lowest.min() < 0.3
    assert 0.6 < lowest.max() <= 0.8
    # No bend anywhere: the second differences of an even fall are 0.
    assert np.abs(np.diff(lit, n=2, axis=1)).max() < 1e-3
    assert np.abs(np.diff(lit, n=2, axis=2)).max() < 1e-3


def test_haze_and_gamma_keep_what_they_should(noise: Any) -> None:
    result, changed = changed_by(webcam.fade, noise)
    np.testing.assert_allclose(result.mean(axis=(1, 2, 3)), noise.mean(axis=(1, 2, 3)), rtol=1e-3)
    ratio = result[changed].std(axis=(1, 2, 3)) / noise[changed].std(axis=(1, 2, 3))
    assert 0.15 <= ratio.min() < 0.3
    assert 0.65 < ratio.max() <= 0.801
    result, changed = changed_by(webcam.bend, noise)
    order = np.argsort(noise[changed].reshape(changed.sum(), -1), axis=1)
    bent = np.take_along_axis(result[changed].reshape(changed.sum(), -1), order, axis=1)
    assert (np.diff(bent, axis=1) >= -1e-3).all()
    assert result.min() >= 0
    assert result.max() <= 255


def test_noise_beyond_the_range_is_cut_before_jpeg(noise: Any) -> None:
    result, changed = changed_by(webcam.compress, noise * 1.5 - 60)
    assert changed.any()
    assert result.min() >= 0
    assert result.max() <= 255
