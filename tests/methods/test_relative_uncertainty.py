"""Mixed faces and their uncertainties, computed by hand."""

import keras
import numpy as np
import pytest

from fer_keras.common.errors import ConfigError
from fer_keras.methods import build_method
from fer_keras.methods.relative_uncertainty import mix

from .conftest import NAMES

# Op by op, JAX would compile every one of them.
JIT = keras.backend.backend() == "jax"


def to_numpy(x):
    return keras.ops.convert_to_numpy(x)


def build(network, **options):
    return build_method("relative_uncertainty", network, NAMES, **options)


def mixed(points, uncertainties, partner):
    arrays = (np.array(points, np.float32), np.array(uncertainties, np.float32)[:, None])
    tensors = [keras.ops.convert_to_tensor(array) for array in arrays]
    return to_numpy(mix(*tensors, keras.ops.convert_to_tensor(np.array(partner, np.int32))))


def test_equal_uncertainties_give_the_mean():
    np.testing.assert_allclose(
        mixed([[0, 2], [4, 6]], [0.3, 0.3], [1, 0]), [[2, 4], [2, 4]], rtol=1e-6
    )


def test_the_more_uncertain_face_weighs_more():
    # u = 3 and 1: three quarters of the first and a quarter of the second, in both rows.
    np.testing.assert_allclose(mixed([[0, 0], [4, 8]], [3, 1], [1, 0]), [[1, 2], [1, 2]])
    # A face that is its own partner stays.
    np.testing.assert_allclose(mixed([[0, 0], [4, 8]], [3, 1], [0, 1]), [[0, 0], [4, 8]])


@pytest.mark.backends
def test_the_loss_is_half_of_both_labels(tiny_network):
    method = build(tiny_network)
    logits = np.log(np.array([[0.1, 0.2, 0.3, 0.4], [0.25, 0.25, 0.25, 0.25]], np.float32))
    y = np.eye(4, dtype=np.float32)[[0, 3]]
    outputs = {
        "mixed_logits": keras.ops.convert_to_tensor(logits),
        "partner": keras.ops.convert_to_tensor(np.array([1, 0], np.int32)),
        "logits": keras.ops.convert_to_tensor(np.zeros((2, 4), np.float32)),
    }
    y = keras.ops.convert_to_tensor(y)
    received = to_numpy(method.sample_losses(y, outputs, training=True))
    expected = [-0.5 * np.log(0.1) - 0.5 * np.log(0.4), -np.log(0.25)]
    np.testing.assert_allclose(received, expected, rtol=1e-5)
    evaluated = to_numpy(method.sample_losses(y, outputs, training=False))
    np.testing.assert_allclose(evaluated, [np.log(4)] * 2, rtol=1e-6)


def test_uncertainty_is_the_mean_of_the_variances(tiny_network, pictures):
    x, _ = pictures
    method = build(tiny_network, dimensions=5)
    parts = {
        name: method.network.get_layer(name).output for name in ("log_variance", "uncertainty")
    }
    found = keras.Model(method.network.input, parts)(x, training=False)
    expected = np.exp(to_numpy(found["log_variance"])).mean(axis=1, keepdims=True)
    np.testing.assert_allclose(to_numpy(found["uncertainty"]), expected, rtol=1e-5)
    outputs = method.predict(x, verbose=0)
    assert outputs["uncertainty"].shape == (10, 1)
    assert outputs["embedding"].shape == (10, 5)
    # A prediction classifies the point alone.
    kernel, bias = method.network.get_layer("logits").get_weights()
    np.testing.assert_allclose(outputs["logits"], outputs["embedding"] @ kernel + bias, atol=1e-5)


@pytest.mark.backends
def test_pairs_are_a_permutation_that_changes_with_the_step(tiny_network, pictures):
    x, _ = pictures
    method = build(tiny_network)
    assert any(v is method.seed_generator.state for v in method.variables)
    drawn = [to_numpy(method(x, training=True)["partner"]) for _ in range(3)]
    for partner in drawn:
        assert sorted(partner) == list(range(10))
    assert len({tuple(partner) for partner in drawn}) == 3
    again = build(tiny_network)
    np.testing.assert_array_equal(to_numpy(again(x, training=True)["partner"]), drawn[0])
    # From the state of a checkpoint the draws go on.
    again.seed_generator.state.assign(method.seed_generator.state)
    following = [to_numpy(m(x, training=True)["partner"]) for m in (again, method)]
    np.testing.assert_array_equal(*following)


def test_noise_gets_the_larger_uncertainty():
    """Faces of one grey level for each class, and faces of noise whose labels mean nothing."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    image = keras.Input((2,), name="image")
    hidden = keras.layers.Dense(32, activation="relu")(image)
    network = keras.Model(image, {"logits": keras.layers.Dense(4)(hidden), "embedding": hidden})
    method = build(network, dimensions=8, dropout=0.0)
    labels = np.arange(400) % 4
    hard = np.arange(400) < 200
    labels[hard] = rng.integers(0, 4, 200)
    angle = labels * np.pi / 2
    x = np.stack([np.cos(angle), np.sin(angle)], axis=1) * 2
    x[hard] = 0
    x = (x + rng.normal(0, 0.2, x.shape)).astype(np.float32)
    y = np.eye(4, dtype=np.float32)[labels]
    method.compile(optimizer=keras.optimizers.Adam(0.01), jit_compile=JIT)
    method.fit(x, y, batch_size=100, epochs=20, verbose=0)
    uncertainty = method.predict(x, verbose=0)["uncertainty"][:, 0]
    assert np.median(uncertainty[hard]) > 1.5 * np.median(uncertainty[~hard])


def test_a_network_without_a_map_gets_its_heads_on_the_embedding(tiny_network, pictures):
    outputs = {name: tiny_network.output[name] for name in ("logits", "embedding")}
    method = build(keras.Model(tiny_network.input, outputs))
    assert method.network.get_layer("point_dense").kernel.shape == (6, 64)
    assert sorted(method.network.output) == ["embedding", "logits", "uncertainty"]
    mapped = build(tiny_network)
    assert mapped.network.get_layer("point_dense").kernel.shape == (6 * 6 * 6, 64)


def test_a_network_with_logits_alone_is_refused(tiny_network):
    network = keras.Model(tiny_network.input, {"logits": tiny_network.output["logits"]})
    with pytest.raises(ConfigError, match="needs the network output embedding"):
        build(network)
