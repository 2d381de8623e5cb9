"""Cross-entropy and a penalty on attention heads that look alike.

Zhang et al., "A Dual-Direction Attention Mixed Feature Network for Facial Expression Recognition"
(Electronics 12(17), 2023), section 3.3: the attention loss is the reciprocal of the distances
between the heads' maps, weighed by 0.1. Without it nothing keeps the heads from being copies.
"""

import itertools
from collections.abc import Sequence
from typing import Annotated, Any

import keras
from keras import ops

from fer_keras.common.constraints import Choices, CountOrZero, NotNegative, Positive, Range
from fer_keras.common.errors import ConfigError
from fer_keras.methods.base import Method, soft_cross_entropy

FORMS = ("code", "paper", "bounded")


class AttentionDiversity(Method):
    """Trains `logits` by cross-entropy, and the maps of `attention` to differ.

    Attributes:
        attention_loss: Mean over the batches of the penalty, before it is weighed.
    """

    required_outputs = ("logits", "attention")

    def __init__(
        self,
        network: keras.Model,
        class_names: Sequence[str],
        *,
        weight: float,
        form: str,
        eps: float,
        gamma: float,
        warmup_steps: int,
    ) -> None:
        """Builds the method; see `build`."""
        super().__init__(network, class_names)
        shape = network.output["attention"].shape
        if len(shape) != 5 or shape[1] is None:
            raise ConfigError(
                "AttentionDiversity needs attention (batch, heads, h, w, c), received shape "
                f"{tuple(shape)} from network {network.name!r}."
            )
        self.weight = weight
        self.form = form
        self.eps = eps
        self.gamma = gamma
        self.warmup_steps = warmup_steps
        # A variable, so that a resumed run goes on with the same weight. Not an integer one, which
        # TensorFlow keeps off the GPU, out of the reach of a step compiled for it.
        self.steps = self.add_weight(
            name="steps", shape=(), initializer="zeros", dtype="float32", trainable=False
        )
        self.attention_loss = keras.metrics.Mean(name="attention_loss")

    def sample_losses(self, y: Any, outputs: dict[str, Any], training: bool) -> Any:
        """Cross-entropy of each sample plus the weighed penalty of the batch, `(batch,)`."""
        weight = self.weight
        # Evaluating, always the full weight: a validation loss is comparable between epochs.
        if training and self.warmup_steps:
            self.steps.assign(self.steps + 1.0)
            weight = weight * ops.minimum(self.steps / self.warmup_steps, 1.0)
        return soft_cross_entropy(y, outputs["logits"]) + weight * self.penalty(outputs)

    def update_metrics(self, y: Any, outputs: dict[str, Any]) -> None:
        """Updates `attention_loss`."""
        self.attention_loss.update_state(self.penalty(outputs))

    def penalty(self, outputs: dict[str, Any]) -> Any:
        """How alike the heads are; see `build`.

        Args:
            outputs: The named outputs of the network.

        Returns:
            Scalar, float32; 0 where there is one head.
        """
        # float32 also under mixed precision: the differences of near maps vanish in half precision.
        maps = ops.cast(outputs["attention"], "float32")
        pairs = list(itertools.combinations(range(maps.shape[1]), 2))
        if not pairs:
            return ops.zeros((), "float32")
        distances = ops.stack([ops.mean(ops.square(maps[:, i] - maps[:, k])) for i, k in pairs])
        if self.form == "bounded":
            return ops.mean(ops.exp(-self.gamma * distances))
        total = ops.sum(distances)
        if self.form == "paper":
            return 1.0 / (2.0 * total + self.eps)
        return len(pairs) / (total + self.eps)


def build(
    network: keras.Model,
    class_names: Sequence[str],
    *,
    weight: NotNegative = 0.1,
    form: Annotated[str, Choices(FORMS)] = "code",
    # The gradient has eps squared below the line, which float32 cannot hold much smaller.
    eps: Annotated[float, Range(low=1e-16)] = 1e-4,
    gamma: Positive = 10.0,
    warmup_steps: CountOrZero = 0,
) -> AttentionDiversity:
    """Training of networks with several attention heads.

    The loss is cross-entropy + `weight` * penalty. The penalty, for K heads whose maps have the
    mean squared differences `d_ik` over batch, places and channels:

    - `"code"`: K (K - 1) / 2 / (sum of `d_ik` over the pairs i < k + `eps`), the reciprocal of the
      mean difference, as in the authors' program.
    - `"paper"`: 1 / (sum of `d_ik` over all i != k + `eps`), as printed. It is the one above
      divided by K (K - 1), so the same `weight` does not mean the same.
    - `"bounded"`: mean over the pairs of exp(-`gamma` `d_ik`), 0..1; our own, as in the diversity
      of Heidari and Iosifidis (arXiv:2210.09381, 2022).

    Untrained heads lie near each other (`d_ik` about 1e-3), so the two reciprocals start at several
    hundred: `weight` times as much as forty times the cross-entropy. The authors start from trained
    weights; from random ones, take some hundred `warmup_steps` or the bounded form.

    Args:
        network: Functional network with the outputs `logits` `(batch, classes)` and `attention`
            `(batch, heads, h, w, c)`. With one head the penalty is 0.
        class_names: The ordered names of the classes.
        weight: Of the penalty, at least 0.
        form: One of `FORMS`.
        eps: Keeps the reciprocals of equal heads finite, at least 1e-16. The authors' 2.2e-16 lets
            them reach 1e15.
        gamma: Steepness of the bounded form, above 0.
        warmup_steps: Training steps over which the weight grows from 0 to `weight`, in a line.

    Returns:
        The method, to be compiled with an optimizer; it reports `attention_loss`, the penalty.

    Raises:
        ConfigError: The network has no fitting outputs.
    """
    return AttentionDiversity(
        network,
        class_names,
        weight=weight,
        form=form,
        eps=eps,
        gamma=gamma,
        warmup_steps=warmup_steps,
    )
