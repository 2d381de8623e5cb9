"""Logit adjustment in the loss: the formula, and a network that answers by less of the prior."""

from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest

from fer_keras.common.errors import ConfigError
from fer_keras.data.pipeline import training_prior
from fer_keras.data.samples import Samples
from fer_keras.methods import build_method

from .conftest import NAMES, as_samples, build_tiny_network

SHARES = np.array([0.7, 0.1, 0.1, 0.1])


def uneven(n: int = 1000) -> Samples:
    """Pictures that say nothing of their class, which are as frequent as `SHARES`."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (n, 8, 8, 1))
    labels = np.repeat(np.arange(4), (SHARES * n).astype(int))
    return as_samples(x, np.eye(4, dtype=np.float32)[labels])


@pytest.mark.backends
@pytest.mark.parametrize("name", ["cross_entropy", "label_distribution"])
def test_the_loss_is_that_of_the_formula(name: str, tiny_network: Any) -> None:
    method = build_method(name, tiny_network, NAMES, prior_tau=0.5)
    samples = uneven()
    method.prepare(samples)
    logits = np.random.default_rng(1).normal(size=(6, 4)).astype(np.float32)
    y = np.eye(4, dtype=np.float32)[[0, 1, 2, 3, 0, 1]]

    def losses(shown: np.ndarray) -> np.ndarray:
        p = np.exp(shown) / np.exp(shown).sum(axis=1, keepdims=True)
        return -np.log((p * y).sum(axis=1))

    received = method.sample_losses(y, {"logits": logits}, True)
    expected = losses(logits + 0.5 * np.log(SHARES))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(received), expected, rtol=1e-5)
    evaluated = method.sample_losses(y, {"logits": logits}, False)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(evaluated), losses(logits), rtol=1e-5)


@pytest.mark.parametrize("tau", [0.0, 0.5, 1.0])
def test_a_network_answers_by_what_is_left_of_the_prior(tau: float) -> None:
    samples = uneven()
    keras.utils.set_random_seed(0)
    network = build_tiny_network()
    method = build_method("cross_entropy", network, NAMES, prior_tau=tau)
    method.prepare(samples)
    method.compile(optimizer=keras.optimizers.Adam(0.02), jit_compile=False)
    x = np.full_like(samples.images, 128).astype(np.float32)
    method.fit(x, samples.targets, batch_size=100, epochs=12, verbose=0)
    logits = method.predict(x[:1], verbose=0)["logits"][0]
    answered = np.exp(logits) / np.exp(logits).sum()
    known = training_prior(samples, prior_tau=tau)
    np.testing.assert_allclose(answered, list(known.values()), atol=0.04)
    assert sum(known.values()) == pytest.approx(1)


def test_a_class_without_targets_is_refused(tiny_network: Any) -> None:
    samples = uneven()
    targets = samples.targets[:, [1, 0, 2, 3]] * np.float32([1, 1, 1, 0])
    targets[:, 0] += 1 - targets.sum(axis=1)
    lacking = replace(samples, targets=targets, fingerprint="")
    method = build_method("cross_entropy", tiny_network, NAMES, prior_tau=1.0)
    with pytest.raises(ConfigError, match="Received none of surprise"):
        method.prepare(lacking)
    with pytest.raises(ConfigError, match=r"call method\.prepare"):
        method.sample_losses(targets[:2], {"logits": np.zeros((2, 4), np.float32)}, True)
    build_method("cross_entropy", tiny_network, NAMES).prepare(lacking)
