"""The base of the methods and plain cross-entropy, against NumPy."""

import keras
import numpy as np
import pytest

from fer_keras.common.errors import ConfigError
from fer_keras.methods import build_method
from fer_keras.methods.base import Method, soft_cross_entropy

from .conftest import NAMES, build_tiny_network

LOGITS = np.array([[2, 0, -1, 0.5], [0, 0, 0, 0], [-3, 1, 4, 1]], np.float32)
TARGETS = np.array([[1, 0, 0, 0], [0.1, 0.2, 0.3, 0.4], [0, 0.5, 0.5, 0]], np.float32)


def cross_entropy(targets, logits):
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    return -(targets * log_p).sum(-1)


def number(tensor):
    return float(keras.ops.convert_to_numpy(tensor))


def loss_of(method, y, logits, weight=None, training=True):
    tensor = keras.ops.convert_to_tensor
    return number(
        method.compute_loss(
            y=tensor(y), y_pred={"logits": tensor(logits)}, sample_weight=weight, training=training
        )
    )


@pytest.mark.backends
def test_cross_entropy_against_a_distribution():
    losses = keras.ops.convert_to_numpy(soft_cross_entropy(TARGETS, LOGITS))
    np.testing.assert_allclose(losses, cross_entropy(TARGETS, LOGITS), rtol=1e-6)


@pytest.mark.backends
def test_large_logits_stay_finite():
    losses = soft_cross_entropy(np.array([[0.5, 0.5]]), np.array([[1e4, -1e4]], np.float32))
    assert number(losses[0]) == pytest.approx(1e4)


@pytest.mark.backends
def test_loss_is_the_weighted_mean(tiny_network):
    method = build_method("cross_entropy", tiny_network, NAMES)
    losses = cross_entropy(TARGETS, LOGITS)
    assert loss_of(method, TARGETS, LOGITS) == pytest.approx(losses.mean(), rel=1e-6)
    weight = np.array([1.0, 0.0, 3.0], np.float32)
    expected = (losses[0] + 3 * losses[2]) / 4
    assert loss_of(method, TARGETS, LOGITS, weight) == pytest.approx(expected, rel=1e-6)
    assert loss_of(method, TARGETS, LOGITS, 10 * weight) == pytest.approx(expected, rel=1e-6)
    assert loss_of(method, TARGETS, LOGITS, 0 * weight) == 0


@pytest.mark.backends
def test_losses_of_layers_are_added():
    method = build_method("cross_entropy", build_tiny_network(regularizer="l2"), NAMES)
    kernel = keras.ops.convert_to_numpy(method.network.get_layer("features").kernel)
    expected = cross_entropy(TARGETS, LOGITS).mean() + 0.01 * (kernel**2).sum()
    assert loss_of(method, TARGETS, LOGITS) == pytest.approx(expected, rel=1e-5)


def test_label_smoothing_only_while_training(tiny_network):
    method = build_method("cross_entropy", tiny_network, NAMES, label_smoothing=0.2)
    smoothed = cross_entropy(0.8 * TARGETS + 0.05, LOGITS).mean()
    plain = cross_entropy(TARGETS, LOGITS).mean()
    assert loss_of(method, TARGETS, LOGITS) == pytest.approx(smoothed, rel=1e-6)
    assert loss_of(method, TARGETS, LOGITS, training=False) == pytest.approx(plain, rel=1e-6)


@pytest.mark.parametrize("columns", [None, 3])
def test_integer_labels_are_refused_and_not_broadcast(tiny_network, pictures, columns):
    x, y = pictures
    method = build_method("cross_entropy", tiny_network, NAMES)
    method.compile(optimizer="sgd", jit_compile=False)
    with pytest.raises(ConfigError, match=r"Expected targets \(batch, 4\).*to_categorical"):
        method.fit(x, y[:, :columns] if columns else y.argmax(-1), verbose=0)


def test_missing_output_is_named():
    image = keras.Input((4, 4, 1))
    logits = keras.layers.Dense(4)(keras.layers.Flatten()(image))
    network = keras.Model(image, {"logits": logits}, name="bare")
    with pytest.raises(ConfigError, match=r"needs the network output embedding.*'bare'.*logits"):
        build_method("word2vec", network, NAMES)
    with pytest.raises(ConfigError, match=r"neither a dict with 'logits' nor made by"):
        build_method("cross_entropy", keras.Model(image, logits), NAMES)


def test_number_of_classes_and_names_are_checked(tiny_network):
    with pytest.raises(ConfigError, match=r"4 logits.*2 classes: a, b.*num_classes=2"):
        build_method("cross_entropy", tiny_network, ("a", "b"))
    with pytest.raises(ConfigError, match="given twice"):
        build_method("cross_entropy", tiny_network, ("a", "b", "a", "c"))


def test_a_method_without_a_loss_says_so(tiny_network):
    with pytest.raises(NotImplementedError, match="Method defines no sample_losses"):
        loss_of(Method(tiny_network, NAMES), TARGETS, LOGITS)


def test_accuracy_is_not_weighted(tiny_network, pictures):
    x, y = pictures
    method = build_method("cross_entropy", tiny_network, NAMES)
    method.compile(optimizer="sgd", jit_compile=False)
    right = method.predict(x, verbose=0)["logits"].argmax(-1) == y.argmax(-1)
    weight = np.where(right, 5.0, 0.5).astype(np.float32)
    result = method.evaluate(x, y, sample_weight=weight, verbose=0, return_dict=True)
    assert result["accuracy"] == pytest.approx(right.mean())


def test_what_has_no_weight_does_not_count(tiny_network, pictures):
    x, y = pictures
    method = build_method("cross_entropy", tiny_network, NAMES)
    method.compile(optimizer="sgd", jit_compile=False)
    right = method.predict(x, verbose=0)["logits"].argmax(-1) == y.argmax(-1)
    first = np.arange(len(x)) < 5
    weight = first.astype(np.float32)
    result = method.evaluate(x, y, sample_weight=weight, verbose=0, return_dict=True)
    assert result["accuracy"] == pytest.approx(right[first].mean())


@pytest.mark.backends
def test_variables_hold_the_state_of_random_layers(tiny_network):
    method = build_method("cross_entropy", tiny_network, NAMES)
    assert any("seed_generator" in v.path for v in method.variables)
