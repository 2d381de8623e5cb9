"""Valence and arousal: every branch's loss against NumPy, RMSE and concordance of an epoch."""

import keras
import numpy as np
import pytest
from keras import ops

from fer_keras.common.errors import ConfigError
from fer_keras.methods import build_method
from fer_keras.methods.valence_arousal import Agreement
from fer_keras.models import build_network

from .conftest import NAMES

RNG = np.random.default_rng(0)
CLASSES = np.eye(4, dtype=np.float32)[[0, 1, 2]]
RATED = np.array([[0.5, -0.2], [np.nan, 0.9], [-1.0, np.nan]], np.float32)
OUTPUTS = {
    "branch_logits": RNG.normal(size=(3, 2, 4)).astype(np.float32),
    "branch_valence_arousal": RNG.uniform(-1, 1, (3, 2, 2)).astype(np.float32),
}


def root_mean_squared_error(true, predicted):
    return np.sqrt(np.mean((true - predicted) ** 2))


def concordance(true, predicted):
    """Lin (Biometrics 1989): twice the covariance over the variances and the squared shift."""
    covariance = np.cov(true, predicted, bias=True)
    return 2 * covariance[0, 1] / (np.trace(covariance) + (true.mean() - predicted.mean()) ** 2)


def losses_of(network, rated=RATED, **options):
    method = build_method("valence_arousal", network, NAMES, **options)
    y = ops.convert_to_tensor(np.hstack([CLASSES, rated]))
    tensors = {name: ops.convert_to_tensor(value) for name, value in OUTPUTS.items()}
    return ops.convert_to_numpy(method.sample_losses(y, tensors, True))


@pytest.mark.backends
def test_the_loss_is_the_sum_of_the_branches_errors_without_unknown_ratings(tiny_network):
    expected = sum(
        np.sqrt(np.nanmean((OUTPUTS["branch_valence_arousal"][:, branch, k] - RATED[:, k]) ** 2))
        for branch in range(2)
        for k in range(2)
    )
    np.testing.assert_allclose(losses_of(tiny_network), np.full(3, expected), rtol=1e-5)
    log_p = ops.convert_to_numpy(ops.log_softmax(OUTPUTS["branch_logits"], axis=-1))
    entropy = -(CLASSES[:, None] * log_p).sum((1, 2))
    found = losses_of(tiny_network, class_weight=0.5)
    np.testing.assert_allclose(found, expected + 0.5 * entropy, rtol=1e-5)
    nothing = losses_of(tiny_network, np.full((3, 2), np.nan, np.float32))
    np.testing.assert_allclose(nothing, 0, atol=1e-3)


@pytest.mark.backends
def test_figures_over_batches_are_those_of_all_samples():
    true = RNG.uniform(-1, 1, 50).astype(np.float32)
    predicted = (0.5 * true + RNG.normal(0.2, 0.3, 50)).astype(np.float32)
    for kind, oracle in (("rmse", root_mean_squared_error), ("ccc", concordance)):
        metric = Agreement(kind, kind)
        for start in (0, 20, 40):
            rows = slice(start, start + 20)
            unknown = np.append(true[rows], np.float32(np.nan))
            metric.update_state(
                ops.convert_to_tensor(unknown), ops.convert_to_tensor(np.append(predicted[rows], 9))
            )
        expected = oracle(true, predicted)
        assert float(ops.convert_to_numpy(metric.result())) == pytest.approx(expected, rel=1e-4)


def test_only_the_new_neurons_of_an_ensemble_learn_what_a_picture_shows():
    keras.utils.set_random_seed(0)
    network = build_network(
        "esr", (42, 42, 1), 4, variant="ckplus", num_branches=2, width=0.25, valence_arousal=True
    )
    for layer in network.layers:
        layer.trainable = layer.name.endswith("_valence_arousal")
    x = np.concatenate([np.full((12, 42, 42, 1), 20.0), np.full((12, 42, 42, 1), 230.0)])
    x += RNG.normal(0, 10, x.shape)
    bright = np.repeat([-0.8, 0.8], 12)[:, None].astype(np.float32)
    y = np.hstack([np.eye(4, dtype=np.float32)[np.arange(24) % 4], bright, -bright])
    method = build_method("valence_arousal", network, NAMES)
    assert len(method.trainable_variables) == 4
    method.compile(keras.optimizers.Adam(0.05), jit_compile=False)
    method.fit(x, y, batch_size=24, epochs=30, verbose=0)
    result = method.evaluate(x, y, verbose=0, return_dict=True)
    assert result["ccc_valence"] > 0.9
    assert result["ccc_arousal"] > 0.9
    assert result["rmse_valence"] < 0.3
    assert {"accuracy", "loss", "rmse_arousal"} <= set(result)


def test_wrong_targets_and_networks(tiny_network):
    method = build_method("valence_arousal", tiny_network, NAMES)
    with pytest.raises(ConfigError, match=r"targets \(batch, 6\)"):
        method.compute_loss(y=ops.convert_to_tensor(CLASSES))
    image = keras.Input((8, 8, 1))
    logits = keras.layers.Dense(4)(keras.layers.Flatten()(image))
    with pytest.raises(ConfigError, match="needs the network output branch_logits"):
        build_method("valence_arousal", keras.Model(image, {"logits": logits}), NAMES)
