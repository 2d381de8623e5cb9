"""Keras on PyTorch, layer by layer without Keras around it: the answers of Keras."""

from typing import Any

import keras
import numpy as np
import pytest

from fer_keras.methods import build_method
from fer_keras.models import build_network, list_networks, network_module
from fer_keras.models.layers import FusedBatchNormalization

pytestmark = [
    pytest.mark.backends,
    pytest.mark.skipif(keras.backend.backend() != "torch", reason="of Keras on PyTorch"),
]
SMALL_SHAPES = {"image": (48, 48, 3), "pair": (2, 48, 48, 3), "clip": (4, 48, 48, 3)}


def small(name: str) -> tuple[Any, np.ndarray]:
    """A narrow network, and pictures, pairs or clips for it."""
    module = network_module(name)
    shape = SMALL_SHAPES[getattr(module, "INPUT_KIND", "image")]
    network = build_network(name, shape, 5, **getattr(module, "SMALL", {}))
    return network, np.random.default_rng(0).integers(0, 256, (4, *shape), dtype=np.uint8)


def trained_on(call: Any, network: Any, pictures: np.ndarray) -> dict[str, np.ndarray]:
    """Outputs, gradients and statistics of one step forwards and backwards."""
    import torch

    before = [np.array(keras.ops.convert_to_numpy(each)) for each in network.variables]
    keras.utils.set_random_seed(5)
    outputs = call(pictures, training=True)
    loss = sum(
        (each * torch.cos(torch.arange(each.numel())).reshape(each.shape)).sum()
        for _, each in sorted(outputs.items())
        if each.requires_grad
    )
    loss.backward()
    found = {f"output {name}": each.detach().float().numpy() for name, each in outputs.items()}
    for variable in network.trainable_variables:
        if variable.value.grad is not None:
            found[f"gradient of {variable.path}"] = variable.value.grad.numpy().copy()
    for variable in network.non_trainable_variables:
        found[variable.path] = keras.ops.convert_to_numpy(variable).copy()
    for variable, value in zip(network.variables, before, strict=True):
        variable.value.grad = None
        variable.assign(value)
    return found


@pytest.mark.parametrize("name", list_networks())
def test_answers_gradients_and_statistics_are_kerass(name: str) -> None:
    network, pictures = small(name)
    if name == "fusion":
        pytest.skip("its networks are files")
    method = build_method("cross_entropy", network, [f"class {number}" for number in range(5)])
    network = method.network
    keras_found = trained_on(network, network, pictures)
    ours = trained_on(method, network, pictures)
    assert method._direct._steps is not None
    assert ours.keys() == keras_found.keys()
    largest = max(np.abs(keras_found[what]).max() for what in keras_found if "gradient" in what)
    for what, values in keras_found.items():
        # The gradient of a bias before batch norm is nothing but rounding.
        scale = largest if "gradient" in what else max(1.0, np.abs(values).max())
        np.testing.assert_allclose(ours[what] / scale, values / scale, atol=2e-4, err_msg=what)
    in_use = method(pictures)
    for name, values in network(pictures).items():
        np.testing.assert_allclose(in_use[name].detach(), values.detach(), atol=2e-4)


@pytest.mark.parametrize("name", ["compact", "ddamfn", "encoder_classifier", "resnet18"])
def test_bfloat16_is_kerass(name: str) -> None:
    keras.config.set_dtype_policy("mixed_bfloat16")
    network, pictures = small(name)
    method = build_method("cross_entropy", network, [f"class {number}" for number in range(5)])
    # Ours first: kernels lie as they will.
    ours = trained_on(method, method.network, pictures)
    expected = trained_on(method.network, method.network, pictures)
    assert method._direct._steps is not None
    assert ours.keys() == expected.keys()
    largest = max(np.abs(values).max() for what, values in ours.items() if "gradient" in what)
    for what, values in ours.items():
        tolerance = 0.04 * largest if "gradient" in what else 0.01 * np.abs(values).max()
        np.testing.assert_allclose(expected[what], values, atol=tolerance, err_msg=what)
    assert network.layers[1].compute_dtype == "bfloat16"


