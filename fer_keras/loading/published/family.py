"""What a family of published weights is, and how a network of ours is filled with its tensors."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fer_keras.common.errors import ModelFileError
from fer_keras.common.labels import LABEL_ORDERS
from fer_keras.loading.torch_files import Tensors, load_torch_tensors

# The label orders that several programs share.
AFFECTNET_7, AFFECTNET_8 = LABEL_ORDERS["affectnet7"], LABEL_ORDERS["affectnet8"]
# The numbers 1 to 7 of RAF-DB's own label file.
RAFDB_CODES = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")

# Written by PyTorch's batch norm since version 0.4.1, and read by nothing here.
_COUNTERS = re.compile(r".*num_batches_tracked")
# Names in a message; more would not be read.
_SHOWN = 6


@dataclass(frozen=True)
class Family:
    """Weights that one program writes.

    Attributes:
        network: A file of `fer_keras/models`.
        source: Whose program it is.
        image_size: Side in pixels of the pictures that the authors feed.
        labels: Name of a data set -> the authors' order of its classes.
        options: From the tensors to the options of the network's `build`.
        tensor_names: From a layer to the names of its tensors, in the order of its weights.
        num_classes: From the tensors to the number of outputs.
        classifier: Matches the layers whose outputs are classes.
        unused: Matches tensors that the program creates and never uses.
        is_absent: From a layer and the names of the tensors to whether the file is one that has
            not that part, such as a backbone without its heads.
        is_surplus: From a tensor's name and the names of the layers to whether it is of a part that
            the network has not, which does not matter to one that is trained further.
        decisions: How an answer is made of the network's outputs; the authors' way first.
        label_options: Name of a data set -> further options of `build` for it.
        trained_on_grey: The authors trained on grey pictures in three channels.
        read: Reads the tensors of a path.
    """

    network: str
    source: str
    image_size: int
    labels: Mapping[str, tuple[str, ...]]
    options: Callable[[Tensors], dict[str, Any]]
    tensor_names: Callable[[Any], list[str]]
    num_classes: Callable[[Tensors], int]
    classifier: re.Pattern[str]
    unused: re.Pattern[str] = _COUNTERS
    is_absent: Callable[[str, Sequence[str]], bool] = lambda layer, names: False
    is_surplus: Callable[[str, Sequence[str]], bool] = lambda tensor, layers: False
    decisions: tuple[str, ...] = ("logits",)
    label_options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    trained_on_grey: bool = False
    read: Callable[[Path], Tensors] = load_torch_tensors


def fill(
    network: Any,
    tensors: Tensors,
    family: Family,
    *,
    without_classifier: bool = False,
    class_order: Sequence[int] | None = None,
) -> list[str]:
    """Copies tensors into a network; every one has a place by name, or nothing is changed.

    Args:
        network: Of the family's `network`.
        tensors: Name -> array, in PyTorch's order of axes.
        family: Says which tensors belong to a layer.
        without_classifier: Leave the classifier as it is, and what the file does not have; leave
            out parts that the network does not have.
        class_order: For each class of the network its place in the file.

    Returns:
        The layers that keep their weights; none unless `without_classifier`.

    Raises:
        ModelFileError: Tensors are missing, left over, or of another shape; all are counted and
            the first named.
    """
    left = {name for name in tensors if not _COUNTERS.fullmatch(name)}
    missing: list[str] = []
    wrong: list[str] = []
    fresh: list[str] = []
    values: list[tuple[Any, list[np.ndarray]]] = []
    for layer in network.layers:
        if not layer.weights:
            continue
        names = family.tensor_names(layer)
        is_classifier = family.classifier.fullmatch(layer.name) is not None
        if without_classifier and (
            (is_classifier and class_order is None) or family.is_absent(layer.name, tuple(tensors))
        ):
            fresh.append(layer.name)
            left -= set(names)
            continue
        absent = [name for name in names if name not in tensors]
        missing += absent
        left -= set(names)
        if absent:
            continue
        arrays = [_in_our_order(tensors[name], layer) for name in names]
        if is_classifier and class_order is not None:
            arrays = [array[..., list(class_order)] for array in arrays]
        for name, array, weight in zip(names, arrays, layer.weights, strict=True):
            if array.shape != tuple(weight.shape):
                wrong.append(f"{name} {array.shape} for {tuple(weight.shape)}")
        values.append((layer, arrays))
    layers = [str(layer.name) for layer in network.layers]
    extra = sorted(
        name
        for name in left
        if not family.unused.fullmatch(name)
        and not (without_classifier and family.is_surplus(name, layers))
    )
    problems = [
        f"{len(names)} {what}: {_shown(names)}"
        for what, names in (
            ("tensors are missing", missing),
            ("have no place", extra),
            ("have another shape", wrong),
        )
        if names
    ]
    if problems:
        raise ModelFileError(
            f"The weights are not those of {network.name} of {family.source}. "
            f"{'; '.join(problems)}. Another network, or other options of it"
        )
    for layer, arrays in values:
        layer.set_weights(arrays)
    return fresh


def _shown(names: list[str]) -> str:
    more = f", and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def standard_names(layer: Any, module: str) -> list[str]:
    """The tensors of a module of PyTorch, in the order of the weights of the layer that it is here.

    Args:
        layer: Of Keras.
        module: Its name there.
    """
    if type(layer).__name__.endswith("BatchNormalization"):
        return [f"{module}.{part}" for part in ("weight", "bias", "running_mean", "running_var")]
    return [f"{module}.{part}" for part in ("weight", "bias")[: len(layer.weights)]]


def _in_our_order(array: np.ndarray, layer: Any) -> np.ndarray:
    """A tensor with its axes as Keras has them."""
    kind = type(layer).__name__
    if array.ndim == 4:
        # Depthwise kernels are (channels, 1, h, w) there; others (filters, channels, h, w).
        return array.transpose((2, 3, 0, 1) if "Depthwise" in kind else (2, 3, 1, 0))
    if kind == "PReLU":
        return array.reshape(1, 1, -1)
    return array.T if kind == "Dense" else array


def outputs_of(tensors: Tensors, name: str, family: str) -> int:
    """The outputs of a classifier.

    Args:
        tensors: Of a file.
        name: Of its weight `(outputs, inputs)`.
        family: Named in the message.

    Raises:
        ModelFileError: There is no such tensor.
    """
    if name not in tensors or tensors[name].ndim != 2:
        raise ModelFileError(
            f"Expected the classifier {name} of {family}. Received {len(tensors)} tensors without "
            "it: weights to start from, or of another network"
        )
    return int(tensors[name].shape[0])
