"""Trains the valence and arousal of every branch of an ensemble by their root mean squared errors.

Siqueira, Magg and Wermter, "Efficient Facial Feature Learning with Wide Ensemble-based
Convolutional Neural Networks" (AAAI 2020), section 4.4: the sum over the branches of the RMSE of
valence and that of arousal. What is not to be trained is frozen by `training.layer_rates`.
"""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from fer_keras.common.constraints import NotNegative
from fer_keras.methods.base import Method, soft_cross_entropy

FACTS = ("valence", "arousal")

# The root has no slope at 0.
_EPS = 1e-8


@keras.saving.register_keras_serializable(package="fer_keras")
class Agreement(keras.metrics.Metric):
    """RMSE, or Lin's concordance correlation (Biometrics 1989), over all samples of an epoch.

    Keras' `ConcordanceCorrelation` is the mean of that of each row, which is another figure.

    Args:
        kind: `"rmse"` or `"ccc"`.
        name: Of the metric.
    """

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(name=name)
        self.kind = kind
        self.sums = self.add_variable(shape=(6,), initializer="zeros", name="sums")

    def update_state(self, true: Any, predicted: Any, sample_weight: Any = None) -> None:
        """Adds samples.

        Args:
            true: `(batch,)`; nan counts for nothing.
            predicted: `(batch,)`.
            sample_weight: Unused; part of Keras' signature.
        """
        known = ops.cast(ops.isfinite(true), "float32")
        t = ops.where(ops.isfinite(true), ops.cast(true, "float32"), 0.0)
        p = known * ops.cast(predicted, "float32")
        terms = (known, t, p, t * t, p * p, t * p)
        self.sums.assign(self.sums + ops.stack([ops.sum(term) for term in terms]))

    def result(self) -> Any:
        """Scalar, float32; 0 before the first sample."""
        count = ops.maximum(self.sums[0], 1.0)
        t, p, tt, pp, tp = (self.sums[i] / count for i in range(1, 6))
        squared = tt + pp - 2 * tp
        if self.kind == "rmse":
            return ops.sqrt(ops.maximum(squared, 0.0))
        # The variances and the squared difference of the means.
        spread = tt - t * t + pp - p * p + ops.square(t - p)
        return ops.divide_no_nan(2 * (tp - t * p), spread)


class ValenceArousal(Method):
    """Trains `branch_valence_arousal`; `accuracy` is that of `logits`, which it leaves alone.

    Attributes:
        class_weight: Of the branches' cross-entropy.
    """

    required_outputs = ("logits", "branch_logits", "branch_valence_arousal", "valence_arousal")
    target_facts = FACTS

    def __init__(
        self, network: keras.Model, class_names: Sequence[str], *, class_weight: float
    ) -> None:
        """Builds the method; see `build`."""
        super().__init__(network, class_names)
        self.class_weight = class_weight
        self.agreements = [
            Agreement(kind, f"{kind}_{fact}") for kind in ("rmse", "ccc") for fact in FACTS
        ]

    def sample_losses(self, y: Any, outputs: dict[str, Any], training: bool) -> Any:
        """The sum of the branches' RMSE of the batch, for every sample of it; `(batch,)`."""
        classes, rated = y[:, : len(self.class_names)], y[:, len(self.class_names) :]
        known = ops.cast(ops.isfinite(rated), "float32")
        wanted = ops.expand_dims(ops.where(ops.isfinite(rated), rated, 0.0), 1)
        errors = ops.square(ops.cast(outputs["branch_valence_arousal"], "float32") - wanted)
        count = ops.maximum(ops.sum(known, axis=0), 1.0)
        means = ops.sum(errors * ops.expand_dims(known, 1), axis=0) / count
        losses = ops.zeros_like(y[:, 0]) + ops.sum(ops.sqrt(means + _EPS))
        if self.class_weight:
            by_branch = soft_cross_entropy(ops.expand_dims(classes, 1), outputs["branch_logits"])
            losses = losses + self.class_weight * ops.sum(by_branch, axis=1)
        return losses

    def update_metrics(self, y: Any, outputs: dict[str, Any]) -> None:
        """Updates `rmse_valence`, `rmse_arousal`, `ccc_valence` and `ccc_arousal`."""
        rated = y[:, len(self.class_names) :]
        for index, metric in enumerate(self.agreements):
            fact = index % len(FACTS)
            metric.update_state(rated[:, fact], outputs["valence_arousal"][:, fact])


def build(
    network: keras.Model, class_names: Sequence[str], *, class_weight: NotNegative = 0.0
) -> ValenceArousal:
    """Training of valence and arousal, for data sets whose samples have these facts (-1..1).

    The loss is `sum_b sqrt(MSE(valence_b)) + sqrt(MSE(arousal_b))` of a batch. Samples without a
    rating (nan) count for nothing. Choose the epoch by it: `training.select_by=val_loss`.

    Args:
        network: Functional network with the outputs `logits`, `branch_logits`, `valence_arousal`
            `(batch, 2)` and `branch_valence_arousal` `(batch, branches, 2)`, such as `esr` with
            `valence_arousal`.
        class_names: The ordered names of the classes.
        class_weight: Weight of the branches' cross-entropy, not negative: above 0, the emotions are
            trained too.

    Returns:
        The method, to be compiled with an optimizer; it reports RMSE and concordance correlation.

    Raises:
        ConfigError: The network has no fitting outputs.
    """
    return ValenceArousal(network, class_names, class_weight=class_weight)