@pytest.mark.parametrize("kind", ["SGD", "Adam"])
def test_kernels_lie_as_pytorch_takes_them_and_train_as_keras_trains(kind: str) -> None:
    """The same four steps from kernels in either order, a pause and other values included."""
    pictures = np.random.default_rng(1).integers(0, 256, (8, 12, 12, 3), dtype=np.uint8)
    targets = np.eye(5, dtype="float32")[[0, 1, 2, 3, 4, 0, 1, 2]]
    found = []
    for is_direct in (True, False):
        keras.utils.set_random_seed(3)
        image = keras.Input((12, 12, 3), name="image")
        x = keras.layers.Rescaling(1 / 255)(image)
        # Without bias: its gradient before batch norm is rounding, which Adam makes a step of.
        x = keras.layers.Conv2D(8, 3, strides=2, use_bias=False)(x)
        x = keras.layers.Activation("relu")(FusedBatchNormalization()(x))
        x = keras.layers.DepthwiseConv2D(3, depth_multiplier=2)(x)
        x = keras.layers.Dense(5)(keras.layers.GlobalAveragePooling2D()(x))
        network = keras.Model(image, {"logits": x})
        method = build_method("cross_entropy", network, [f"class {number}" for number in range(5)])
        settings = {"momentum": 0.9} if kind == "SGD" else {}
        method.compile(optimizer=getattr(keras.optimizers, kind)(0.01, **settings))
        if not is_direct:
            method.call = method.network.__call__
        method.fit(pictures, targets, batch_size=4, shuffle=False, verbose=0)
        method.set_weights([each * 0.9 for each in method.get_weights()])
        method.fit(pictures, targets, batch_size=4, shuffle=False, verbose=0)
        found.append(method)
    ours, expected = found
    for mine, theirs in zip(ours.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-3, atol=2e-4)
    kept = [each for each in ours.optimizer.variables if len(each.shape) == 4]
    assert len(kept) == (2 if kind == "SGD" else 4)
    for variable in kept:
        assert variable.value.permute(3, 0, 1, 2).is_contiguous()
    ordinary, depthwise = (each for each in ours.trainable_variables if len(each.shape) == 4)
    assert ordinary.value.permute(3, 0, 1, 2).is_contiguous()
    assert depthwise.value.permute(2, 3, 0, 1).is_contiguous()


class Both(keras.layers.Layer):
    """Adds up two tensors, and thrice the second in training."""

    def call(self, inputs: Any, training: bool = False) -> Any:
        left, right = inputs.values() if isinstance(inputs, dict) else inputs
        return left + (3 if training else 1) * right

    def compute_output_shape(self, input_shape: Any) -> Any:
        shapes = input_shape.values() if isinstance(input_shape, dict) else input_shape
        return next(iter(shapes))


def test_rare_connections_are_kerass() -> None:
    """Paddings that stay layers, a map that two layers read, one batch norm in two places."""
    image = keras.Input((12, 12, 3), name="image")
    x = keras.layers.ZeroPadding2D(((0, 1), (0, 1)))(image)
    x = keras.layers.Conv2D(8, 3, strides=2)(x)
    x = keras.layers.AveragePooling2D(1)(x)
    padded = keras.layers.ZeroPadding2D(1)(x)
    read_twice = keras.layers.Conv2D(8, 3)(padded)
    x = keras.layers.Concatenate()([padded, keras.layers.ZeroPadding2D(1)(read_twice)])
    normalised = FusedBatchNormalization()(x)
    x = keras.layers.Activation("relu")(normalised)
    x = keras.layers.Multiply()([x, normalised])
    x = keras.layers.PReLU(shared_axes=[1, 2], alpha_initializer="he_normal")(x)
    x = x + keras.layers.AveragePooling2D((8, 1))(x)
    x = Both(name="both")({"left": x, "right": Both(name="sum")([x, x])})
    for axis in (1, 2, -1):
        left = keras.layers.Conv2D(4, 1, activation="softmax" if axis == 2 else "silu")(x)
        right = keras.layers.Activation("sigmoid")(keras.layers.Conv2D(4, 1, use_bias=False)(x))
        x = keras.layers.Concatenate(axis=axis)([left, right])
    shared = FusedBatchNormalization(momentum=0.5)
    x = shared(keras.layers.Activation("relu")(shared(x)))
    largest = keras.layers.GlobalMaxPooling2D(keepdims=True)(x)
    of_all = keras.layers.GlobalMaxPooling2D()(keras.layers.Conv2D(8, 3)(x))
    x = keras.layers.Add()([x, largest, keras.layers.Reshape((1, 1, 8))(of_all)])
    embedding = keras.layers.GlobalAveragePooling2D()(x)
    logits = keras.layers.Dense(5)(keras.layers.Dropout(0.5)(embedding, training=False))
    network = keras.Model(image, {"logits": logits, "features": normalised})
    pictures = np.random.default_rng(1).normal(size=(4, 12, 12, 3)).astype("float32")
    method = build_method("cross_entropy", network, [f"class {number}" for number in range(5)])
    expected = trained_on(method.network, method.network, pictures)
    ours = trained_on(method, method.network, pictures)
    assert ours.keys() == expected.keys()
    for what, values in ours.items():
        np.testing.assert_allclose(values, expected[what], rtol=1e-3, atol=1e-3, err_msg=what)
    for name, values in method.network(pictures).items():
        np.testing.assert_allclose(method(pictures)[name].detach(), values.detach(), atol=1e-4)
