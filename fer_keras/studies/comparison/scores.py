"""The figures of a comparison: each model alone, any two on the same pictures, the annotators.

Plain NumPy, SciPy and `fer_keras.common.metrics`: no model and no file is read here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from fer_keras.common.labels import canonical
from fer_keras.common.metrics import (
    accuracy_report,
    evaluate_predictions,
    expected_calibration_error,
    negative_log_likelihood,
)
from fer_keras.common.significance import holm, mcnemar
from fer_keras.data.votes import VOTE_COLUMNS

# Added to each count of votes (Jeffreys' prior), so that no answer has the probability zero.
_PRIOR = 0.5

Scores = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Pair:
    """Two models on the same pictures.

    Attributes:
        first: Name of one.
        second: Name of the other.
        only_first: Pictures that only the first has right.
        only_second: Pictures that only the second has right.
        neither: Pictures on which they give different answers, both wrong.
        p_value: Of McNemar's exact test, two-sided.
        p_holm: The same after Holm's correction for all pairs of the comparison.
    """

    first: str
    second: str
    only_first: int
    only_second: int
    neither: int
    p_value: float
    p_holm: float


def model_figures(
    probabilities: Scores,
    targets: npt.NDArray[np.float32],
    class_names: Sequence[str],
    known: Sequence[bool],
    *,
    duplicates: Bools | None,
    plain: Scores | None = None,
) -> dict[str, Any]:
    """What stands in a model's row.

    Args:
        probabilities: `(n, classes)`, 0 for a class that the model does not know.
        targets: `(n, classes)`.
        class_names: Of the columns.
        known: Of each class, whether the model has an output for it.
        duplicates: `(n,)`, pixel-identical to a training picture; None where unknown.
        plain: Probabilities without temperature, where the model has logits.

    Returns:
        The figures of `metrics.evaluate_predictions`; `known_only`, the accuracy without pictures
        of classes that the model does not know (None where it knows all); `nll` is then of those
        pictures only. `nll_plain` and `ece_plain` without temperature (None where unknown).
    """
    figures = evaluate_predictions(probabilities, targets, class_names, duplicates=duplicates)
    figures |= {"known_only": None, "nll_plain": None, "ece_plain": None}
    labels = targets.argmax(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    mask = np.asarray(known, bool)[labels]
    if not all(known):
        figures["known_only"] = accuracy_report(correct[mask])
        figures["nll"] = _likelihood(probabilities[mask], targets[mask])
    if plain is not None:
        right = plain.argmax(axis=1) == labels
        figures["ece_plain"] = expected_calibration_error(plain.max(axis=1), right)
        figures["nll_plain"] = _likelihood(plain[mask], targets[mask])
    return figures


def compare_pairs(answers: dict[str, npt.NDArray[np.int64]], labels: npt.ArrayLike) -> list[Pair]:
    """Every two models on the same pictures.

    Args:
        answers: Name -> `(n,)` predicted class.
        labels: `(n,)` true class.

    Returns:
        One for any two, in the order of the names.
    """
    truth = np.asarray(labels)
    counted = []
    for first, second in combinations(answers, 2):
        a, b = answers[first], answers[second]
        only_first = int(((a == truth) & (b != truth)).sum())
        only_second = int(((a != truth) & (b == truth)).sum())
        neither = int(((a != b) & (a != truth) & (b != truth)).sum())
        p_value = mcnemar(only_first, only_second)
        counted.append((first, second, only_first, only_second, neither, p_value))
    corrected = holm([row[-1] for row in counted])
    return [Pair(*row, p_holm) for row, p_holm in zip(counted, corrected, strict=True)]


def emotion_votes(votes: npt.ArrayLike, class_names: Sequence[str]) -> npt.NDArray[np.int64]:
    """Votes for the classes of a data set.

    Args:
        votes: `(n, 10)` in the order of `fer_keras.data.votes.VOTE_COLUMNS`.
        class_names: Of the data set.

    Returns:
        `(n, classes)` counts in the order of the classes.
    """
    columns = [VOTE_COLUMNS.index(canonical(name)) for name in class_names]
    return np.asarray(votes, np.int64)[:, columns]


def annotator_figures(
    probabilities: Scores, votes: npt.NDArray[np.int64], known: Sequence[bool]
) -> dict[str, float]:
    """How far a model answers as the annotators did.

    Args:
        probabilities: `(n, classes)`.
        votes: `(n, classes)` counts; pictures with fewer than two votes are left out.
        known: Of each class, whether the model has an output for it.

    Returns:
        `soft_accuracy`: the mean share of a picture's annotators who gave the model's answer.
        `kl`: the mean of KL(votes || probabilities) in nats, over the classes that the model knows.
    """
    used = votes.sum(axis=1) >= 2
    counts, p = votes[used], probabilities[used]
    share = counts / counts.sum(axis=1, keepdims=True)
    soft = float(share[np.arange(len(p)), p.argmax(axis=1)].mean())
    columns = np.asarray(known, bool)
    counts, p = counts[:, columns], p[:, columns]
    rows = counts.sum(axis=1) > 0
    share = counts[rows] / counts[rows].sum(axis=1, keepdims=True)
    p = p[rows] / np.maximum(p[rows].sum(axis=1, keepdims=True), 1e-12)
    return {"soft_accuracy": soft, "kl": negative_log_likelihood(p, share) - _entropy(share)}


def annotator_ceiling(votes: npt.NDArray[np.int64]) -> dict[str, float]:
    """What can be expected of `annotator_figures`, from the annotators' own disagreement.

    Each vote is left out in turn and predicted from the others of the same picture, so the figures
    are those of a model that has asked all the other annotators. They are estimates, no bounds on
    the Kullback-Leibler side: a model that learned from many pictures can know a picture's
    distribution better than nine votes tell it.

    Args:
        votes: `(n, classes)` counts; pictures with fewer than two votes are left out.

    Returns:
        `n`; `one_annotator`: the chance that two annotators of a picture agree; `others`: the
        chance that an annotator agrees with the most frequent answer of the others, ties broken at
        random; `best_answer`: the mean share of the most frequent answer, which no soft accuracy
        can exceed; `kl_others`: the KL of the others' shares (with half a vote added to every
        class), as the cross-entropy of the vote that was left out less the entropy of the votes.
    """
    counts = votes[votes.sum(axis=1) >= 2]
    total = counts.sum(axis=1)
    share = counts / total[:, None]
    agree = np.zeros(len(counts))
    cross_entropy = np.zeros(len(counts))
    for column in range(counts.shape[1]):
        rest = counts.copy()
        rest[:, column] -= 1  # where nobody voted so, the weight below is 0
        top = rest.max(axis=1)
        ties = (rest == top[:, None]).sum(axis=1)
        agree += share[:, column] * (rest[:, column] == top) / ties
        predicted = (rest[:, column] + _PRIOR) / (total - 1 + _PRIOR * counts.shape[1])
        logs = np.log(predicted, out=np.zeros_like(predicted), where=predicted > 0)
        cross_entropy -= share[:, column] * logs
    same = (counts * (counts - 1)).sum(axis=1) / (total * (total - 1))
    return {
        "n": len(counts),
        "one_annotator": float(same.mean()),
        "others": float(agree.mean()),
        "best_answer": float(share.max(axis=1).mean()),
        "kl_others": float(cross_entropy.mean()) - _entropy(share),
    }


def pareto_front(costs: Sequence[float], gains: Sequence[float]) -> list[int]:
    """Which points no other one beats in both: cheaper and better.

    Args:
        costs: Of each point, the lower the better.
        gains: Of each point, the higher the better.

    Returns:
        Their indices, from the cheapest on.
    """
    front: list[int] = []
    for index in sorted(range(len(costs)), key=lambda i: (costs[i], -gains[i])):
        if not front or gains[index] > gains[front[-1]]:
            front.append(index)
    return front


def _likelihood(probabilities: Scores, targets: npt.NDArray[np.float32]) -> float | None:
    if not len(probabilities):
        return None
    return negative_log_likelihood(probabilities, targets) + 0.0  # + 0.0 turns -0.0 into 0.0


def _entropy(share: Scores) -> float:
    return negative_log_likelihood(np.where(share > 0, share, 1.0), share)
