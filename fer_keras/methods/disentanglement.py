"""Cross-entropy with penalties that keep the person out of the emotion embedding.

For `emotion_encoder`, in whose source nothing forces the two embeddings apart. Both penalties are
ours to add there:

- `reversal`: a linear adversary predicts the identity embedding from the emotion embedding, and the
  encoder learns to prevent it (gradient reversal: Ganin and Lempitsky, "Unsupervised Domain
  Adaptation by Backpropagation", ICML 2015, section 3; their classifier of labels is a regression
  here, because who is shown is often unknown);
- `cross_covariance`: half the squared covariances between both embeddings over the batch (XCov:
  Cheung et al., "Discovering Hidden Factors of Variation in Deep Networks", ICLR workshop 2015,
  section 2.2), of values that are brought to variance 1, so that shrinking them gains nothing.
"""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from fer_keras.common.constraints import NotNegative
from fer_keras.methods.base import Method, soft_cross_entropy

_ESTIMATE = "identity_estimate"


class Disentanglement(Method):
    """Trains `logits` by cross-entropy, `embedding` to say little about `identity_embedding`."""

    required_outputs = ("logits", "embedding", "identity_embedding")

    def __init__(
        self,
        network: keras.Model,
        class_names: Sequence[str],
        *,
        reversal: float,
        cross_covariance: float,
    ) -> None:
        """Builds the method; see `build`."""
        super().__init__(network, class_names)
        self.reversal = reversal
        self.cross_covariance = cross_covariance
        self.adversary: Any = None
        if reversal:
            outputs = network.output
            self.adversary = keras.layers.Dense(
                outputs["identity_embedding"].shape[-1], name="adversary"
            )
            self.adversary.build((None, outputs["embedding"].shape[-1]))

    def call(self, inputs: Any, training: bool | None = None) -> dict[str, Any]:
        """The network's outputs, and while training the adversary's too; see `Method.call`."""
        outputs = super().call(inputs, training=training)
        if training and self.adversary is not None:
            reversed_ = reverse_gradient(outputs["embedding"], self.reversal)
            outputs[_ESTIMATE] = self.adversary(reversed_)
        return outputs

    def sample_losses(self, y: Any, outputs: dict[str, Any], training: bool) -> Any:
        """All losses of each sample, `(batch,)`; evaluating, the cross-entropy alone."""
        losses = soft_cross_entropy(y, outputs["logits"])
        if not training:
            return losses
        identity = ops.stop_gradient(standardized(outputs["identity_embedding"]))
        if self.adversary is not None:
            error = ops.square(ops.cast(outputs[_ESTIMATE], "float32") - identity)
            losses = losses + ops.mean(error, axis=-1)
        if self.cross_covariance:
            penalty = cross_covariance(standardized(outputs["embedding"]), identity)
            losses = losses + self.cross_covariance * penalty
        return losses


def reverse_gradient(x: Any, strength: float) -> Any:
    """The values of `x`, whose gradient is multiplied by `-strength` on the way back."""
    return (1 + strength) * ops.stop_gradient(x) - strength * x


def standardized(vectors: Any) -> Any:
    """Each column of `(batch, d)` with mean 0 and variance 1 over the batch, float32."""
    vectors = ops.cast(vectors, "float32")
    centred = vectors - ops.mean(vectors, axis=0, keepdims=True)
    return centred / ops.sqrt(ops.mean(ops.square(centred), axis=0, keepdims=True) + 1e-5)


def cross_covariance(one: Any, other: Any) -> Any:
    """Mean squared covariance between the columns of two standardized arrays, halved.

    Args:
        one: `(batch, d)` with columns of mean 0.
        other: `(batch, e)`, likewise.

    Returns:
        Scalar; the sum of Cheung et al. divided by `d * e`, so that a weight means the same for
        embeddings of any length.
    """
    count = ops.cast(ops.shape(one)[0], "float32")
    covariances = ops.matmul(ops.transpose(one), other) / count
    return 0.5 * ops.mean(ops.square(covariances))


def build(
    network: keras.Model,
    class_names: Sequence[str],
    *,
    reversal: NotNegative = 0.1,
    cross_covariance: NotNegative = 0.0,
) -> Disentanglement:
    """Cross-entropy with penalties against the person.

    Args:
        network: Functional network with `logits`, `embedding` and `identity_embedding`, for
            instance `emotion_encoder`.
        class_names: The ordered names of the classes.
        reversal: How strongly the encoder works against the adversary, 0 or more; 0 = no adversary.
        cross_covariance: Weight of the covariances, 0 or more.

    Returns:
        The method, to be compiled with an optimizer.

    Raises:
        ConfigError: The network lacks an output.
    """
    return Disentanglement(
        network, class_names, reversal=reversal, cross_covariance=cross_covariance
    )
