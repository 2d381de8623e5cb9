"""Our layers and building blocks against the same ones of PyTorch: padding, constants, slopes."""

from typing import Any

import keras
import numpy as np
import pytest

from fer_keras.models import build_network
from fer_keras.models.ddamfn import MixedDepthwiseConv2D, bn_activation
from fer_keras.models.layers import FusedBatchNormalization, batch_norm, conv
from fer_keras.models.manet import SMALL as MANET
from fer_keras.models.resnet18 import SMALL, build

torch = pytest.importorskip("torch")
RNG = np.random.default_rng


def to_torch(x: np.ndarray) -> Any:
    return torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))


def to_numpy(x: Any) -> np.ndarray:
    return x.detach().numpy().transpose(0, 2, 3, 1)


def answer(model: Any, x: np.ndarray, training: bool = False) -> np.ndarray:
    return keras.ops.convert_to_numpy(model(x, training=training))


def torch_conv(channels: int, filters: int, kernel_size: int, stride: int) -> Any:
    return torch.nn.Conv2d(
        channels, filters, kernel_size, stride=stride, padding=kernel_size // 2, bias=False
    )


def copy_conv(source: Any, layer: Any) -> None:
    """OIHW to HWIO."""
    layer.set_weights([source.weight.detach().numpy().transpose(2, 3, 1, 0)])


def copy_batch_norm(source: Any, layer: Any) -> None:
    """Gives the source weights that are not 0 and 1, and copies them."""
    rng = RNG(3)
    for tensor in (source.weight, source.bias, source.running_mean, source.running_var):
        values = rng.uniform(0.5, 1.5, tensor.shape).astype("float32")
        tensor.data.copy_(torch.from_numpy(values))
    names = ("weight", "bias", "running_mean", "running_var")
    layer.set_weights([getattr(source, name).detach().numpy() for name in names])


@pytest.mark.backends
@pytest.mark.parametrize(
    ("size", "kernel_size", "stride"), [(8, 3, 2), (7, 3, 2), (8, 1, 2), (8, 5, 1)]
)
def test_convolution(size: int, kernel_size: int, stride: int) -> None:
    torch.manual_seed(0)
    x = RNG(0).normal(size=(2, size, size, 3)).astype("float32")
    image = keras.Input((size, size, 3))
    ours = keras.Model(image, conv(image, 4, kernel_size, strides=stride, name="conv"))
    theirs = torch_conv(3, 4, kernel_size, stride)
    copy_conv(theirs, ours.get_layer("conv"))
    np.testing.assert_allclose(answer(ours, x), to_numpy(theirs(to_torch(x))), atol=1e-5, rtol=0)


@pytest.mark.backends
def test_batch_normalisation() -> None:
    x = RNG(0).normal(2, 3, size=(4, 5, 5, 3)).astype("float32")
    image = keras.Input((5, 5, 3))
    ours = keras.Model(image, batch_norm(image, name="bn"))
    theirs = torch.nn.BatchNorm2d(3)
    layer = ours.get_layer("bn")
    copy_batch_norm(theirs, layer)

    theirs.eval()
    np.testing.assert_allclose(answer(ours, x), to_numpy(theirs(to_torch(x))), atol=1e-5, rtol=0)
    variance_before = theirs.running_var.numpy().copy()
    theirs.train()
    np.testing.assert_allclose(
        answer(ours, x, training=True), to_numpy(theirs(to_torch(x))), atol=1e-5, rtol=0
    )
    _, _, mean, variance = layer.get_weights()
    np.testing.assert_allclose(mean, theirs.running_mean.numpy(), atol=1e-5, rtol=0)
    # PyTorch divides the variance that it keeps by n - 1, Keras by n = 4 * 5 * 5 values.
    added = (theirs.running_var.numpy() - 0.9 * variance_before) * 99 / 100
    np.testing.assert_allclose(variance, 0.9 * variance_before + added, atol=1e-5, rtol=0)


@pytest.mark.backends
@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_fused_batch_normalisation_is_kerass(precision: str) -> None:
    """Result, statistics and gradients, which one operation of TensorFlow works out."""
    x = RNG(0).normal(2, 3, size=(4, 5, 5, 3)).astype("float32")
    target = RNG(1).normal(size=x.shape).astype("float32")
    answers = []
    for kind in (keras.layers.BatchNormalization, FusedBatchNormalization):
        layer = kind(momentum=0.9, epsilon=1e-5, dtype=precision)
        image = keras.Input((5, 5, 3))
        model = keras.Model(image, keras.layers.Rescaling(1.0)(layer(image)))
        values = [RNG(i).uniform(0.5, 1.5, 3) for i in range(4)]
        layer.set_weights(values)
        model.compile(keras.optimizers.SGD(0.5), loss="mse")
        model.fit(x, target, batch_size=4, verbose=0)
        kept = layer.get_weights()
        answers.append([*kept, answer(model, x), answer(model, x, training=True)])
        assert all(np.abs(a - b).max() > 1e-3 for a, b in zip(kept, values, strict=True))
    tolerance = 1e-5 if precision == "float32" else 2e-2
    for one, other in zip(*answers, strict=True):
        np.testing.assert_allclose(
            np.asarray(one, np.float32), np.asarray(other, np.float32), atol=tolerance, rtol=0
        )


class TorchBlock(torch.nn.Module):
    """A basic block of He et al. 2016 with a strided shortcut."""

    def __init__(self, channels: int, filters: int, stride: int) -> None:
        super().__init__()
        self.conv1 = torch_conv(channels, filters, 3, stride)
        self.conv1_bn = torch.nn.BatchNorm2d(filters)
        self.conv2 = torch_conv(filters, filters, 3, 1)
        self.conv2_bn = torch.nn.BatchNorm2d(filters)
        self.shortcut = torch_conv(channels, filters, 1, stride)
        self.shortcut_bn = torch.nn.BatchNorm2d(filters)

    def forward(self, x: Any) -> Any:
        y = torch.relu(self.conv1_bn(self.conv1(x)))
        y = self.conv2_bn(self.conv2(y))
        return torch.relu(y + self.shortcut_bn(self.shortcut(x)))


