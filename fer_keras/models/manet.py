"""`manet`: MA-Net, a branch that looks at four quarters of the face and one of many scales.

Source: Zhao, Liu and Wang, "Learning Deep Global Multi-scale and Local Attention Features for
Facial Expression Recognition in the Wild" (IEEE Transactions on Image Processing 30, 2021),
section III. The outputs beside `logits` are what Heidari and Iosifidis, "Learning Diversified
Feature Representations for Facial Expression Recognition in the Wild" (arXiv:2210.09381, 2022),
make diverse.
"""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, Literal

import keras

from fer_keras.common.constraints import Count, Length, Positive, Share
from fer_keras.common.errors import ConfigError
from fer_keras.models.layers import ChannelPool, cbam, conv_bn, scaled, stack

# A sixteenth of the channels and one block a stage.
SMALL = {"width": 1 / 16, "depths": (1, 1, 1, 1)}

_GROUPS = 4
_QUADRANTS = ((0, 0), (0, 1), (1, 0), (1, 1))


@keras.saving.register_keras_serializable(package="fer_keras")
class ChannelGroups(keras.layers.Layer):
    """Splits a map `(batch, h, w, c)` into four of `c / 4` channels each."""

    def call(self, inputs: Any) -> Any:
        """Returns a list of four maps `(batch, h, w, c / 4)`."""
        return keras.ops.split(inputs, _GROUPS, axis=-1)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Any:
        """Returns a list of four shapes `(batch, h, w, c / 4)`."""
        return [(*input_shape[:-1], (input_shape[-1] or 0) // _GROUPS)] * _GROUPS


def build(
    image_shape: tuple[int, int, int],
    num_classes: int,
    *,
    beta: Share = 0.6,
    width: Positive = 1.0,
    depths: Annotated[Sequence[Count], Length(4, 4)] = (2, 2, 2, 2),
    second_chain: Literal["down", "up"] = "down",
    normalisation: Literal["none", "imagenet"] = "none",
) -> Any:
    """Builds the network.

    It has 50,547,214 trained parameters at the source's 224x224x3 with 7 classes.

    Args:
        image_shape: `(height, width, channels)`; the map of an eighth of the size, rounded up, must
            have an even height and width, as it is cut into quarters.
        num_classes: Number of classes.
        beta: Share of the quadrant branch in `logits`, in [0, 1].
        width: Factor of all channel numbers, above 0.
        depths: Residual blocks of each of the four stages, at least 1.
        second_chain: Which way the second chain of the multi-scale blocks runs: from the last
            group of channels to the first, or, as in the program of Heidari and Iosifidis, like
            the first one.
        normalisation: What the pixels in 0..1 become: `"none"` leaves them, as the source does;
            `"imagenet"` takes ImageNet's mean and deviation of each colour.

    Returns:
        `keras.Model` from raw pixels in 0..255 to `logits` `(batch, num_classes)`: `beta` times
        those of the quadrant branch and the rest of the multi-scale branch, as published;
        `branch_logits` `(batch, 2, num_classes)` of both in this order and their pooled
        `branch_features` `(batch, 2, d)`, d = 512; `features` `(batch, h, w, 2 d)`, the map of the
        quadrant branch beside that of the other, doubled in size, and their mean `embedding`
        `(batch, 2 d)`; `quadrant_features` `(batch, 4, d)`, the pooled map of each quadrant, and
        `quadrant_maps` `(batch, 4, h / 2, w / 2)`, its mean over the channels; the quadrants are
        top left, top right, bottom left, bottom right. At 224x224, h = w = 14.

    Raises:
        ConfigError: If the picture cannot be cut into quarters.
    """
    if any(-(-side // 8) % 2 for side in image_shape[:2]):
        raise ConfigError(
            "Invalid value for `image_shape`. Expected a height and width whose eighth, rounded "
            "up, is even, such as 48, 64, 96, 112 or 224, to be cut into quarters. Received: "
            f"image_shape={image_shape!r}"
        )
    filters = [max(1, round(64 * width)) * factor for factor in (1, 2, 4, 8)]

    image = keras.Input(image_shape, name="image")
    x = scaled(image, normalisation)
    x = conv_bn(x, filters[0], 7, strides=2, name="stem")
    # After the activation a border of zeros is as good as the source's of minus infinity.
    x = keras.layers.ZeroPadding2D(1, name="stem_pool_pad")(x)
    x = keras.layers.MaxPooling2D(3, strides=2, name="stem_pool")(x)
    x = _stage(_basic_block, x, filters[0], depths[0], 1, name="stage1")
    x = _stage(_basic_block, x, filters[1], depths[1], 2, name="stage2")

    quadrants = []
    for number, (row, column) in enumerate(_QUADRANTS, start=1):
        y = _quadrant(x, row, column, name=f"quadrant{number}")
        y = _stage(_attention_block, y, filters[2], depths[2], 2, name=f"quadrant{number}_stage3")
        y = _stage(_attention_block, y, filters[3], depths[3], 1, name=f"quadrant{number}_stage4")
        quadrants.append(y)
    rows = [
        keras.layers.Concatenate(axis=2, name=f"quadrants_{side}")(pair)
        for side, pair in (("top", quadrants[:2]), ("bottom", quadrants[2:]))
    ]
    local_map = keras.layers.Concatenate(axis=1, name="quadrants")(rows)

    block = partial(_multi_scale_block, is_down=second_chain == "down")
    y = _stage(block, x, filters[2], depths[2], 2, name="scales_stage3")
    global_map = _stage(block, y, filters[3], depths[3], 2, name="scales_stage4")

    embeddings = [
        _pool(local_map, name="quadrants_embedding"),
        _pool(global_map, name="scales_embedding"),
    ]
    logits = [
        keras.layers.Dense(num_classes, name="quadrants_logits")(embeddings[0]),
        keras.layers.Dense(num_classes, name="scales_logits")(embeddings[1]),
    ]
    shares = [
        keras.layers.Rescaling(beta, name="quadrants_share")(logits[0]),
        keras.layers.Rescaling(1 - beta, name="scales_share")(logits[1]),
    ]
    pooled = [_pool(y, name=f"quadrant{i}_embedding") for i, y in enumerate(quadrants, start=1)]
    maps = [
        ChannelPool("mean", name=f"quadrant{i}_map")(y) for i, y in enumerate(quadrants, start=1)
    ]
    maps = keras.layers.Concatenate(name="quadrant_maps_joined")(maps)
    # Every value of the coarser map four times: its mean stays what it is.
    doubled = keras.layers.UpSampling2D(2, name="scales_doubled")(global_map)
    outputs = {
        "logits": keras.layers.Add(name="logits")(shares),
        "branch_logits": stack(logits, name="branch_logits"),
        "branch_features": stack(embeddings, name="branch_features"),
        "features": keras.layers.Concatenate(name="features")([local_map, doubled]),
        "embedding": keras.layers.Concatenate(name="embedding")(embeddings),
        "quadrant_features": stack(pooled, name="quadrant_features"),
        "quadrant_maps": keras.layers.Permute((3, 1, 2), name="quadrant_maps")(maps),
    }
    return keras.Model(image, outputs, name="manet")


def _stage(block: Any, x: Any, filters: int, depth: int, strides: int, *, name: str) -> Any:
    for index in range(1, depth + 1):
        x = block(x, filters, strides if index == 1 else 1, name=f"{name}_block{index}")
    return x


def _basic_block(x: Any, filters: int, strides: int, *, name: str) -> Any:
    y = conv_bn(x, filters, 3, strides=strides, name=f"{name}_conv1")
    y = conv_bn(y, filters, 3, activation=None, name=f"{name}_conv2")
    return _join([y, _shortcut(x, filters, strides, name=name)], name=name)


def _attention_block(x: Any, filters: int, strides: int, *, name: str) -> Any:
    y = conv_bn(x, filters, 3, strides=strides, name=f"{name}_conv1")
    y = conv_bn(y, filters, 3, activation=None, name=f"{name}_conv2")
    y, _, _ = cbam(y, name=f"{name}_cbam")
    return _join([y, _shortcut(x, filters, strides, name=name)], name=name)


def _multi_scale_block(x: Any, filters: int, strides: int, *, is_down: bool, name: str) -> Any:
    """Two chains over four groups of channels, one from the first to the last and one back."""
    y = conv_bn(x, filters, 3, strides=strides, name=f"{name}_conv1")
    groups = ChannelGroups(name=f"{name}_groups")(y)
    up = _chain(groups, name=f"{name}_up")
    down = _chain(groups[::-1] if is_down else groups, name=f"{name}_down")
    down = down[::-1] if is_down else down
    chains = [
        keras.layers.Concatenate(name=f"{name}_up")(up),
        keras.layers.Concatenate(name=f"{name}_down")(down),
    ]
    return _join([*chains, _shortcut(x, filters, strides, name=name)], name=name)


def _chain(groups: list[Any], *, name: str) -> list[Any]:
    """Convolutions of one group after the other; each also sees the answer of the one before."""
    answers: list[Any] = []
    for index, group in enumerate(groups, start=1):
        y = group
        if answers:
            y = keras.layers.Activation("relu", name=f"{name}{index}_relu")(answers[-1])
            y = keras.layers.Add(name=f"{name}{index}_add")([y, group])
        answers.append(conv_bn(y, group.shape[-1], 3, activation=None, name=f"{name}{index}"))
    return answers


def _shortcut(x: Any, filters: int, strides: int, *, name: str) -> Any:
    if strides == 1 and x.shape[-1] == filters:
        return x
    return conv_bn(x, filters, 1, strides=strides, activation=None, name=f"{name}_shortcut")


def _join(paths: list[Any], *, name: str) -> Any:
    x = keras.layers.Add(name=f"{name}_add")(paths)
    return keras.layers.Activation("relu", name=f"{name}_relu")(x)


def _quadrant(x: Any, row: int, column: int, *, name: str) -> Any:
    height, width = x.shape[1] // 2, x.shape[2] // 2
    cropping = ((row * height, (1 - row) * height), (column * width, (1 - column) * width))
    return keras.layers.Cropping2D(cropping, name=name)(x)


def _pool(x: Any, *, name: str) -> Any:
    return keras.layers.GlobalAveragePooling2D(name=name)(x)
