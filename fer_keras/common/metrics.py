"""The figures of a classifier: accuracy with its interval, per-class scores, calibration.

Plain NumPy and scikit-learn: no network, no data set, no file is read here.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fer_keras.common.errors import DataError

NUM_CALIBRATION_BINS = 15

# A probability of exactly zero on the true class would make the likelihood infinite; float32 keeps
# nothing below about 1e-38, so this bound changes only what was rounded to zero.
_SMALLEST_PROBABILITY = 1e-12

_TEMPERATURE_BOUNDS = (0.05, 20.0)
# How many wrong answers it takes to call a model too modest: their number, and with it what is left
# of the confidence, is then known to about a third (one over the root of ten).
_MIN_ERRORS = 10

_Z_95 = 1.959963984540054


@dataclass(frozen=True)
class ReliabilityBin:
    """One bar of a reliability diagram.

    Attributes:
        lower: Confidence at the open left edge, in [0, 1).
        upper: Confidence at the closed right edge, in (0, 1].
        count: Number of predictions in the bin.
        confidence: Their mean confidence, None in an empty bin.
        accuracy: The share of them that is right, None in an empty bin.
    """

    lower: float
    upper: float
    count: int
    confidence: float | None
    accuracy: float | None


def wilson_interval(successes: int, trials: int, z: float = _Z_95) -> tuple[float, float]:
    """The Wilson score interval of a proportion.

    The same numbers as `scipy.stats.binomtest(...).proportion_ci(method="wilson")`, which also
    makes a test of its own each time: milliseconds instead of a microsecond, for every class and
    row of a table.

    Args:
        successes: Number of right answers, 0..trials.
        trials: Number of answers; with 0 the interval is all of [0, 1].
        z: Normal quantile; the default gives 95 %.

    Returns:
        Lower and upper bound in [0, 1] (Wilson 1927; without continuity correction).

    Raises:
        DataError: `successes` is not within 0..trials.
    """
    if not 0 <= successes <= trials:
        raise DataError(
            f"A proportion needs 0 <= successes <= trials. Received: {successes} of {trials}"
        )
    if trials == 0:
        return 0.0, 1.0
    proportion = successes / trials
    spread = z * z / trials
    centre = (proportion + spread / 2) / (1 + spread)
    half = z * math.sqrt(proportion * (1 - proportion) / trials + spread / (4 * trials))
    half /= 1 + spread
    return max(0.0, centre - half), min(1.0, centre + half)


def softmax(logits: npt.ArrayLike, temperature: float = 1.0) -> npt.NDArray[np.float64]:
    """Probabilities of logits divided by a temperature.

    Args:
        logits: `(n, classes)`.
        temperature: Positive; above 1 softens, below 1 sharpens. It never changes the arg max.

    Returns:
        `(n, classes)` float64, rows sum to 1.
    """
    scaled = np.asarray(logits, np.float64) / temperature
    scaled -= scaled.max(axis=-1, keepdims=True)
    exponentials = np.exp(scaled)
    total: npt.NDArray[np.float64] = exponentials.sum(axis=-1, keepdims=True)
    return exponentials / total


def negative_log_likelihood(probabilities: npt.ArrayLike, targets: npt.ArrayLike) -> float:
    """Mean cross-entropy `-sum_c target_c log p_c` in nats.

    Args:
        probabilities: `(n, classes)`, rows sum to 1.
        targets: `(n, classes)`, rows sum to 1; for one-hot rows this is the usual likelihood.

    Returns:
        The mean over the n rows.
    """
    p = np.clip(np.asarray(probabilities, np.float64), _SMALLEST_PROBABILITY, 1.0)
    return float(-(np.asarray(targets, np.float64) * np.log(p)).sum(axis=1).mean())


def brier_score(probabilities: npt.ArrayLike, targets: npt.ArrayLike) -> float:
    """Mean squared distance `sum_c (p_c - target_c)^2` (Brier 1950), in [0, 2].

    Args:
        probabilities: `(n, classes)`.
        targets: `(n, classes)`.

    Returns:
        The mean over the n rows; 0 is perfect.
    """
    difference = np.asarray(probabilities, np.float64) - np.asarray(targets, np.float64)
    return float(np.square(difference).sum(axis=1).mean())


def reliability_bins(
    confidences: npt.ArrayLike, correct: npt.ArrayLike, num_bins: int = NUM_CALIBRATION_BINS
) -> tuple[ReliabilityBin, ...]:
    """Confidence against accuracy in bins of equal width.

    Args:
        confidences: `(n,)`, the probability of the predicted class, in [0, 1].
        correct: `(n,)`, whether the prediction is right.
        num_bins: Number of bins `((i-1)/m, i/m]`; a confidence of exactly 0 is in the first.

    Returns:
        `num_bins` bins from low to high confidence (Guo et al. 2017, section 2).
    """
    confidence = np.asarray(confidences, np.float64)
    right = np.asarray(correct, np.float64)
    edges = np.linspace(0.0, 1.0, num_bins + 1)
    # Float32 probabilities can sum to a hair above 1; they belong to the last bin.
    index = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, num_bins - 1)
    bins = []
    for i in range(num_bins):
        inside = index == i
        count = int(inside.sum())
        bins.append(
            ReliabilityBin(
                float(edges[i]),
                float(edges[i + 1]),
                count,
                float(confidence[inside].mean()) if count else None,
                float(right[inside].mean()) if count else None,
            )
        )
    return tuple(bins)


def expected_calibration_error(
    confidences: npt.ArrayLike, correct: npt.ArrayLike, num_bins: int = NUM_CALIBRATION_BINS
) -> float:
    """Mean distance of accuracy and confidence over the bins, weighted by their counts.

    Args:
        confidences: `(n,)`, the probability of the predicted class, in [0, 1].
        correct: `(n,)`, whether the prediction is right.
        num_bins: Number of bins of equal width (15, as in Guo et al. 2017, section 2, equation 3).

    Returns:
        The error in [0, 1]; 0 is perfectly calibrated.
    """
    bins = reliability_bins(confidences, correct, num_bins)
    total = sum(b.count for b in bins)
    return sum(
        b.count / total * abs(b.accuracy - b.confidence)
        for b in bins
        if b.accuracy is not None and b.confidence is not None
    )


def fit_temperature(logits: npt.ArrayLike, targets: npt.ArrayLike) -> float:
    """The temperature that gives the smallest cross-entropy (Guo et al. 2017, section 4.2).

    With fewer than ten wrong answers nothing is sharpened: the temperature is then at least 1. How
    sure a model may be is known from its errors alone. Where there is none, the cross-entropy
    falls until every answer is certain, however few pictures there are; yet 45 right ones of 45
    still allow an error rate of 6 % (the rule of three: 3 / n). Taking confidence away needs no
    such evidence.

    Args:
        logits: `(n, classes)` of held-out images, never of the test split.
        targets: `(n, classes)`, rows sum to 1.

    Returns:
        The temperature in 0.05..20; in 1..20 with fewer than ten wrong answers.

    Raises:
        DataError: The shapes differ, nothing is given, or a logit is not finite.
    """
    from scipy.optimize import minimize_scalar

    scores = np.asarray(logits, np.float64)
    truth = np.asarray(targets, np.float64)
    if scores.ndim != 2 or scores.shape != truth.shape or not len(scores):
        raise DataError(
            "A temperature needs logits and targets of one shape (n, classes), n >= 1. "
            f"Received: {scores.shape} and {truth.shape}"
        )
    if not np.isfinite(scores).all():
        raise DataError("A temperature needs finite logits. Received: NaN or infinity among them")
    scores = scores - scores.max(axis=1, keepdims=True)

    # The likelihood is smooth and has one minimum in the logarithm of the temperature.
    def loss(log_temperature: float) -> float:
        scaled = scores / math.exp(log_temperature)
        log_p = scaled - np.log(np.exp(scaled).sum(axis=1, keepdims=True))
        return float(-(truth * log_p).sum(axis=1).mean())

    errors = int((scores.argmax(axis=1) != truth.argmax(axis=1)).sum())
    low, high = (math.log(bound) for bound in _TEMPERATURE_BOUNDS)
    found = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-7})
    temperature = float(math.exp(found.x))
    return temperature if errors >= _MIN_ERRORS else max(1.0, temperature)


def small_evidence(n: int, accuracy: float) -> str | None:
    """What to say where a calibration rests on few wrong answers; see `fit_temperature`.

    Args:
        n: Number of pictures that it was fitted to.
        accuracy: Of the model on them, 0..1.

    Returns:
        One sentence; None where there are enough wrong answers.
    """
    errors = round(n * (1 - accuracy))
    if errors >= _MIN_ERRORS:
        return None
    return (
        f"The evidence is small: {errors} wrong of {n:,} pictures, where {_MIN_ERRORS} are needed "
        "to make a model surer of itself; do not rely on its probabilities and on `unsure`."
    )


def accuracy_report(correct: npt.ArrayLike) -> dict[str, Any]:
    """Accuracy with what is needed to read it.

    Args:
        correct: `(n,)` booleans.

    Returns:
        `n`, `accuracy` (None when n is 0) and `accuracy_interval`, the 95 % Wilson interval.
    """
    right = np.asarray(correct, bool)
    n, hits = len(right), int(right.sum())
    return {
        "n": n,
        "accuracy": hits / n if n else None,
        "accuracy_interval": list(wilson_interval(hits, n)),
    }


def balanced_accuracy(correct: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """The mean of the recalls of the classes that have pictures.

    Args:
        correct: `(n,)` booleans.
        labels: `(n,)`, what each picture shows.

    Returns:
        0..1; 0 without pictures.
    """
    right, shown = np.asarray(correct, bool), np.asarray(labels)
    recalls = [right[shown == label].mean() for label in np.unique(shown)]
    return float(np.mean(recalls)) if recalls else 0.0


def affect_agreement(predicted: npt.ArrayLike, rated: npt.ArrayLike) -> dict[str, float]:
    """How near valence and arousal are to the ratings of people.

    Args:
        predicted: `(n, 2)`.
        rated: `(n, 2)`, -1..1; rows with other values have no rating.

    Returns:
        `n`, the rated rows; where there are any, `rmse_valence`, `rmse_arousal`, and Lin's
        concordance correlation (Biometrics 1989), `ccc_valence` and `ccc_arousal`, -1..1.
    """
    p, t = np.asarray(predicted, np.float64), np.asarray(rated, np.float64)
    known = (np.abs(t) <= 1).all(axis=1)
    p, t = p[known], t[known]
    figures: dict[str, float] = {"n": len(t)}
    if not len(t):
        return figures
    squares = ((p - t) ** 2).mean(axis=0)
    spread = p.var(axis=0) + t.var(axis=0) + (p.mean(axis=0) - t.mean(axis=0)) ** 2
    together = ((p - p.mean(axis=0)) * (t - t.mean(axis=0))).mean(axis=0)
    for i, name in enumerate(("valence", "arousal")):
        figures[f"rmse_{name}"] = float(np.sqrt(squares[i]))
        figures[f"ccc_{name}"] = float(2 * together[i] / spread[i]) if spread[i] else 0.0
    return figures


def evaluate_predictions(
    probabilities: npt.ArrayLike,
    targets: npt.ArrayLike,
    class_names: Sequence[str],
    *,
    duplicates: npt.ArrayLike | None = None,
) -> dict[str, Any]:
    """Every figure of a set of predictions.

    The true class of an image is the arg max of its target. Balanced accuracy and macro F1 are
    means over the classes that have at least one image; a class without images is listed in
    `classes_without_images` and scores None.

    Args:
        probabilities: `(n, classes)`, rows sum to 1.
        targets: `(n, classes)`, rows sum to 1.
        class_names: Ordered names of the columns.
        duplicates: `(n,)` booleans: pixel-identical to a training image. None where unknown.

    Returns:
        A dict that `json.dumps` takes: `n`, `accuracy`, `accuracy_interval` (95 % Wilson),
        `balanced_accuracy`, `macro_f1`, `nll` (nats), `ece` (15 bins), `brier`,
        `mean_confidence`, `per_class` (name -> support, recall, precision, f1),
        `confusion_matrix` (rows true, columns predicted), `reliability` (bins),
        `without_duplicates` (`num_duplicates` and accuracy of the rest; None where unknown).

    Raises:
        DataError: Shapes that do not fit, no images, or rows that are no distributions.
    """
    p = np.asarray(probabilities, np.float64)
    t = np.asarray(targets, np.float64)
    names = tuple(class_names)
    if p.ndim != 2 or p.shape != t.shape or p.shape[1] != len(names) or not len(p):
        raise DataError(
            f"Expected probabilities and targets of shape (n, {len(names)}), n >= 1, for the "
            f"classes {', '.join(names)}. Received: {p.shape} and {t.shape}"
        )
    for what, rows in (("probabilities", p), ("targets", t)):
        # Written so that NaN fails too.
        if not (rows.min() >= -1e-6 and np.abs(rows.sum(axis=1) - 1).max() <= 1e-3):
            raise DataError(f"Expected rows of {what} that are >= 0 and sum to 1. Received others")

    true, predicted = t.argmax(axis=1), p.argmax(axis=1)
    correct = true == predicted
    confidences = p.max(axis=1)
    # As scikit-learn's precision_recall_fscore_support, which takes seconds to import.
    confusion = np.zeros((len(names), len(names)), np.int64)
    np.add.at(confusion, (true, predicted), 1)
    hits, support, predicted_counts = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    recall = hits / np.maximum(support, 1)
    precision = hits / np.maximum(predicted_counts, 1)
    f1 = 2 * hits / np.maximum(support + predicted_counts, 1)
    present = support > 0
    per_class = {
        name: {
            "support": int(support[i]),
            "recall": float(recall[i]) if present[i] else None,
            "precision": float(precision[i]) if predicted_counts[i] else None,
            "f1": float(f1[i]) if present[i] else None,
        }
        for i, name in enumerate(names)
    }

    without: dict[str, Any] | None = None
    if duplicates is not None:
        mask = np.asarray(duplicates, bool)
        if mask.shape != correct.shape:
            raise DataError(f"Expected {len(p)} duplicate flags. Received: shape {mask.shape}")
        without = {"num_duplicates": int(mask.sum()), **accuracy_report(correct[~mask])}

    return {
        **accuracy_report(correct),
        "balanced_accuracy": float(recall[present].mean()),
        "macro_f1": float(f1[present].mean()),
        "nll": negative_log_likelihood(p, t),
        "ece": expected_calibration_error(confidences, correct),
        "ece_bins": NUM_CALIBRATION_BINS,
        "brier": brier_score(p, t),
        "mean_confidence": float(confidences.mean()),
        "class_names": list(names),
        "classes_without_images": [n for i, n in enumerate(names) if not present[i]],
        "per_class": per_class,
        "confusion_matrix": confusion.tolist(),
        "reliability": [vars(b) for b in reliability_bins(confidences, correct)],
        "without_duplicates": without,
    }
