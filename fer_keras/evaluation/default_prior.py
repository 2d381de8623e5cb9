"""The prior that an export answers by, chosen on its validation split, and thresholds by prior."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fer_keras.common.prior import PriorChoice, adjusted
from fer_keras.evaluation.prior_rule import MOST_LOST, TAUS, largest_tau, prior_figures
from fer_keras.evaluation.thresholds import FittedDecision, fit_decision

if TYPE_CHECKING:
    from fer_keras.data.samples import Samples


@dataclass(frozen=True)
class DefaultPrior:
    """A prior, and what it brings.

    Attributes:
        choice: The prior to answer by.
        class_prior: Label -> share among the training targets.
        figures: The `prior_figures` entry of the manifest.
    """

    choice: PriorChoice
    class_prior: Mapping[str, float]
    figures: Mapping[str, Any]

    def adjust(self, probabilities: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Probabilities `(n, classes)` of the model as it is, for this prior."""
        return for_prior(probabilities, self.class_prior, self.choice)


def for_prior(
    probabilities: npt.ArrayLike, class_prior: Mapping[str, float], choice: PriorChoice
) -> npt.NDArray[np.float32]:
    """Probabilities just as the runtime adjusts them, so that thresholds meet the same numbers.

    Args:
        probabilities: `(n, classes)`, columns in the order of `class_prior`.
        class_prior: Label -> share among the training targets.
        choice: The prior.
    """
    plain = np.asarray(probabilities, np.float32)
    if choice.is_training:
        return plain
    return adjusted(plain, class_prior, choice).astype(np.float32)


def choose_prior(
    probabilities: npt.ArrayLike,
    samples: "Samples",
    class_prior: Mapping[str, float],
    *,
    measured_by: str,
) -> DefaultPrior:
    """Chooses a default by the rule of `fer_keras.evaluation.prior_rule.largest_tau`.

    Args:
        probabilities: `(n, classes)`, calibrated, of the model as it is.
        samples: The validation split.
        class_prior: Label -> share among the training targets.
        measured_by: What gave the probabilities: `Keras`, or a file's precision.

    Returns:
        The choice: that of the training where a class had no training target.
    """
    names, shares = samples.class_names, [class_prior[name] for name in samples.class_names]
    plain = np.asarray(probabilities, np.float32)
    tau = largest_tau(plain, samples.labels, names, shares) if all(shares) else 0.0
    choice = PriorChoice(tau)
    both = {
        key: prior_figures(plain, samples.labels, names, shares, prior)
        for key, prior in (("without_prior", PriorChoice()), ("with_prior", choice))
    }
    figures = {
        "rule": f"the largest tau of 0, 0.05, .. 1 that costs at most {100 * MOST_LOST:g} points "
        "of accuracy on this split",
        "split": samples.split,
        "label_rule": samples.label_rule,
        "n": len(samples),
        "measured_by": measured_by,
        **both,
    }
    return DefaultPrior(choice, class_prior, figures)


def decision_block(
    fitted: FittedDecision,
    probabilities: npt.NDArray[Any],
    samples: "Samples",
    default: DefaultPrior,
    *,
    measured_by: str = "keras",
) -> dict[str, Any]:
    """The `decision` entry of the manifest: of the default prior, and in short of every tau.

    Args:
        fitted: To the probabilities for the default prior.
        probabilities: `(n, classes)`, calibrated, of the model as it is.
        samples: The validation split.
        default: The default prior.
        measured_by: What gave the probabilities: `keras`, or a file's precision.

    Returns:
        `FittedDecision.block` with `prior`, and `by_tau`: tau -> thresholds, fitted and measured
        on the same two halves (tau 0 alone where a class had no training target).
    """
    rows: dict[str, Any] = {}
    for tau in TAUS if all(default.class_prior.values()) else TAUS[:1]:
        p = for_prior(probabilities, default.class_prior, PriorChoice(tau))
        ours = fit_decision(
            p, samples, accuracy_target=fitted.accuracy_target, coverage=fitted.coverage
        )
        if ours is None:
            break
        measured = ours.measure(p[fitted.held_out])
        rows[f"{tau:g}"] = {
            **ours.thresholds(),
            **{key: measured[key] for key in ("kept", "kept_accuracy", "coverage", "mean_size")},
        }
    block = fitted.block(default.adjust(probabilities[fitted.held_out]), measured_by)
    return {"prior": str(default.choice), **block, "by_tau": rows}
