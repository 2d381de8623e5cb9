"""Samples to tf.data: batches that are a pure function of (seed, step).

The decoded pictures stay where they are (an array or a memory-mapped file of uint8); a step gathers
its pictures by index in one vectorised read, and leaves them uint8 until the graph. Order and
augmentation depend on the seed and the step alone, so a run that is resumed at step k sees what it
would have seen, and reads nothing of what came before. Several processes read a part each of the
same batches, so their number changes nothing either.
"""

import functools
import itertools
import mmap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from fer_keras.common.errors import ConfigError, DataError
from fer_keras.data import load
from fer_keras.data.augmentation.policies import Policy, build_policy
from fer_keras.data.gathered import GatheredImages
from fer_keras.data.samples import Samples

Sampling = Literal["shuffle", "balanced", "blocks"]

# `blocks`: rows that lie together in the file are read together, and shuffled among the rows of
# this many blocks. 64 x 1024 pictures of 48 x 48 are 151 MB.
_BLOCK_ROWS = 1024
_BLOCKS_PER_WINDOW = 64
_WINDOW_ROWS = _BLOCK_ROWS * _BLOCKS_PER_WINDOW

# A memory-mapped file takes at most so much of the process's memory. A read maps up to 64 KiB
# around it (Linux, fault_around_bytes).
_MAPPED_BYTES = 256 << 20
_BYTES_MAPPED_AROUND = 64 << 10


