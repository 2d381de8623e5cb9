"""Where in a picture a network finds its answer: class activation maps and attention maps.

The maps are plain functions of arrays; `Explainer` takes a network apart so that it gives those
arrays. A map says how much each place of a feature map counts, and no more: whether a network
needs the places that a map shows has to be measured (`study heatmaps` does).

- CAM: Zhou et al., "Learning Deep Features for Discriminative Localization" (CVPR 2016), where the
  mean of the map is classified by one linear layer.
- Grad-CAM: Selvaraju et al. (ICCV 2017), wherever logits follow from the map.
- Eigen-CAM: Muhammad and Yeasin (IJCNN 2020), from the map alone: no class, no gradient.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import ops

from fer_keras.common.errors import ModelFileError
from fer_keras.common.opencv import cv2
from fer_keras.models.graphs import linear_classifier

Floats = npt.NDArray[np.float32]
Images = npt.NDArray[np.uint8]

# Outputs of a network that are feature maps, in the order of the graph, and what they come after.
FEATURE_OUTPUTS = {"mfn_features": "MFN", "features": "DDAN"}


def cam(features: Floats, weights: Floats, classes: npt.NDArray[np.int64]) -> Floats:
    """Class activation maps.

    Args:
        features: `(n, h, w, c)`.
        weights: `(c, classes)` of the linear layer that classifies the mean of the map.
        classes: `(n,)`, the class to explain in each picture.

    Returns:
        `(n, h, w)`; the mean of a map is the class's logit less its bias. Negative values speak
        against the class.
    """
    return np.einsum("nhwc,nc->nhw", features, weights.T[classes])


def grad_cam(features: Floats, gradients: Floats) -> Floats:
    """Grad-CAM: the channels weighed by the mean of their gradient.

    Args:
        features: `(n, h, w, c)`.
        gradients: `(n, h, w, c)`, of the logit of the class to explain.

    Returns:
        `(n, h, w)`, 0 where nothing speaks for the class.
    """
    maps = np.einsum("nhwc,nc->nhw", features, gradients.mean(axis=(1, 2)))
    return np.maximum(maps, 0)


def eigen_cam(features: Floats) -> Floats:
    """Eigen-CAM: the map of the first principal direction of the channels.

    Args:
        features: `(n, h, w, c)`.

    Returns:
        `(n, h, w)`, with the sign that makes the sum of a map positive.
    """
    n, height, width, channels = features.shape
    places = features.reshape(n, height * width, channels).astype(np.float64)
    # The first left singular vectors from the small matrix of places; eigenvalues ascend.
    values, vectors = np.linalg.eigh(places @ places.transpose(0, 2, 1))
    maps = vectors[:, :, -1] * np.sqrt(np.maximum(values[:, -1:], 0))
    maps *= np.where(maps.sum(axis=1, keepdims=True) < 0, -1, 1)
    return maps.reshape(n, height, width).astype(np.float32)


def head_maps(attention: Floats) -> Floats:
    """What each attention head looks at.

    Args:
        attention: `(n, heads, h, w, c)`, 0..1.

    Returns:
        `(n, heads, h, w)`, the mean over the channels.
    """
    return attention.mean(axis=-1, dtype=np.float32)


def normalised(maps: Floats) -> Floats:
    """Maps `(n, h, w)` in 0..1 without their negative part; an empty map stays 0."""
    positive = np.maximum(maps, 0)
    highest = positive.max(axis=(1, 2), keepdims=True)
    return np.divide(positive, highest, out=np.zeros_like(positive), where=highest > 0)


def enlarged(maps: Floats, size: tuple[int, int]) -> Floats:
    """Maps scaled linearly to the size of a picture.

    Args:
        maps: `(n, h, w)`.
        size: `(height, width)` in pixels.

    Returns:
        `(n, height, width)`.
    """
    height, width = size
    return np.stack([cv2.resize(m, (width, height), interpolation=cv2.INTER_LINEAR) for m in maps])


def overlay(image: Images, heat: Floats, opacity: float = 0.5) -> Images:
    """A map in colours over a picture.

    Args:
        image: `(height, width, 1 or 3)` uint8, grey or RGB.
        heat: `(height, width)`, 0..1: blue to red.
        opacity: Of the colours, 0..1.

    Returns:
        `(height, width, 3)` RGB uint8.
    """
    levels = np.clip(255 * heat, 0, 255).astype(np.uint8)
    colours = cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_TURBO), cv2.COLOR_BGR2RGB)
    picture = np.repeat(image, 3 // image.shape[2], axis=2)
    mixed = (1 - opacity) * picture + opacity * colours
    return np.rint(mixed).astype(np.uint8)


class Explainer:
    """A network in two parts, so that its maps and the gradients at them can be read.

    Args:
        network: A functional Keras model with a dict of outputs: `logits`, and one of
            `FEATURE_OUTPUTS` at least.

    Raises:
        ModelFileError: It has no feature map.
    """

    def __init__(self, network: Any) -> None:
        outputs = network.output
        self._names = [name for name in FEATURE_OUTPUTS if name in outputs]
        if not self._names:
            raise ModelFileError(
                "Expected a network with an output 'features' (batch, h, w, c). Received: "
                f"{', '.join(sorted(outputs))}: {network.name}"
            )
        wanted = ["logits", *self._names, *(["attention"] if "attention" in outputs else [])]
        self._trunk = keras.Model(network.input, {name: outputs[name] for name in wanted})
        self._heads = {name: _head(outputs[name], outputs["logits"]) for name in self._names}
        classifier = linear_classifier(outputs["features"], outputs["logits"])
        self._weights: Floats | None = None
        if classifier is not None:
            self._weights = np.asarray(keras.ops.convert_to_numpy(classifier.kernel), np.float32)

    def maps(
        self, images: Images, classes: Sequence[int] | npt.NDArray[np.int64]
    ) -> dict[str, Floats]:
        """Every map that the network allows.

        Args:
            images: `(n, height, width, channels)` uint8 of the network's size.
            classes: `(n,)`, the class to explain in each picture.

        Returns:
            Name -> `(n, h, w)` in 0..1, the largest value of each map being 1. CAM is there where
            a linear layer classifies the mean of the map, Grad-CAM where the logits follow from
            the map alone, Eigen-CAM always; `Head k` is the k-th attention head.
        """
        chosen = np.asarray(classes, np.int64)
        given = {
            name: np.asarray(keras.ops.convert_to_numpy(value), np.float32)
            for name, value in self._trunk(images.astype(np.float32), training=False).items()
        }
        found: dict[str, Floats] = {}
        if self._weights is not None:
            found["CAM"] = cam(given["features"], self._weights, chosen)
        for name in self._names:
            if self._heads[name] is not None:
                gradients = class_gradients(self._heads[name], given[name], chosen)
                found[self._title("Grad-CAM", name)] = grad_cam(given[name], gradients)
        for name in self._names:
            found[self._title("Eigen-CAM", name)] = eigen_cam(given[name])
        if "attention" in given:
            heads = head_maps(given["attention"])
            found |= {f"Head {k + 1}": heads[:, k] for k in range(heads.shape[1])}
        return {name: normalised(maps) for name, maps in found.items()}

    def answers(self, images: Images) -> npt.NDArray[np.int64]:
        """The class that the network answers with, `(n,)`, of `(n, height, width, channels)`."""
        logits = self._trunk(images.astype(np.float32), training=False)["logits"]
        return np.asarray(keras.ops.convert_to_numpy(keras.ops.argmax(logits, axis=-1)), np.int64)

    def _title(self, method: str, output: str) -> str:
        return method if len(self._names) == 1 else f"{method} {FEATURE_OUTPUTS[output]}"


class BranchCams:
    """Class activation maps of every branch that has a map and a linear classifier of its own.

    Args:
        network: A functional Keras model, such as `esr` or `manet`.

    Raises:
        ModelFileError: No layer `NAME_logits` classifies the mean of a map.
    """

    def __init__(self, network: Any) -> None:
        maps: dict[str, Any] = {}
        self._kernels: dict[str, Floats] = {}
        for layer in network.layers:
            if not isinstance(layer, keras.layers.Dense) or not layer.name.endswith("_logits"):
                continue
            pooling, node, _ = layer.input._keras_history
            if isinstance(pooling, keras.layers.GlobalAveragePooling2D):
                name = layer.name.removesuffix("_logits")
                maps[name] = pooling._inbound_nodes[node].input_tensors[0]
                self._kernels[name] = np.asarray(
                    keras.ops.convert_to_numpy(layer.kernel), np.float32
                )
        if not maps:
            raise ModelFileError(
                "Expected a network whose branches classify the means of their maps, such as esr "
                f"or manet. Received: {network.name}"
            )
        self._trunk = keras.Model(network.input, maps)

    def maps(
        self, images: Images, classes: Sequence[int] | npt.NDArray[np.int64]
    ) -> dict[str, Floats]:
        """The map of each branch.

        Args:
            images: `(n, height, width, channels)` uint8 of the network's size.
            classes: `(n,)`, the class to explain in each picture.

        Returns:
            Branch -> `(n, h, w)` in 0..1, the largest value of each map being 1.
        """
        chosen = np.asarray(classes, np.int64)
        found = self._trunk(images.astype(np.float32), training=False)
        return {
            name: normalised(
                cam(np.asarray(keras.ops.convert_to_numpy(value), np.float32), kernel, chosen)
            )
            for (name, kernel), value in zip(
                self._kernels.items(), (found[name] for name in self._kernels), strict=True
            )
        }


def class_gradients(head: Any, features: Floats, classes: npt.NDArray[np.int64]) -> Floats:
    """The gradient of one logit of each picture at a feature map, on any backend.

    Args:
        head: A Keras model from `(n, h, w, c)` to logits `(n, classes)`.
        features: `(n, h, w, c)`.
        classes: `(n,)`, whose logits.

    Returns:
        `(n, h, w, c)`.
    """
    chosen = ops.convert_to_tensor(np.eye(head.output.shape[-1], dtype=np.float32)[classes])

    def score(x: Any) -> Any:
        return ops.sum(ops.cast(head(x, training=False), "float32") * chosen)

    # Keras has no gradient of its own: this is the one place where the backends differ.
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        x = tf.convert_to_tensor(features)
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = score(x)
        gradients = tape.gradient(total, x)
    elif keras.backend.backend() == "jax":
        import jax

        gradients = jax.grad(score)(ops.convert_to_tensor(features))
    else:
        import torch

        x = ops.convert_to_tensor(features).requires_grad_(True)
        with torch.enable_grad():
            (gradients,) = torch.autograd.grad(score(x), x)
    return np.asarray(ops.convert_to_numpy(gradients), np.float32)


def _head(features: Any, logits: Any) -> Any:
    """The part of a network behind a map; None where the logits need more than the map."""
    try:
        return keras.Model(features, logits)
    except ValueError:  # Keras finds a path to the logits that does not come through the map
        return None
