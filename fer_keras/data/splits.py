"""Honest splits: duplicates are found, and no person or duplicate is on both sides of a cut."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from fer_keras.common.errors import DataError
from fer_keras.config import DatasetConfig
from fer_keras.data.clips import with_clips
from fer_keras.data.folds import (
    check_disjoint,
    count_folds,
    describe_division,
    divide,
    part_of,
    pool,
)
from fer_keras.data.groups import connected_groups, cut_mask
from fer_keras.data.label_noise import with_label_list, with_label_noise
from fer_keras.data.load import describe, load_samples, prepare
from fer_keras.data.pairs import with_neutral
from fer_keras.data.prepared import read_content
from fer_keras.data.samples import Samples


def duplicated_in(eval_samples: Samples, train_samples: Samples) -> np.ndarray:
    """Which images also occur in another split, pixel for pixel.

    Args:
        eval_samples: The split that is asked about, n samples.
        train_samples: The split that is searched.

    Returns:
        `(n,)` bool.
    """
    return np.isin(eval_samples.facts["sha256"], train_samples.facts["sha256"])


def drop_duplicates_of(train: Samples, held_out: Samples) -> Samples:
    """The training samples without those whose exact pixels occur in a held-out split."""
    duplicated = duplicated_in(train, held_out)
    return train.take(~duplicated) if duplicated.any() else train


def cut_validation(samples: Samples, fraction: float, seed: int) -> tuple[Samples, Samples]:
    """Cuts a validation split from a training split that has none beside it.

    Args:
        samples: What to divide.
        fraction: Share of the images for validation, above 0 and at most 0.5. The cut comes as
            near as whole groups allow: a subject, and all copies of an image, stay together.
        seed: The same seed gives the same cut.

    Returns:
        The rest, and the validation samples (their `split` says so); stratified by class as far as
        groups allow.

    Raises:
        DataError: The fraction is out of range, or there are not two groups to divide.
    """
    groups = connected_groups(samples.facts["sha256"], samples.facts["subject"])
    chosen = cut_mask(samples.labels, groups, fraction, seed)
    validation = replace(samples.take(chosen), split="validation", fingerprint="")
    return samples.take(~chosen), validation


def load_splits(config: DatasetConfig, seed: int) -> tuple[Samples, Samples, Samples]:
    """The training and validation samples of an experiment.

    Args:
        config: Names the data set, label rules, how it is divided and what is changed in train.
        seed: Seeds the cut where a data set has no validation split, label noise and draws.

    Returns:
        Train, validation, and the whole of train by which exact duplicates are found.

    Raises:
        ConfigError: There is no fold of that number, or the label noise is out of range.
        DataError: The data set is missing or malformed, or its subjects are not known.
    """
    if config.sample and config.split in ("official", "held_out"):
        raise DataError(
            f"dataset.sample: expected a data set that is divided by person. Received: split "
            f"{config.split!r}. Mend: dataset.limit"
        )
    if config.split not in ("official", "held_out"):
        parts = _by_subject(config)
        train, validation = parts["train"], parts["validation"]
    else:
        splits = describe(config.name).splits
        train = _load(config, "train", config.label_rule)
        if "validation" in splits or not splits:
            validation = _load(config, "validation", config.eval_label_rule)
        else:
            train, validation = cut_validation(train, config.validation_fraction, seed)
    # Before anything takes a part: sequences stay whole.
    train, validation = with_clips(train, config), with_clips(validation, config)
    whole = train
    if config.split == "held_out":
        note = "half of the validation split; the other half is trained on"
        train, validation = cut_validation(validation, 0.5, seed)
        train = replace(train, split="train", fingerprint="")
        validation = replace(validation, notes=(*validation.notes, note))
    if config.without_duplicates:
        train = drop_duplicates_of(train, validation)
    if config.limit and config.limit < len(train):
        # Spread evenly: the first rows of a source are often all of one class.
        train = train.take(np.linspace(0, len(train) - 1, config.limit).round().astype(np.int64))
    if config.label_list:
        train = with_label_list(train, Path(config.label_list), describe(config.name).codes)
    if config.label_noise:
        train = with_label_noise(train, config.label_noise, seed)
    if config.per_class:
        train = balanced_draw(train, config.per_class, (seed, config.per_class_seed))
    if config.per_quadrant:
        train = quadrant_draw(train, config.per_quadrant, (seed, config.per_class_seed))
    if config.oversample_to:
        train = oversample(train, config.oversample_to)
    if config.neutral != "none":
        train, validation, whole = (
            with_neutral(part, whole, config) for part in (train, validation, whole)
        )
    return train, validation, whole


def load_test(config: DatasetConfig, seed: int = 0) -> Samples:
    """The test samples of an experiment, with its evaluation label rule.

    Args:
        config: Names the data set, label rules and how it is divided.
        seed: That of `load_splits`; only for pairs with neutral faces of train.

    Returns:
        The official test split, or the part that the configuration holds out.

    Raises:
        DataError: The data set is missing or malformed, or has no test split.
    """
    official = config.split in ("official", "held_out")
    test = (
        _load(config, "test", config.eval_label_rule) if official else _by_subject(config)["test"]
    )
    if config.neutral == "none":
        return with_clips(test, config)
    _, _, whole = load_splits(replace(config, neutral="none"), seed)
    return with_neutral(test, whole, config)


def balanced_draw(samples: Samples, most: int, seed: tuple[int, ...]) -> Samples:
    """Draws a subset in which no class has more than so many samples.

    Args:
        samples: A training split.
        most: Samples of each class; classes that have fewer are kept whole.
        seed: Another seed draws others.

    Returns:
        The drawn samples in their old order; the images are copied into memory.
    """
    rng = np.random.default_rng(seed)
    chosen = [
        rng.permutation(np.flatnonzero(samples.labels == label))[:most]
        for label in range(len(samples.class_names))
    ]
    return samples.take(np.sort(np.concatenate(chosen)))


def quadrant_draw(samples: Samples, most: int, seed: tuple[int, ...]) -> Samples:
    """Draws a subset in which no quadrant of valence and arousal has more than so many samples.

    Args:
        samples: A training split whose samples have these facts, -1..1.
        most: Samples of each quadrant; 0 belongs to the positive side. Samples without a rating are
            left out.
        seed: Another seed draws others.

    Returns:
        The drawn samples in their old order; the images are copied into memory.

    Raises:
        DataError: The data set has no valence and arousal.
    """
    if not {"valence", "arousal"} <= set(samples.facts):
        raise DataError(
            f"dataset.per_quadrant: expected a data set with valence and arousal. Received: "
            f"{samples.name}"
        )
    valence, arousal = (np.asarray(samples.facts[name]) for name in ("valence", "arousal"))
    rated = (np.abs(valence) <= 1) & (np.abs(arousal) <= 1)
    quadrants = 2 * (valence >= 0) + (arousal >= 0)
    rng = np.random.default_rng(seed)
    chosen = [
        rng.permutation(np.flatnonzero(rated & (quadrants == quadrant)))[:most]
        for quadrant in range(4)
    ]
    return samples.take(np.sort(np.concatenate(chosen)))


def oversample(samples: Samples, least: int) -> Samples:
    """Repeats the samples of rare classes; to be used after the splits are made.

    Args:
        samples: A training split.
        least: Classes that occur, but less often than this, are repeated up to this number.

    Returns:
        The samples, then the repetitions; the images are copied into memory.
    """
    counts = np.bincount(samples.labels, minlength=len(samples.class_names))
    added = [
        np.resize(np.flatnonzero(samples.labels == label), least - count)
        for label, count in enumerate(counts)
        if 0 < count < least
    ]
    return samples.take(np.concatenate([np.arange(len(samples)), *added])) if added else samples


def _load(config: DatasetConfig, split: str, label_rule: str) -> Samples:
    return load_samples(
        config.name,
        split,
        label_rule=label_rule or None,
        image_size=config.image_size,
        channels=config.channels,
        enlarge=config.enlarge,
        source=config.source or None,
    )


def num_folds(config: DatasetConfig) -> int:
    """The number of folds of a cross-validation.

    Args:
        config: Its `split` is `folds` or `leave_one_subject_out`.

    Returns:
        See `fer_keras.data.folds.count_folds`.

    Raises:
        DataError: The data set is missing or malformed, or its subjects are not known.
    """
    return count_folds(_pooled(config, config.eval_label_rule), config)


def _pooled(config: DatasetConfig, rule: str) -> Samples:
    stored = read_content(prepare(config.name, config.source or None)).counts
    whole = pool([_load(config, name, rule) for name in stored])
    if config.sample and config.sample < len(whole):
        return whole.take(np.linspace(0, len(whole) - 1, config.sample).round().astype(np.int64))
    return whole


def _by_subject(config: DatasetConfig) -> dict[str, Samples]:
    """All parts of a data set that is divided by subject, checked to be disjoint."""
    # By the evaluation rule: runs that differ in the training labels are tested on the same people.
    held_out = _pooled(config, config.eval_label_rule)
    same = config.label_rule == config.eval_label_rule
    parts = divide(held_out, config)
    note = describe_division(parts, config)
    trained = held_out if same else _pooled(config, config.label_rule)
    splits = {
        "train": part_of(trained, parts, "train", note),
        "validation": part_of(held_out, parts, "validation", note),
        "test": part_of(held_out, parts, "test", note),
    }
    check_disjoint(splits)
    return splits
