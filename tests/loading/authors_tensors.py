"""Names and shapes of the tensors that the authors' programs save, and values for them from a seed.

Stated anew from what the programs create; the authors' own networks took every one of these state
dicts, and gave the logits in `test_published.py`.
"""

from collections.abc import Iterator
from zlib import crc32

import numpy as np
import numpy.typing as npt

Shapes = dict[str, tuple[int, ...]]
Tensors = dict[str, npt.NDArray[np.float32]]


def norm(name: str, channels: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """A batch norm."""
    for part in ("weight", "bias", "running_mean", "running_var"):
        yield f"{name}.{part}", (channels,)


def affine(name: str, *shape: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """A convolution or dense layer with bias."""
    yield f"{name}.weight", shape
    yield f"{name}.bias", shape[:1]


def unit(
    name: str, outputs: int, inputs: int, height: int, width: int
) -> Iterator[tuple[str, tuple[int, ...]]]:
    """A convolution and its batch norm in one module."""
    yield f"{name}.conv.weight", (outputs, inputs, height, width)
    yield from norm(f"{name}.bn", outputs)


def cbam(name: str, channels: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """An attention module with sixteen channels to a hidden unit."""
    hidden = channels // 16
    yield from affine(f"{name}.ChannelGate.mlp.1", hidden, channels)
    yield from affine(f"{name}.ChannelGate.mlp.3", channels, hidden)
    yield from unit(f"{name}.SpatialGate.spatial", 1, 2, 7, 7)


def ddamfn(num_classes: int, num_heads: int) -> Shapes:
    """DDAMFN as its checkpoints hold it, with what is never used."""
    shapes: Shapes = {}

    def add(pairs: Iterator[tuple[str, tuple[int, ...]]]) -> None:
        shapes.update(pairs)

    def block(name: str, inputs: int, outputs: int, kernels: dict[int, int]) -> None:
        width = sum(kernels.values())
        hidden = max(8, width // 32)
        add(unit(f"{name}.conv", width, inputs, 1, 1))
        shapes[f"{name}.conv.prelu.weight"] = (width,)
        for index, (size, channels) in enumerate(kernels.items()):
            shapes[f"{name}.conv_dw.mixed_depthwise_conv.{index}.weight"] = (
                channels, 1, size, size,
            )  # fmt: skip
        add(norm(f"{name}.conv_dw.bn", width))
        shapes[f"{name}.conv_dw.prelu.weight"] = (width,)
        add(affine(f"{name}.CA.conv1", hidden, width, 1, 1))
        add(norm(f"{name}.CA.bn1", hidden))
        add(affine(f"{name}.CA.conv2", width, hidden, 1, 1))
        add(affine(f"{name}.CA.conv3", width, hidden, 1, 1))
        add(unit(f"{name}.project", outputs, width, 1, 1))

    for index, inputs in ((0, 3), (1, 1)):
        add(unit(f"features.{index}", 64, inputs, 3, 3))
        shapes[f"features.{index}.prelu.weight"] = (64,)
    block("features.2", 64, 64, {3: 64, 5: 32, 7: 32})
    for i in range(9):
        block(f"features.3.model.{i}", 64, 64, {3: 96, 5: 32})
    block("features.4", 64, 128, {3: 128, 5: 64, 7: 64})
    for i in range(16):
        block(f"features.5.model.{i}", 128, 128, {3: 192, 5: 64})
    block("features.6", 128, 256, {3: 256, 5: 256, 7: 256, 9: 256})
    for i in range(6):
        block(f"features.7.model.{i}", 256, 256, {3: 172, 5: 170, 7: 170})
    add(unit("features.8", 512, 256, 1, 1))
    shapes["features.8.prelu.weight"] = (512,)
    for head in range(num_heads):
        name = f"cat_head{head}.CoordAtt"
        add(unit(f"{name}.Linear_h", 512, 1, 1, 7))
        add(unit(f"{name}.Linear_w", 512, 1, 7, 1))
        add(affine(f"{name}.conv1", 16, 512, 1, 1))
        add(norm(f"{name}.bn1", 16))
        add(affine(f"{name}.conv2", 512, 16, 1, 1))
        add(affine(f"{name}.conv3", 512, 16, 1, 1))
        add(unit(f"{name}.Linear", 512, 1, 7, 7))
    add(unit("Linear", 512, 1, 7, 7))
    add(affine("fc", num_classes, 512))
    add(norm("bn", num_classes))
    return shapes


def esr(
    num_branches: int, *, attention: bool = False, affect: bool = False, ckplus: bool = False
) -> Shapes:
    """The folder of an ensemble; the file of each part stands before the names, with a point."""
    base = [(3, 64, 5), (64, 128, 3), (128, 128, 3), (128, 128, 3)]
    branch = [(128, 128, 3), (128, 256, 3), (256, 256, 3), (256, 512, 3)]
    if ckplus:
        base, branch = [(1, 32, 5), (32, 64, 3), (64, 64, 3)], [(64, 64, 3), (64, 64, 3)]
    shapes: Shapes = {}
    parts = {"base": base, **{f"branch{k}": branch for k in range(1, num_branches + 1)}}
    for part, convs in parts.items():
        for number, (inputs, outputs, size) in enumerate(convs, start=1):
            shapes.update(affine(f"{part}.conv{number}", outputs, inputs, size, size))
            shapes.update(norm(f"{part}.bn{number}", outputs))
            if attention:
                shapes.update(cbam(f"{part}.cbam{number}", outputs))
        if part != "base":
            shapes.update(affine(f"{part}.fc", 8, convs[-1][1]))
            if affect:
                shapes.update(affine(f"{part}.fc_dimensional", 2, 8))
    return shapes


def manet(num_classes: int) -> Shapes:
    """MA-Net, and its form in the diversified fork, whose names are the same."""
    shapes: Shapes = {"conv1.weight": (64, 3, 7, 7)}
    shapes.update(norm("bn1", 64))

    def layer(name: str, inputs: int, outputs: int, strides: int, kind: str) -> None:
        for block in range(2):
            stem = f"{name}.{block}"
            first = inputs if block == 0 else outputs
            shapes[f"{stem}.conv1.weight"] = (outputs, first, 3, 3)
            shapes.update(norm(f"{stem}.bn1", outputs))
            if kind == "scales":
                quarter = outputs // 4
                for chain in (1, 2):
                    for group in range(1, 5):
                        shapes[f"{stem}.conv{chain}_2_{group}.weight"] = (quarter, quarter, 3, 3)
                        shapes.update(norm(f"{stem}.bn{chain}_2_{group}", quarter))
            else:
                shapes[f"{stem}.conv2.weight"] = (outputs, outputs, 3, 3)
                shapes.update(norm(f"{stem}.bn2", outputs))
            if block == 0 and (strides > 1 or inputs != outputs):
                shapes[f"{stem}.downsample.0.weight"] = (outputs, inputs, 1, 1)
                shapes.update(norm(f"{stem}.downsample.1", outputs))
            if kind == "attention":
                shapes.update(cbam(f"{stem}.cbam", outputs))

    layer("layer1", 64, 64, 1, "plain")
    layer("layer2", 64, 128, 2, "plain")
    for quadrant in range(1, 5):
        layer(f"layer3_1_p{quadrant}", 128, 256, 2, "attention")
        layer(f"layer4_1_p{quadrant}", 256, 512, 1, "attention")
    layer("layer3_2", 128, 256, 2, "scales")
    layer("layer4_2", 256, 512, 2, "scales")
    shapes.update(affine("fc_1", num_classes, 512))
    shapes.update(affine("fc_2", num_classes, 512))
    return shapes


def vgg19() -> Shapes:
    """VGG19 of the FER2013 project: seven classes."""
    shapes: Shapes = {}
    index, inputs = 0, 3
    for outputs, depth in ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4)):
        for _ in range(depth):
            shapes.update(affine(f"features.{index}", outputs, inputs, 3, 3))
            shapes.update(norm(f"features.{index + 1}", outputs))
            index, inputs = index + 3, outputs
        index += 1
    shapes.update(affine("classifier", 7, 512))
    return shapes


def resnet18() -> Shapes:
    """ResNet18 of the FER2013 project: seven classes."""
    shapes: Shapes = {"conv1.weight": (64, 3, 3, 3)}
    shapes.update(norm("bn1", 64))
    inputs = 64
    for stage, outputs in enumerate((64, 128, 256, 512), start=1):
        for block in range(2):
            name = f"layer{stage}.{block}"
            shapes[f"{name}.conv1.weight"] = (outputs, inputs, 3, 3)
            shapes.update(norm(f"{name}.bn1", outputs))
            shapes[f"{name}.conv2.weight"] = (outputs, outputs, 3, 3)
            shapes.update(norm(f"{name}.bn2", outputs))
            if inputs != outputs:
                shapes[f"{name}.shortcut.0.weight"] = (outputs, inputs, 1, 1)
                shapes.update(norm(f"{name}.shortcut.1", outputs))
            inputs = outputs
    shapes.update(affine("linear", 7, 512))
    return shapes


def values(shapes: Shapes, variance: float = 1.0) -> Tensors:
    """Numbers for tensors, of each name the same whatever stands beside it.

    Args:
        shapes: Name -> shape.
        variance: Where the running variances lie; chosen for logits of a usual size.
    """
    tensors: Tensors = {}
    for name, shape in shapes.items():
        rng = np.random.default_rng(crc32(name.encode()))
        if name.endswith("running_var"):
            array = rng.uniform(0.8, 1.2, shape) * variance
        elif len(shape) == 1 and name.endswith("weight"):
            array = (
                rng.uniform(0.1, 0.3, shape) if "prelu" in name else rng.uniform(0.8, 1.2, shape)
            )
        elif len(shape) == 1:
            array = rng.normal(0, 0.1, shape)
        else:
            array = rng.normal(0, (2 / np.prod(shape[1:])) ** 0.5, shape)
        tensors[name] = array.astype(np.float32)
    return tensors


def pictures(side: int, channels: int = 3) -> npt.NDArray[np.uint8]:
    """Two pictures `(2, side, side, channels)`: six by six patches of noise."""
    patches = np.random.default_rng(side).integers(0, 256, (2, 6, 6, channels), np.uint8)
    places = np.arange(side) * 6 // side
    return patches[:, places][:, :, places]
