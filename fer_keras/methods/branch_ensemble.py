"""Trains every branch of an ensemble by its own cross-entropy, and keeps the branches different.

Siqueira, Magg and Wermter, "Efficient Facial Feature Learning with Wide Ensemble-based
Convolutional Neural Networks" (AAAI 2020), equation 1: the sum of the branches' losses. Zhao, Liu
and Wang (MA-Net, IEEE TIP 2021) weigh their two branches 0.6 and 0.4. The diversity is that of
Heidari and Iosifidis (arXiv:2210.09381, 2022), with its matrix mended: see
`fer_keras.methods.diversity`.
"""

from collections.abc import Sequence
from typing import Annotated, Any

import keras
from keras import ops

from fer_keras.common.constraints import Choices, CountOrZero, NotNegative, Positive
from fer_keras.common.errors import ConfigError
from fer_keras.config import Deviation
from fer_keras.methods.base import Method, check_outputs, soft_cross_entropy
from fer_keras.methods.diversity import (
    DIAGONALS,
    KINDS,
    check_options,
    diversity_loss,
    mean_similarity,
    similarities,
)

DEVIATIONS = (
    Deviation(
        "diversity",
        "-det of similarities with a diagonal of 0",
        "-log det, an option of theirs, with a diagonal of 1",
        "with zeros an odd number of branches becomes more alike",
    ),
    Deviation(
        "channels of the FER+ program",
        "places are compared twice",
        "channels with channels",
        "an oversight",
    ),
    Deviation(
        "vectors",
        "as they are",
        "of length 1",
        "else the similarity of 512 channels is 0 from the start",
    ),
)


class BranchEnsemble(Method):
    """Trains `branch_logits`; the accuracy is that of the fused `logits`."""

    required_outputs = ("logits", "branch_logits")

    def __init__(
        self,
        network: keras.Model,
        class_names: Sequence[str],
        *,
        active_branches: int,
        branch_weights: Sequence[float],
        diversity: Sequence[str],
        diversity_weight: float,
        diversity_kind: str,
        diagonal: str,
        gamma: float,
        normalise: bool,
    ) -> None:
        """Builds the method; see `build`."""
        super().__init__(network, class_names)
        num_branches = _branches(network, "branch_logits")
        if active_branches > num_branches:
            raise ConfigError(
                f"Expected active_branches from 0 (all) to {num_branches}, the branches of network "
                f"{network.name!r}. Received: active_branches={active_branches}"
            )
        weights = [float(weight) for weight in branch_weights] or [1.0] * num_branches
        active = active_branches or num_branches
        if len(weights) != num_branches or not any(weights[:active]):
            raise ConfigError(
                f"Expected branch_weights with a number for each of {num_branches} branches, "
                f"not all 0. Received: branch_weights={list(branch_weights)}"
            )
        check_outputs(network, diversity, "The diversity of branch_ensemble")
        for name in diversity:
            if not _branches(network, name):
                raise ConfigError(
                    f"Expected an output (batch, branches, ...) for "
                    f"diversity. Received: {name!r} of shape {tuple(network.output[name].shape)}"
                )
        check_options(diversity_kind, diagonal)
        self.active_branches = active
        # Plain numbers: a branch that is not active has weight 0.
        self.branch_weights = tuple(weights[:active] + [0.0] * (num_branches - active))
        self.diversity = tuple(diversity)
        self.diversity_weight = diversity_weight
        self.diversity_kind = diversity_kind
        self.diagonal = diagonal
        self.gamma = gamma
        self.normalise = normalise
        if "vote" in network.output:
            self.vote_accuracy = keras.metrics.CategoricalAccuracy(name="vote_accuracy")
        if self.diversity:
            self.mean_similarity = keras.metrics.Mean(name="mean_similarity")
            self.diversity_loss = keras.metrics.Mean(name="diversity_loss")

    def sample_losses(self, y: Any, outputs: dict[str, Any], training: bool) -> Any:
        """The weighted sum of the branches' cross-entropies of each sample, `(batch,)`.

        While training, the diversity of the batch is added to the loss of every sample of it, and
        so once to their mean. See `Method.sample_losses`.
        """
        by_branch = soft_cross_entropy(ops.expand_dims(y, 1), outputs["branch_logits"])
        losses = ops.sum(by_branch * ops.convert_to_tensor(self.branch_weights, "float32"), axis=1)
        # Only while training: a validation loss is comparable between amounts of diversity.
        if training and self.diversity_weight:
            losses = losses + self.diversity_weight * self._diversity(self._similarities(outputs))
        return losses

    def update_metrics(self, y: Any, outputs: dict[str, Any]) -> None:
        """`vote_accuracy` of a network that votes, 0..1; with diversity, its loss and likeness.

        `diversity_loss` is not weighed; `mean_similarity` is that of different branches, 0..1.
        """
        if "vote" in outputs:
            self.vote_accuracy.update_state(y, outputs["vote"])
        found = self._similarities(outputs)
        for similar in found:
            self.mean_similarity.update_state(mean_similarity(similar))
        if found:
            self.diversity_loss.update_state(self._diversity(found))

    def _diversity(self, similar: Sequence[Any]) -> Any:
        """The sum of the diversity losses of the chosen outputs, a scalar; 0 of one branch."""
        total = ops.zeros((), "float32")
        for each in similar:
            total = total + diversity_loss(
                ops.mean(each, axis=0), kind=self.diversity_kind, diagonal=self.diagonal
            )
        return total

    def _similarities(self, outputs: dict[str, Any]) -> list[Any]:
        """One `(batch, n, n)` for each chosen output, of the branches that are active."""
        found = []
        for name in self.diversity:
            features = outputs[name]
            if features.shape[1] == len(self.branch_weights):
                features = features[:, : self.active_branches]
            if features.shape[1] > 1:
                found.append(similarities(features, gamma=self.gamma, normalise=self.normalise))
        return found


