"""CutMix, MixUp and RandAugment: shares, seeds, targets and weights."""

import numpy as np
import pytest

from fer_keras.common.errors import ConfigError
from fer_keras.data.augmentation.mixing import CutMix, MixUp
from fer_keras.data.augmentation.policies import build_policy, list_policies, mixes_pictures
from fer_keras.data.augmentation.rand_augment import OPERATIONS, equalise, rand_augment
from fer_keras.data.pipeline import balanced_class_weights, training_dataset
from fer_keras.data.samples import Samples

BATCH, SIZE = 64, 20


def flat_pictures() -> tuple[np.ndarray, np.ndarray]:
    """Picture i has the grey value i everywhere, and its target says so: class i of the batch."""
    values = np.arange(BATCH, dtype=np.float32)[:, None, None, None]
    return np.broadcast_to(values, (BATCH, SIZE, SIZE, 1)).copy(), np.eye(BATCH, dtype=np.float32)


def mix(step: CutMix | MixUp, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    import tensorflow as tf

    images, targets = flat_pictures()
    mixed, labels = step(tf.constant(images), tf.constant(targets), tf.constant([seed, 0]))
    return np.asarray(mixed), np.asarray(labels)


@pytest.mark.parametrize("halves", [False, True])
def test_the_share_of_a_target_is_the_share_of_its_pixels(halves: bool) -> None:
    images, labels = mix(CutMix(share=1.0, halves=halves))
    for own in range(BATCH):
        grey, count = np.unique(images[own], return_counts=True)
        shares = np.zeros(BATCH)
        shares[grey.astype(int)] = count / SIZE**2
        np.testing.assert_allclose(labels[own], shares, atol=1e-6)
        assert len(grey) <= 2
    if halves:
        kept = labels[np.arange(BATCH), np.arange(BATCH)]
        assert ((kept > 0.39) & (kept < 0.61) | (kept == 1)).all()
        assert (np.ptp(images, axis=2) == 0).all(), "a row belongs to one picture"


def test_mix_up_blends_pictures_as_it_blends_targets() -> None:
    images, labels = mix(MixUp(alpha=1.0))
    # The grey value of a picture is that of the mean of its target.
    np.testing.assert_allclose(images.mean(axis=(1, 2, 3)), labels @ np.arange(BATCH), rtol=1e-4)
    np.testing.assert_allclose(np.ptp(images, axis=(1, 2, 3)), 0, atol=1e-4)
    assert 0.3 < (labels.max(axis=1) > 0.75).mean() < 0.8  # uniform: a half


@pytest.mark.parametrize("step", [CutMix(), MixUp()])
def test_mixing_follows_from_the_seed(step: CutMix | MixUp) -> None:
    first, again, other = mix(step), mix(step), mix(step, seed=2)
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert not np.array_equal(first[1], other[1])
    np.testing.assert_allclose(first[1].sum(axis=1), 1, atol=1e-6)


def test_half_the_pictures_stay_whole_and_alpha_shapes_the_rest() -> None:
    kept = np.concatenate([mix(CutMix(), seed)[1].max(axis=1) for seed in range(10)])
    assert 0.45 < (kept == 1).mean() < 0.65
    # Beta(0.2, 0.2) is at its ends, Beta(5, 5) in the middle.
    middle = [
        np.mean([(mix(MixUp(alpha), seed)[1].max(axis=1) < 0.75).mean() for seed in range(5)])
        for alpha in (0.2, 5.0)
    ]
    assert middle[0] < 0.25 < 0.8 < middle[1]


def votes_of(n: int) -> Samples:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (n, 16, 16, 1)).astype(np.uint8)
    targets = rng.dirichlet(np.full(3, 0.3), n).astype(np.float32)
    columns = {name: np.array([name] * n) for name in ("source", "sha256", "subject")}
    names = ("neutral", "anger", "fear")
    return Samples("x", "train", names, "crossentropy", images, targets, columns)


@pytest.mark.parametrize("policy", [name for name in list_policies() if mixes_pictures(name)])
def test_weights_are_those_of_the_mixed_targets(policy: str) -> None:
    samples = votes_of(40)
    weights = balanced_class_weights(samples)
    dataset = training_dataset(
        samples, batch_size=16, seed=0, augmentation=policy, class_weights=weights
    )
    changed = 0
    for images, targets, given in dataset.take(3):
        assert np.asarray(images).dtype == np.uint8
        np.testing.assert_allclose(np.sum(targets, axis=1), 1, atol=1e-5)
        np.testing.assert_allclose(given, np.asarray(targets) @ weights, rtol=1e-5)
        distances = np.abs(np.asarray(targets)[:, None] - samples.targets[None]).sum(2).min(1)
        changed += int((distances > 1e-4).sum())
    assert changed > 4


def test_pairs_cannot_be_mixed() -> None:
    with pytest.raises(ConfigError, match="pairs"):
        build_policy("cut_mix_halves", (2, 16, 16, 1))


def test_equalised_pictures_use_all_grey_levels() -> None:
    import tensorflow as tf

    rng = np.random.default_rng(0)
    images = rng.normal(90, 8, (3, 48, 48, 1)).clip(0, 255).astype(np.float32)
    images[1] += 60  # another picture of the batch changes nothing
    images[2] = 77
    spread = np.asarray(equalise(tf.constant(images)))
    for equalised in spread[:2]:
        # Even: as many pixels in each quarter of the range.
        counts = np.histogram(equalised, bins=4, range=(0, 255))[0]
        assert counts.min() > 0.2 * 48 * 48
        assert (equalised.min(), equalised.max()) == (0, 255)
    np.testing.assert_array_equal(spread[2], images[2])


def test_every_picture_draws_its_own_operations() -> None:
    import tensorflow as tf

    ramp = np.tile(np.linspace(60, 190, 32, dtype=np.float32), (64, 32, 1))[..., None]
    seed = tf.constant([3, 4])
    changed = np.asarray(rand_augment()(tf.constant(ramp), seed))
    # One and the same for some: a shift of columns does not show in an equalised ramp.
    assert len({picture.tobytes() for picture in changed}) > 50
    # No operation at all is the identity; all of them leave no picture as it was.
    np.testing.assert_allclose(rand_augment(0)(tf.constant(ramp), seed), ramp, atol=1e-3)
    moved = np.asarray(rand_augment(len(OPERATIONS))(tf.constant(ramp), seed))
    assert (np.abs(moved - ramp).mean(axis=(1, 2, 3)) > 1).all()
    assert 0 <= changed.min() <= changed.max() <= 255
