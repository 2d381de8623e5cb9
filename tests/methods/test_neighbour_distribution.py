"""Targets from neighbours, computed by hand, and what is remembered of every face."""

import keras
import numpy as np
import pytest

from fer_keras.common.errors import ConfigError
from fer_keras.methods import build_method
from fer_keras.methods.neighbour_distribution import nearest

from .conftest import NAMES, as_samples, build_tiny_network

# Op by op, JAX would compile every one of them.
JIT = keras.backend.backend() == "jax"


def to_numpy(x):
    return keras.ops.convert_to_numpy(x)


def build(network, pictures, **options):
    keras.utils.set_random_seed(1)
    options = {"auxiliary": build_tiny_network(), "neighbours": 2, **options}
    method = build_method("neighbour_distribution", network, NAMES, **options)
    method.prepare(as_samples(*pictures))
    return method


def softmax(x):
    exponentials = np.exp(x - x.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def test_nearest_by_the_angle():
    vectors = np.array([[1, 0], [10, 1], [0, 1], [1, 9], [-1, 0]], np.float32)
    np.testing.assert_array_equal(nearest(vectors, 1)[:, 0], [1, 0, 3, 2, 2])


def test_no_row_is_its_own_neighbour_among_copies():
    found = nearest(np.ones((6, 3), np.float32), 2)
    assert found.shape == (6, 2)
    assert (found != np.arange(6)[:, None]).all()


@pytest.mark.backends
def test_the_loss_is_the_divergence_from_the_mixed_target(tiny_network, pictures):
    _, y = pictures
    method = build(tiny_network, pictures, weight=0.4)
    rows = np.array([3, 7], np.int32)
    logits = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)
    # Before anything was seen, the neighbours are taken for their labels.
    target = 0.6 * y[rows] + 0.4 * y[method.near[rows]].mean(axis=1)
    p = softmax(logits)
    terms = np.where(target > 0, target * np.log(np.maximum(target, 1e-30) / p), 0)
    outputs = {"logits": logits, "rows": rows}
    outputs = {name: keras.ops.convert_to_tensor(value) for name, value in outputs.items()}
    received = to_numpy(
        method.sample_losses(keras.ops.convert_to_tensor(y[rows]), outputs, training=True)
    )
    np.testing.assert_allclose(received, terms.sum(axis=1), rtol=1e-4)
    # What was predicted is remembered, of these two faces alone.
    expected = y.copy()
    expected[rows] = 0.7 * y[rows] + 0.3 * p
    np.testing.assert_allclose(to_numpy(method.predictions.value), expected, atol=1e-6)


def test_without_weight_it_is_cross_entropy_and_agreement_costs_nothing(tiny_network, pictures):
    _, y = pictures
    method = build(tiny_network, pictures, weight=0.0)
    logits = np.random.default_rng(0).normal(size=(10, 4)).astype(np.float32)
    outputs = {"logits": logits, "rows": np.arange(10, dtype=np.int32)}
    outputs = {name: keras.ops.convert_to_tensor(value) for name, value in outputs.items()}
    targets = keras.ops.convert_to_tensor(y)
    received = to_numpy(method.sample_losses(targets, outputs, training=True))
    expected = -np.log(softmax(logits))[np.arange(10), y.argmax(axis=1)]
    np.testing.assert_allclose(received, expected, rtol=1e-5)
    # Where all neighbours and the label say what the network says, nothing is to be learned.
    agreed = build(tiny_network, pictures, weight=0.5)
    agreed.predictions.assign(softmax(logits[:1]).repeat(10, axis=0))
    said = keras.ops.convert_to_tensor(softmax(logits[:1]).repeat(10, axis=0))
    outputs["logits"] = keras.ops.convert_to_tensor(logits[:1].repeat(10, axis=0))
    np.testing.assert_allclose(
        to_numpy(agreed.sample_losses(said, outputs, training=True)), 0, atol=1e-5
    )


@pytest.mark.backends
def test_fit_remembers_every_face_and_a_checkpoint_has_it(tiny_network, pictures):
    x, y = pictures
    method = build(tiny_network, pictures)
    assert any(variable is method.predictions for variable in method.variables)
    assert all(variable is not method.predictions for variable in method.trainable_variables)
    # The auxiliary network is no part of it.
    assert len(method.variables) <= len(method.network.variables) + 4
    method.compile(optimizer=keras.optimizers.SGD(0.1), jit_compile=JIT)
    rows = np.arange(10, dtype=np.int32)
    method.fit((x, rows), y, batch_size=4, epochs=1, shuffle=False, verbose=0)
    remembered = to_numpy(method.predictions.value)
    np.testing.assert_allclose(remembered.sum(axis=1), 1, rtol=1e-5)
    assert (np.abs(remembered - y).max(axis=1) > 1e-3).all()
    np.testing.assert_allclose(
        method.predict(x, verbose=0)["logits"], to_numpy(method.network(x)["logits"]), atol=1e-5
    )


def test_more_pictures_than_neighbours_are_needed(tiny_network, pictures):
    with pytest.raises(ConfigError, match="more training pictures"):
        build(tiny_network, pictures, neighbours=10)


def test_what_does_not_fit_is_refused(tiny_network, pictures):
    x, _ = pictures
    image = keras.Input((4, 4, 1))
    small = keras.Model(image, {"embedding": keras.layers.Flatten()(image)})
    with pytest.raises(ConfigError, match=r"pictures \(8, 8, 1\)"):
        build(tiny_network, pictures, auxiliary=small)
    with pytest.raises(ConfigError, match="auxiliary network"):
        build(tiny_network, pictures, auxiliary=keras.Model(image, {"logits": image}))
    method = build_method(
        "neighbour_distribution", tiny_network, NAMES, auxiliary=build_tiny_network()
    )
    with pytest.raises(ConfigError, match="after prepare"):
        method((x, np.arange(10)), training=True)
    with pytest.raises(ConfigError, match="mixes pictures"):
        method.check_mixtures()
