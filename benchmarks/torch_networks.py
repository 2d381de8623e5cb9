"""Plain PyTorch versions of networks of this project, to measure training against.

Written from the papers and from the layer tables of ours, without a library of models. Parameter
counts are compared with ours by `benchmarks/training.py`. Raw pixels 0..255 in, logits out.
"""

from collections import OrderedDict
from collections.abc import Sequence
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


# Zhang et al. 2023, table 1, as in `fer_keras.models.ddamfn`: the channels of a stage; kernel size
# -> channels of its halving block and of its residual blocks; the name of the halving block.
_MFN = (
    (64, {3: 64, 5: 32, 7: 32}, {3: 96, 5: 32}, "conv_23", "conv_3"),
    (128, {3: 128, 5: 64, 7: 64}, {3: 192, 5: 64}, "conv_34", "conv_4"),
    (256, {3: 256, 5: 256, 7: 256, 9: 256}, {3: 172, 5: 170, 7: 170}, "conv_45", "conv_5"),
)


class Unit(nn.Module):
    """Convolution, batch normalisation and, unless it is linear, a PReLU."""

    def __init__(
        self,
        channels: int,
        filters: int,
        kernel: int | tuple[int, int] = 1,
        *,
        stride: int = 1,
        padding: int = 0,
        groups: int = 1,
        linear: bool = False,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, filters, kernel, stride, padding, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(filters)
        self.prelu = nn.Identity() if linear else nn.PReLU(filters)

    def forward(self, x: Any) -> Any:
        """Returns the map."""
        return self.prelu(self.bn(self.conv(x)))


class Gates(nn.Module):
    """A gate for every row and one for every column, from one hidden layer."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(8, channels // 32)
        self.conv1 = nn.Conv2d(channels, hidden, 1)
        self.bn1 = nn.BatchNorm2d(hidden)
        self.conv2 = nn.Conv2d(hidden, channels, 1)
        self.conv3 = nn.Conv2d(hidden, channels, 1)

    def gates(self, rows: Any, columns: Any) -> tuple[Any, Any]:
        """Gates `(n, c, h, 1)` and `(n, c, 1, w)` of maps of these shapes."""
        height = rows.shape[2]
        both = torch.cat([rows, columns.transpose(2, 3)], dim=2)
        both = nn.functional.hardswish(self.bn1(self.conv1(both)))
        rows, columns = both[:, :, :height], both[:, :, height:].transpose(2, 3)
        return self.conv2(rows).sigmoid(), self.conv3(columns).sigmoid()


class CoordinateAttention(Gates):
    """Weighs rows and columns by their means (Hou et al. 2021)."""

    def forward(self, x: Any) -> Any:
        """Returns the weighed map."""
        rows, columns = self.gates(x.mean(3, keepdim=True), x.mean(2, keepdim=True))
        return x * rows * columns


class AttentionHead(Gates):
    """One attention map of DDAN, from learned sums over rows and columns."""

    def __init__(self, channels: int, side: int) -> None:
        super().__init__(channels)
        self.Linear_h = Unit(channels, channels, (1, side), groups=channels, linear=True)
        self.Linear_w = Unit(channels, channels, (side, 1), groups=channels, linear=True)

    def forward(self, x: Any) -> Any:
        """Returns the attention map, as large as `x`."""
        rows, columns = self.gates(self.Linear_h(x), self.Linear_w(x))
        return rows * columns


class MixedDepthwise(nn.Module):
    """Another kernel size for each group of channels."""

    def __init__(self, groups: dict[int, int], stride: int) -> None:
        super().__init__()
        self.channels = list(groups.values())
        self.mixed_depthwise_conv = nn.ModuleList(
            nn.Conv2d(c, c, kernel, stride, kernel // 2, groups=c, bias=False)
            for kernel, c in groups.items()
        )

    def forward(self, x: Any) -> Any:
        """Returns the map."""
        parts = torch.split(x, self.channels, dim=1)
        convs = zip(self.mixed_depthwise_conv, parts, strict=True)
        return torch.cat([conv(part) for conv, part in convs], dim=1)


class MixBottleneck(nn.Module):
    """Widen, convolve each group with its own kernel size, weigh, narrow."""

    def __init__(self, channels: int, filters: int, groups: dict[int, int], stride: int) -> None:
        super().__init__()
        hidden = sum(groups.values())
        self.conv = Unit(channels, hidden)
        self.conv_dw = MixedDepthwise(groups, stride)
        self.CA = CoordinateAttention(hidden)
        self.project = Unit(hidden, filters, linear=True)
        self.residual = stride == 1

    def forward(self, x: Any) -> Any:
        """Returns the block's map."""
        y = self.project(self.CA(self.conv_dw(self.conv(x))))
        return x + y if self.residual else y


class Residuals(nn.Module):
    """Residual blocks, one after the other."""

    def __init__(self, channels: int, groups: dict[int, int], depth: int) -> None:
        super().__init__()
        blocks = [MixBottleneck(channels, channels, groups, 1) for _ in range(depth)]
        self.model = nn.Sequential(*blocks)

    def forward(self, x: Any) -> Any:
        """Returns the map of the last block."""
        return self.model(x)


def mfn(width: float = 1.0, depths: Sequence[int] = (9, 16, 6)) -> nn.Sequential:
    """The backbone of DDAMFN: normalised colours to the map that its heads read."""

    def scaled(channels: int) -> int:
        return max(1, round(channels * width))

    channels = scaled(64)
    parts: dict[str, nn.Module] = {
        "conv1": Unit(3, channels, 3, stride=2, padding=1),
        "conv2_dw": Unit(channels, channels, 3, padding=1, groups=channels),
    }
    for (filters, halving, repeated, half_name, name), depth in zip(_MFN, depths, strict=True):
        halves = {kernel: scaled(c) for kernel, c in halving.items()}
        parts[half_name] = MixBottleneck(channels, scaled(filters), halves, 2)
        channels = scaled(filters)
        groups = {kernel: scaled(c) for kernel, c in repeated.items()}
        parts[name] = Residuals(channels, groups, depth)
    parts["conv_6_sep"] = Unit(channels, scaled(512))
    return nn.Sequential(OrderedDict(parts))


class Ddamfn(nn.Module):
    """As `fer_keras.models.ddamfn`; parameters have the names that the authors' program gives them.

    Those that their program creates and never uses are left out.
    """

    def __init__(
        self,
        num_classes: int,
        width: float = 1.0,
        depths: Sequence[int] = (9, 16, 6),
        num_heads: int = 2,
        side: int = 112,
    ) -> None:
        super().__init__()
        self.features = mfn(width, depths)
        channels, last = self.features.conv_6_sep.bn.num_features, -(-side // 16)
        self.heads = [f"cat_head{i}" for i in range(num_heads)]
        for name in self.heads:
            head = OrderedDict(CoordAtt=AttentionHead(channels, last))
            self.add_module(name, nn.Sequential(head))
        self.Linear = Unit(channels, channels, (last, last), groups=channels, linear=True)
        self.fc = nn.Linear(channels, num_classes)
        # ImageNet's mean and deviation, for pixels in 0..255.
        mean, std = torch.tensor((0.485, 0.456, 0.406)), torch.tensor((0.229, 0.224, 0.225))
        self.register_buffer("scale", (1 / (255 * std)).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("offset", (-mean / std).reshape(1, 3, 1, 1), persistent=False)

    def forward(self, x: Any) -> Any:
        """Returns the logits."""
        x = self.features(x * self.scale + self.offset)
        maps = [getattr(self, name)(x) for name in self.heads]
        strongest = maps[0]
        for other in maps[1:]:
            strongest = torch.maximum(strongest, other)
        return self.fc(self.Linear(x * strongest).flatten(1))


def ddamfn(num_classes: int, width: float = 1.0) -> nn.Module:
    """DDAMFN with two heads, for pictures of 112 pixels."""
    return Ddamfn(num_classes, width)


class CompactBlock(nn.Module):
    """Two 3x3 convolutions beside an averaged shortcut (He et al. 2019, ResNet-D)."""

    def __init__(self, channels: int, filters: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *conv_bn(channels, filters, 3, stride),
            nn.ReLU(inplace=True),
            *conv_bn(filters, filters, 3),
        )
        shortcut: list[nn.Module] = []
        if stride > 1:
            shortcut.append(nn.AvgPool2d(stride, ceil_mode=True, count_include_pad=False))
        if stride > 1 or channels != filters:
            shortcut += conv_bn(channels, filters, 1)
        self.shortcut = nn.Sequential(*shortcut)

    def forward(self, x: Any) -> Any:
        """Returns the block's map."""
        return torch.relu(self.shortcut(x) + self.body(x))


def compact(
    num_classes: int,
    stem_filters: int = 32,
    widths: Sequence[int] = (64, 128, 256),
    depths: Sequence[int] = (1, 1, 1),
    first_stride: int = 2,
) -> nn.Module:
    """As `fer_keras.models.compact`, for grey pictures."""
    layers: list[nn.Module] = [
        Scale(1 / 64, -2.0),
        *conv_bn(1, stem_filters, 3, 2),
        nn.ReLU(inplace=True),
    ]
    channels = stem_filters
    for stage, (filters, depth) in enumerate(zip(widths, depths, strict=True)):
        for block in range(depth):
            stride = 1 if block else 2 if stage else first_stride
            layers.append(CompactBlock(channels, filters, stride))
            channels = filters
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.3)]
    return nn.Sequential(*layers, nn.Linear(channels, num_classes))


class Cbam(nn.Module):
    """A gate for every channel, then one for every place (Woo et al. 2018)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(4, channels // 16)
        self.mlp = nn.Sequential(
            nn.Linear(channels, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, channels)
        )
        self.places = nn.Sequential(*conv_bn(2, 1, 7))

    def forward(self, x: Any) -> Any:
        """Returns the gated map."""
        gate = (self.mlp(x.mean((2, 3))) + self.mlp(x.amax((2, 3)))).sigmoid()
        x = x * gate[:, :, None, None]
        both = torch.cat([x.amax(1, keepdim=True), x.mean(1, keepdim=True)], dim=1)
        return x * self.places(both).sigmoid()


class GatedBlock(ResidualBlock):
    """A residual block whose body passes a CBAM."""

    def __init__(self, channels: int, filters: int, stride: int) -> None:
        super().__init__(channels, filters, stride)
        self.body.append(Cbam(filters))
        if channels != filters and stride == 1:
            self.shortcut = nn.Sequential(*conv_bn(channels, filters, 1))


class ScalesBlock(nn.Module):
    """Two chains of convolutions over four groups of channels, one each way (MA-Net)."""

    def __init__(self, channels: int, filters: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Sequential(*conv_bn(channels, filters, 3, stride), nn.ReLU(inplace=True))
        quarter = filters // 4
        self.chains = nn.ModuleList(
            nn.ModuleList(nn.Sequential(*conv_bn(quarter, quarter, 3)) for _ in range(4))
            for _ in range(2)
        )
        same = stride == 1 and channels == filters
        self.shortcut = (
            nn.Identity() if same else nn.Sequential(*conv_bn(channels, filters, 1, stride))
        )

    def forward(self, x: Any) -> Any:
        """Returns the block's map."""
        groups = self.first(x).chunk(4, dim=1)
        up = self._chain(self.chains[0], groups)
        down = self._chain(self.chains[1], groups[::-1])[::-1]
        return torch.relu(torch.cat(up, dim=1) + torch.cat(down, dim=1) + self.shortcut(x))

    def _chain(self, convs: Any, groups: Sequence[Any]) -> list[Any]:
        answers: list[Any] = []
        for conv, group in zip(convs, groups, strict=True):
            answers.append(conv(torch.relu(answers[-1]) + group if answers else group))
        return answers


class MaNet(nn.Module):
    """As `fer_keras.models.manet`."""

    def __init__(self, num_classes: int, width: float = 1.0) -> None:
        super().__init__()
        c64, c128, c256, c512 = (max(1, round(64 * width)) * factor for factor in (1, 2, 4, 8))
        self.trunk = nn.Sequential(
            Scale(1 / 255, 0.0),
            *conv_bn(3, c64, 7, 2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, 1),
            *self._stages(ResidualBlock, c64, (c64, 1), (c128, 2)),
        )
        self.quadrants = nn.ModuleList(
            self._stages(GatedBlock, c128, (c256, 2), (c512, 1)) for _ in range(4)
        )
        self.scales = self._stages(ScalesBlock, c128, (c256, 2), (c512, 2))
        self.local = nn.Linear(c512, num_classes)
        self.whole = nn.Linear(c512, num_classes)

    def forward(self, x: Any) -> Any:
        """Returns the logits."""
        x = self.trunk(x)
        parts = [part for half in x.chunk(2, dim=2) for part in half.chunk(2, dim=3)]
        maps = [branch(part) for branch, part in zip(self.quadrants, parts, strict=True)]
        local = torch.cat([torch.cat(maps[:2], dim=3), torch.cat(maps[2:], dim=3)], dim=2)
        of_local, of_scales = (each.mean((2, 3)) for each in (local, self.scales(x)))
        return 0.6 * self.local(of_local) + 0.4 * self.whole(of_scales)

    def _stages(self, block: Any, channels: int, *stages: tuple[int, int]) -> nn.Sequential:
        blocks = []
        for filters, stride in stages:
            blocks += [block(channels, filters, stride), block(filters, filters, 1)]
            channels = filters
        return nn.Sequential(*blocks)


class TransformerBlock(nn.Module):
    """Attention and two dense layers, each behind a normalisation (Dosovitskiy et al. 2021)."""

    def __init__(self, hidden: int, heads: int, mlp: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(hidden, 1e-6), nn.LayerNorm(hidden, 1e-6)
        self.attention = nn.MultiheadAttention(hidden, heads, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.mlp = nn.Sequential(
            nn.Linear(hidden, mlp), nn.GELU(), nn.Dropout(dropout), nn.Linear(mlp, hidden)
        )

    def forward(self, x: Any) -> Any:
        """Returns the tokens."""
        y = self.norm1(x)
        x = x + self.dropout(self.attention(y, y, y, need_weights=False)[0])
        return x + self.dropout(self.mlp(self.norm2(x)))


class VitSe(nn.Module):
    """As `fer_keras.models.vit_se`."""

    def __init__(
        self, num_classes: int, patch_size: int, hidden: int, depth: int, heads: int, mlp: int,
        side: int,
    ) -> None:  # fmt: skip
        super().__init__()
        self.scale = Scale(1 / 127.5, -1.0)
        self.patches = nn.Conv2d(3, hidden, patch_size, patch_size)
        self.token = nn.Parameter(torch.zeros(1, 1, hidden))
        tokens = 1 + (side // patch_size) ** 2
        self.positions = nn.Parameter(0.02 * torch.randn(1, tokens, hidden))
        self.blocks = nn.Sequential(
            nn.Dropout(0.1), *(TransformerBlock(hidden, heads, mlp) for _ in range(depth))
        )
        self.norm = nn.LayerNorm(hidden, 1e-6)
        self.pooler = nn.Linear(hidden, hidden)
        self.gate = nn.Sequential(
            nn.Linear(hidden, hidden // 4), nn.ReLU(), nn.Linear(hidden // 4, hidden), nn.Sigmoid()
        )
        self.classify = nn.Sequential(nn.Dropout(0.1), nn.Linear(hidden, num_classes))

    def forward(self, x: Any) -> Any:
        """Returns the logits."""
        x = self.patches(self.scale(x)).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], dim=1) + self.positions
        pooled = self.pooler(self.norm(self.blocks(x))[:, 0]).tanh()
        return self.classify(pooled * self.gate(pooled))
