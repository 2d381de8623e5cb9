"""Fills a network from weights that hold their batch normalisations as factors and offsets.

So dlib's face features and every exported file hold them. The function of the network is theirs
whatever the statistics are: `gamma` and `beta` make up for them. But training replaces them by
those of the batch, so they are measured on pictures.
"""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]

_BATCH = 64


def fill_folded(
    network: Any,
    layers: Mapping[str, tuple[Array, Array]],
    pictures: npt.NDArray[np.uint8] | None = None,
) -> list[str]:
    """Copies kernels and biases where names and shapes are the same.

    Args:
        network: Functional network; its weights are changed. A batch normalisation belongs to the
            convolution whose name it has, with `_bn` behind it.
        layers: Name of a convolution or dense layer -> its kernel and its bias, in which the batch
            normalisation is folded.
        pictures: `(n, height, width, channels)`, some hundred of those to train on, whose
            statistics the batch normalisations get; `None` leaves mean 0 and variance 1.

    Returns:
        The layers with weights that keep their fresh ones.
    """
    filled, norms = set(), []
    by_name = {layer.name: layer for layer in network.layers}
    for name, (kernel, bias) in layers.items():
        layer, norm = by_name.get(name), by_name.get(f"{name}_bn")
        if layer is None or tuple(layer.kernel.shape) != kernel.shape:
            continue
        if norm is not None:
            layer.set_weights([kernel])
            norms.append((norm, np.ones_like(bias), bias))
            filled.add(norm.name)
        else:
            layer.set_weights([kernel, bias])
        filled.add(name)
    set_norms(network, norms, pictures)
    return [layer.name for layer in network.layers if layer.weights and layer.name not in filled]


def folded(network: Any) -> dict[str, tuple[Array, Array]]:
    """Kernels and biases of a network as an export would hold them; the way back of `fill_folded`.

    Args:
        network: Functional network. A batch normalisation belongs to the convolution whose name it
            has, with `_bn` behind it.

    Returns:
        Name of a convolution or dense layer -> its kernel and its bias, in which the batch
        normalisation is folded.
    """
    by_name = {layer.name: layer for layer in network.layers}
    found = {}
    for name, layer in by_name.items():
        if not isinstance(layer, keras.layers.Conv2D | keras.layers.Dense):
            continue
        kernel, *bias = layer.get_weights()
        offset = bias[0] if bias else np.zeros(kernel.shape[-1], np.float32)
        norm = by_name.get(f"{name}_bn")
        if norm is not None:
            gamma, beta, mean, variance = norm.get_weights()
            factor = gamma / np.sqrt(variance + norm.epsilon)
            kernel, offset = kernel * factor, beta + (offset - mean) * factor
        found[name] = (kernel, offset)
    return found


def set_norms(
    network: Any,
    norms: list[tuple[Any, Array, Array]],
    pictures: npt.NDArray[np.uint8] | None,
) -> None:
    """Lets batch normalisations compute `factor * x + offset`, with the statistics of pictures.

    Args:
        network: Functional network.
        norms: Of each layer its factor and its offset, `(channels,)`.
        pictures: As for `fill_folded`.
    """
    for layer, factor, offset in norms:
        # A variance with which the layer divides by 1.
        _set_norm(layer, factor, offset, np.zeros_like(factor), 1 - layer.epsilon + 0 * factor)
    if pictures is not None and len(pictures) and norms:
        # All at once: no statistic changes what the layers before it give.
        inputs = [layer.input for layer, _, _ in norms]
        for (layer, factor, offset), (mean, square) in zip(
            norms, channel_moments(network, inputs, pictures), strict=True
        ):
            variance = np.maximum(square - np.square(mean), 0)
            _set_norm(layer, factor, offset, mean, variance)


def channel_moments(
    network: Any, tensors: list[Any], pictures: npt.NDArray[np.uint8]
) -> list[tuple[Any, Any]]:
    """Mean and mean square of each channel of maps or vectors within a network.

    Args:
        network: Functional network.
        tensors: Within it, channels last.
        pictures: `(n, height, width, channels)`.

    Returns:
        For each tensor two arrays `(channels,)` float64.
    """
    probe = keras.Model(network.input, tensors)
    sums = [np.zeros(tensor.shape[-1]) for tensor in tensors]
    squares = [np.zeros(tensor.shape[-1]) for tensor in tensors]
    counts = [0] * len(tensors)
    for start in range(0, len(pictures), _BATCH):
        block = np.asarray(pictures[start : start + _BATCH], np.float32)
        for number, tensor in enumerate(probe(block, training=False)):
            # bfloat16 is no kind of float for NumPy itself.
            as_float = keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32"))
            rows = as_float.reshape(-1, as_float.shape[-1]).astype(np.float64)
            sums[number] += rows.sum(axis=0)
            squares[number] += np.square(rows).sum(axis=0)
            counts[number] += len(rows)
    return [
        (total / count, square / count)
        for total, square, count in zip(sums, squares, counts, strict=True)
    ]


def _set_norm(layer: Any, factor: Any, offset: Any, mean: Any, variance: Any) -> None:
    """Sets the statistics, and gamma and beta so that `factor * x + offset` comes out."""
    gamma = factor * np.sqrt(variance + layer.epsilon)
    layer.set_weights([gamma, offset + factor * mean, mean, variance])
