"""Five ways to learn from the votes of several annotators.

Barsoum, Zhang, Canton Ferrer, Zhang, "Training Deep Networks for Facial Expression Recognition with
Crowd-Sourced Label Distribution", ICMI 2016, section 3: majority voting, multi-label learning,
probabilistic label drawing, cross-entropy loss. With the paper's VGG13 they reach 83.85, 83.97,
84.99 and 84.72 % on the test split of FER+. The fifth is the loss of label distribution learning
(Geng, "Label Distribution Learning", IEEE TKDE 2016, section 2).
"""

import math
from collections.abc import Sequence
from typing import Annotated, Any

import keras
from keras import ops

from fer_keras.common.constraints import Choices, CountOrZero, Range, Share
from fer_keras.common.errors import ConfigError
from fer_keras.data.samples import Samples
from fer_keras.methods.base import Method, soft_cross_entropy
from fer_keras.methods.logit_adjustment import LogitAdjustment

SCHEMES = ("majority", "multi_label", "probabilistic", "cross_entropy", "kl_divergence")


class LabelDistribution(Method):
    """Trains `logits` by one of the schemes; validation uses the scheme's expected loss."""

    def __init__(
        self,
        network: keras.Model,
        class_names: Sequence[str],
        *,
        scheme: str,
        threshold: float,
        epsilon: float,
        seed: int,
        prior_tau: float,
    ) -> None:
        """Builds the method; see `build`."""
        super().__init__(network, class_names)
        self.scheme = scheme
        self.threshold = threshold
        self.epsilon = epsilon
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.adjustment = LogitAdjustment(prior_tau)

    def prepare(self, samples: Samples) -> None:
        """Counts how frequent the classes are; see `Method.prepare`."""
        self.adjustment.prepare(samples)

    def sample_losses(self, y: Any, outputs: dict[str, Any], training: bool) -> Any:
        """The scheme's loss of each sample, `(batch,)`; see `build` and `Method.sample_losses`."""
        logits = ops.cast(outputs["logits"], "float32")
        if training:
            logits = self.adjustment.training_logits(logits)
        if self.scheme == "multi_label":
            return self._multi_label(y, logits)
        if self.scheme == "majority":
            y = ops.one_hot(ops.argmax(y, axis=-1), len(self.class_names))
        elif self.scheme == "probabilistic" and training:
            y = self._draw(y)
        # Evaluating, "probabilistic" is its own expectation: cross-entropy against the votes.
        losses = soft_cross_entropy(y, logits)
        if self.scheme == "kl_divergence":
            losses = losses + ops.sum(y * ops.log(ops.maximum(y, 1e-30)), axis=-1)
        return losses

    def check_mixtures(self) -> None:
        """Refuses the schemes that would take the parts of a mixture for votes.

        `majority` would train on the larger part alone, and `multi_label` would call two classes
        equally right from 70 : 30 on and forget the smaller one beyond. `probabilistic` draws the
        class of either picture with the chance of its part, which is cross-entropy on average.

        Raises:
            ConfigError: The scheme is one of the two.
        """
        if self.scheme in ("majority", "multi_label"):
            raise ConfigError(
                f"method.options.scheme={self.scheme!r} does not take mixed targets. For an "
                "augmentation that mixes pictures choose cross_entropy, which learns the same from "
                "dataset.label_rule=majority. Received: an augmentation that mixes"
            )

    def _multi_label(self, y: Any, logits: Any) -> Any:
        # The largest class always counts, also where nothing reaches the threshold.
        accepted = ops.logical_or(
            y >= self.threshold - 1e-6, y >= ops.max(y, axis=-1, keepdims=True)
        )
        log_targets = ops.where(accepted, 0.0, math.log(self.epsilon))
        # -log max(t p) = -max(log t + log p), without the underflow of p.
        return -ops.max(ops.cast(log_targets, "float32") + ops.log_softmax(logits), axis=-1)

    def _draw(self, y: Any) -> Any:
        # A class without votes must never be drawn: its log probability is far below the others'.
        log_votes = ops.log(ops.maximum(y, 1e-30))
        drawn = keras.random.categorical(log_votes, 1, seed=self.seed_generator)
        return ops.one_hot(ops.squeeze(drawn, axis=-1), len(self.class_names))


def build(
    network: keras.Model,
    class_names: Sequence[str],
    *,
    scheme: Annotated[str, Choices(SCHEMES)] = "cross_entropy",
    threshold: Annotated[float, Range(above=0, high=1)] = 0.3,
    epsilon: Annotated[float, Range(above=0, below=1)] = 0.001,
    seed: CountOrZero = 0,
    prior_tau: Share = 0.0,
) -> LabelDistribution:
    """Training on vote distributions.

    The schemes, for probabilities `p` and vote shares `v`:

    - `"majority"` (MV): `-log p_c` of the class with the most votes.
    - `"multi_label"` (ML): every class with at least `threshold` of the votes is right:
      `-log max_c(t_c p_c)`, `t_c` 1 for those and `epsilon` for the others.
    - `"probabilistic"` (PLD): `-log p_c` of one class drawn from `v`, anew in every step.
    - `"cross_entropy"` (CEL): `-sum_c v_c log p_c`.
    - `"kl_divergence"` (KL): `sum_c v_c log(v_c / p_c)`. Its gradient is that of CEL, from which it
      differs by the entropy of the votes: a network trained by either is the same, and what differs
      is the loss that is shown, 0 where the votes are met. What label distribution learning does
      differently is its target: all votes as they are, label rule `"distribution"`.

    The targets must be the vote shares (label rule `"probability"`, `"crossentropy"` or
    `"distribution"`), not yet one-hot: from one-hot targets all schemes learn the same.

    Args:
        network: Functional network with the output `logits` `(batch, classes)`.
        class_names: The ordered names of the classes.
        scheme: One of `SCHEMES`.
        threshold: Share of the votes from which a class is right, above 0 and at most 1; only
            `"multi_label"` uses it.
        epsilon: Target of the other classes, between 0 and 1; only `"multi_label"` uses it.
        seed: Of the draws of `"probabilistic"`; their state is one of the method's variables.
        prior_tau: How much of the class prior the training takes out of the answers, 0..1
            (`fer_keras.methods.logit_adjustment`).

    Returns:
        The method, to be compiled with an optimizer.

    Raises:
        ConfigError: The network has no fitting `logits`.
    """
    return LabelDistribution(
        network,
        class_names,
        scheme=scheme,
        threshold=threshold,
        epsilon=epsilon,
        seed=seed,
        prior_tau=prior_tau,
    )
