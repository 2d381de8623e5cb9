"""Annotator votes of FER+ -> targets, by the four rules of its authors, and all votes as they are.

Source: Barsoum et al., "Training Deep Networks for Facial Expression Recognition with
Crowd-Sourced Label Distribution", ICMI 2016, section 4, and the published reader's behaviour.
"""

import numpy as np

from fer_keras.common.errors import DataError, did_you_mean
from fer_keras.common.labels import EMOTIONS

RULES: tuple[str, ...] = (
    "majority", "probability", "crossentropy", "multi_target", "distribution"
)  # fmt: skip
VOTE_COLUMNS: tuple[str, ...] = (*EMOTIONS, "unknown", "NF")
_NUM_EMOTIONS = len(EMOTIONS)


def targets_from_votes(votes: np.ndarray, rule: str) -> tuple[np.ndarray, np.ndarray]:
    """Turns votes into target distributions and drops the images that have no clear emotion.

    In the rules of the authors a class with a single vote counts as an outlier and is set to 0
    first. Then

    - `majority`: the class with more than half of the remaining votes, one-hot;
    - `crossentropy`: the largest classes in turn until 75 % of the votes, at most three classes;
    - `probability`: the same distribution, from which the method draws one label per step;
    - `multi_target`: every class with at least 30 % of the votes.

    An image is dropped where the rule leaves half of the votes or less, too many classes, or
    "unknown" or "not a face" as the strongest answer. Label distribution learning takes the votes
    as they are, outliers and all:

    - `distribution`: the shares of all emotions; an image is dropped where "unknown" or "not a
      face" is the strongest answer.

    Args:
        votes: `(n, 10)` counts in the order of `VOTE_COLUMNS`, not negative.
        rule: One of `RULES`.

    Returns:
        Targets `(m, 8)` float32 whose rows sum to 1, and the `(m,)` int64 row indices they are for.

    Raises:
        DataError: The rule is unknown, or the votes have another shape or negative counts.
    """
    if rule not in RULES:
        raise DataError(f"Unknown label rule {rule!r}. {did_you_mean(rule, RULES)}")
    counts = _checked(votes)
    if rule != "distribution":
        counts[counts <= 1] = 0
    total = counts.sum(axis=1)
    if rule == "distribution":
        kept = counts
    elif rule == "majority":
        kept = _majority(counts, total)
    elif rule == "multi_target":
        kept = _multi_target(counts, total)
    else:
        kept = _largest_classes(counts, total)
    mass = kept.sum(axis=1)
    # Of equal answers the first one counts as the strongest, as in the authors' tool.
    usable = (mass > 0) & (np.argmax(kept, axis=1) < _NUM_EMOTIONS)
    indices = np.flatnonzero(usable)
    emotions = kept[indices, :_NUM_EMOTIONS].astype(np.float64)
    targets = emotions / emotions.sum(axis=1, keepdims=True)
    return targets.astype(np.float32), indices


def entropy(votes: np.ndarray) -> np.ndarray:
    """How much the annotators of an image disagreed.

    Args:
        votes: `(n, classes)` counts, not negative; every column counts as an answer.

    Returns:
        `(n,)` float64 Shannon entropy in nats, 0 where all agree and at most `log(classes)`;
        NaN for a row without votes.
    """
    counts = np.asarray(votes, np.float64)
    total = counts.sum(axis=1, keepdims=True)
    share = np.divide(counts, total, out=np.full_like(counts, np.nan), where=total > 0)
    logs = np.log(share, out=np.zeros_like(share), where=share != 0)
    return -(share * logs).sum(axis=1) + 0.0  # + 0.0 turns -0.0 into 0.0


def _checked(votes: np.ndarray) -> np.ndarray:
    counts = np.array(votes, dtype=np.int64)
    if counts.ndim != 2 or counts.shape[1] != len(VOTE_COLUMNS):
        raise DataError(
            f"Expected votes (n, {len(VOTE_COLUMNS)}) in the order {', '.join(VOTE_COLUMNS)}. "
            f"Received: shape {counts.shape}."
        )
    if (counts < 0).any():
        row = int(np.flatnonzero((counts < 0).any(axis=1))[0])
        raise DataError(f"Expected vote counts of 0 or more. Received: {counts[row]} in row {row}.")
    return counts


def _majority(counts: np.ndarray, total: np.ndarray) -> np.ndarray:
    strict = 2 * counts > total[:, None]  # at most one class of a row can hold more than half
    return np.where(strict, counts, 0)


def _multi_target(counts: np.ndarray, total: np.ndarray) -> np.ndarray:
    # In whole numbers, so that a tie with the bound, such as 3 of 10, is exact.
    kept = np.where(10 * counts >= 3 * total[:, None], counts, 0)
    kept[2 * kept.sum(axis=1) <= total] = 0
    return kept


def _largest_classes(counts: np.ndarray, total: np.ndarray) -> np.ndarray:
    """The loop of the reference, one round for all rows at a time.

    A round takes every class that ties for the largest remaining count, from left to right, and
    ends at "unknown" or "not a face": that one is taken back if an emotion was taken before it.
    """
    remaining = counts.copy()
    kept = np.zeros_like(counts)
    num_kept = np.zeros(len(counts), np.int64)
    taken_mass = np.zeros(len(counts), np.int64)
    open_rows = np.ones(len(counts), bool)
    while True:
        active = open_rows & (4 * taken_mass < 3 * total) & (num_kept < 3)
        if not active.any():
            break
        largest = remaining.max(axis=1)
        for column in range(counts.shape[1]):
            # `open_rows` is asked again: a row may have closed at an earlier column of this round.
            take = active & open_rows & (remaining[:, column] == largest)
            kept[take, column] = largest[take]
            remaining[take, column] = 0
            taken_mass[take] += largest[take]
            num_kept[take] += 1
            if column >= _NUM_EMOTIONS:
                open_rows &= ~take
                late = take & (kept.sum(axis=1) > largest)
                kept[late, column] = 0
                num_kept[late] -= 1
    kept[(2 * kept.sum(axis=1) <= total) | (num_kept > 3)] = 0
    return kept
