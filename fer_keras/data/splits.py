"""Honest splits: duplicates are found, and no person or duplicate is on both sides of a cut."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from fer_keras.config import DatasetConfig
from fer_keras.data.pairs import with_neutral
from fer_keras.data.samples import Samples
from fer_keras.errors import DataError


@dataclass(frozen=True)
class DuplicateReport:
    """Images with exactly the same pixels, within and across splits.

    Attributes:
        within: Split -> images whose pixels another image of the same split has too.
        across: `(split, other)` -> images of `split` whose pixels also occur in `other`.
        num_conflicts: Groups of identical images that carry different labels.
        num_conflicting_images: Images in those groups.
        conflicts: For each such group, `(split, source, label)` of its images.
    """

    within: Mapping[str, int]
    across: Mapping[tuple[str, str], int]
    num_conflicts: int
    num_conflicting_images: int
    conflicts: tuple[tuple[tuple[str, str, str], ...], ...]


def duplicate_audit(splits: Mapping[str, Samples]) -> DuplicateReport:
    """Finds exact duplicates by the sha256 of the decoded native pixels.

    Args:
        splits: Split name -> its samples.

    Returns:
        Counts of duplicates and label conflicts; labels are compared by name.
    """
    within = {
        name: int(_occurs_twice(split.facts["sha256"]).sum()) for name, split in splits.items()
    }
    across = {
        (name, other): int(duplicated_in(splits[name], splits[other]).sum())
        for name in splits
        for other in splits
        if name != other
    }
    entries: dict[str, list[tuple[str, str, str]]] = {}
    for name, split in splits.items():
        labels = np.array(split.class_names)[split.labels]
        columns = (split.facts["sha256"], split.facts["source"], labels)
        for pixels, source, label in zip(*(column.tolist() for column in columns), strict=True):
            entries.setdefault(pixels, []).append((name, source, label))
    conflicts = tuple(
        tuple(group) for group in entries.values() if len({label for _, _, label in group}) > 1
    )
    return DuplicateReport(
        within, across, len(conflicts), sum(len(group) for group in conflicts), conflicts
    )


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


def connected_groups(sha256: np.ndarray, subject: np.ndarray) -> np.ndarray:
    """Numbers the groups of samples that must not be divided.

    Args:
        sha256: `(n,)` hashes; equal ones belong together.
        subject: `(n,)` names; equal ones belong together, `""` is nobody.

    Returns:
        `(n,)` group numbers from 0. Two samples are in one group where a chain of shared pixels
        and shared subjects joins them.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    count = len(sha256)
    rows = np.arange(count)
    known = np.flatnonzero(subject != "")
    _, pixel_nodes = np.unique(sha256, return_inverse=True)
    _, subject_nodes = np.unique(subject[known], return_inverse=True)
    # A graph with a node for each sample, each distinct image and each subject.
    starts = np.concatenate([rows, known])
    ends = np.concatenate([count + pixel_nodes, 2 * count + subject_nodes])
    graph = coo_matrix((np.ones(len(starts)), (starts, ends)), shape=(3 * count, 3 * count))
    _, components = connected_components(graph, directed=False)
    _, groups = np.unique(components[:count], return_inverse=True)
    return groups


def cut_mask(labels: np.ndarray, groups: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Chooses whole groups for a fraction of the samples, with all classes in proportion.

    Large groups come first, in an order drawn from the seed, and a group is taken if that brings
    the class counts nearer to their shares; the single images at the end level out what the large
    groups left over. (scikit-learn's StratifiedGroupKFold balances all folds at once, which takes
    a minute for 28,000 images, and knows only fractions of the form 1/k.)

    Args:
        labels: `(n,)` class indices.
        groups: `(n,)` group numbers.
        fraction: Share to choose, above 0 and at most 0.5.
        seed: Seeds the choice.

    Returns:
        `(n,)` bool, true for the chosen samples: at least one group, and never all.

    Raises:
        DataError: The fraction is out of range, or there are not two groups to divide.
    """
    if not 0 < fraction <= 0.5:
        raise DataError(f"Expected a validation fraction in (0, 0.5]. Received: {fraction}.")
    _, rows, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if len(sizes) < 2:
        raise DataError(
            f"Cannot cut a validation split: expected at least two groups of images (subjects, "
            f"exact duplicates). Received: {len(labels)} images in {len(sizes)} groups."
        )
    counts = np.zeros((len(sizes), int(labels.max()) + 1))
    np.add.at(counts, (rows, labels), 1.0)
    totals = counts.sum(axis=0)
    missing = fraction * totals
    # Relative to the size of the class, so that a rare one counts as much as a frequent one.
    weights = 1.0 / np.maximum(totals, 1.0) ** 2
    order = np.random.default_rng(seed).permutation(len(sizes))
    order = order[np.argsort(-sizes[order], kind="stable")]
    taken = np.zeros(len(sizes), bool)
    for group in order:
        if _gain(counts[group], missing, weights) > 0:
            taken[group] = True
            missing -= counts[group]
    if not taken.any():  # every group is larger than twice its share: the least bad one
        taken[max(order, key=lambda group: _gain(counts[group], missing, weights))] = True
    return taken[rows]


def _gain(counts: np.ndarray, missing: np.ndarray, weights: np.ndarray) -> float:
    """By how much the weighted squared distance to the shares shrinks if a group is taken."""
    return float(np.dot(weights * counts, 2 * missing - counts))


def _occurs_twice(values: np.ndarray) -> np.ndarray:
    _, positions, counts = np.unique(values, return_inverse=True, return_counts=True)
    return counts[positions] > 1


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
    from fer_keras.data import describe
    from fer_keras.data.clips import with_clips
    from fer_keras.data.label_noise import with_label_noise

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
    if config.label_noise:
        train = with_label_noise(train, config.label_noise, seed)
    if config.per_class:
        train = balanced_draw(train, config.per_class, (seed, config.per_class_seed))
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
    from fer_keras.data.clips import with_clips

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
    from fer_keras.data import load_samples

    return load_samples(
        config.name,
        split,
        label_rule=label_rule or None,
        image_size=config.image_size,
        channels=config.channels,
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
    from fer_keras.data.folds import count_folds

    return count_folds(_pooled(config, config.eval_label_rule), config)


def _pooled(config: DatasetConfig, rule: str) -> Samples:
    from fer_keras.data import prepare
    from fer_keras.data.folds import pool
    from fer_keras.data.prepared import read_content

    stored = read_content(prepare(config.name, config.source or None)).counts
    return pool([_load(config, name, rule) for name in stored])


def _by_subject(config: DatasetConfig) -> dict[str, Samples]:
    """All parts of a data set that is divided by subject, checked to be disjoint."""
    from fer_keras.data.folds import check_disjoint, describe_division, divide, part_of

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
