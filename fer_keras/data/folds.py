"""Subject-disjoint splits and folds for data sets that have none of their own, or unsuitable ones.

Published CK+ folds let 46 to 85 per cent of the test subjects into training (97 of its 118 subjects
show more than one class), which measures how well a network recognises people. Here a person, and
all copies of a picture, are on one side.

Folds are seeded by a constant, so that runs with different seeds are tested on the same people.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from fer_keras.common.errors import ConfigError, DataError
from fer_keras.config import DatasetConfig
from fer_keras.data.groups import connected_groups, cut_mask
from fer_keras.data.samples import SPLITS, Samples

# Folds do not depend on a run's seed: those of one experiment are disjoint whatever its seeds are.
_SEED = 0
_TENTHS = ("train",) * 7 + ("validation",) * 2 + ("test",)


def pool(splits: Sequence[Samples]) -> Samples:
    """All samples of a data set as one split, `"all"`, with the images in memory.

    Args:
        splits: Splits of one data set, by one label rule.

    Returns:
        Their samples, one split after the other.
    """
    first = splits[0]
    notes = dict.fromkeys(note for split in splits for note in split.notes)
    return replace(
        first,
        split="all",
        images=np.concatenate([split.images for split in splits]),
        targets=np.concatenate([split.targets for split in splits]),
        facts={
            column: np.concatenate([split.facts[column] for split in splits])
            for column in first.facts
        },
        notes=tuple(notes),
        fingerprint="",
    )


def subject_folds(samples: Samples, num_folds: int) -> np.ndarray:
    """Deals the subjects into folds, with all classes in proportion as far as subjects allow.

    Args:
        samples: Samples with known subjects.
        num_folds: Number of folds, 2 or more.

    Returns:
        `(n,)` fold numbers from 0. Every fold holds at least one subject.

    Raises:
        DataError: A subject is unknown, or there are fewer of them than folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    groups = _subject_groups(samples)
    if len(np.unique(groups)) < num_folds:
        raise _too_few(samples, num_folds, len(np.unique(groups)))
    folds = np.zeros(len(samples), np.int64)
    splitter = StratifiedGroupKFold(num_folds, shuffle=True, random_state=_SEED)
    with warnings.catch_warnings():
        # A class with fewer samples than folds: it cannot be in every fold, and need not be.
        warnings.filterwarnings("ignore", message="The least populated class")
        for fold, (_, held_out) in enumerate(splitter.split(groups, samples.labels, groups)):
            folds[held_out] = fold
    if len(np.unique(folds)) < num_folds:
        raise DataError(
            f"{samples.name}: {num_folds} folds leave one empty: too few subjects. "
            "Mend: fewer folds, or leave_one_subject_out."
        )
    return folds


def dealt_folds(samples: Samples, num_folds: int) -> np.ndarray:
    """Deals the subjects into folds one after the other, in the order of their names.

    Siqueira et al. (AAAI 2020) divide CK+ so, after Liu et al. (FG 2013): every tenth of the sorted
    subjects is in the same fold.

    Args:
        samples: Samples with known subjects.
        num_folds: Number of folds, 2 or more.

    Returns:
        `(n,)` fold numbers from 0. Subjects who share a picture count as one.

    Raises:
        DataError: A subject is unknown, or there are fewer of them than folds.
    """
    groups = _subject_groups(samples)
    order = dict.fromkeys(groups[np.argsort(samples.facts["subject"], kind="stable")].tolist())
    if len(order) < num_folds:
        raise _too_few(samples, num_folds, len(order))
    fold_of = {group: place % num_folds for place, group in enumerate(order)}
    return np.array([fold_of[group] for group in groups.tolist()], np.int64)


def _too_few(samples: Samples, num_folds: int, received: int) -> DataError:
    return DataError(
        f"{samples.name}: expected at least {num_folds} subjects for {num_folds} folds. "
        f"Received: {received} that share no picture."
    )


