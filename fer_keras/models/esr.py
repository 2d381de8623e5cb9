"""`esr`: ensembles with shared representations, a committee of branches on one common base.

Source: Siqueira, Magg and Wermter, "Efficient Facial Feature Learning with Wide Ensemble-based
Convolutional Neural Networks" (AAAI 2020), sections 3 and 4. With `attention`: Heidari and
Iosifidis, "Learning Diversified Feature Representations for Facial Expression Recognition in the
Wild" (arXiv:2210.09381, 2022), whose method `branch_ensemble` has as `diversity`.

The authors' program keeps the branches in a plain list, so `eval()` never reaches them: their batch
normalisation uses the statistics of the batch at test time too. Here every branch is part of the
graph, and a picture's answer does not depend on the pictures beside it.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, NamedTuple

import keras

from fer_keras.common.constraints import Choices, Count, Positive
from fer_keras.common.errors import ConfigError
from fer_keras.config import Deviation
from fer_keras.models.layers import ACTIVATIONS, activate, batch_norm, cbam, scaled, stack

# The CK+ version, narrow and with few branches, takes pictures of 48 pixels.
SMALL = {"variant": "ckplus", "num_branches": 3, "width": 0.25}
DEVIATIONS = (
    Deviation(
        "batch norm of the branches at test time",
        "statistics of the batch",
        "moving statistics",
        "their list of branches is not part of the module, so eval() never reaches it",
    ),
    Deviation(
        "decision",
        "plurality of the branches",
        "mean of their logits; `vote` is an output",
        "a vote has no gradient and no calibration; --decision vote for their weights",
    ),
)


class _Conv(NamedTuple):
    filters: int
    kernel_size: int = 3
    padding: str = "valid"
    halved: bool = False


# The convolutions of the base and of each branch: for AffectNet and FER+ (table 1), and for CK+.
_VARIANTS = {
    "affectnet": (
        (_Conv(64, 5), _Conv(128, halved=True), _Conv(128), _Conv(128, halved=True)),
        (_Conv(128), _Conv(256, halved=True), _Conv(256), _Conv(512, padding="same")),
    ),
    "ckplus": (
        (_Conv(32, 5), _Conv(64, halved=True), _Conv(64, halved=True)),
        (_Conv(64, halved=True), _Conv(64)),
    ),
}


@keras.saving.register_keras_serializable(package="fer_keras")
class Vote(keras.layers.Layer):
    """The share of the branches that choose each class; a branch's tie goes to the first class."""

    def call(self, inputs: Any) -> Any:
        """Returns `(batch, classes)`, rows of sum 1, of logits `(batch, branches, classes)`."""
        chosen = keras.ops.argmax(inputs, axis=-1)
        votes = keras.ops.one_hot(chosen, inputs.shape[-1], dtype=self.compute_dtype)
        return keras.ops.mean(votes, axis=1)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Any:
        """Returns `(batch, classes)`."""
        return (input_shape[0], input_shape[-1])


