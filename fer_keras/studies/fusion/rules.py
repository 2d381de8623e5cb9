"""Ways to join the answers of several networks: two averages and two fitted layers.

Plain NumPy and SciPy; `fer_keras.models.fusion` has the same rules as one network.
"""

import warnings
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from fer_keras.common.metrics import softmax
from fer_keras.data.groups import connected_groups

if TYPE_CHECKING:
    from fer_keras.data.samples import Samples

Scores = npt.NDArray[np.float64]
Layer = tuple[Scores, Scores]

RULES = ("mean_logits", "mean_probabilities", "linear", "stacking")
# Of squared weights, against the mean cross-entropy in nats; the fit chooses among them.
_PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
_SEED = 0


def cross_fit(rule: str, logits: Scores, samples: "Samples", folds: int) -> Scores:
    """Answers every picture by a rule that was fitted on the other folds.

    Args:
        rule: One of `RULES`.
        logits: `(n, bases, classes)`.
        samples: The pictures; copies of one, and all of one person, are in one fold.
        folds: Number of folds.

    Returns:
        Probabilities `(n, classes)`.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    if rule.startswith("mean"):
        return apply(rule, logits, None)
    groups = connected_groups(samples.facts["sha256"], samples.facts["subject"])
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=_SEED)
    answers = np.zeros((len(logits), logits.shape[2]))
    with warnings.catch_warnings():
        # A class with fewer pictures than folds cannot be in each.
        warnings.filterwarnings("ignore", message="The least populated class")
        for others, held_out in splitter.split(groups, samples.labels, groups):
            layer = fit(rule, logits[others], samples.targets[others])
            answers[held_out] = apply(rule, logits[held_out], layer)
    return answers


def fit(rule: str, logits: Scores, targets: npt.ArrayLike) -> Layer | None:
    """Fits the layer of a rule by its cross-entropy; the penalty is chosen on a fifth.

    Args:
        rule: One of `RULES`.
        logits: `(n, bases, classes)`.
        targets: `(n, classes)`, rows sum to 1.

    Returns:
        Kernel `(bases * classes, classes)` and bias; None where the rule has no layer.
    """
    if rule.startswith("mean"):
        return None
    read, t = _read(rule, logits), np.asarray(targets, np.float64)
    num_bases, num_classes = logits.shape[1:]
    start = np.zeros((num_bases * num_classes, num_classes))
    if rule == "linear":
        start = np.tile(np.eye(num_classes), (num_bases, 1)) / num_bases
    order = np.random.default_rng(_SEED).permutation(len(read))
    kept, tried = order[len(order) // 5 :], order[: len(order) // 5]

    def loss(penalty: float) -> float:
        kernel, bias = _minimise(read[kept], t[kept], start, penalty)
        p = softmax(read[tried] @ kernel + bias)
        return float(-(t[tried] * np.log(np.maximum(p, 1e-12))).sum(axis=1).mean())

    return _minimise(read, t, start, min(_PENALTIES, key=loss))


def apply(rule: str, logits: Scores, layer: Layer | None) -> Scores:
    """Joins the answers of the bases.

    Args:
        rule: One of `RULES`.
        logits: `(n, bases, classes)`.
        layer: Of `fit`.

    Returns:
        Probabilities `(n, classes)`.
    """
    if layer is not None:
        return softmax(_read(rule, logits) @ layer[0] + layer[1])
    if rule == "mean_logits":
        return softmax(logits.mean(axis=1))
    mean: Scores = softmax(logits).mean(axis=1)
    return mean


def _read(rule: str, logits: Scores) -> Scores:
    read = logits if rule == "linear" else softmax(logits)
    return read.reshape(len(logits), -1)


def _minimise(read: Scores, targets: Scores, start: Scores, penalty: float) -> Layer:
    """Softmax regression with a squared penalty on the distance of the kernel from `start`."""
    from scipy.optimize import minimize

    size = start.size

    def loss(values: Scores) -> tuple[float, Scores]:
        kernel, bias = values[:size].reshape(start.shape), values[size:]
        p = softmax(read @ kernel + bias)
        error = (p - targets) / len(read)
        entropy = -(targets * np.log(np.maximum(p, 1e-12))).sum() / len(read)
        away = kernel - start
        slope = read.T @ error + 2 * penalty * away
        value = entropy + penalty * np.square(away).sum()
        return float(value), np.concatenate([slope.ravel(), error.sum(axis=0)])

    first = np.concatenate([start.ravel(), np.zeros(start.shape[1])])
    found = minimize(loss, first, jac=True, method="L-BFGS-B", options={"maxiter": 500}).x
    return found[:size].reshape(start.shape), found[size:]