def divide(samples: Samples, config: DatasetConfig) -> Mapping[str, str]:
    """Which split each subject belongs to, by the rule of a configuration.

    Args:
        samples: The whole data set, see `pool`.
        config: Its `split`, `folds`, `fold` and `validation_fraction` are used.

    Returns:
        Subject -> `"train"`, `"validation"` or `"test"`.

    Raises:
        ConfigError: There is no fold of that number.
        DataError: A subject is unknown, or there are too few.
    """
    rule = config.split
    if rule == "subjects":
        parts = np.array(_TENTHS)[subject_folds(samples, len(_TENTHS))]
    elif rule == "folds":
        _check_fold(config.fold, config.folds)
        deal = dealt_folds if config.folds_by == "order" else subject_folds
        folds = deal(samples, config.folds)
        # The next fold chooses the epoch, so that the tested one takes no part in it.
        parts = np.full(len(samples), "train", dtype="<U10")
        parts[folds == (config.fold + 1) % config.folds] = "validation"
        parts[folds == config.fold] = "test"
    else:
        groups = _subject_groups(samples)
        _check_fold(config.fold, int(groups.max()) + 1)
        parts = np.full(len(samples), "test", dtype="<U10")
        rest = np.flatnonzero(groups != config.fold)
        chosen = cut_mask(samples.labels[rest], groups[rest], config.validation_fraction, _SEED)
        parts[rest] = np.where(chosen, "validation", "train")
    return dict(zip(samples.facts["subject"].tolist(), parts.tolist(), strict=True))


def count_folds(samples: Samples, config: DatasetConfig) -> int:
    """How many folds a configuration makes of a data set.

    Args:
        samples: The whole data set, see `pool`.
        config: Its `split` is `folds` or `leave_one_subject_out`.

    Returns:
        `config.folds`, or the number of people (those who share a picture count as one).

    Raises:
        DataError: A subject is unknown.
    """
    groups = _subject_groups(samples)
    return config.folds if config.split == "folds" else int(groups.max()) + 1


def part_of(samples: Samples, parts: Mapping[str, str], split: str, note: str) -> Samples:
    """The samples of one split, from the whole data set.

    Args:
        samples: The whole data set, see `pool`. Its label rule may keep people that the one of
            `parts` drops altogether; they are in train.
        parts: Subject -> split, from `divide`.
        split: One of `SPLITS`.
        note: What a reader of a result should know about the division.

    Returns:
        Samples whose `split` is `split`.
    """
    mask = [parts.get(subject, "train") == split for subject in samples.facts["subject"].tolist()]
    chosen = samples.take(np.array(mask, bool))
    return replace(chosen, split=split, notes=(*samples.notes, note), fingerprint="")


def describe_division(parts: Mapping[str, str], config: DatasetConfig) -> str:
    """One line on a division: its rule, and the number of subjects of each split."""
    rule = {
        "subjects": "subject-disjoint split 70/20/10",
        "folds": f"subject-disjoint fold {config.fold} of {config.folds}",
        "leave_one_subject_out": f"leave one subject out, number {config.fold}",
    }[config.split]
    counts = [sum(part == split for part in parts.values()) for split in SPLITS]
    return f"{rule}; subjects in train / validation / test: {' / '.join(map(str, counts))}"


def check_disjoint(splits: Mapping[str, Samples]) -> None:
    """Refuses splits that share a subject or the exact pixels of a picture.

    Args:
        splits: Split name -> its samples.

    Raises:
        DataError: Names the splits and what they share.
    """
    names = list(splits)
    for position, one in enumerate(names):
        for other in names[position + 1 :]:
            for column in ("subject", "sha256"):
                values = (set(splits[name].facts[column].tolist()) - {""} for name in (one, other))
                shared = sorted(set.intersection(*values))
                if shared:
                    raise DataError(
                        f"{one} and {other} share {len(shared)} {column} values, the first is "
                        f"{shared[0]!r}: expected disjoint splits."
                    )


def _subject_groups(samples: Samples) -> np.ndarray:
    subjects = samples.facts["subject"]
    unknown = int((subjects == "").sum())
    if unknown:
        raise DataError(
            f"{samples.name}: subject-disjoint splits need to know who is shown, which is unknown "
            f"for {unknown} of {len(samples)} pictures. Mend: dataset.split=official"
        )
    return connected_groups(samples.facts["sha256"], subjects)


def _check_fold(fold: int, num_folds: int) -> None:
    if not 0 <= fold < num_folds:
        turns = " (-1, every fold in turn, is for training)" if fold < 0 else ""
        raise ConfigError(f"dataset.fold: expected 0 to {num_folds - 1}. Received: {fold}{turns}.")
