"""`face_resnet`: the residual network that dlib recognises faces with, for emotions.

Source: King, dlib 19.3 (2017), `dnn_face_recognition_ex`: ResNet-34 of He et al., "Deep Residual
Learning for Image Recognition" (CVPR 2016) with a few layers less and half the channels, 29
convolutions. Each halving block has no padding, and its shortcut is averaged and filled up with
zeros. Its input is 150 pixels wide; faces of 48 pixels need less, and without the last block 80 are
enough. In the trained network every convolution is followed by a fixed factor and offset for each
channel; here that is batch normalisation, which can be trained.
"""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from fer_keras.common.constraints import Count, Positive, Rate
from fer_keras.common.errors import ConfigError, ModelFileError
from fer_keras.models.folded import set_norms
from fer_keras.models.layers import Resizing, batch_norm

# Channels of a stage and its residual blocks that do not halve the map.
_STAGES = ((32, 3), (64, 3), (128, 2), (256, 2))
# Red, green and blue: the mean pixel of the pictures that the network was trained on.
_MEAN = (122.782, 117.001, 104.298)

# 4 to 32 channels: some 80,000 parameters.
SMALL = {"width": 1 / 8, "input_size": 64}


def build(
    image_shape: tuple[int, int, int],
    num_classes: int,
    *,
    input_size: Count = 80,
    last_block: bool = False,
    width: Positive = 1.0,
    dropout: Rate = 0.3,
) -> Any:
    """Builds the network.

    Args:
        image_shape: `(height, width, channels)`; grey is repeated into three channels.
        num_classes: Number of classes.
        input_size: Side in pixels to which the graph brings the picture; 150 in the source.
        last_block: Whether the block after the last stage, which halves the map once more, is
            there. It needs 103 pixels or more.
        width: Factor of all channels, above 0; 1 for trained weights.
        dropout: Rate before the classifier, in [0, 1).

    Returns:
        `keras.Model` from raw pixels in 0..255 to `logits` `(batch, num_classes)`, `embedding`
        `(batch, 256 * width)` and `features` `(batch, h, w, 256 * width)`: 2x2 with the defaults.

    Raises:
        ConfigError: If an option does not fit the picture.
    """
    if image_shape[-1] not in (1, 3):
        raise ConfigError(
            "Invalid value for `image_shape`. Expected 1 or 3 channels. "
            f"Received: image_shape={image_shape!r}"
        )
    filters = [max(1, round(channels * width)) for channels, _ in _STAGES]
    halvings = len(_STAGES) - 1 + int(last_block)
    if _smallest_side(halvings) > input_size:
        raise ConfigError(
            f"Invalid value for `input_size`. Expected at least {_smallest_side(halvings)} with "
            f"last_block={last_block}. Received: input_size={input_size!r}"
        )
    image = keras.Input(image_shape, name="image")
    x = image
    if image_shape[-1] == 1:
        x = keras.layers.Concatenate(name="colour")([x, x, x])
    if image_shape[:2] != (input_size, input_size):
        x = Resizing(input_size, input_size, interpolation="bilinear", name="enlarged")(x)
    x = keras.layers.Rescaling(1 / 255, offset=[-channel / 255 for channel in _MEAN], name="scale")(
        x
    )
    x = _conv_bn(x, filters[0], 7, strides=2, name="conv32_down")
    x = keras.layers.Activation("relu", name="conv32_down_relu")(x)
    x = keras.layers.MaxPooling2D(3, strides=2, name="pool")(x)
    for stage, (channels, num_blocks) in enumerate(_STAGES):
        if stage:
            x = _halving_block(x, filters[stage], name=f"conv{channels}_down")
        for block in range(1, num_blocks + 1):
            x = _residual_block(x, filters[stage], name=f"conv{channels}_{block}")
    if last_block:
        x = _halving_block(x, filters[-1], name="conv256_down_out")
    embedding = keras.layers.GlobalAveragePooling2D(name="embedding")(x)
    dropped = keras.layers.Dropout(dropout, name="dropout")(embedding)
    logits = keras.layers.Dense(num_classes, name="logits")(dropped)
    outputs = {"logits": logits, "embedding": embedding, "features": x}
    return keras.Model(image, outputs, name="face_resnet")


