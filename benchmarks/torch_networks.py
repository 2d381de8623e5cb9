"""Plain PyTorch versions of networks of this project, to measure training against.

Written from the papers and from the layer tables of ours, without a library of models. Parameter
counts are compared with ours by `benchmarks/training.py`. Raw pixels 0..255 in, logits out.
"""

from typing import Any

import torch
from torch import nn


class Scale(nn.Module):
    """Raw pixels to what the first layer reads."""

    def __init__(self, factor: float, offset: float) -> None:
        super().__init__()
        self.factor, self.offset = factor, offset

    def forward(self, x: Any) -> Any:
        """Returns `x * factor + offset`."""
        return x * self.factor + self.offset


def conv_bn(
    channels: int,
    filters: int,
    kernel: int,
    stride: int = 1,
    groups: int = 1,
    epsilon: float = 1e-5,
) -> list[nn.Module]:
    """Convolution with symmetric padding and batch normalisation."""
    return [
        nn.Conv2d(channels, filters, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(filters, eps=epsilon),
    ]


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut (He et al. 2016)."""

    def __init__(self, channels: int, filters: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *conv_bn(channels, filters, 3, stride),
            nn.ReLU(inplace=True),
            *conv_bn(filters, filters, 3),
        )
        self.shortcut = (
            nn.Identity() if stride == 1 else nn.Sequential(*conv_bn(channels, filters, 1, stride))
        )

    def forward(self, x: Any) -> Any:
        """Returns the block's map."""
        return torch.relu(self.body(x) + self.shortcut(x))


def resnet18(num_classes: int, width: float = 1.0) -> nn.Module:
    """As `fer_keras.models.resnet18`: no early halvings, global average, dropout 0.5."""
    filters = [max(1, round(channels * width)) for channels in (64, 128, 256, 512)]
    layers: list[nn.Module] = [
        Scale(1 / 255, 0.0),
        *conv_bn(3, filters[0], 3),
        nn.ReLU(inplace=True),
    ]
    channels = filters[0]
    for stage, stage_filters in enumerate(filters):
        for block in range(2):
            stride = 2 if stage and not block else 1
            layers.append(ResidualBlock(channels, stage_filters, stride))
            channels = stage_filters
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5)]
    return nn.Sequential(*layers, nn.Linear(channels, num_classes))


class SqueezeExcite(nn.Module):
    """A gate for every channel (Howard et al. 2019, section 5.3)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = _divisible(channels / 4)
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, hidden, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, channels, 1),
            nn.Hardsigmoid(inplace=True),
        )

    def forward(self, x: Any) -> Any:
        """Returns the gated map."""
        return x * self.gate(x)


class InvertedResidual(nn.Module):
    """Expansion, depthwise convolution, gate, projection."""

    def __init__(
        self, channels: int, hidden: int, filters: int, kernel: int, stride: int, gated: bool,
        activation: type[nn.Module],
    ) -> None:  # fmt: skip
        super().__init__()
        layers: list[nn.Module] = []
        if hidden != channels:
            layers += [*conv_bn(channels, hidden, 1, epsilon=1e-3), activation(inplace=True)]
        layers += conv_bn(hidden, hidden, kernel, stride, hidden, 1e-3)
        layers.append(activation(inplace=True))
        if gated:
            layers.append(SqueezeExcite(hidden))
        layers += conv_bn(hidden, filters, 1, epsilon=1e-3)
        self.body = nn.Sequential(*layers)
        self.residual = stride == 1 and channels == filters

    def forward(self, x: Any) -> Any:
        """Returns the block's map."""
        return x + self.body(x) if self.residual else self.body(x)


# Howard et al. 2019, table 1: kernel, expanded channels, output channels, gate, hard-swish, stride.
_LARGE = (
    (3, 16, 16, False, False, 1), (3, 64, 24, False, False, 2), (3, 72, 24, False, False, 1),
    (5, 72, 40, True, False, 2), (5, 120, 40, True, False, 1), (5, 120, 40, True, False, 1),
    (3, 240, 80, False, True, 2), (3, 200, 80, False, True, 1), (3, 184, 80, False, True, 1),
    (3, 184, 80, False, True, 1), (3, 480, 112, True, True, 1), (3, 672, 112, True, True, 1),
    (5, 672, 160, True, True, 2), (5, 960, 160, True, True, 1), (5, 960, 160, True, True, 1),
)  # fmt: skip


def mobilenet_v3_large(num_classes: int, width: float = 1.0) -> nn.Module:
    """The trunk of MobileNetV3-Large, global average, classifier; `width` must be 1."""
    if width != 1.0:
        raise ValueError("MobileNetV3-Large is measured in its full width.")
    layers: list[nn.Module] = [Scale(1 / 127.5, -1.0), *conv_bn(3, 16, 3, 2, epsilon=1e-3)]
    layers.append(nn.Hardswish(inplace=True))
    channels = 16
    for kernel, hidden, filters, gated, swish, stride in _LARGE:
        activation: type[nn.Module] = nn.Hardswish if swish else nn.ReLU
        layers.append(
            InvertedResidual(channels, hidden, filters, kernel, stride, gated, activation)
        )
        channels = filters
    layers += [*conv_bn(channels, 960, 1, epsilon=1e-3), nn.Hardswish(inplace=True)]
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(960, num_classes)
    )


def _divisible(channels: float) -> int:
    """The next multiple of 8, not more than a tenth below."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded
