"""`compact`: a small residual network for 48x48 faces that trains on two CPU cores in minutes.

The residual blocks are those of He et al., "Deep Residual Learning for Image Recognition"
(CVPR 2016, section 3), with the average-pooled shortcut of He et al., "Bag of Tricks for Image
Classification" (CVPR 2019, section 4, ResNet-D). What is our own is where the work goes: only the
stem runs at half resolution, because large maps of few channels cost a CPU the most time for each
multiplication.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import keras
import numpy as np
import numpy.typing as npt

from fer_keras.common.constraints import Choices, Count, Length, Rate
from fer_keras.common.errors import ConfigError
from fer_keras.models.folded import channel_moments
from fer_keras.models.layers import ACTIVATIONS, activate, batch_norm, conv, conv_bn

Layers = Mapping[str, tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]

_IN_BLOCK = re.compile(r"stage(\d+)_block(\d+)_(conv1|conv2|shortcut)")


@keras.saving.register_keras_serializable(package="fer_keras")
class HalvingBlur(keras.layers.Layer):
    """Blurs maps `(batch, h, w, c)` by `[1, 2, 1] / 4` both ways and keeps every second place.

    A depthwise convolution, which 8-bit runtimes have a fast operator for; its kernel is no weight.
    """

    def call(self, maps: Any) -> Any:
        """Returns `(batch, ceil(h / 2), ceil(w / 2), c)`."""
        kernel = np.outer((1, 2, 1), (1, 2, 1)) / 16
        kernels = np.repeat(kernel[:, :, np.newaxis, np.newaxis], maps.shape[-1], axis=2)
        return keras.ops.depthwise_conv(
            maps, keras.ops.cast(kernels, maps.dtype), strides=2, padding="same"
        )

    def compute_output_shape(self, input_shape: Sequence[Any]) -> Any:
        """Returns the input shape with half the sides."""
        batch, height, width, channels = input_shape
        return batch, -(-height // 2), -(-width // 2), channels


def build(
    image_shape: tuple[int, int, int],
    num_classes: int,
    *,
    stem_filters: Count = 32,
    widths: Annotated[Sequence[Count], Length(1)] = (64, 128, 256),
    depths: Sequence[Count] = (1, 1, 1),
    first_stride: Literal[1, 2] = 2,
    dropout: Rate = 0.3,
    activation: Annotated[str, Choices(ACTIVATIONS)] = "relu",
    antialias: bool = False,
) -> Any:
    """Builds the network.

    Args:
        image_shape: `(height, width, channels)`.
        num_classes: Number of classes.
        stem_filters: Channels of the first convolution, which halves the picture.
        widths: Channels of each stage; every stage after the first halves the map.
        depths: Residual blocks of each stage.
        first_stride: 2 = the first stage halves the map too; 1 = it works at the size of the stem,
            which costs about four times its time.
        dropout: Rate before the classifier, in [0, 1).
        activation: One of `fer_keras.models.layers.ACTIVATIONS`.
        antialias: Whether a stage blurs its map by `[1, 2, 1]` both ways before it halves it, so
            that answers depend less on where between two pixels a face lies (Zhang, "Making
            Convolutional Networks Shift-Invariant Again", ICML 2019). There the blur stands behind
            the convolution, which then works on the large map, at four times its cost.

    Returns:
        `keras.Model` from raw pixels in 0..255 to `logits` `(batch, num_classes)`, `embedding`
        `(batch, widths[-1])` and `features` `(batch, h, w, widths[-1])`: 3x3 at 48x48
        with the defaults.

    Raises:
        ConfigError: If there are not as many widths as depths.
    """
    if len(widths) != len(depths):
        raise ConfigError(
            "Invalid value for `widths` and `depths`. Expected as many widths as depths. "
            f"Received: widths={widths!r}, depths={depths!r}"
        )
    image = keras.Input(image_shape, name="image")
    x = keras.layers.Rescaling(1 / 64, offset=-2.0, name="scale")(image)
    x = conv_bn(x, stem_filters, 3, strides=2, activation=activation, name="stem")
    for stage, (width, depth) in enumerate(zip(widths, depths, strict=True), start=1):
        for block in range(1, depth + 1):
            strides = 1 if block > 1 else first_stride if stage == 1 else 2
            name = f"stage{stage}_block{block}"
            x = _residual_block(x, width, strides, activation, antialias, name=name)
    embedding = keras.layers.GlobalAveragePooling2D(name="embedding")(x)
    dropped = keras.layers.Dropout(dropout, name="dropout")(embedding)
    logits = keras.layers.Dense(num_classes, name="logits")(dropped)
    outputs = {"logits": logits, "embedding": embedding, "features": x}
    return keras.Model(image, outputs, name="compact")


def _residual_block(
    x: Any, filters: int, strides: int, activation: str, antialias: bool, *, name: str
) -> Any:
    shortcut, halves = x, strides > 1
    if halves and antialias:
        x, strides = HalvingBlur(name=f"{name}_blur")(x), 1
        shortcut = x
    elif halves:
        # Averaging first: a strided 1x1 convolution would throw three of four pixels away.
        shortcut = keras.layers.AveragePooling2D(
            strides, padding="same", name=f"{name}_shortcut_pool"
        )(shortcut)
    if halves or x.shape[-1] != filters:
        shortcut = conv_bn(shortcut, filters, 1, activation=None, name=f"{name}_shortcut")
    y = conv_bn(x, filters, 3, strides=strides, activation=activation, name=f"{name}_conv1")
    y = conv(y, filters, 3, name=f"{name}_conv2")
    y = batch_norm(y, name=f"{name}_conv2_bn")
    y = keras.layers.Add(name=f"{name}_add")([shortcut, y])
    return activate(y, activation, name=name)


def narrow(
    layers: Layers, wide: Any, network: Any, pictures: npt.NDArray[np.uint8]
) -> dict[str, tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]:
    """The weights of a wider network for a narrower one: the channels that matter most.

    A channel matters by its mean square times the squares of the weights that read it: what the
    layers behind it would miss. Their offsets get what the missing channels gave on average.

    Args:
        layers: Of the wide network: name of a layer -> its kernel and its bias, in which the batch
            normalisation is folded.
        wide: That network, filled.
        network: Of `build`, with as many stages and blocks, and widths that are not larger.
        pictures: `(n, height, width, channels)`, some hundred, to measure the channels on.

    Returns:
        As `layers`, in the shapes of `network`.

    Raises:
        ConfigError: The network has other layers, or is wider somewhere.
    """
    ours = {layer.name: layer for layer in network.layers if layer.name in layers}
    missing = sorted(layers.keys() - ours.keys())
    if missing:
        raise ConfigError(
            "network.weights: expected a network with the layers of the wider one. Lacking in "
            f"{network.name!r}: {', '.join(missing)}. Give it as many stages and blocks, and a "
            "first stage that is wider than the stem."
        )
    last = f"stage{max(int(found[1]) for found in map(_IN_BLOCK.match, layers) if found)}"
    reads = {name: _maps_around(name)[0] or last for name in layers}
    readers = [name for name in layers if name != "stem"]
    inputs = [wide.get_layer(name).input for name in readers]
    moments = dict(zip(readers, channel_moments(wide, inputs, pictures), strict=True))
    worth: dict[str, Any] = {}
    for name in readers:
        kernel = layers[name][0]
        squares = np.square(kernel).reshape(-1, *kernel.shape[-2:]).sum(axis=(0, 2))
        worth[reads[name]] = worth.get(reads[name], 0.0) + moments[name][1] * squares
    kept = {}
    for name in readers:
        width = ours[name].kernel.shape[-2]
        if width > len(worth[reads[name]]):
            raise ConfigError(
                f"network.weights: expected a network that is not wider than {wide.name!r}, whose "
                f"layer {name} reads {len(worth[reads[name]])} channels. Received: {width}."
            )
        kept[reads[name]] = np.sort(np.argsort(-worth[reads[name]])[:width])
    narrowed = {}
    for name, (kernel, bias) in layers.items():
        read, written = reads[name], _maps_around(name)[1]
        if read in kept:
            left_out = np.setdiff1d(np.arange(kernel.shape[-2]), kept[read])
            taps = kernel.reshape(-1, *kernel.shape[-2:]).sum(axis=0)
            bias = bias + moments[name][0][left_out] @ taps[left_out]
            kernel = np.take(kernel, kept[read], axis=-2)
        if written in kept:
            kernel, bias = kernel[..., kept[written]], bias[kept[written]]
        narrowed[name] = (kernel.astype(np.float32), bias.astype(np.float32))
    return narrowed


def _maps_around(layer: str) -> tuple[str, str]:
    """Which map a layer reads, empty for the last, and which one it writes or adds to."""
    found = _IN_BLOCK.fullmatch(layer)
    if found is None:
        return ("image", "stage0") if layer == "stem" else ("", "logits")
    stage, block, part = int(found[1]), int(found[2]), found[3]
    inside = f"stage{stage}_block{block}"
    if part == "conv2":
        return inside, f"stage{stage}"
    before = f"stage{stage - 1}" if block == 1 else f"stage{stage}"
    return before, inside if part == "conv1" else f"stage{stage}"
