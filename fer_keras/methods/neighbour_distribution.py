"""Faces that look alike are read alike: each is also taught what its neighbours are taken for.

After LDL-ALSG: Chen, Wang, Chen, Shi, Geng and Rui, "Label Distribution Learning on Auxiliary Label
Space Graphs for Facial Expression Recognition" (CVPR 2020), which asks the prediction of a face to
agree with those of its neighbours in another label space (action units, landmarks). Its program was
not published. Here the other space is the embedding of a frozen network, and the neighbours'
predictions are running means, so that a step needs no other face than those of its batch.
"""

import sys
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops
from sklearn.neighbors import NearestNeighbors
from tqdm import tqdm

from fer_keras.common.constraints import Count, Rate, Share
from fer_keras.common.errors import ConfigError
from fer_keras.data.samples import Samples
from fer_keras.methods.base import Method, check_outputs, soft_cross_entropy

# Pictures of one call of the auxiliary network.
_BLOCK = 256


class NeighbourDistribution(Method):
    """Trains `logits` by the target mixed with the running predictions of the nearest faces.

    `prepare` finds the neighbours; it must be called before training. The running predictions are
    one of the method's variables, so a checkpoint has them; the neighbours are worked out anew.
    """

    needs_rows = True

    def __init__(
        self,
        network: keras.Model,
        class_names: Sequence[str],
        *,
        auxiliary: keras.Model,
        neighbours: int,
        weight: float,
        momentum: float,
    ) -> None:
        """Builds the method; see `build`."""
        super().__init__(network, class_names)
        check_outputs(auxiliary, ("embedding",), "neighbour_distribution (its auxiliary network)")
        self.neighbours = neighbours
        self.weight = weight
        self.momentum = momentum
        self.near: Any = None
        # A function, which Keras does not track: the auxiliary network is no part of a checkpoint.
        self._embed = _embedder(auxiliary)

    def prepare(self, samples: Samples) -> None:
        """Finds the neighbours of every training face; see `Method.prepare`."""
        if len(samples) <= self.neighbours:
            raise ConfigError(
                f"neighbours={self.neighbours}: expected more training pictures than that. "
                f"Received: {len(samples)}."
            )
        # NumPy, not a variable: it never changes, and the same pictures give it again.
        self.near = nearest(self._embed(samples.images), self.neighbours)
        self.predictions = self.add_weight(
            name="predictions",
            shape=samples.targets.shape,
            initializer="zeros",
            trainable=False,
            dtype="float32",
        )
        # Until a face was seen, it is taken for what its label says.
        self.predictions.assign(samples.targets)

    def check_mixtures(self) -> None:
        """Refuses them: what a mixture is taken for would be remembered of one picture of it."""
        raise ConfigError(
            "neighbour_distribution remembers what each picture is taken for: an augmentation that "
            "mixes pictures cannot be used. Choose another, for instance augmentation=standard."
        )

    def call(self, inputs: Any, training: bool | None = None) -> dict[str, Any]:
        """The network's outputs, and while training `rows`, which are fed with the pictures."""
        if not training:
            return super().call(inputs, training=training)
        if self.near is None or not isinstance(inputs, tuple | list):
            raise ConfigError(
                "neighbour_distribution trains on (pictures, rows), after prepare(samples)."
            )
        images, rows = inputs
        return {**super().call(images, training=training), "rows": rows}

    def sample_losses(self, y: Any, outputs: dict[str, Any], training: bool) -> Any:
        """Divergence from the mixed target of each sample, `(batch,)`.

        Evaluating, the cross-entropy against the target. See `Method.sample_losses`.
        """
        logits = outputs["logits"]
        if not training:
            return soft_cross_entropy(y, logits)
        rows = outputs["rows"]
        theirs = ops.take(self.predictions, ops.take(self.near, rows, axis=0), axis=0)
        target = (1.0 - self.weight) * y + self.weight * ops.mean(theirs, axis=1)
        entropy = -ops.sum(target * ops.log(ops.maximum(target, 1e-30)), axis=-1)
        losses = soft_cross_entropy(target, logits) - entropy
        self._remember(rows, logits)
        return losses

    def _remember(self, rows: Any, logits: Any) -> None:
        now = ops.softmax(ops.cast(ops.stop_gradient(logits), "float32"), axis=-1)
        before = ops.take(self.predictions, rows, axis=0)
        after = self.momentum * before + (1.0 - self.momentum) * now
        places = ops.expand_dims(rows, -1)
        self.predictions.assign(ops.scatter_update(self.predictions, places, after))


