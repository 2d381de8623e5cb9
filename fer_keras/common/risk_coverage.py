"""Errors among the answers that are kept, by the share that is kept."""

from typing import Any

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.floating]


def risk_coverage(
    probabilities: npt.ArrayLike, labels: npt.ArrayLike
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Accuracy against the share of the answers that are kept, the surest first.

    Args:
        probabilities: `(n, classes)`.
        labels: `(n,)` true class indices.

    Returns:
        Three arrays, one entry for each distinct threshold, from the highest on: the share kept,
        their accuracy, the threshold (El-Yaniv and Wiener, JMLR 2010; risk is 1 - accuracy).
    """
    p = np.asarray(probabilities)
    return curve(p.max(axis=1), p.argmax(axis=1) == np.asarray(labels))


def curve_points(kept: Scores, accuracy: Scores, thresholds: Scores) -> list[dict[str, float]]:
    """The curve of `risk_coverage` at every twentieth of the answers.

    Args:
        kept: Share kept, ascending.
        accuracy: Of those.
        thresholds: That keep them.

    Returns:
        At most 20 points with `kept`, `accuracy` and `threshold`; the last keeps all.
    """
    wanted = np.arange(1, 21) / 20
    rows = np.unique(np.searchsorted(kept, wanted - 1e-9).clip(max=len(kept) - 1))
    return [
        {
            "kept": round(float(kept[i]), 4),
            "accuracy": round(float(accuracy[i]), 4),
            "threshold": round(float(thresholds[i]), 4),
        }
        for i in rows
    ]


def curve(
    confidences: Scores, correct: npt.NDArray[Any]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The curve of `risk_coverage` from the confidences alone.

    Args:
        confidences: `(n,)`, of the answers.
        correct: `(n,)` bool, whether each is right.

    Returns:
        Share kept, accuracy of these, smallest confidence kept.
    """
    order = np.argsort(-confidences, kind="stable")
    sorted_confidences = np.asarray(confidences, np.float64)[order]
    numbers = np.arange(1, len(order) + 1)
    accuracy = np.cumsum(np.asarray(correct, np.float64)[order]) / numbers
    # Answers with the same confidence are kept or rejected together.
    last = np.append(np.diff(sorted_confidences) != 0, True)
    return numbers[last] / len(order), accuracy[last], sorted_confidences[last]
