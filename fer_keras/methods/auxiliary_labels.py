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


class SecondClassifier(keras.layers.Layer):
    """A classifier on the embedding that learns another data set's labels of the same pictures.

    It is a part of the method, not of the network that is saved.

    Attributes:
        facts: Names of the labels among the facts of the samples, for `Method.target_facts`.
    """

    def __init__(self, network: keras.Model, dataset: str, label_rule: str, weight: float) -> None:
        """Builds it for a network with the output `embedding`; the rest as in `build`."""
        super().__init__(name="second_classifier")
        self.dataset = dataset
        self.label_rule = label_rule
        self.weight = weight
        self.facts = tuple(f"{_FACT}{name}" for name in describe(dataset).class_names)
        self.dense = keras.layers.Dense(len(self.facts), name="auxiliary_logits")
        self.dense.build((None, network.output["embedding"].shape[-1]))
        self.built = True

    def losses_of(self, labels: Any, embedding: Any) -> Any:
        """The weighted cross-entropy of each sample.

        Args:
            labels: `(batch, other classes)`: rows of sum 1, or of zeros, which cost nothing.
            embedding: The network's output.

        Returns:
            `(batch,)` float32.
        """
        return self.weight * soft_cross_entropy(labels, self.dense(embedding))

    def label(self, train: Samples, validation: Samples) -> tuple[Samples, Samples]:
        """Both splits with the other labels among their facts; those of validation are zeros.

        Without the other data set's files, as with drawn faces, all are zeros and a line says so.

        Raises:
            ConfigError: The other data set labels none of the pictures.
        """
        labels = np.zeros((len(train), len(self.facts)), np.float32)
        # No label of the other set is asked for while evaluating.
        none = np.zeros((len(validation), len(self.facts)), np.float32)
        if find_source(self.dataset) is None:
            print(
                f"auxiliary labels: {self.dataset} is not there, only the targets are learned "
                f"(python -m fer_keras.data describe {self.dataset})"
            )
        else:
            other = load_samples(self.dataset, "train", label_rule=self.label_rule or None)
            labels = labels_of_the_same_pictures(train, other)
            if not labels.any():
                raise ConfigError(
                    f"auxiliary labels: expected a data set with the same pictures as "
                    f"{train.name}, pixel by pixel. Received: {self.dataset!r}, which has none of "
                    f"the {len(train)}."
                )
        return self._with(train, labels), self._with(validation, none)

    def _with(self, samples: Samples, labels: np.ndarray) -> Samples:
        facts = dict(zip(self.facts, labels.T, strict=True))
        return replace(samples, facts={**samples.facts, **facts})


class AuxiliaryLabels(Method):
    """Trains `logits` by the targets, and a classifier beside them by another data set's labels."""

    required_outputs = ("logits", "embedding")

    def __init__(
        self,
        network: keras.Model,
        class_names: Sequence[str],
        *,
        dataset: str,
        label_rule: str,
        weight: float,
    ) -> None:
        """Builds the method; see `build`."""
        super().__init__(network, class_names)
        self.second = SecondClassifier(self.network, dataset, label_rule, weight)
        self.target_facts = self.second.facts

    def feed(self, train: Samples, validation: Samples, augmentation: str, seed: int) -> Feed:
        """Both splits with the other labels of their pictures; see `SecondClassifier.label`."""
        return Feed(*self.second.label(train, validation), augmentation)

    def sample_losses(self, y: Any, outputs: dict[str, Any], training: bool) -> Any:
        """Both losses of each sample, `(batch,)`; evaluating, the one against the targets alone."""
        classes = len(self.class_names)
        losses = soft_cross_entropy(y[:, :classes], outputs["logits"])
        if not training:
            return losses
        return losses + self.second.losses_of(y[:, classes:], outputs["embedding"])


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
    label_rule: str = "",
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
        label_rule: How its votes become labels (`fer_keras.data.votes`), for instance
            `crossentropy` with `ferplus`; the data set's default if empty.
        weight: Of the second loss, 0 or more.

    Returns:
        The method, to be compiled with an optimizer.

    Raises:
        ConfigError: The network has no embedding.
        DataError: No such data set, or no such rule.
    """
    return AuxiliaryLabels(
        network, class_names, dataset=dataset, label_rule=label_rule, weight=weight
    )
