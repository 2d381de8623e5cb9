"""Which prior a model may answer by: figures at a tau, and a rule for a default."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fer_keras.common.metrics import expected_calibration_error, wilson_interval
from fer_keras.common.prior import PriorChoice, prior_weights, reweighted

TAUS = tuple(step / 20 for step in range(21))
# Accuracy that a default may cost against tau 0, 0..1.
MOST_LOST = 0.002


def prior_figures(
    probabilities: npt.ArrayLike,
    labels: npt.ArrayLike,
    class_names: Sequence[str],
    class_prior: Sequence[float],
    choice: PriorChoice,
) -> dict[str, Any]:
    """What a choice of prior does to the answers.

    Args:
        probabilities: `(n, classes)`, of the model as it is.
        labels: `(n,)`, indices of the true classes.
        class_names: In the order of the columns.
        class_prior: The share of each among the training targets.
        choice: The prior to answer by.

    Returns:
        `accuracy` with `accuracy_interval`, `balanced_accuracy` over the classes that occur,
        `ece`, and `recall`: label -> `support`, `recall`, `interval`; intervals are 95 % Wilson
        intervals.

    Raises:
        ConfigError: As `fer_keras.common.prior.prior_weights`.
    """
    true = np.asarray(labels)
    weights = prior_weights(class_names, class_prior, choice)
    # As they are without a prior: a row of a file need not sum to 1.
    p = np.asarray(probabilities) if choice.is_training else reweighted(probabilities, weights)
    is_right = p.argmax(axis=1) == true
    recall: dict[str, Any] = {}
    for i, name in enumerate(class_names):
        hits, support = int(is_right[true == i].sum()), int((true == i).sum())
        if support:
            recall[name] = {
                "support": support,
                "recall": hits / support,
                "interval": wilson_interval(hits, support),
            }
    return {
        "prior": str(choice),
        "n": len(true),
        "accuracy": float(is_right.mean()),
        "accuracy_interval": wilson_interval(int(is_right.sum()), len(true)),
        "balanced_accuracy": float(np.mean([row["recall"] for row in recall.values()])),
        "ece": expected_calibration_error(p.max(axis=1), is_right),
        "recall": recall,
    }


def largest_tau(
    probabilities: npt.ArrayLike,
    labels: npt.ArrayLike,
    class_names: Sequence[str],
    class_prior: Sequence[float],
    *,
    most_lost: float = MOST_LOST,
) -> float:
    """The rule for a default: the largest tau that costs next to no accuracy.

    Args:
        probabilities: `(n, classes)`, of the model as it is, of the validation split.
        labels: `(n,)`, indices of the true classes.
        class_names: In the order of the columns.
        class_prior: The share of each among the training targets.
        most_lost: Accuracy that may be lost against tau 0, 0..1.

    Returns:
        The largest of 0, 0.05, .. 1 whose accuracy is at most `most_lost` below that of tau 0.

    Raises:
        ConfigError: A class had no training target.
    """

    def right(tau: float) -> int:
        weights = prior_weights(class_names, class_prior, PriorChoice(tau))
        answers = reweighted(probabilities, weights).argmax(axis=1)
        return int((answers == np.asarray(labels)).sum())

    # In pictures, so that rounding does not decide about a loss of just `most_lost`.
    least = right(0.0) - most_lost * len(np.asarray(labels)) - 1e-9
    return max(tau for tau in TAUS if right(tau) >= least)