def build(
    image_shape: tuple[int, int, int],
    num_classes: int,
    *,
    num_branches: Count = 9,
    variant: Annotated[str, Choices(_VARIANTS)] = "affectnet",
    attention: bool = False,
    width: Positive = 1.0,
    padding: Literal["valid", "same"] = "valid",
    valence_arousal: bool = False,
    normalisation: Literal["none", "imagenet"] = "none",
    activation: Annotated[str, Choices(ACTIVATIONS)] = "relu",
) -> Any:
    """Builds the network.

    Trained parameters with 8 classes: 20,349,384 with nine branches at the source's 96x96x3,
    20,832,332 with attention; 355,104 with `variant="ckplus"` and four branches at 96x96x1.

    The published decision is the plurality of `vote`, which has no gradient and no calibration.
    `logits` are the mean of the branches' logits: their softmax is the geometric mean of the
    branches' probabilities, they can be trained and quantised, and differ from the vote only where
    the branches disagree.

    Args:
        image_shape: `(height, width, channels)`; at least 54 pixels, 42 for `"ckplus"`, where the
            convolutions without padding leave one pixel of the map.
        num_classes: Number of classes.
        num_branches: Branches on the common base, at least 1; the sources use 9, 15, and 4 on CK+.
        variant: `"affectnet"`, also used for FER+, or the small one, `"ckplus"`.
        attention: Whether a CBAM follows every convolution with its pooling.
        width: Factor of all channel numbers, above 0.
        padding: `"valid"` as published, or `"same"`, with which a picture of 48 pixels ends in the
            6x6 map that the source has of 96, and 8 pixels are enough.
        valence_arousal: Whether every branch has two more neurons on its rectified logits.
        normalisation: What the pixels in 0..1 become: `"none"` leaves them; `"imagenet"` takes
            ImageNet's mean and deviation, as the program of Heidari and Iosifidis for RAF-DB.
        activation: One of `fer_keras.models.layers.ACTIVATIONS` after every convolution;
            the source has `"relu"`.

    Returns:
        `keras.Model` from raw pixels in 0..255 to `logits` `(batch, num_classes)`, `branch_logits`
        `(batch, branches, num_classes)`, `vote` `(batch, num_classes)`: the share of the branches;
        `features` `(batch, h, w, d)` and `embedding` `(batch, d)`, means of the branches' maps and
        of their `branch_features` `(batch, branches, d)`. With `attention`, the gates of each
        branch's last CBAM: `spatial_attention` `(batch, branches, h, w)`, `channel_attention`
        `(batch, branches, d)`, 0..1. With `valence_arousal`, `branch_valence_arousal`
        `(batch, branches, 2)` and its mean `valence_arousal` `(batch, 2)`. At 96x96, h = w = 6.

    Raises:
        ConfigError: If the picture is too small.
    """
    base_convs, branch_convs = (
        [
            step._replace(
                filters=max(1, round(width * step.filters)),
                padding="same" if padding == "same" else step.padding,
            )
            for step in part
        ]
        for part in _VARIANTS[variant]
    )
    smallest = _smallest_side([*base_convs, *branch_convs])
    if min(image_shape[:2]) < smallest:
        raise ConfigError(
            f"Invalid value for `image_shape`. Expected at least {smallest}x{smallest} pixels for "
            f"variant {variant!r}. Received: image_shape={image_shape!r}"
        )

    image = keras.Input(image_shape, name="image")
    x = scaled(image, normalisation)
    for index, step in enumerate(base_convs, start=1):
        x, _, _ = _conv_block(x, step, attention, activation, name=f"base_conv{index}")

    features, embeddings, logits, channel_gates, spatial_gates, affects = [], [], [], [], [], []
    for branch in range(1, num_branches + 1):
        y = x
        for index, step in enumerate(branch_convs, start=1):
            y, channel, spatial = _conv_block(
                y, step, attention, activation, name=f"branch{branch}_conv{index}"
            )
        features.append(y)
        channel_gates.append(channel)
        spatial_gates.append(spatial)
        y = keras.layers.GlobalAveragePooling2D(name=f"branch{branch}_embedding")(y)
        embeddings.append(y)
        y = keras.layers.Dense(num_classes, name=f"branch{branch}_logits")(y)
        logits.append(y)
        if valence_arousal:
            y = keras.layers.Activation("relu", name=f"branch{branch}_logits_relu")(y)
            affects.append(keras.layers.Dense(2, name=f"branch{branch}_valence_arousal")(y))

    branch_logits = stack(logits, name="branch_logits")
    outputs = {
        "logits": _mean(logits, name="logits"),
        "branch_logits": branch_logits,
        "vote": Vote(name="vote")(branch_logits),
        "embedding": _mean(embeddings, name="embedding"),
        "features": _mean(features, name="features"),
        "branch_features": stack(embeddings, name="branch_features"),
    }
    if attention:
        maps = keras.layers.Concatenate(name="spatial_gates")(spatial_gates)
        outputs["spatial_attention"] = keras.layers.Permute((3, 1, 2), name="spatial_attention")(
            maps
        )
        outputs["channel_attention"] = stack(channel_gates, name="channel_attention")
    if valence_arousal:
        outputs["branch_valence_arousal"] = stack(affects, name="branch_valence_arousal")
        outputs["valence_arousal"] = _mean(affects, name="valence_arousal")
    return keras.Model(image, outputs, name="esr")


def _conv_block(
    x: Any, step: _Conv, attention: bool, activation: str, *, name: str
) -> tuple[Any, Any, Any]:
    x = keras.layers.Conv2D(
        step.filters,
        step.kernel_size,
        padding=step.padding,
        kernel_initializer="he_normal",
        name=name,
    )(x)
    x = batch_norm(x, name=f"{name}_bn")
    x = activate(x, activation, name=name)
    if step.halved:
        x = keras.layers.MaxPooling2D(2, name=f"{name}_pool")(x)
    return cbam(x, name=f"{name}_cbam") if attention else (x, None, None)


def _mean(tensors: list[Any], *, name: str) -> Any:
    return keras.layers.Average(name=name)(tensors)


def _smallest_side(convs: Sequence[_Conv]) -> int:
    """The side of the smallest picture that leaves one pixel, worked out from the end."""
    side = 1
    for step in reversed(convs):
        side *= 2 if step.halved else 1
        side += 0 if step.padding == "same" else step.kernel_size - 1
    return side
