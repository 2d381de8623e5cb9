"""`fusion`: several trained networks as one, which weighs their answers.

Source: the network "Multiple" of the public FER2013 baselines: a linear layer from the 14 logits of
VGG19 and ResNet18 to 7. There the two are globals outside the module, so dropout and batch
normalisation stay in whatever mode they were left in; here they are frozen and always in inference
mode, and the layer starts as plain averaging, so that it is at step 0 what it has to beat.

A base has seen the pictures that it was trained on, and is too sure of itself there: the layer
learns from pictures that took no part in that (`dataset.split="held_out"`).
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import keras
import numpy as np

from fer_keras.common.constraints import Choices, Length
from fer_keras.common.errors import ConfigError
from fer_keras.common.labels import name_mapping
from fer_keras.models import build_network
from fer_keras.models.layers import (
    ClassNames,
    FrozenEncoder,
    Resizing,
    class_names_of,
    stack,
    with_class_names,
)

# Rules without and with parameters of their own.
AVERAGES = ("mean_logits", "mean_probabilities")
FITTED = ("linear", "stacking")

_PUBLISHED = ({"name": "vgg19"}, {"name": "resnet18", "options": {"pooling": "valid4"}})
_SMALLEST_PROBABILITY = 1e-12

# Two networks of 8 channels that learn too: nothing could be learned from two frozen random ones.
_TINY = {"name": "compact", "options": {"stem_filters": 4, "widths": [8], "depths": [1]}}
SMALL = {"bases": [_TINY, _TINY], "frozen": False}


def build(
    image_shape: tuple[int, int, int],
    num_classes: int,
    *,
    bases: Annotated[Sequence[Any], Length(2)] = _PUBLISHED,
    rule: Annotated[str, Choices((*AVERAGES, *FITTED))] = "linear",
    frozen: bool = True,
) -> Any:
    """Builds the network.

    With two bases and 7 classes 105 parameters are trained, those of the 14 -> 7 layer.

    Args:
        image_shape: `(height, width, channels)`.
        num_classes: Number of classes.
        bases: Two or more networks: a `keras.Model` with the output `logits`, or `{"name": NETWORK,
            "options": {...}}` for an untrained one. In an experiment also a `.keras` file, a run
            folder or an experiment.
        rule: See `fuse`.
        frozen: Whether the bases keep their weights and statistics.

    Returns:
        `keras.Model` from raw pixels in 0..255 to `logits` `(batch, num_classes)` and
        `branch_logits` `(batch, bases, num_classes)`.

    Raises:
        ConfigError: If a base is not usable.
    """
    networks = [_base(base, image_shape, num_classes) for base in bases]
    return fuse(networks, rule, image_shape=image_shape, frozen=frozen)


def fuse(
    networks: Sequence[Any],
    rule: str,
    *,
    image_shape: tuple[int, int, int] | None = None,
    frozen: bool = True,
) -> Any:
    """Joins networks into one.

    A base for smaller pictures gets them scaled bilinearly, one for colour gets grey as three equal
    channels; a base for grey makes the whole take grey.

    Args:
        networks: Two or more, with `logits` of the same classes in the same order, see `in_order`.
        rule: `mean_logits`; `mean_probabilities`, whose logits are the logarithms of the mean;
            `linear`, a dense layer on all logits that starts as their mean; `stacking`, one on all
            probabilities.
        image_shape: `(height, width, channels)` of the pictures; that of the largest base if None.
        frozen: Whether the bases keep their weights and statistics.

    Returns:
        See `build`. The layer of a fitted rule is `logits`: kernel `(bases * classes, classes)`,
        base after base, and bias.

    Raises:
        ConfigError: If there are not two, or rule, classes or pictures do not fit.
    """
    if rule not in (*AVERAGES, *FITTED):
        raise ConfigError(
            f"Invalid value for `rule`. Expected one of {', '.join((*AVERAGES, *FITTED))}. "
            f"Received: rule={rule!r}"
        )
    if len(networks) < 2:
        raise ConfigError(f"A fusion needs at least two bases. Received: {len(networks)}.")
    counts = {int(network.output["logits"].shape[-1]) for network in networks}
    if len(counts) > 1:
        raise ConfigError(f"Bases need the same classes. Received: {sorted(counts)} logits.")
    shapes = [tuple(int(side) for side in network.inputs[0].shape[1:]) for network in networks]
    shape = image_shape or (*max(shape[:2] for shape in shapes), min(s[2] for s in shapes))
    image = keras.Input(shape, name="image")
    answers = []
    for number, (network, own_shape) in enumerate(zip(networks, shapes, strict=True)):
        # Only the logits: the other outputs of a base are left out.
        name = f"base{number}_{network.name}"
        base = keras.Model(network.inputs[0], _bare_logits(network), name=name)
        # A frozen one stays in inference mode, whatever the mode of the whole.
        base = FrozenEncoder(base, name=f"frozen_{name}") if frozen else base
        answers.append(base(_view(image, own_shape, f"base{number}")))
    logits = _combine(answers, rule, counts.pop())
    branch_logits = stack(answers, name="branch_logits")
    return keras.Model(image, {"logits": logits, "branch_logits": branch_logits}, name="fusion")


def in_order(network: Any, class_names: Sequence[str]) -> Any:
    """A trained network with its logits in the order of other classes.

    Args:
        network: Carries its class names.
        class_names: Names that it knows, in whatever spelling; its other classes are left out.

    Returns:
        The network, or one on the same weights with the outputs `logits` and, where there is one,
        `valence_arousal`.

    Raises:
        DataError: It does not know one of them.
        ModelFileError: It carries no class names.
    """
    own = class_names_of(network)
    if own == tuple(class_names):
        return network
    columns = list(name_mapping(own, class_names))
    logits = keras.ops.take(_bare_logits(network), np.array(columns), axis=-1)
    # Whose meaning no order of classes changes.
    kept = {name: network.output[name] for name in ("valence_arousal",) if name in network.output}
    return with_class_names(
        keras.Model(network.inputs[0], {"logits": logits, **kept}, name=network.name), class_names
    )


def _base(base: Any, image_shape: tuple[int, int, int], num_classes: int) -> Any:
    if isinstance(base, Mapping) and isinstance(base.get("name"), str):
        return build_network(base["name"], image_shape, num_classes, **base.get("options", {}))
    if isinstance(base, keras.Model) and "logits" in base.output:
        return base
    raise ConfigError(
        'Invalid value for `bases`. Expected networks with logits, or {"name": NETWORK, "options": '
        f"{{...}}}}. Received: {base!r}"
    )


def _bare_logits(network: Any) -> Any:
    """The logits before the layer that names the classes: the whole has names of its own."""
    logits = network.output["logits"]
    producer = logits._keras_history.operation
    return producer.input if isinstance(producer, ClassNames) else logits


def _view(image: Any, shape: tuple[int, ...], name: str) -> Any:
    """The picture as a base takes it."""
    if tuple(image.shape[1:3]) != shape[:2]:
        image = Resizing(*shape[:2], dtype="float32", name=f"{name}_resized")(image)
    if image.shape[3] == shape[2]:
        return image
    if image.shape[3] == 3:
        raise ConfigError(
            "A base takes grey pictures, so the whole does. Expected image_shape with 1 channel. "
            "Received: 3 channels."
        )
    return keras.layers.Concatenate(dtype="float32", name=f"{name}_grey_as_rgb")([image] * 3)


def _combine(answers: Sequence[Any], rule: str, num_classes: int) -> Any:
    if rule == "mean_logits":
        return keras.layers.Average(dtype="float32", name="logits")(answers)
    read = answers
    if rule != "linear":
        read = [
            keras.layers.Softmax(dtype="float32", name=f"probabilities{number}")(logits)
            for number, logits in enumerate(answers)
        ]
    if rule == "mean_probabilities":
        mean = keras.layers.Average(dtype="float32", name="mean")(read)
        return keras.ops.log(keras.ops.maximum(mean, _SMALLEST_PROBABILITY))
    joined = keras.layers.Concatenate(dtype="float32", name="joined")(read)
    dense = keras.layers.Dense(num_classes, dtype="float32", name="logits")
    logits = dense(joined)
    average = np.tile(np.eye(num_classes, dtype=np.float32), (len(answers), 1)) / len(answers)
    dense.set_weights([average, np.zeros(num_classes, np.float32)])
    return logits
