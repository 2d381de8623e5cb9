"""`ddamfn`: a backbone of mixed kernels (MFN) under heads of dual-direction attention (DDAN).

Source: Zhang, Zhang, Zhang, Wang and Song, "A Dual-Direction Attention Mixed Feature Network for
Facial Expression Recognition" (Electronics 12(17), 2023), section 3. The backbone is MobileFaceNet
(Chen et al. 2018) with the mixed depthwise kernels of Tan and Le, "MixConv" (BMVC 2019), and the
coordinate attention of Hou et al. (CVPR 2021). The authors start from weights that were trained to
recognise faces; those are not shipped, so this network starts from random ones.
"""

from collections.abc import Sequence
from typing import Annotated, Any

import keras
from keras import ops

from fer_keras.common.constraints import Choices, Count, Length, Positive
from fer_keras.common.errors import ConfigError
from fer_keras.models.layers import (
    ACTIVATIONS,
    activate,
    batch_norm,
    conv,
    imagenet_normalised,
)

# An eighth of the channels and one residual block a stage: 38 thousand parameters.
SMALL = {"width": 1 / 8, "depths": (1, 1, 1)}

# Of each stage: channels of its maps; then kernel size -> channels of that kernel, for the block
# that halves the map and for the residual blocks after it.
_STAGES: tuple[tuple[int, dict[int, int], dict[int, int]], ...] = (
    (64, {3: 64, 5: 32, 7: 32}, {3: 96, 5: 32}),
    (128, {3: 128, 5: 64, 7: 64}, {3: 192, 5: 64}),
    (256, {3: 256, 5: 256, 7: 256, 9: 256}, {3: 172, 5: 170, 7: 170}),
)
_STEM_FILTERS = 64
_FEATURES = 512


