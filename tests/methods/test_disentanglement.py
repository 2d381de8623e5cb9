"""The penalties against the person: a reversed gradient, and covariances."""

import keras
import numpy as np
import pytest
from keras import ops

from fer_keras.methods import build_method
from fer_keras.methods.disentanglement import cross_covariance, reverse_gradient, standardized

from .conftest import NAMES


@pytest.mark.backends
def test_the_gradient_is_turned_round_and_the_values_are_kept():
    layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")
    source = keras.Input((1,))
    forward = layer(source)
    plain, turned = (
        keras.Model(source, forward),
        keras.Model(source, reverse_gradient(forward, 0.5)),
    )
    x, y = np.array([[2.0]], np.float32), np.array([[0.0]], np.float32)
    np.testing.assert_allclose(
        ops.convert_to_numpy(turned(x)), ops.convert_to_numpy(plain(x)), rtol=1e-6
    )

    def step(model):
        layer.set_weights([np.ones((1, 1), np.float32)])
        model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=False)
        model.train_on_batch(x, y)
        return float(layer.get_weights()[0][0, 0]) - 1.0

    down, up = step(plain), step(turned)
    assert down == pytest.approx(-0.8, rel=1e-5)
    assert up == pytest.approx(-0.5 * down, rel=1e-5)


def test_covariances_are_those_of_numpy_and_ignore_the_scale():
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(50, 3)), rng.normal(size=(50, 2))
    other[:, 0] += one[:, 1]
    arrays = [standardized(array.astype(np.float32)) for array in (one, other)]
    found = float(cross_covariance(*arrays))
    expected = 0.5 * np.mean(np.corrcoef(one.T, other.T)[:3, 3:] ** 2)
    assert found == pytest.approx(expected, rel=1e-3)
    scaled = standardized((100 * one).astype(np.float32))
    assert float(cross_covariance(scaled, arrays[1])) == pytest.approx(found, rel=1e-3)


def test_both_penalties_train_and_none_counts_when_evaluating(tiny_network, pictures):
    x, y = pictures
    plain = build_method("cross_entropy", tiny_network, NAMES)
    method = build_method(
        "disentanglement", tiny_network, NAMES, reversal=0.5, cross_covariance=1.0
    )
    method.compile(keras.optimizers.SGD(0.01), jit_compile=False)
    plain.compile(keras.optimizers.SGD(0.01), jit_compile=False)
    expected = plain.evaluate(x, y, verbose=0, return_dict=True)["loss"]
    assert method.evaluate(x, y, verbose=0, return_dict=True)["loss"] == pytest.approx(expected)
    trained = method.fit(x, y, batch_size=10, verbose=0).history["loss"][0]
    # The adversary's squared error of values with variance 1, and the covariances.
    assert trained > expected + 0.3
