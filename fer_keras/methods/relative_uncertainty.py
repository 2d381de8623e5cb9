"""Relative uncertainty: pairs of faces are mixed, and the harder of the two weighs more.

Zhang, Wang and Deng, "Relative Uncertainty Learning for Facial Expression Recognition" (NeurIPS
2021), section 3. Each face is a point `mu` and an uncertainty. A mixed face must be recognised as
both of its parts, in equal shares, and is nearer to the more uncertain one: to give the harder face
the larger uncertainty makes the mixture easier to recognise as it. So uncertainties are learned
without a label for them. A prediction classifies `mu` alone; the uncertainty stands beside it.
"""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from fer_keras.common.constraints import Count, CountOrZero, Rate
from fer_keras.methods.base import Method, check_outputs, soft_cross_entropy


class RelativeUncertainty(Method):
    """Trains the logits of mixed faces by both labels, the uncertainties by their weights.

    The network ends in the heads that `build` puts on it.
    """

    required_outputs = ("logits", "embedding", "uncertainty")

    def __init__(self, network: keras.Model, class_names: Sequence[str], *, seed: int) -> None:
        """Wraps a network with heads; `build` makes one."""
        super().__init__(network, class_names)
        self.classifier = self.network.get_layer("logits")
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, inputs: Any, training: bool | None = None) -> dict[str, Any]:
        """The network's outputs, and while training those of the mixed faces; see `Method.call`.

        While training there is `mixed_logits` `(batch, classes)` too, and `partner` `(batch,)`: the
        row of the face that each is mixed with.
        """
        outputs = super().call(inputs, training=training)
        if training:
            rows = ops.arange(ops.shape(outputs["embedding"])[0], dtype="int32")
            partner = keras.random.shuffle(rows, seed=self.seed_generator)
            mixed = mix(outputs["embedding"], outputs["uncertainty"], partner)
            outputs["mixed_logits"] = self.classifier(mixed)
            outputs["partner"] = partner
        return outputs

    def sample_losses(self, y: Any, outputs: dict[str, Any], training: bool) -> Any:
        """Half the cross-entropy of a mixed face against each of its labels, `(batch,)`.

        Evaluating, the cross-entropy of the faces themselves. See `Method.sample_losses`.
        """
        if not training:
            return soft_cross_entropy(y, outputs["logits"])
        # Linear in the target: the mean of both losses is the loss against the mean of both labels.
        both = 0.5 * (y + ops.take(y, outputs["partner"], axis=0))
        return soft_cross_entropy(both, outputs["mixed_logits"])


def mix(points: Any, uncertainties: Any, partner: Any) -> Any:
    """Mixes every face with another one, each weighed by its uncertainty.

    Args:
        points: `(batch, d)`.
        uncertainties: `(batch, 1)`, above 0.
        partner: `(batch,)` rows.

    Returns:
        `(batch, d)`: `(u_i mu_i + u_j mu_j) / (u_i + u_j)`; the mean where both are equal.
    """
    others = ops.take(uncertainties, partner, axis=0)
    share = uncertainties / (uncertainties + others)
    return share * points + (1.0 - share) * ops.take(points, partner, axis=0)


def build(
    network: keras.Model,
    class_names: Sequence[str],
    *,
    dimensions: Count = 64,
    dropout: Rate = 0.4,
    seed: CountOrZero = 0,
) -> RelativeUncertainty:
    """Puts a head for points and one for uncertainties on a network, and trains them together.

    Both heads are batch normalisation, dropout and a linear layer with another batch normalisation,
    on the whole feature map as in the authors' program (with its sizes: 1.6 million weights each),
    or on the embedding of a network without one. The classifier of the given network is not part
    of the new graph.

    Args:
        network: Functional network with the output `features` `(batch, h, w, c)` or, without it,
            `embedding` `(batch, d)`.
        class_names: The ordered names of the classes.
        dimensions: Length of the points, at least 1.
        dropout: Rate before the linear layers, 0..1.
        seed: Of the pairs; the state of the draws is one of the method's variables.

    Returns:
        The method. Its network has the outputs `logits`, `embedding` `(batch, dimensions)` (the
        point), `uncertainty` `(batch, 1)` above 0, where only ratios mean something, and `features`
        where the given network has them.

    Raises:
        ConfigError: The network has neither output.
    """
    offered = network.output
    has_map = isinstance(offered, dict) and "features" in offered
    source = "features" if has_map else "embedding"
    check_outputs(network, (source,), "relative_uncertainty")

    def head(name: str) -> Any:
        x = keras.layers.BatchNormalization(
            momentum=0.9, epsilon=2e-5, center=False, scale=False, name=f"{name}_input_bn"
        )(offered[source])
        x = keras.layers.Dropout(dropout, name=f"{name}_dropout")(x)
        x = keras.layers.Flatten(name=f"{name}_flat")(x)
        x = keras.layers.Dense(dimensions, use_bias=False, name=f"{name}_dense")(x)
        # float32 from here on also under mixed precision: an exponential follows.
        return keras.layers.BatchNormalization(
            momentum=0.9, epsilon=2e-5, dtype="float32", name=name
        )(x)

    point = head("point")
    variances = keras.layers.Activation("exponential", dtype="float32", name="variances")(
        head("log_variance")
    )
    column = keras.layers.Reshape((dimensions, 1), dtype="float32", name="variance_column")(
        variances
    )
    uncertainty = keras.layers.GlobalAveragePooling1D(dtype="float32", name="uncertainty")(column)
    logits = keras.layers.Dense(len(class_names), dtype="float32", name="logits")(point)
    outputs = {"logits": logits, "embedding": point, "uncertainty": uncertainty}
    if has_map:
        outputs["features"] = offered["features"]
    return RelativeUncertainty(
        keras.Model(network.input, outputs, name=network.name), class_names, seed=seed
    )
