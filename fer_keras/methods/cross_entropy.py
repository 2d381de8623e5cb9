"""Cross-entropy against the target distribution: the baseline of every comparison.

With one-hot targets it is the ordinary classification loss; with vote shares as targets it is the
scheme "CEL" of Barsoum et al., ICMI 2016, section 3.
"""

from collections.abc import Sequence
from typing import Any

import keras

from fer_keras.common.constraints import Rate, Share
from fer_keras.data.samples import Samples
from fer_keras.methods.base import Method, soft_cross_entropy
from fer_keras.methods.logit_adjustment import LogitAdjustment


class CrossEntropy(Method):
    """Trains `logits` by cross-entropy against the targets."""

    def __init__(
        self,
        network: keras.Model,
        class_names: Sequence[str],
        *,
        label_smoothing: float = 0.0,
        prior_tau: float = 0.0,
    ) -> None:
        """Builds the method; see `build`."""
        super().__init__(network, class_names)
        self.label_smoothing = label_smoothing
        self.adjustment = LogitAdjustment(prior_tau)

    def prepare(self, samples: Samples) -> None:
        """Counts how frequent the classes are; see `Method.prepare`."""
        self.adjustment.prepare(samples)

    def sample_losses(self, y: Any, outputs: dict[str, Any], training: bool) -> Any:
        """`-sum_c t_c log p_c` of each sample, `(batch,)`; see `Method.sample_losses`."""
        # Only while training: a validation loss is comparable between amounts of smoothing.
        if training and self.label_smoothing:
            y = y * (1.0 - self.label_smoothing) + self.label_smoothing / len(self.class_names)
        logits = outputs["logits"]
        if training:
            logits = self.adjustment.training_logits(logits)
        return soft_cross_entropy(y, logits)


def build(
    network: keras.Model,
    class_names: Sequence[str],
    *,
    label_smoothing: Rate = 0.0,
    prior_tau: Share = 0.0,
) -> CrossEntropy:
    """Cross-entropy training.

    Args:
        network: Functional network with the output `logits` `(batch, classes)`.
        class_names: The ordered names of the classes.
        label_smoothing: Share of the target spread evenly over all classes while training, 0..1.
        prior_tau: How much of the class prior the training takes out of the answers, 0..1
            (`fer_keras.methods.logit_adjustment`).

    Returns:
        The method, to be compiled with an optimizer.

    Raises:
        ConfigError: The network has no fitting `logits`.
    """
    return CrossEntropy(network, class_names, label_smoothing=label_smoothing, prior_tau=prior_tau)
