"""A yes or no of every emotion by itself, and with it the answer "none of them".

After Shu, Xu and Liu, "DOC: Deep Open Classification of Text Documents" (EMNLP 2017): every class
has a sigmoid, and where none of them reaches one half, the picture is of no known class. Here some
training pictures show none of them, and teach every sigmoid to say no. The sigmoids stand on the
differences of the logits to that of the class `none`. So the largest logit is that of `none`
exactly where no sigmoid reaches one half, and the file needs no decision of its own: softmax,
temperature, prior, thresholds and every runtime see one more class.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from fer_keras.common.errors import ConfigError
from fer_keras.methods.base import Method


class BinaryCrossEntropy(Method):
    """Trains a sigmoid for every class but `none_class`."""

    def __init__(
        self, network: keras.Model, class_names: Sequence[str], *, none_class: str
    ) -> None:
        """Builds the method; see `build`."""
        super().__init__(network, class_names)
        if none_class not in self.class_names or len(self.class_names) < 2:
            raise ConfigError(
                f"method.options.none_class: expected one of several classes of the data set, of "
                f"pictures that show none of the others. Received: {none_class!r} of "
                f"{', '.join(self.class_names)}. Mend: put such pictures, faces without an "
                "emotion of these or no faces at all, in a folder of that name (data set folder)"
            )
        self.none_column = self.class_names.index(none_class)
        # NumPy, not a variable: 1 for every class with a sigmoid.
        self.asked = np.ones(len(self.class_names), np.float32)
        self.asked[self.none_column] = 0.0

    def sample_losses(self, y: Any, outputs: dict[str, Any], training: bool) -> Any:
        """`-sum_c t_c log s_c + (1 - t_c) log(1 - s_c)`, `(batch,)`; see `build`."""
        logits = ops.cast(outputs["logits"], "float32")
        column = self.none_column
        margins = logits - logits[:, column : column + 1]
        losses = ops.softplus(margins) - ops.multiply(y, margins)
        return ops.sum(ops.multiply(losses, self.asked), axis=-1)


def build(
    network: keras.Model, class_names: Sequence[str], *, none_class: str = "none"
) -> BinaryCrossEntropy:
    """Binary cross-entropy of every class, with a class for what is none of them.

    For logits `z` the sigmoids are `s_c = sigmoid(z_c - z_none)`; the loss is their binary
    cross-entropy against the targets, added up over all classes but `none_class`, whose pictures
    have the target 0 everywhere. Emotions do not compete while they are learned. A picture that
    may be one of two is `none` where neither is as likely as not: for probabilities that are shares
    of pictures, `cross_entropy` takes a class `none` too.

    Args:
        network: Functional network with the output `logits` `(batch, classes)`.
        class_names: The ordered names of the classes, `none_class` among them.
        none_class: The class of the pictures that show none of the others.

    Returns:
        The method, to be compiled with an optimizer.

    Raises:
        ConfigError: The network has no fitting `logits`, or there is no class `none_class`.
    """
    return BinaryCrossEntropy(network, class_names, none_class=none_class)