@pytest.mark.backends
@pytest.mark.parametrize("training", [False, True])
def test_residual_block_of_resnet18(training: bool) -> None:
    torch.manual_seed(0)
    keras.utils.set_random_seed(0)
    network = build((12, 12, 3), 7, **SMALL)
    name = "stage2_block1"
    before, after = (network.get_layer(n).output for n in ("stage1_block2_relu", f"{name}_relu"))
    ours = keras.Model(network.input, {"before": before, "after": after})
    theirs = TorchBlock(4, 8, stride=2).train(training)
    for part, module in theirs.named_children():
        copy = copy_batch_norm if part.endswith("_bn") else copy_conv
        copy(module, network.get_layer(f"{name}_{part}"))
    images = RNG(1).uniform(0, 255, (3, 12, 12, 3)).astype("float32")
    found = ours(images, training=training)
    x, y = (keras.ops.convert_to_numpy(found[key]) for key in ("before", "after"))
    assert y.shape == (3, 6, 6, 8)
    assert (y > 0).mean() > 0.2
    np.testing.assert_allclose(y, to_numpy(theirs(to_torch(x))), atol=1e-5, rtol=0)


def test_prelu_has_pytorchs_slopes() -> None:
    """One for each channel, which starts at 0.25 (Keras starts at 0)."""
    channels = 4
    image = keras.Input((3, 3, channels))
    layer = keras.Model(image, bn_activation(image, "prelu", name="one")).get_layer("one_prelu")
    x = RNG(0).normal(size=(2, 3, 3, channels)).astype("float32")
    theirs = torch.nn.PReLU(channels)
    found = keras.ops.convert_to_numpy(layer(x))
    np.testing.assert_allclose(found, to_numpy(theirs(to_torch(x))), atol=1e-6, rtol=0)
    slopes = RNG(1).uniform(0, 1, channels).astype("float32")
    layer.set_weights([slopes.reshape(layer.get_weights()[0].shape)])
    theirs.weight.data.copy_(torch.from_numpy(slopes))
    found = keras.ops.convert_to_numpy(layer(x))
    np.testing.assert_allclose(found, to_numpy(theirs(to_torch(x))), atol=1e-6, rtol=0)


@pytest.mark.backends
@pytest.mark.parametrize("size", [8, 7])
@pytest.mark.parametrize("stride", [1, 2])
def test_mixed_depthwise_convolution(size: int, stride: int) -> None:
    """Each kernel has its own padding, half its size on every side."""
    groups = ((3, 2), (5, 1), (7, 1))
    x = RNG(0).normal(size=(2, size, size, 4)).astype("float32")
    layer = MixedDepthwiseConv2D(groups, strides=stride)
    found = keras.ops.convert_to_numpy(layer(x))
    parts, first = [], 0
    for (kernel_size, channels), kernel in zip(groups, layer.get_weights(), strict=True):
        theirs = torch.nn.Conv2d(
            channels, channels, kernel_size, stride, kernel_size // 2, groups=channels, bias=False
        )
        weights = np.ascontiguousarray(kernel.transpose(2, 3, 0, 1))
        theirs.weight.data.copy_(torch.from_numpy(weights))
        parts.append(to_numpy(theirs(to_torch(x[..., first : first + channels]))))
        first += channels
    np.testing.assert_allclose(found, np.concatenate(parts, axis=-1), atol=1e-5, rtol=0)


def test_maximum_of_manets_stem_pads_every_side() -> None:
    """The source pads with minus infinity; behind a ReLU zeros are the same."""
    network = build_network("manet", (48, 48, 1), 7, **MANET)
    pad, pool = (network.get_layer(name) for name in ("stem_pool_pad", "stem_pool"))
    assert isinstance(pad.input._keras_history.operation, keras.layers.Activation)
    for size in (8, 7):
        x = np.maximum(RNG(size).normal(size=(2, size, size, 3)), 0).astype("float32")
        found = keras.ops.convert_to_numpy(pool(pad(x)))
        theirs = torch.nn.MaxPool2d(3, stride=2, padding=1)(to_torch(x))
        np.testing.assert_array_equal(found, to_numpy(theirs))


@pytest.mark.parametrize(
    ("ours", "theirs", "size"),
    [
        # 44 -> 22 -> 11 -> 5: VGG19 drops the last row of odd maps, as the source does.
        (keras.layers.MaxPooling2D(2), torch.nn.MaxPool2d(2), 11),
        # 6 -> 1: ResNet18's pooling drops the last two.
        (keras.layers.AveragePooling2D(4), torch.nn.AvgPool2d(4), 6),
    ],
    ids=["maximum of 2", "mean of 4"],
)
def test_poolings_that_do_not_fill_their_last_window(ours: Any, theirs: Any, size: int) -> None:
    x = RNG(0).normal(size=(2, size, size, 3)).astype("float32")
    found = keras.ops.convert_to_numpy(ours(x))
    np.testing.assert_allclose(found, to_numpy(theirs(to_torch(x))), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("name", "theirs"), [("hard_swish", "Hardswish"), ("hard_sigmoid", "Hardsigmoid")]
)
def test_hard_activations(name: str, theirs: str) -> None:
    x = np.linspace(-5, 5, 101, dtype="float32")
    found = keras.ops.convert_to_numpy(getattr(keras.activations, name)(x))
    expected = getattr(torch.nn, theirs)()(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-6, rtol=0)