def _branches(network: keras.Model, name: str) -> int:
    shape = network.output[name].shape
    return int(shape[1] or 0) if len(shape) > 2 else 0


def build(
    network: keras.Model,
    class_names: Sequence[str],
    *,
    active_branches: CountOrZero = 0,
    branch_weights: Sequence[NotNegative] = (),
    diversity: Sequence[str] = (),
    diversity_weight: NotNegative = 1.0,
    diversity_kind: Annotated[str, Choices(KINDS)] = "logdet",
    diagonal: Annotated[str, Choices(DIAGONALS)] = "unit",
    gamma: Positive = 10.0,
    normalise: bool = True,
) -> BranchEnsemble:
    """Training of all branches at once.

    The loss is `sum_b w_b CE_b`, not divided by the number of branches, and `diversity_weight`
    times the `diversity_loss` of each chosen output.

    Args:
        network: Functional network with the outputs `logits` `(batch, classes)` and `branch_logits`
            `(batch, branches, classes)`.
        class_names: The ordered names of the classes.
        active_branches: Train the first so many branches (0 = all). The fused `logits`, and so the
            accuracy, are those of all branches all the same.
        branch_weights: One weight >= 0 for each branch; empty for 1 each.
        diversity: Names of outputs `(batch, n, ...)` to make diverse, for instance
            `("spatial_attention", "channel_attention")` of `esr` or `("quadrant_maps",
            "quadrant_features", "branch_features")` of `manet`; empty for none.
        diversity_weight: Factor of their losses, not negative; with 0 diversity is only measured.
        diversity_kind: `"logdet"`, `"det"` or `"direct"`; see
        `fer_keras.methods.diversity.diversity_loss`.
        diagonal: `"unit"`, or `"zero_legacy"` for the matrix of the authors' program.
        gamma: Width of the kernel, above 0.
        normalise: Compare vectors of length 1.

    Returns:
        The method, to be compiled with an optimizer.

    Raises:
        ConfigError: Options do not fit each other or the branches, or the network has no fitting
            output.
    """
    return BranchEnsemble(
        network,
        class_names,
        active_branches=active_branches,
        branch_weights=branch_weights,
        diversity=diversity,
        diversity_weight=diversity_weight,
        diversity_kind=diversity_kind,
        diagonal=diagonal,
        gamma=gamma,
        normalise=normalise,
    )