@keras.saving.register_keras_serializable(package="fer_keras")
class MixedDepthwiseConv2D(keras.layers.Layer):
    """Depthwise convolution with another kernel size for each group of channels, without bias.

    Args:
        groups: Pairs `(kernel size, channels)`, sizes odd; the channels add up to the input's.
        strides: Step in pixels.
        **kwargs: Options of `keras.layers.Layer`.
    """

    def __init__(self, groups: Sequence[Sequence[int]], strides: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.groups = tuple((int(size), int(channels)) for size, channels in groups)
        self.strides = strides

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Creates one kernel `(size, size, channels, 1)` for each group."""
        if input_shape[-1] != sum(channels for _, channels in self.groups):
            raise ConfigError(
                f"Expected groups of {input_shape[-1]} channels in all. Received: {self.groups}"
            )
        self.kernels = [
            self.add_weight(
                name=f"kernel_{size}x{size}",
                shape=(size, size, channels, 1),
                initializer=_depthwise_initializer(size, size),
            )
            for size, channels in self.groups
        ]

    def call(self, inputs: Any) -> Any:
        """Returns `(batch, ceil(h / strides), ceil(w / strides), c)` of `(batch, h, w, c)`."""
        results = []
        start = 0
        for (size, channels), kernel in zip(self.groups, self.kernels, strict=True):
            x = inputs[..., start : start + channels]
            padding = "same"
            if self.strides > 1:
                # As in `layers.conv`: PyTorch pads as many pixels on every side.
                x = ops.pad(x, ((0, 0), (size // 2,) * 2, (size // 2,) * 2, (0, 0)))
                padding = "valid"
            results.append(
                ops.depthwise_conv(
                    x, kernel, self.strides, padding=padding, data_format="channels_last"
                )
            )
            start += channels
        return ops.concatenate(results, axis=-1)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Any:
        """Returns the shape of the result."""
        height, width = (
            None if side is None else -(-side // self.strides) for side in input_shape[1:3]
        )
        return (input_shape[0], height, width, input_shape[-1])

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments from which Keras rebuilds the layer."""
        groups = [list(group) for group in self.groups]
        return {**super().get_config(), "groups": groups, "strides": self.strides}


def build(
    image_shape: tuple[int, int, int],
    num_classes: int,
    *,
    num_heads: Count = 2,
    width: Positive = 1.0,
    depths: Annotated[Sequence[Count], Length(3, 3)] = (9, 16, 6),
    activation: Annotated[str, Choices(ACTIVATIONS)] = "prelu",
) -> Any:
    """Builds the network.

    At the source's 112x112x3 with 8 classes it has 4,106,512 trained parameters, 4,006,568 of them
    in the backbone, and 34,864 more or fewer for each head more or fewer. (The authors' program
    also creates, and never uses, 81 thousand more.) Each halving of the map rounds up, so every
    picture size will do; the pooling kernels are as large as the last map, 7x7 at 112x112.

    Args:
        image_shape: `(height, width, channels)`.
        num_classes: Number of classes.
        num_heads: Attention heads, at least 1.
        width: Factor of all channel numbers, above 0. Every kernel size keeps its share of the
            channels, rounded, and at least one.
        depths: Residual blocks of each of the three stages, at least 1.
        activation: One of `fer_keras.models.layers.ACTIVATIONS`; the source has `"prelu"`.

    Returns:
        `keras.Model` from raw pixels in 0..255 to `logits` `(batch, num_classes)`; `embedding`
        `(batch, d)`, `d` being 512 times `width`; `features` `(batch, h, w, d)`, the map of the
        backbone times the largest of the heads' maps at each place and channel; `mfn_features`
        `(batch, h, w, d)`, the map of the backbone; and `attention` `(batch, num_heads, h, w, d)`,
        the heads' maps, 0..1.
    """
    image = keras.Input(image_shape, name="image")
    x = imagenet_normalised(image)
    x = conv(x, _scaled(_STEM_FILTERS, width), 3, strides=2, name="conv1")
    x = bn_activation(x, activation, name="conv1")
    x = _depthwise(x, (3, 3), padding="same", name="conv2")
    x = bn_activation(x, activation, name="conv2")
    for stage, (stage_parts, depth) in enumerate(zip(_STAGES, depths, strict=True), start=3):
        filters, halving, repeated = stage_parts
        x = _mix_bottleneck(
            x, _scaled(filters, width), _groups(halving, width), activation,
            strides=2, name=f"conv{stage}_half",
        )  # fmt: skip
        for block in range(1, depth + 1):
            name = f"conv{stage}_block{block}"
            y = _mix_bottleneck(x, x.shape[-1], _groups(repeated, width), activation, name=name)
            x = keras.layers.Add(name=f"{name}_add")([x, y])
    x = conv(x, _scaled(_FEATURES, width), 1, name="conv6")
    mfn_features = bn_activation(x, activation, name="conv6")

    maps = [_attention_head(mfn_features, name=f"head{k}") for k in range(1, num_heads + 1)]
    strongest = maps[0] if num_heads == 1 else keras.layers.Maximum(name="strongest")(maps)
    features = keras.layers.Multiply(name="features")([mfn_features, strongest])
    height, breadth, filters = features.shape[1:]
    # "GDConv" in the paper: each channel weighs the places of the map in its own way.
    pooled = _depthwise(features, (height, breadth), padding="valid", name="pool")
    pooled = batch_norm(pooled, name="pool_bn")
    embedding = keras.layers.Flatten(name="embedding")(pooled)
    logits = keras.layers.Dense(num_classes, name="logits")(embedding)
    rows = [
        keras.layers.Reshape((1, height, breadth, filters), name=f"head{k}_row")(attention_map)
        for k, attention_map in enumerate(maps, start=1)
    ]
    attention = rows[0] if num_heads == 1 else keras.layers.Concatenate(1, name="attention")(rows)
    outputs = {
        "logits": logits,
        "embedding": embedding,
        "features": features,
        "mfn_features": mfn_features,
        "attention": attention,
    }
    return keras.Model(image, outputs, name="ddamfn")


def _scaled(channels: int, width: float) -> int:
    return max(1, round(channels * width))


def _groups(kernels: dict[int, int], width: float) -> list[tuple[int, int]]:
    return [(size, _scaled(channels, width)) for size, channels in kernels.items()]


def _depthwise_initializer(height: int, width: int) -> Any:
    # Keras counts all channels as the inputs of a depthwise kernel, whose values would be far too
    # small; nothing after the mixed kernels would make up for it.
    return keras.initializers.RandomNormal(stddev=(height * width) ** -0.5)


def _depthwise(x: Any, kernel_size: tuple[int, int], *, padding: str, name: str) -> Any:
    return keras.layers.DepthwiseConv2D(
        kernel_size,
        padding=padding,
        use_bias=False,
        depthwise_initializer=_depthwise_initializer(*kernel_size),
        name=name,
    )(x)


def bn_activation(x: Any, activation: str, *, name: str) -> Any:
    """Batch normalisation, then an activation."""
    return activate(batch_norm(x, name=f"{name}_bn"), activation, name=name)


def _mix_bottleneck(
    x: Any,
    filters: int,
    groups: list[tuple[int, int]],
    activation: str,
    *,
    strides: int = 1,
    name: str,
) -> Any:
    """Widen, convolve each group of channels with its own kernel size, weigh, narrow."""
    x = conv(x, sum(channels for _, channels in groups), 1, name=f"{name}_expand")
    x = bn_activation(x, activation, name=f"{name}_expand")
    # The authors' mixed convolution has a normalisation and a PReLU that it does not apply.
    x = MixedDepthwiseConv2D(groups, strides, name=f"{name}_mix")(x)
    x = _coordinate_attention(x, name=f"{name}_attention")
    x = conv(x, filters, 1, name=f"{name}_project")
    return batch_norm(x, name=f"{name}_project_bn")


def _coordinate_attention(x: Any, *, name: str) -> Any:
    """Weighs each row and each column of a map by what is in it (Hou et al. 2021, figure 2)."""
    height, width = x.shape[1:3]
    rows = keras.layers.AveragePooling2D((1, width), name=f"{name}_rows")(x)
    columns = keras.layers.AveragePooling2D((height, 1), name=f"{name}_columns")(x)
    row_gate, column_gate = _gates(rows, columns, name=name)
    return keras.layers.Multiply(name=f"{name}_weigh")([x, row_gate, column_gate])


def _attention_head(x: Any, *, name: str) -> Any:
    """One attention map `(batch, h, w, c)`, 0..1, from learned sums over rows and columns."""
    height, width = x.shape[1:3]
    rows = _depthwise(x, (1, width), padding="valid", name=f"{name}_rows")
    rows = batch_norm(rows, name=f"{name}_rows_bn")
    columns = _depthwise(x, (height, 1), padding="valid", name=f"{name}_columns")
    columns = batch_norm(columns, name=f"{name}_columns_bn")
    return keras.layers.Multiply(name=f"{name}_map")(list(_gates(rows, columns, name=name)))


def _gates(rows: Any, columns: Any, *, name: str) -> tuple[Any, Any]:
    """Gates `(batch, h, 1, c)` and `(batch, 1, w, c)`, 0..1, from one hidden layer for both."""
    height, width, filters = rows.shape[1], columns.shape[2], rows.shape[3]
    columns = keras.layers.Permute((2, 1, 3), name=f"{name}_lay_columns")(columns)
    x = keras.layers.Concatenate(axis=1, name=f"{name}_both")([rows, columns])
    x = conv(x, max(8, filters // 32), 1, use_bias=True, name=f"{name}_hidden")
    x = batch_norm(x, name=f"{name}_hidden_bn")
    x = keras.layers.Activation("hard_silu", name=f"{name}_hidden_hard_silu")(x)
    rows = keras.layers.Cropping2D(((0, width), (0, 0)), name=f"{name}_crop_rows")(x)
    columns = keras.layers.Cropping2D(((height, 0), (0, 0)), name=f"{name}_crop_columns")(x)
    columns = keras.layers.Permute((2, 1, 3), name=f"{name}_raise_columns")(columns)
    gates = [
        keras.layers.Conv2D(filters, 1, activation="sigmoid", name=f"{name}_{axis}_gate")(part)
        for axis, part in (("row", rows), ("column", columns))
    ]
    return gates[0], gates[1]