def fill(
    network: Any,
    tensors: Mapping[str, npt.NDArray[np.float32]],
    pictures: npt.NDArray[np.uint8] | None = None,
) -> list[str]:
    """Copies the trained factors and offsets of dlib's network into the batch normalisations.

    The function of the network is that of the tensors whatever the statistics are: `gamma` and
    `beta` make up for them. But training replaces them by those of the batch, so without pictures
    the first step of a training would start from another function.

    Args:
        network: Of `build`; its weights are changed.
        tensors: As `fer_keras.loading.face_features.read_face_features` returns them.
        pictures: `(n, height, width, channels)`, some hundred of those to train on, whose
            statistics the batch normalisations get; `None` leaves mean 0 and variance 1.

    Returns:
        The layers with weights that keep their fresh ones, as `logits`.

    Raises:
        ModelFileError: A tensor is missing or of another shape.
        ConfigError: The network is another one.
    """
    if network.name != "face_resnet":
        raise ConfigError(
            "network.weights: face features are read for the network face_resnet. Received: "
            f"{network.name!r}."
        )
    fresh, norms = [], []
    for layer in network.layers:
        if not layer.weights:
            continue
        if isinstance(layer, keras.layers.Conv2D):
            kernel = _tensor(tensors, _key(layer.name, "conv/filters"), layer.kernel.shape)
            layer.set_weights([kernel])
        elif isinstance(layer, keras.layers.BatchNormalization):
            name, shape = layer.name.removesuffix("_bn"), layer.gamma.shape
            factor = _tensor(tensors, _key(name, "scale/weights"), shape)
            offset = _tensor(tensors, _key(name, "scale/biases"), shape)
            bias = _tensor(tensors, _key(name, "conv/bias"), shape)
            norms.append((layer, factor, offset + factor * bias))
        else:
            fresh.append(layer.name)
    set_norms(network, norms, pictures)
    return fresh


def _tensor(tensors: Mapping[str, Any], name: str, shape: Any) -> Any:
    if name not in tensors:
        raise ModelFileError(f"Expected the tensor {name}. Received none of this name.")
    if tensors[name].shape != tuple(shape):
        raise ModelFileError(
            f"Tensor {name}: expected {tuple(shape)}. Received: {tensors[name].shape}."
        )
    return tensors[name]


def _key(layer_name: str, part: str) -> str:
    """The name of a tensor: `conv64_down_conv1` and `conv/bias` are `conv64_down/conv1/conv/bias`.

    The first convolution, `conv32_down`, stands alone.
    """
    block, _, number = layer_name.rpartition("_conv")
    return f"{block}/conv{number}/{part}" if block else f"{layer_name}/{part}"


def _smallest_side(halvings: int) -> int:
    """The smallest picture, in pixels, whose map can be halved so many times."""
    side = 3
    for _ in range(halvings - 1):
        side *= 2
    return 2 * (2 * (side - 1) + 3 - 1) + 7


def _conv_bn(x: Any, filters: int, kernel_size: int, *, strides: int = 1, name: str) -> Any:
    x = keras.layers.Conv2D(
        filters,
        kernel_size,
        strides=strides,
        padding="valid" if strides > 1 else "same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=name,
    )(x)
    return batch_norm(x, name=f"{name}_bn")


def _residual_block(x: Any, filters: int, *, name: str) -> Any:
    y = _conv_bn(x, filters, 3, name=f"{name}_conv1")
    y = keras.layers.Activation("relu", name=f"{name}_conv1_relu")(y)
    y = _conv_bn(y, filters, 3, name=f"{name}_conv2")
    y = keras.layers.Add(name=f"{name}_add")([x, y])
    return keras.layers.Activation("relu", name=f"{name}_relu")(y)


def _halving_block(x: Any, filters: int, *, name: str) -> Any:
    shortcut = keras.layers.AveragePooling2D(2, name=f"{name}_shortcut")(x)
    more = filters - shortcut.shape[-1]
    if more:
        # To this layer the last axis is the width of a picture.
        shortcut = keras.layers.ZeroPadding2D(
            ((0, 0), (0, more)), data_format="channels_first", name=f"{name}_shortcut_pad"
        )(shortcut)
    y = _conv_bn(x, filters, 3, strides=2, name=f"{name}_conv1")
    y = keras.layers.Activation("relu", name=f"{name}_conv1_relu")(y)
    y = _conv_bn(y, filters, 3, name=f"{name}_conv2")
    # Of an even side the convolution, which has no padding, leaves one pixel less than the mean.
    missing = [shortcut.shape[axis] - y.shape[axis] for axis in (1, 2)]
    if any(missing):
        y = keras.layers.ZeroPadding2D(
            ((0, missing[0]), (0, missing[1])), name=f"{name}_conv2_pad"
        )(y)
    y = keras.layers.Add(name=f"{name}_add")([shortcut, y])
    return keras.layers.Activation("relu", name=f"{name}_relu")(y)
