"""When a model had better not answer, and which labels it cannot rule out: fitted at export.

Both are thresholds on the calibrated probabilities, and both come from one half of the validation
split; what they bring is measured on the other half, because a picture that a threshold was fitted
to cannot show it. No subject and no copy of a picture is in both halves.

- Rejection: the smallest threshold on the highest probability at which the accuracy of the answers
  that are kept reaches a target. Never more than half of the answers are rejected: where the target
  would need more, half are, and the accuracy that brings is stated.
- Label sets: split conformal prediction with the score 1 - probability of the true label (LAC;
  Sadinle, Lei and Wasserman, JASA 2019), by MAPIE, for each class by itself (Mondrian; Vovk,
  Gammerman and Shafer, "Algorithmic Learning in a Random World", 2005, section 4.5). A set holds
  every label with at least the label's own threshold, and covers the true one with the stated
  probability for each class. A class with too few pictures has the threshold of all together.

The temperature (one number) and the kept epoch come from the whole split.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fer_keras.common.errors import ConfigError, DataError
from fer_keras.common.metrics import accuracy_report, wilson_interval
from fer_keras.common.risk_coverage import Scores, curve, curve_points, risk_coverage
from fer_keras.data.groups import connected_groups, cut_mask
from fer_keras.runtime.decision import Decision

if TYPE_CHECKING:
    from fer_keras.data.samples import Samples

# With fewer pictures in a half, a share of 90 % is known to no better than 12 points.
MIN_HALF = 25
MAX_REJECTED = 0.5
# Of the label sets of an 8-bit file; or two pictures, where that is more.
MAX_COVERAGE_LOSS = 0.01
_SEED = 0


@dataclass(frozen=True)
class FittedDecision:
    """Thresholds, and the pictures on which they are measured.

    Attributes:
        decision: The thresholds as the runtime compares with them.
        held_out: `(n,)` bool, the pictures of the split that no threshold was fitted to.
        labels: `(m,)` true class indices of the m held-out pictures.
        class_names: Ordered names of the columns.
        accuracy_target: What rejection aims at, 0..1.
        coverage: What the label sets are to cover, 0..1.
        split: Name of the split.
        too_few: Classes with too few pictures for a threshold of their own.
    """

    decision: Decision
    held_out: npt.NDArray[np.bool_]
    labels: npt.NDArray[np.int64]
    class_names: tuple[str, ...]
    accuracy_target: float
    coverage: float
    split: str
    too_few: tuple[str, ...] = ()

    def measure(self, probabilities: Scores) -> dict[str, Any]:
        """What the thresholds bring on the held-out half.

        Args:
            probabilities: `(m, classes)` of the held-out pictures, of Keras or of any file.

        Returns:
            `kept` (share), `kept_accuracy` (None where none is kept) and `kept_accuracy_interval`
            of the answers that are not unsure; `coverage`, `coverage_interval`, `mean_size` of the
            label sets, and `coverage_by_class` with an interval too; intervals are 95 % Wilson
            intervals.
        """
        right = probabilities.argmax(axis=1) == self.labels
        sure = np.array([not self.decision.unsure(row) for row in probabilities])
        sets = [self.decision.label_set(row) for row in probabilities]
        covered = np.array([y in labels for y, labels in zip(self.labels, sets, strict=True)])
        kept = accuracy_report(right[sure])
        by_class = {}
        for i, name in enumerate(self.class_names):
            ours = covered[self.labels == i]
            if len(ours):
                by_class[name] = {
                    "n": len(ours),
                    "coverage": float(ours.mean()),
                    "interval": list(wilson_interval(int(ours.sum()), len(ours))),
                }
        return {
            "kept": float(sure.mean()),
            "kept_accuracy": kept["accuracy"],
            "kept_accuracy_interval": kept["accuracy_interval"],
            "coverage": float(covered.mean()),
            "coverage_interval": list(wilson_interval(int(covered.sum()), len(covered))),
            "mean_size": float(np.mean([len(labels) for labels in sets])),
            "coverage_by_class": by_class,
        }

    def thresholds(self) -> dict[str, Any]:
        """What the runtime reads: both thresholds, and those of the label sets by class."""
        by_class = zip(self.class_names, self.decision.class_thresholds, strict=True)
        return {
            "reject_threshold": self.decision.reject_threshold,
            "conformal_threshold": self.decision.conformal_threshold,
            "conformal_by_class": dict(by_class),
        }

    def block(self, probabilities: Scores, measured_by: str = "keras") -> dict[str, Any]:
        """The `decision` entry of the manifest.

        Args:
            probabilities: `(m, classes)` of the held-out pictures.
            measured_by: What gave them: `keras`, or a file's precision.

        Returns:
            A dict that `json.dumps` takes; `reject_coverage`, `reject_accuracy` and
            `conformal_mean_size` are measured on the held-out half, as `measured` is.
        """
        measured = self.measure(probabilities)
        n = int((~self.held_out).sum())
        return {
            "reject_accuracy_target": self.accuracy_target,
            "reject_coverage": measured["kept"],
            "reject_accuracy": measured["kept_accuracy"],
            **self.thresholds(),
            "conformal_too_few": list(self.too_few),
            "conformal_coverage": self.coverage,
            "conformal_mean_size": measured["mean_size"],
            "conformal_method": f"split conformal by class, LAC, MAPIE {version('mapie')}",
            "fitted_on": f"{n:,} pictures, half of the {self.split} split",
            "n": n,
            "measured_on": f"the other {len(self.labels):,} pictures",
            "n_measured": len(self.labels),
            "measured": {measured_by: measured},
            "risk_coverage": curve_points(*risk_coverage(probabilities, self.labels)),
        }


def fit_decision(
    probabilities: Scores,
    samples: "Samples",
    *,
    accuracy_target: float = 0.95,
    coverage: float = 0.9,
) -> FittedDecision | None:
    """Fits both thresholds to half of a split.

    Args:
        probabilities: `(n, classes)`, calibrated, of the pictures of `samples`.
        samples: The validation split.
        accuracy_target: Accuracy that the kept answers are to reach, above 0 and at most 1.
        coverage: Share of the label sets that are to hold the true label, above 0 and below 1.

    Returns:
        The thresholds; None where the split cannot be divided into halves of at least 25 pictures.

    Raises:
        ConfigError: A target out of range.
    """
    if not 0 < accuracy_target <= 1 or not 0 < coverage < 1:
        raise ConfigError(
            "Expected an accuracy target above 0 and at most 1, and a coverage between 0 and 1. "
            f"Received: {accuracy_target} and {coverage}"
        )
    held_out = _half(samples)
    if held_out is None:
        return None
    p, labels = np.asarray(probabilities, np.float64)[~held_out], samples.labels
    right = p.argmax(axis=1) == labels[~held_out]
    of_all = conformal_threshold(p, labels[~held_out], coverage)
    rows_of = [labels[~held_out] == label for label in range(len(samples.class_names))]
    enough = [rows.sum() * min(coverage, 1 - coverage) > 1 for rows in rows_of]
    decision = Decision(
        reject_threshold(p.max(axis=1), right, accuracy_target),
        of_all,
        tuple(
            conformal_threshold(p[rows], labels[~held_out][rows], coverage) if known else of_all
            for rows, known in zip(rows_of, enough, strict=True)
        ),
    )
    return FittedDecision(
        decision,
        held_out,
        labels[held_out],
        tuple(samples.class_names),
        accuracy_target,
        coverage,
        samples.split,
        tuple(n for n, known in zip(samples.class_names, enough, strict=True) if not known),
    )


def reject_threshold(
    confidences: npt.ArrayLike, correct: npt.ArrayLike, accuracy_target: float
) -> float:
    """The threshold under which answers are unsure; the rule is that of the module.

    Args:
        confidences: `(n,)`, the highest probability of each answer.
        correct: `(n,)` bool, whether the answer is right.
        accuracy_target: For the answers with at least the threshold, 0..1.

    Returns:
        A confidence of the n, or 0 where all answers are kept.
    """
    kept, accuracy, thresholds = curve(np.asarray(confidences), np.asarray(correct))
    enough = kept >= 1 - MAX_REJECTED
    reached = np.flatnonzero(enough & (accuracy >= accuracy_target))
    chosen = int(reached[-1]) if len(reached) else int(np.flatnonzero(enough)[0])
    return 0.0 if kept[chosen] == 1 else float(thresholds[chosen])


def conformal_threshold(
    probabilities: npt.ArrayLike, labels: npt.ArrayLike, coverage: float
) -> float:
    """The probability from which on a label belongs to the set.

    Args:
        probabilities: `(n, classes)`, with n * (1 - coverage) > 1.
        labels: `(n,)` true class indices.
        coverage: Between 0 and 1.

    Returns:
        1 minus the conformal quantile of the LAC scores, 0..1.

    Raises:
        DataError: There are too few pictures for the coverage.
    """
    from mapie.classification import (  # type: ignore[import-untyped]
        SplitConformalClassifier,
    )
    from mapie.conformity_scores import LACConformityScore  # type: ignore[import-untyped]
    from sklearn.base import BaseEstimator, ClassifierMixin

    p, truth = np.asarray(probabilities, np.float64), np.asarray(labels)
    if len(p) * min(coverage, 1 - coverage) <= 1:
        raise DataError(f"A coverage of {coverage} needs more pictures. Received: {len(p)}")

    class Ready(ClassifierMixin, BaseEstimator):
        """A classifier whose inputs are its probabilities."""

        def __init__(self, num_classes: int) -> None:
            self.num_classes = num_classes
            self.classes_ = np.arange(num_classes)

        def predict_proba(self, rows: Scores) -> Scores:
            return rows

        def predict(self, rows: Scores) -> npt.NDArray[np.int64]:
            return rows.argmax(axis=1)

    score = LACConformityScore()
    conformal = SplitConformalClassifier(
        Ready(p.shape[1]), confidence_level=coverage, conformity_score=score, prefit=True
    )
    with warnings.catch_warnings():
        # It warns of classes without pictures; how the sets do by class is measured.
        warnings.simplefilter("ignore", UserWarning)
        # Float32 softmax rows miss the sum of 1 by more than MAPIE allows.
        conformal.conformalize(p / p.sum(axis=1, keepdims=True), truth)
        conformal.predict_set(p[:1] / p[:1].sum())
    # Rounding must not exclude the very picture that the threshold comes from.
    return max(0.0, float(1.0 - score.quantiles_[0]) - 1e-7)


def decision_report(block: Mapping[str, Any] | None) -> list[str]:
    """What the thresholds bring, in sentences for people.

    Args:
        block: The `decision` entry of a manifest; None where there is none.

    Returns:
        One line for rejection, one for the label sets, one for where they come from.
    """
    if block is None:
        return ["no thresholds: the validation split cannot be halved into 25 pictures or more"]

    # The first is what the thresholds were fitted to: Keras, or a file where that is gone.
    (_, keras), *rest = block["measured"].items()

    def files(text: Callable[[Mapping[str, Any]], str]) -> str:
        others = [f"{name}: {text(row)}" for name, row in rest]
        return f" ({', '.join(others)})" if others else ""

    low, high = keras["kept_accuracy_interval"]
    cover_low, cover_high = keras["coverage_interval"]
    kept = files(lambda row: f"{row['kept']:.1%} kept, {_percent(row['kept_accuracy'])} right")
    covered = files(lambda row: f"{row['coverage']:.1%}, {row['mean_size']:.2f} labels")
    return [
        f"unsure below a probability of {block['reject_threshold']:.3f}: {keras['kept']:.1%} of "
        f"the answers are kept, {_percent(keras['kept_accuracy'])} of them right [{low:.2%}, "
        f"{high:.2%}], target {block['reject_accuracy_target']:.0%}{kept}",
        f"label sets hold every label from {_by_class(block)} on: they cover the "
        f"true one for {keras['coverage']:.1%} [{cover_low:.1%}, {cover_high:.1%}], stated "
        f"{block['conformal_coverage']:.0%}, with {keras['mean_size']:.2f} labels on "
        f"average{covered}",
        f"thresholds fitted on {block['fitted_on']}; measured on {block['measured_on']}; the "
        "coverage holds for pictures like those of that split",
    ]


def _by_class(block: Mapping[str, Any]) -> str:
    """The thresholds of the label sets in words."""
    of_all = f"{block['conformal_threshold']:.3f}"
    # Manifests of earlier exports have one threshold alone.
    by_class, few = block.get("conformal_by_class"), block.get("conformal_too_few", [])
    if not by_class:
        return of_all
    own = ", ".join(f"{n} {share:.3f}" for n, share in by_class.items() if n not in few)
    return f"{own}; {', '.join(few)} (too few pictures) {of_all}" if few else own


def coverage_problem(block: Mapping[str, Any], precision: str) -> str | None:
    """Why a file must not be published with these thresholds; None where it may.

    Args:
        block: The `decision` entry with the file's figures under `measured`.
        precision: Of the file.
    """
    n, measured = block["n_measured"], block["measured"]
    ours, keras = measured[precision]["coverage"], measured["keras"]["coverage"]
    allowed = max(MAX_COVERAGE_LOSS, 2 / n)
    if keras - ours <= allowed + 1e-12:
        return None
    return (
        f"{precision}: its label sets cover {ours:.2%} of {n} held-out pictures, those of Keras "
        f"{keras:.2%}, allowed loss {allowed:.2%}"
    )


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.2%}"


def _half(samples: "Samples") -> npt.NDArray[np.bool_] | None:
    """The held-out half of a split; None where it has no two halves that are large enough."""
    groups = connected_groups(samples.facts["sha256"], samples.facts["subject"])
    if len(np.unique(groups)) < 2:
        return None
    held_out = cut_mask(samples.labels, groups, 0.5, _SEED)
    return held_out if MIN_HALF <= held_out.sum() <= len(samples) - MIN_HALF else None