@dataclass(frozen=True)
class Shard:
    """The part of every batch that this process reads.

    Attributes:
        index: Number of the part, from 0.
        count: Number of parts: of processes.
        multiple_of: What the size of every batch is a multiple of: the number of devices. The last
            batch of a pass repeats some of its own pictures where it has to.
    """

    index: int = 0
    count: int = 1
    multiple_of: int = 1

    def rows(self, batch: np.ndarray) -> np.ndarray:
        """This part of a batch.

        Args:
            batch: The indices of the whole batch.

        Returns:
            As many indices as every other part has.
        """
        size = -(-len(batch) // self.multiple_of) * self.multiple_of
        part = size // self.count
        return np.resize(batch, size)[self.index * part : (self.index + 1) * part]


WHOLE = Shard()


@dataclass(frozen=True)
class Pass:
    """The pictures of one pass, where not all are visited.

    Attributes:
        rows: Numbers of the pictures in the order of the visits.
        weights: Of every picture of the split, float32 `(pictures,)`.
    """

    rows: np.ndarray
    weights: np.ndarray


def steps_per_epoch(num_samples: int, batch_size: int) -> int:
    """Steps of one pass, the last partial batch included."""
    return -(-num_samples // batch_size)


def epoch_order(
    labels: np.ndarray, *, seed: int, epoch: int, sampling: Sampling = "shuffle"
) -> np.ndarray:
    """The order in which one pass visits the samples.

    Args:
        labels: Class of every sample, `(n,)`.
        seed: The run's seed.
        epoch: Number of the pass, from 0.
        sampling: `shuffle` visits each sample once; `balanced` draws n samples with replacement
            so that each class that occurs is drawn equally often on average; `blocks` visits each
            sample once, see `block_order`.

    Returns:
        Indices `(n,)`.
    """
    if sampling == "blocks":
        count = -(-len(labels) // _WINDOW_ROWS)
        return np.concatenate([block_order(len(labels), seed, epoch, i) for i in range(count)])
    rng = np.random.default_rng([seed, epoch])
    if sampling == "shuffle":
        return rng.permutation(len(labels))
    counts = np.bincount(labels)
    weights = 1.0 / counts[labels]
    return rng.choice(len(labels), size=len(labels), p=weights / weights.sum())


def block_order(num_samples: int, seed: int, epoch: int, window: int) -> np.ndarray:
    """One window of a shuffled pass over a file that is too large to be read in any order.

    The blocks of 1024 rows are visited in an order drawn for the pass, and the rows of 64
    consecutive ones in an order drawn for the window. So a disk reads megabytes at a time, and what
    is held in memory does not grow with the file. A last block with fewer rows is always the last.

    Args:
        num_samples: Rows of the file.
        seed: The run's seed.
        epoch: Number of the pass, from 0.
        window: Number of the window in the pass, from 0.

    Returns:
        Indices `(rows of the window,)`: 65,536, and in the last window what is left.
    """
    whole, rest = divmod(num_samples, _BLOCK_ROWS)
    blocks = np.random.default_rng([seed, epoch]).permutation(whole)
    blocks = np.append(blocks, [whole] if rest else [])
    chosen = blocks[window * _BLOCKS_PER_WINDOW : (window + 1) * _BLOCKS_PER_WINDOW]
    rows = (chosen[:, None] * _BLOCK_ROWS + np.arange(_BLOCK_ROWS)).reshape(-1).astype(np.int64)
    return np.random.default_rng([seed, epoch, window]).permutation(rows[rows < num_samples])


def balanced_class_weights(samples: Samples) -> np.ndarray:
    """Weight of each class, `n / (classes * count)`; 0 for a class that does not occur."""
    counts = np.array(list(samples.class_counts().values()))
    weights = np.where(counts > 0, len(samples) / (len(counts) * np.maximum(counts, 1)), 0.0)
    return weights.astype(np.float32)


def training_prior(
    samples: Samples,
    *,
    class_weights: np.ndarray | None = None,
    sampling: Sampling = "shuffle",
    prior_tau: float = 0.0,
) -> dict[str, float]:
    """The share of each class among the targets as a training sees them: what a network answers by.

    Args:
        samples: What is trained on.
        class_weights: As of `training_dataset`.
        sampling: As of `training_dataset`; balanced draws change the shares as weights do.
        prior_tau: What a loss with logit adjustment takes out of the answers, 0..1.

    Returns:
        Label -> share; they sum to 1. What a method or an augmentation makes of the targets, such
        as smoothed labels, is not counted.
    """
    targets = np.asarray(samples.targets, np.float64)
    weights = np.ones(len(targets))
    if sampling == "balanced":
        weights *= balanced_class_weights(samples).astype(np.float64)[samples.labels]
    if class_weights is not None:
        weights *= targets @ class_weights.astype(np.float64)
    shares = (weights @ targets / weights.sum()) ** (1 - prior_tau)
    shares /= shares.sum()
    return {name: float(share) for name, share in zip(samples.class_names, shares, strict=True)}


def training_dataset(
    samples: Samples,
    *,
    batch_size: int,
    seed: int,
    first_step: int = 0,
    augmentation: str = "none",
    class_weights: np.ndarray | None = None,
    sampling: Sampling = "shuffle",
    shard: Shard = WHOLE,
    with_rows: bool = False,
    target_facts: Sequence[str] = (),
    views: int = 1,
    only: Pass | None = None,
) -> Any:
    """Batches for training, without end.

    Args:
        samples: What to train on.
        batch_size: Images per step of all processes together; the last batch of a pass may be
            smaller.
        seed: Seeds order and augmentation.
        first_step: The step to begin at, counted from the start of the run.
        augmentation: A policy of `fer_keras.data.augmentation.policies`.
        class_weights: `(classes,)`; each sample then carries its target's expected weight.
        sampling: See `epoch_order`.
        shard: The part of every batch to read. Augmentation then differs from that of whole
            batches, and from that of the other parts.
        with_rows: Hand out `(images, rows)` in the place of the images, the rows int32 `(batch,)`
            being the numbers of the samples.
        target_facts: Facts of the samples that stand behind the classes in the targets.
        views: The samples are so many views of the same pictures, one view after the other. A pass
            visits one of them, the next pass the next; every second round is mirrored.
        only: What every pass visits, in the place of all pictures in an order drawn anew.

    Returns:
        A `tf.data.Dataset` of images uint8 `(batch, height, width, channels)`, targets float32
        `(batch, classes + facts)` and, with class weights or `only`, weights float32 `(batch,)`.

    Raises:
        DataError: There are no samples.
        ConfigError: An unknown augmentation or a batch size below 1.
    """
    _check(samples, batch_size)
    steps = tf.data.Dataset.range(first_step, np.iinfo(np.int64).max)
    policy = build_policy(augmentation, samples.images.shape[1:])
    targets = _with_facts(samples, target_facts)
    return _batches(
        samples,
        steps,
        batch_size,
        seed,
        policy,
        class_weights,
        sampling,
        shard,
        with_rows,
        targets,
        views,
        only,
    )


def _batches(
    samples: Samples,
    steps: Any,
    batch_size: int,
    seed: int,
    policy: Policy | None,
    class_weights: np.ndarray | None = None,
    sampling: Sampling = "shuffle",
    shard: Shard = WHOLE,
    with_rows: bool = False,
    targets: np.ndarray | None = None,
    views: int = 1,
    only: Pass | None = None,
) -> Any:
    """The batches of the steps that the data set `steps` numbers from the start of the run."""
    images = samples.images
    targets = samples.targets if targets is None else targets
    count = len(samples) // views
    visited = None if only is None else only.rows
    rows = _rows_of_step(samples.labels[:count], batch_size, seed, sampling, visited)
    per_epoch = steps_per_epoch(count if visited is None else len(visited), batch_size)
    # Each part of a batch draws its own augmentation.
    policy_seed = tf.constant([seed, shard.index], tf.int32)

    def part(step: Any) -> np.ndarray:
        view = int(step) // per_epoch % views
        return view * count + shard.rows(rows(int(step)))

    def choose(step: Any) -> Any:
        indices = tf.numpy_function(part, [step], tf.int64, stateful=False)
        return step, tf.ensure_shape(indices, [None])

    def gather(step: Any, indices: Any) -> tuple[Any, ...]:
        pixels, mixed = _gather(images, targets, indices)
        if views > 1:
            mirrored = step // (per_epoch * views) % 2 == 1
            pixels = tf.where(mirrored, tf.reverse(pixels, axis=[-2]), pixels)
        if policy is not None:
            step_seed = tf.random.fold_in(policy_seed, tf.cast(step, tf.int32))
            changed, mixed = policy(tf.cast(pixels, tf.float32), mixed, step_seed)
            pixels = tf.cast(tf.round(changed), tf.uint8)
        fed = (pixels, tf.cast(indices, tf.int32)) if with_rows else pixels
        if class_weights is None and only is None:
            return fed, mixed
        weights = tf.ones(tf.shape(indices), tf.float32)
        if class_weights is not None:
            # Of the targets that are trained on: a policy may have mixed them.
            of_classes = tf.constant(class_weights, tf.float32)
            weights = tf.linalg.matvec(mixed[:, : len(class_weights)], of_classes)
        if only is not None:
            weights *= tf.gather(tf.constant(only.weights, tf.float32), indices % count)
        return fed, mixed, weights

    # One step after the other: the next ones are in the part of the order that is held.
    dataset = steps.map(_as_written(choose))
    dataset = dataset.map(
        _as_written(gather), num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )
    return dataset.prefetch(4)


def _rows_of_step(
    labels: np.ndarray,
    batch_size: int,
    seed: int,
    sampling: Sampling,
    visited: np.ndarray | None = None,
) -> Callable[[int], np.ndarray]:
    """A function from a step to the indices of its batch, that works out no other step."""
    count = len(labels if visited is None else visited)
    per_epoch = steps_per_epoch(count, batch_size)
    held = _WINDOW_ROWS if sampling == "blocks" else count

    @functools.lru_cache(maxsize=2)
    def order(epoch: int, part: int) -> np.ndarray:
        if visited is not None:
            return visited
        if sampling == "blocks":
            return block_order(count, seed, epoch, part)
        return epoch_order(labels, seed=seed, epoch=epoch, sampling=sampling)

    def rows(step: int) -> np.ndarray:
        epoch, inside = divmod(step, per_epoch)
        first = inside * batch_size
        last = min(first + batch_size, count)
        parts = [order(epoch, part) for part in range(first // held, (last - 1) // held + 1)]
        start = first // held * held
        joined = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return joined[first - start : last - start]

    return rows


def evaluation_dataset(
    samples: Samples,
    batch_size: int = 256,
    shard: Shard = WHOLE,
    target_facts: Sequence[str] = (),
) -> Any:
    """Batches in the order of the samples, once through.

    Args:
        samples: What to evaluate on.
        batch_size: Images per step of all processes together.
        shard: The part of every batch to read. With several devices every batch has weights, which
            are 0 for the pictures that fill up the last one.
        target_facts: Facts of the samples that stand behind the classes in the targets.

    Returns:
        A finite `tf.data.Dataset` of images uint8 `(batch, height, width, channels)`, targets
        float32 `(batch, classes + facts)` and, with several devices, weights float32 `(batch,)`.

    Raises:
        DataError: There are no samples.
    """
    _check(samples, batch_size)
    count = len(samples)
    targets = _with_facts(samples, target_facts)

    def rows(first: Any) -> tuple[np.ndarray, np.ndarray]:
        batch = np.arange(first, min(first + batch_size, count))
        real = np.arange(-(-len(batch) // shard.multiple_of) * shard.multiple_of) < len(batch)
        return shard.rows(batch), shard.rows(real).astype(np.float32)

    def gather(first: Any) -> tuple[Any, ...]:
        indices, weights = tf.numpy_function(rows, [first], (tf.int64, tf.float32), stateful=False)
        indices = tf.ensure_shape(indices, [None])
        element = _gather(samples.images, targets, indices)
        if shard.multiple_of == 1:
            return element
        return (*element, tf.ensure_shape(weights, [None]))

    starts = tf.data.Dataset.range(0, count, batch_size)
    batches = starts.map(
        _as_written(gather), num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )
    return batches.prefetch(2)


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
        augmentation: A policy of `fer_keras.data.augmentation.policies`.
        seed: Seeds order and augmentation.
        **options: Passed to `load_samples`: `label_rule`, `image_size`, `channels`, `source`, ...

    Returns:
        A finite `tf.data.Dataset` of images uint8 `(batch, height, width, channels)` and targets
        float32 `(batch, classes)`, of known length.

    Raises:
        DataError: The data set or the split is not there.
        ConfigError: An unknown data set or augmentation, or TensorFlow is not installed.
    """
    samples = load.load_samples(name, split, **options)
    _check(samples, batch_size)
    if split == "train" if shuffle is None else shuffle:
        # Every pass over the data set takes the next number, and with it another order.
        passes = itertools.count()
        per_epoch = steps_per_epoch(len(samples), batch_size)
        epochs = tf.data.Dataset.from_tensors(0).map(
            lambda _: tf.numpy_function(lambda: np.int64(next(passes)), [], tf.int64)
        )
        steps = epochs.flat_map(
            lambda epoch: tf.data.Dataset.range(epoch * per_epoch, (epoch + 1) * per_epoch)
        )
        policy = build_policy(augmentation, samples.images.shape[1:])
        dataset = _batches(samples, steps, batch_size, seed, policy)
        return dataset.apply(tf.data.experimental.assert_cardinality(per_epoch))
    if augmentation != "none":
        raise ConfigError(
            "Augmentation needs shuffle=True: held-out pictures are left as they are."
        )
    return evaluation_dataset(samples, batch_size)


def _as_written(function: Any) -> Any:
    """A function that is traced as it is.

    TensorFlow would rewrite it for `if` and `for` over tensors, of which there are none; that takes
    a second of every start.
    """
    return tf.autograph.experimental.do_not_convert(function)


def _gather(images: Any, targets: Any, indices: Any) -> tuple[Any, Any]:
    forget = _forgetting(images)

    def read(batch: Any) -> tuple[Any, Any]:
        parts = (images[batch], targets[batch])
        forget(len(batch))
        return parts

    types = (tf.as_dtype(images.dtype), tf.float32)
    pixels, rows = tf.numpy_function(read, [indices], types, stateful=False)
    return (
        tf.ensure_shape(pixels, [None, *images.shape[1:]]),
        tf.ensure_shape(rows, [None, targets.shape[1]]),
    )


def _forgetting(images: Any) -> Callable[[int], None]:
    """A function that is told of every read of a memory-mapped file, and bounds what is mapped.

    Pages that were read count as memory of the process until it gives them back. The system keeps
    them as cache as long as there is room, so reading them again costs no disk access.
    """
    sources = images.sources if isinstance(images, GatheredImages) else (images,)
    mapped: list[Any] = [getattr(source, "_mmap", None) for source in sources]
    mapped = [each for each in mapped if hasattr(each, "madvise")]
    if not mapped:
        return lambda rows: None
    pictures = images.rows[:1].size if isinstance(images, GatheredImages) else 1
    row_bytes = pictures * _BYTES_MAPPED_AROUND + int(np.prod(images.shape[1:]))
    held = 0

    def forget(rows: int) -> None:
        nonlocal held
        held += rows * row_bytes
        if held > _MAPPED_BYTES:
            held = 0
            for each in mapped:
                each.madvise(mmap.MADV_DONTNEED)

    return forget


def _with_facts(samples: Samples, names: Sequence[str]) -> np.ndarray:
    """Targets `(n, classes + facts)`; a fact that a sample lacks is nan."""
    missing = [name for name in names if name not in samples.facts]
    if missing:
        raise DataError(
            f"The method learns {', '.join(names)}, of which {samples.name} {samples.split} does "
            f"not know {', '.join(missing)}. It knows: {', '.join(samples.facts)}."
        )
    columns = [np.asarray(samples.facts[name], np.float32)[:, np.newaxis] for name in names]
    return np.hstack([samples.targets, *columns]) if columns else samples.targets


def _check(samples: Samples, batch_size: int) -> None:
    if len(samples) == 0:
        raise DataError(f"{samples.name} {samples.split}: expected samples. Received none.")
    if batch_size < 1:
        raise ConfigError(f"batch_size: expected at least 1. Received: {batch_size}.")