def nearest(vectors: np.ndarray, count: int) -> np.ndarray:
    """The nearest other rows by the cosine.

    Args:
        vectors: `(n, d)`.
        count: How many, below n.

    Returns:
        `(n, count)` int32, the nearest first; no row is its own neighbour.
    """
    search = NearestNeighbors(n_neighbors=count + 1, metric="cosine", algorithm="brute")
    found = search.fit(vectors).kneighbors(vectors, return_distance=False)
    # Among exact copies a row itself may come at any place, or at none.
    others = found != np.arange(len(found))[:, np.newaxis]
    others[others.all(axis=1), -1] = False
    kept: np.ndarray = found[others].reshape(len(found), count).astype(np.int32)
    return kept


def _embedder(network: keras.Model) -> Callable[[np.ndarray], np.ndarray]:
    """A function from pictures `(n, height, width, channels)` uint8 to `(n, d)` float32."""
    encoder = keras.Model(network.inputs[0], network.output["embedding"])

    def embed(images: np.ndarray) -> np.ndarray:
        if tuple(images.shape[1:]) != tuple(encoder.inputs[0].shape[1:]):
            raise ConfigError(
                f"Expected an auxiliary network for pictures {tuple(images.shape[1:])}. Received: "
                f"{tuple(encoder.inputs[0].shape[1:])}."
            )
        vectors = np.empty((len(images), encoder.output.shape[-1]), np.float32)
        starts = range(0, len(images), _BLOCK)
        for start in tqdm(starts, desc="neighbours", leave=False, disable=not sys.stderr.isatty()):
            block = np.asarray(images[start : start + _BLOCK], np.float32)
            count = len(block)
            if count < _BLOCK and start:
                # One shape for all calls: a second one would compile the graph again.
                block = np.concatenate([block, np.zeros((_BLOCK - count, *block.shape[1:]))])
            found = encoder.predict_on_batch(block.astype(np.float32))
            vectors[start : start + count] = np.asarray(found, np.float32)[:count]
        return vectors

    return embed


def build(
    network: keras.Model,
    class_names: Sequence[str],
    *,
    auxiliary: keras.Model,
    neighbours: Count = 5,
    weight: Share = 0.3,
    momentum: Rate = 0.7,
) -> NeighbourDistribution:
    """Training by the label and by what near faces are taken for.

    The loss is the Kullback-Leibler divergence of the prediction from
    `(1 - weight) * y + weight * mean over the neighbours of their running predictions`. Training
    is on one device, because the running predictions are changed at every step.

    Args:
        network: Functional network with the output `logits` `(batch, classes)`.
        class_names: The ordered names of the classes.
        auxiliary: A trained network for the same pictures with an output `embedding` `(batch, d)`;
            only the neighbours are found by it. In an experiment, and with `--set`, the option
            holds what `fer_keras.training.start` takes: its `.keras` file, its run folder or the
            name of its experiment.
        neighbours: How many of the nearest training faces, at least 1.
        weight: Share of the neighbours in the target, 0..1.
        momentum: Share of the earlier running prediction that is kept when a face is seen, 0..1.

    Returns:
        The method, to be compiled with an optimizer after `prepare(samples)`.

    Raises:
        ConfigError: A network has no fitting output.
    """
    return NeighbourDistribution(
        network,
        class_names,
        auxiliary=auxiliary,
        neighbours=neighbours,
        weight=weight,
        momentum=momentum,
    )
