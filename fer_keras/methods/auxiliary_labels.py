"""Two label sets of the same pictures: one body, two classifiers.

Source: ours; multi-task learning with hard parameter sharing (Caruana, "Multitask Learning",
Machine Learning 28, 1997). FER2013 and FER+ label the same pictures: ten votes tell well which
expressions a face may show, but hardly ever name disgust; the single label of FER2013 names it four
times as often. The second classifier reads `embedding`, is trained beside `logits` and is no part
of the network that is saved.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from fer_keras.common.constraints import NotNegative
from fer_keras.common.errors import ConfigError
from fer_keras.data.load import describe, find_source, load_samples
from fer_keras.data.samples import Samples
from fer_keras.data.views import Feed
from fer_keras.methods.base import Method, soft_cross_entropy

_FACT = "auxiliary_"


class AuxiliaryLabels(Method):
    """Trains `logits` by the targets, and a classifier beside them by another data set's labels."""

    required_outputs = ("logits", "embedding")

    def __init__(
        self, network: keras.Model, class_names: Sequence[str], *, dataset: str, weight: float
    ) -> None:
        """Builds the method; see `build`."""
        super().__init__(network, class_names)
        self.dataset = dataset
        self.weight = weight
        self.auxiliary_names = describe(dataset).class_names
        self.target_facts = tuple(f"{_FACT}{name}" for name in self.auxiliary_names)
        self.classifier = keras.layers.Dense(len(self.auxiliary_names), name="auxiliary_logits")
        self.classifier.build((None, network.output["embedding"].shape[-1]))

    def call(self, inputs: Any, training: bool | None = None) -> dict[str, Any]:
        """The network's outputs, and while training those of the second classifier."""
        outputs = super().call(inputs, training=training)
        if training:
            outputs["auxiliary_logits"] = self.classifier(outputs["embedding"])
        return outputs

    def feed(self, train: Samples, validation: Samples, augmentation: str, seed: int) -> Feed:
        """The training split with the other labels of its pictures; see `Method.feed`.

        Without the other data set's files, as with drawn faces, the targets are learned alone and a
        line says so.

        Raises:
            ConfigError: The other data set labels none of the pictures.
        """
        labels = np.zeros((len(train), len(self.target_facts)), np.float32)
        # No label of the other set is asked for while evaluating.
        none = np.zeros((len(validation), len(self.target_facts)), np.float32)
        if find_source(self.dataset) is None:
            print(
                f"auxiliary_labels: {self.dataset} is not there, only the targets are learned "
                f"(python -m fer_keras.data describe {self.dataset})"
            )
        else:
            labels = labels_of_the_same_pictures(train, load_samples(self.dataset, "train"))
            if not labels.any():
                raise ConfigError(
                    f"method.options.dataset: expected one with the same pictures as {train.name}, "
                    f"pixel by pixel. Received: {self.dataset!r}, which has none of the "
                    f"{len(train)}."
                )
        return Feed(self._with(train, labels), self._with(validation, none), augmentation)

    def sample_losses(self, y: Any, outputs: dict[str, Any], training: bool) -> Any:
        """Both losses of each sample, `(batch,)`; evaluating, the one against the targets alone."""
        classes = len(self.class_names)
        losses = soft_cross_entropy(y[:, :classes], outputs["logits"])
        if not training:
            return losses
        # A row of zeros, of a picture without such a label, adds nothing.
        others = soft_cross_entropy(y[:, classes:], outputs["auxiliary_logits"])
        return losses + self.weight * others

    def _with(self, samples: Samples, labels: np.ndarray) -> Samples:
        facts = dict(zip(self.target_facts, labels.T, strict=True))
        return replace(samples, facts={**samples.facts, **facts})


def labels_of_the_same_pictures(samples: Samples, other: Samples) -> np.ndarray:
    """What another data set says of each picture, found by its pixels.

    Args:
        samples: The pictures.
        other: Samples with targets for them; a picture that it has twice gets the mean.

    Returns:
        `(n, other's classes)` float32: rows of sum 1, zeros for pictures that it does not have.
    """
    said: dict[str, list[int]] = {}
    for row, digest in enumerate(np.asarray(other.facts["sha256"])):
        said.setdefault(str(digest), []).append(row)
    labels = np.zeros((len(samples), len(other.class_names)), np.float32)
    for row, digest in enumerate(np.asarray(samples.facts["sha256"])):
        found = said.get(str(digest))
        if found:
            labels[row] = other.targets[found].mean(axis=0)
    return labels


def build(
    network: keras.Model,
    class_names: Sequence[str],
    *,
    dataset: str = "fer2013",
    weight: NotNegative = 0.5,
) -> AuxiliaryLabels:
    """Training by the targets and by another data set's labels of the same pictures.

    The loss is `CE(targets, logits) + weight * CE(other label, auxiliary logits)`.

    Args:
        network: Functional network with the outputs `logits` `(batch, classes)` and `embedding`
            `(batch, d)`.
        class_names: The ordered names of the classes.
        dataset: Name of the other data set, which must be found like any other. Its labels count
            for the training pictures that have the same pixels; the others go without.
        weight: Of the second loss, 0 or more.

    Returns:
        The method, to be compiled with an optimizer.

    Raises:
        ConfigError: The network has no embedding.
        DataError: No such data set.
    """
    return AuxiliaryLabels(network, class_names, dataset=dataset, weight=weight)
