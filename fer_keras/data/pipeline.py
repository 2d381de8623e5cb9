"""Samples to tf.data: batches that are a pure function of (seed, step).

The decoded pictures stay where they are (an array or a memory-mapped file of uint8); a step gathers
its pictures by index in one vectorised read, and leaves them uint8 until the graph. Order and
augmentation depend on the seed and the step alone, so a run that is resumed at step k sees what it
would have seen.
"""

import itertools
from typing import Any, Literal

import numpy as np

from fer_keras.data.augment import Policy, build_policy
from fer_keras.data.samples import Samples
from fer_keras.errors import ConfigError, DataError


def steps_per_epoch(num_samples: int, batch_size: int) -> int:
    """Steps of one pass, the last partial batch included."""
    return -(-num_samples // batch_size)


def epoch_order(
    labels: np.ndarray,
    *,
    seed: int,
    epoch: int,
    sampling: Literal["shuffle", "balanced"] = "shuffle",
) -> np.ndarray:
    """The order in which one pass visits the samples.

    Args:
        labels: Class of every sample, `(n,)`.
        seed: The run's seed.
        epoch: Number of the pass, from 0.
        sampling: `shuffle` visits each sample once; `balanced` draws n samples with replacement
            so that each class that occurs is drawn equally often on average.

    Returns:
        Indices `(n,)`.
    """
    rng = np.random.default_rng([seed, epoch])
    if sampling == "shuffle":
        return rng.permutation(len(labels))
    counts = np.bincount(labels)
    weights = 1.0 / counts[labels]
    return rng.choice(len(labels), size=len(labels), p=weights / weights.sum())


def balanced_class_weights(samples: Samples) -> np.ndarray:
    """Weight of each class, `n / (classes * count)`; 0 for a class that does not occur."""
    counts = np.array(list(samples.class_counts().values()))
    weights = np.where(counts > 0, len(samples) / (len(counts) * np.maximum(counts, 1)), 0.0)
    return weights.astype(np.float32)


def training_dataset(
    samples: Samples,
    *,
    batch_size: int,
    seed: int,
    first_step: int = 0,
    augmentation: str = "none",
    class_weights: np.ndarray | None = None,
    sampling: Literal["shuffle", "balanced"] = "shuffle",
) -> Any:
    """Batches for training, without end.

    Args:
        samples: What to train on.
        batch_size: Images per step; the last batch of a pass may be smaller.
        seed: Seeds order and augmentation.
        first_step: The step to begin at, counted from the start of the run.
        augmentation: A policy of `fer_keras.data.augment`.
        class_weights: `(classes,)`; each sample then carries its target's expected weight.
        sampling: See `epoch_order`.

    Returns:
        A `tf.data.Dataset` of images uint8 `(batch, height, width, channels)`, targets float32
        `(batch, classes)` and, with class weights, weights float32 `(batch,)`.

    Raises:
        DataError: There are no samples.
        ConfigError: An unknown augmentation or a batch size below 1.
    """
    import tensorflow as tf

    _check(samples, batch_size)
    per_epoch = steps_per_epoch(len(samples), batch_size)
    first_epoch, skip = divmod(first_step, per_epoch)
    epochs = tf.data.Dataset.range(first_epoch, np.iinfo(np.int64).max // per_epoch)
    policy = build_policy(augmentation, samples.images.shape[1:])
    return _batches(samples, epochs, batch_size, seed, policy, class_weights, sampling, skip)


def _batches(
    samples: Samples,
    epochs: Any,
    batch_size: int,
    seed: int,
    policy: Policy | None,
    class_weights: np.ndarray | None = None,
    sampling: Literal["shuffle", "balanced"] = "shuffle",
    skip: int = 0,
) -> Any:
    """The passes that the data set `epochs` numbers, one after the other."""
    import tensorflow as tf

    images, targets, labels = samples.images, samples.targets, samples.labels
    per_epoch = steps_per_epoch(len(samples), batch_size)
    weights = None if class_weights is None else (targets @ class_weights).astype(np.float32)

    def order(epoch: Any) -> Any:
        return epoch_order(labels, seed=seed, epoch=int(epoch), sampling=sampling)

    def one_pass(epoch: Any) -> Any:
        indices = tf.numpy_function(order, [epoch], tf.int64, stateful=False)
        indices = tf.data.Dataset.from_tensor_slices(tf.ensure_shape(indices, [len(samples)]))
        steps = tf.data.Dataset.range(epoch * per_epoch, (epoch + 1) * per_epoch)
        return tf.data.Dataset.zip(steps, indices.batch(batch_size))

    def gather(step: Any, indices: Any) -> tuple[Any, ...]:
        element = _gather(images, targets, weights, indices)
        if policy is None:
            return element
        step_seed = tf.random.fold_in(tf.constant([seed, 0], tf.int32), tf.cast(step, tf.int32))
        pixels, mixed = policy(tf.cast(element[0], tf.float32), element[1], step_seed)
        return (tf.cast(tf.round(pixels), tf.uint8), mixed, *element[2:])

    dataset = epochs.flat_map(one_pass).skip(skip)
    dataset = dataset.map(gather, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return dataset.prefetch(4)


def evaluation_dataset(samples: Samples, batch_size: int = 256) -> Any:
    """Batches in the order of the samples, once through.

    Args:
        samples: What to evaluate on.
        batch_size: Images per step.

    Returns:
        A finite `tf.data.Dataset` of images uint8 `(batch, height, width, channels)` and targets
        float32 `(batch, classes)`.

    Raises:
        DataError: There are no samples.
    """
    import tensorflow as tf

    _check(samples, batch_size)
    indices = tf.data.Dataset.range(len(samples)).batch(batch_size)
    return indices.map(
        lambda batch: _gather(samples.images, samples.targets, None, batch),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    ).prefetch(2)


def load_dataset(
    name: str,
    split: str,
    *,
    batch_size: int = 64,
    shuffle: bool | None = None,
    augmentation: str = "none",
    seed: int = 0,
    **options: Any,
) -> Any:
    """A data set ready for `model.fit`: one pass, in batches.

    Args:
        name: A data set of `python -m fer_keras.data list`.
        split: `train`, `validation` or `test`.
        batch_size: Images per batch.
        shuffle: Whether to shuffle; by default only the training split is.
        augmentation: A policy of `fer_keras.data.augment`.
        seed: Seeds order and augmentation.
        **options: Passed to `load_samples`: `label_rule`, `image_size`, `channels`, `source`, ...

    Returns:
        A finite `tf.data.Dataset` of images uint8 `(batch, height, width, channels)` and targets
        float32 `(batch, classes)`, of known length.

    Raises:
        DataError: The data set or the split is not there.
        ConfigError: An unknown data set or augmentation.
    """
    import tensorflow as tf

    from fer_keras.data import load_samples

    samples = load_samples(name, split, **options)
    _check(samples, batch_size)
    if split == "train" if shuffle is None else shuffle:
        # Every pass over the data set takes the next number, and with it another order.
        passes = itertools.count()
        epochs = tf.data.Dataset.from_tensors(0).map(
            lambda _: tf.numpy_function(lambda: np.int64(next(passes)), [], tf.int64)
        )
        policy = build_policy(augmentation, samples.images.shape[1:])
        dataset = _batches(samples, epochs, batch_size, seed, policy)
        steps = steps_per_epoch(len(samples), batch_size)
        return dataset.apply(tf.data.experimental.assert_cardinality(steps))
    if augmentation != "none":
        raise ConfigError(
            "Augmentation needs shuffle=True: held-out pictures are left as they are."
        )
    return evaluation_dataset(samples, batch_size)


def _gather(images: Any, targets: Any, weights: Any, indices: Any) -> tuple[Any, ...]:
    import tensorflow as tf

    def read(batch: Any) -> tuple[Any, ...]:
        parts = (images[batch], targets[batch])
        return parts if weights is None else (*parts, weights[batch])

    types = (tf.uint8, tf.float32) if weights is None else (tf.uint8, tf.float32, tf.float32)
    parts = tf.numpy_function(read, [indices], types, stateful=False)
    parts[0] = tf.ensure_shape(parts[0], [None, *images.shape[1:]])
    parts[1] = tf.ensure_shape(parts[1], [None, targets.shape[1]])
    if weights is not None:
        parts[2] = tf.ensure_shape(parts[2], [None])
    return tuple(parts)


def _check(samples: Samples, batch_size: int) -> None:
    if len(samples) == 0:
        raise DataError(f"{samples.name} {samples.split}: expected samples. Received none.")
    if batch_size < 1:
        raise ConfigError(f"batch_size: expected at least 1. Received: {batch_size}.")
