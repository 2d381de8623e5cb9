"""Batches are a function of (seed, step), and every sample is seen once a pass."""

import mmap
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_keras.common.errors import ConfigError, DataError
from fer_keras.data import pipeline
from fer_keras.data.augmentation.policies import build_policy, list_policies
from fer_keras.data.pipeline import (
    Shard,
    balanced_class_weights,
    block_order,
    epoch_order,
    evaluation_dataset,
    steps_per_epoch,
    training_dataset,
    training_prior,
)
from fer_keras.data.samples import Samples, one_hot


def make_samples(n: int = 50, size: int = 16) -> Samples:
    """Sample i has the grey value i in its first pixel; class 0 is four times as frequent."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (n, size, size, 1)).astype(np.uint8)
    images[:, 0, 0, 0] = np.arange(n)
    labels = (np.arange(n) % 5 == 0).astype(np.int64)
    columns = {name: np.array([name] * n) for name in ("source", "sha256", "subject")}
    return Samples("x", "train", ("neutral", "anger"), "hard", images, one_hot(labels, 2), columns)


def numpy_batches(dataset: Any, count: int) -> list[list[np.ndarray]]:
    return [[np.asarray(part) for part in batch] for batch in dataset.take(count)]


@pytest.fixture
def deterministic(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """TensorFlow as `training.deterministic` leaves it in a process that has drawn nothing yet."""
    import tensorflow as tf
    from tensorflow.python.framework import config
    from tensorflow.python.ops import stateful_random_ops

    monkeypatch.setattr(stateful_random_ops, "global_generator", None)
    tf.config.experimental.enable_op_determinism()
    yield
    config.disable_op_determinism()


def test_a_pass_sees_every_sample_once() -> None:
    samples = make_samples()
    steps = steps_per_epoch(50, 8)
    batches = numpy_batches(training_dataset(samples, batch_size=8, seed=1), 2 * steps)
    assert [len(b[0]) for b in batches[:steps]] == [8] * 6 + [2]
    for start in (0, steps):
        seen = np.concatenate([b[0][:, 0, 0, 0] for b in batches[start : start + steps]])
        assert sorted(seen) == list(range(50))
    assert batches[0][0].dtype == np.uint8
    first, second = (batches[start][0][:, 0, 0, 0] for start in (0, steps))
    assert not np.array_equal(first, second)


def test_targets_belong_to_their_images() -> None:
    samples = make_samples()
    for images, targets in numpy_batches(training_dataset(samples, batch_size=8, seed=1), 7):
        np.testing.assert_array_equal(targets, samples.targets[images[:, 0, 0, 0]])


@pytest.mark.parametrize("policy", ["none", "light"])
def test_rows_number_the_samples(policy: str) -> None:
    samples = make_samples()
    weights = np.ones(2, np.float32)
    common: Any = {"batch_size": 8, "seed": 3, "augmentation": policy, "class_weights": weights}
    plain = training_dataset(samples, **common).take(9).as_numpy_iterator()
    numbered = training_dataset(samples, with_rows=True, **common).take(9).as_numpy_iterator()
    for (images, targets, _), ((same, rows), again, _) in zip(plain, numbered, strict=True):
        np.testing.assert_array_equal(images, same)
        np.testing.assert_array_equal(targets, again)
        np.testing.assert_array_equal(samples.targets[rows], targets)
        assert rows.dtype == np.int32
        if policy == "none":
            np.testing.assert_array_equal(images[:, 0, 0, 0], rows)


@pytest.mark.parametrize("policy", list_policies())
def test_starting_late_is_the_same(policy: str) -> None:
    samples = make_samples()
    common = {"batch_size": 8, "seed": 3, "augmentation": policy}
    whole = numpy_batches(training_dataset(samples, **common), 12)
    late = numpy_batches(training_dataset(samples, first_step=9, **common), 3)
    for expected, received in zip(whole[9:], late, strict=True):
        for a, b in zip(expected, received, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", [name for name in list_policies() if name != "none"])
def test_policy_eagerly_and_in_tf_data(name: str, deterministic: None) -> None:
    import tensorflow as tf

    samples = make_samples(24, size=32)
    images = tf.constant(samples.images, tf.float32)
    targets = tf.constant(samples.targets)
    policy = build_policy(name, (32, 32, 1))
    assert policy is not None

    def apply(seed: int) -> tuple[np.ndarray, np.ndarray]:
        pixels, mixed = policy(images, targets, tf.constant([seed, 0]))
        return np.asarray(pixels), np.asarray(mixed)

    eager, labels = apply(5)
    assert eager.shape == images.shape
    assert eager.min() >= 0
    assert eager.max() <= 255
    np.testing.assert_allclose(labels.sum(axis=1), 1.0, atol=1e-5)
    assert not np.array_equal(eager, np.asarray(images))
    np.testing.assert_array_equal(eager, apply(5)[0])
    assert not np.array_equal(eager, apply(6)[0])

    dataset = tf.data.Dataset.from_tensors((images, targets)).map(
        lambda x, y: policy(x, y, tf.constant([5, 0]))
    )
    inside, _ = next(iter(dataset))
    np.testing.assert_allclose(eager, np.asarray(inside), atol=0.51)


def test_a_shift_keeps_the_pixels_sharp() -> None:
    import tensorflow as tf

    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (1, 48, 48, 1)).astype(np.float32)
    policy = build_policy("light", (48, 48, 1))
    assert policy is not None
    target = tf.constant([[1.0]])
    pixels, _ = policy(np.repeat(image, 8, 0), tf.repeat(target, 8, 0), tf.constant([1, 0]))
    # Noise keeps its contrast from pixel to pixel when it is moved, and loses it when averaged.
    roughness = np.abs(np.diff(image, axis=2)).mean() / image.std()
    inner = np.asarray(pixels)[:, 8:-8, 8:-8]
    for moved in inner:
        assert np.abs(np.diff(moved, axis=1)).mean() / moved.std() > 0.9 * roughness


def test_balanced_sampling_draws_classes_equally() -> None:
    labels = np.array([0] * 900 + [1] * 100)
    drawn = labels[epoch_order(labels, seed=0, epoch=0, sampling="balanced")]
    assert 0.4 < drawn.mean() < 0.6


def test_class_weights() -> None:
    samples = make_samples()
    weights = balanced_class_weights(samples)
    np.testing.assert_allclose(weights, [50 / (2 * 40), 50 / (2 * 10)])
    dataset = training_dataset(samples, batch_size=8, seed=0, class_weights=weights)
    _, targets, sample_weights = numpy_batches(dataset, 1)[0]
    np.testing.assert_allclose(sample_weights, targets @ weights)


def test_evaluation_keeps_the_order() -> None:
    batches = numpy_batches(evaluation_dataset(make_samples(), batch_size=20), 10)
    assert [len(b[0]) for b in batches] == [20, 20, 10]
    np.testing.assert_array_equal(
        np.concatenate([b[0][:, 0, 0, 0] for b in batches]), np.arange(50)
    )


def test_load_dataset_has_another_order_in_each_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    from fer_keras.data import load
    from fer_keras.data.pipeline import load_dataset

    monkeypatch.setattr(load, "load_samples", lambda *a, **k: make_samples())
    dataset = load_dataset("x", "train", batch_size=8)
    assert len(dataset) == 7
    orders = [
        np.concatenate([np.asarray(images)[:, 0, 0, 0] for images, _ in dataset]) for _ in range(2)
    ]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(50))
    assert not np.array_equal(*orders)
    assert len(list(load_dataset("x", "validation", batch_size=25))) == 2
    with pytest.raises(ConfigError, match="held-out"):
        load_dataset("x", "validation", augmentation="flip")


def test_refusals() -> None:
    samples = make_samples()
    with pytest.raises(ConfigError, match="Nearest: light"):
        training_dataset(samples, batch_size=8, seed=0, augmentation="ligth")
    with pytest.raises(ConfigError, match="batch_size"):
        training_dataset(samples, batch_size=0, seed=0)
    with pytest.raises(DataError, match="Received none"):
        evaluation_dataset(samples.take([]))


def test_blocks_see_every_sample_once_and_start_anywhere() -> None:
    count, window = 150_000, 65_536
    labels = np.zeros(count, np.int64)
    order = epoch_order(labels, seed=1, epoch=2, sampling="blocks")
    np.testing.assert_array_equal(np.sort(order), np.arange(count))
    np.testing.assert_array_equal(order[window : 2 * window], block_order(count, 1, 2, 1))
    # Any window reads whole blocks, and in no two passes the same ones.
    assert len(np.unique(order[:window] // 1024)) == 64
    other = epoch_order(labels, seed=1, epoch=3, sampling="blocks")
    assert set(other[:window] // 1024) != set(order[:window] // 1024)


@pytest.mark.parametrize("sampling", ["shuffle", "blocks"])
def test_parts_of_a_batch_make_the_batch(sampling: Any) -> None:
    samples = make_samples(50)
    common: Any = {"batch_size": 8, "seed": 3, "sampling": sampling}
    whole = numpy_batches(training_dataset(samples, **common), 14)
    parts = [
        numpy_batches(training_dataset(samples, shard=Shard(index, 2, 4), **common), 14)
        for index in range(2)
    ]
    for expected, *received in zip(whole, *parts, strict=True):
        images = np.concatenate([batch[0] for batch in received])
        # The last batch of a pass has two pictures and is filled up to four with the same.
        np.testing.assert_array_equal(images, np.resize(expected[0], images.shape))
        assert len(images) == (8 if len(expected[0]) == 8 else 4)


def test_parts_of_an_evaluation_count_each_picture_once() -> None:
    samples = make_samples(50)
    seen = []
    for index in range(2):
        dataset = evaluation_dataset(samples, batch_size=24, shard=Shard(index, 2, 8))
        for images, targets, weights in numpy_batches(dataset, 9):
            assert len(images) in (12, 4)
            np.testing.assert_array_equal(targets, samples.targets[images[:, 0, 0, 0]])
            seen += images[weights > 0, 0, 0, 0].tolist()
    assert sorted(seen) == list(range(50))


def test_a_mapped_file_is_given_back_and_reads_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (4000, 48, 48, 1), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    given_back: list[int] = []

    class Watched:
        shape = mapped.shape

        class _mmap:
            @staticmethod
            def madvise(option: int) -> None:
                given_back.append(option)
                mapped._mmap.madvise(option)

    forget = pipeline._forgetting(Watched())
    monkeypatch.setattr(pipeline, "_MAPPED_BYTES", 1000 * (2304 + 65536))
    for start in range(0, 4000, 500):
        np.testing.assert_array_equal(mapped[start : start + 500], images[start : start + 500])
        forget(500)
    # After every third read of 500 pictures, which is the first to pass the limit.
    assert given_back == [mmap.MADV_DONTNEED] * 2
    np.testing.assert_array_equal(mapped, images)


def test_recipes_of_ddamfn() -> None:
    """Shares of the pictures that are changed, and how far, over 2,000 pictures."""
    import tensorflow as tf

    from fer_keras.data.augmentation.recipes import sometimes_erase, sometimes_warp

    images = tf.fill((2000, 20, 20, 3), 200.0)
    erased = sometimes_erase(0.5, (0.1, 0.2))(images, tf.constant([0, 1])).numpy()
    share = (erased != 200).all(axis=-1).mean(axis=(1, 2))
    assert 0.46 < (share > 0).mean() < 0.54
    # Rectangles of whole pixels: up to a row and a column more or less than asked for.
    assert share[share > 0].min() > 0.03
    assert share.max() < 0.32
    colours = np.unique(erased.reshape(-1, 3), axis=0)
    np.testing.assert_allclose(colours[0], np.array([0.485, 0.456, 0.406]) * 255, rtol=1e-5)

    marked = np.zeros((2000, 20, 20, 1), np.float32)
    marked[:, 10, 10] = 255
    moved = sometimes_warp(0.4, rotation=0, shift=0.2)(tf.constant(marked), tf.constant([0, 1]))
    places = moved.numpy().reshape(2000, 400)
    np.testing.assert_allclose(places.max(axis=1), 255, atol=0.1)  # Whole pixels: nothing blurs.
    rows, columns = np.divmod(places.argmax(axis=1), 20)
    for line in (rows, columns):
        assert (line.min(), line.max()) == (6, 14)
    still = ((rows == 10) & (columns == 10)).mean()
    assert 0.57 < still < 0.65  # 0.6, and one in 81 of the others.
    smaller = sometimes_warp(1.0, rotation=0, shift=0, scale=(0.5, 0.5))(
        tf.fill((1, 20, 20, 1), 100.0), tf.constant([0, 1])
    ).numpy()
    assert smaller[0, :4].max() == 0
    assert smaller[0, 6:14, 6:14].min() == 100


def test_facts_stand_behind_the_classes_of_their_own_sample() -> None:
    samples = make_samples()
    samples.facts["valence"] = samples.images[:, 0, 0, 0] / 100  # type: ignore[index]
    options: dict[str, Any] = {"target_facts": ("valence",)}
    batches = (
        *numpy_batches(training_dataset(samples, batch_size=8, seed=0, **options), 7),
        *numpy_batches(evaluation_dataset(samples, **options), 1),
    )
    for images, targets in batches:
        assert targets.shape[1] == 3
        np.testing.assert_allclose(targets[:, 2], images[:, 0, 0, 0] / 100, rtol=1e-6)
        np.testing.assert_array_equal(targets[:, :2].sum(axis=1), 1)
    with pytest.raises(DataError, match=r"learns arousal, .* does not know arousal"):
        evaluation_dataset(samples, target_facts=("arousal",))
    weighted = training_dataset(
        samples, batch_size=8, seed=0, class_weights=np.ones(2, np.float32), **options
    )
    assert [part.shape for part in numpy_batches(weighted, 1)[0]] == [(8, 16, 16, 1), (8, 3), (8,)]


def test_the_prior_is_that_of_the_targets_as_they_are_drawn_and_weighted() -> None:
    targets = np.array([[1, 0], [1, 0], [0.6, 0.4], [0.2, 0.8]], np.float32)
    samples = replace(make_samples(4), targets=targets)
    prior = training_prior(samples)
    # (1 + 1 + 0.6 + 0.2) / 4.
    assert list(prior) == list(samples.class_names)
    assert list(prior.values()) == pytest.approx([0.7, 0.3])
    # The last picture, alone in its class, is drawn as often as the three others together:
    # (2.6 / 3 + 0.2) / 2.
    drawn = training_prior(samples, sampling="balanced")
    assert list(drawn.values()) == pytest.approx([1.6 / 3, 1.4 / 3])
    # Weights of the targets: 1, 1, 0.6 + 3 * 0.4 = 1.8, 0.2 + 3 * 0.8 = 2.6; sum 6.4.
    weighted = training_prior(samples, class_weights=np.array([1, 3], np.float32))
    assert list(weighted.values()) == pytest.approx([3.6 / 6.4, 2.8 / 6.4])
