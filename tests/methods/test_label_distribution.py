"""The label schemes of FER+ against NumPy."""

import keras
import numpy as np
import pytest

from fer_keras.common.errors import ConfigError
from fer_keras.methods import build_method

from .conftest import NAMES

LOGITS = np.array([[2, 0, -1, 0.5], [0, 0.3, 0, 0], [-30, 1, 4, 1], [1, 2, 3, 4]], np.float32)
VOTES = np.array(
    [[0.6, 0.3, 0.1, 0], [0.1, 0.2, 0.3, 0.4], [1, 0, 0, 0], [0.25, 0.2, 0.29, 0.26]], np.float32
)


def log_softmax(logits):
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def losses_of(method, training=True):
    losses = method.sample_losses(
        keras.ops.convert_to_tensor(VOTES),
        {"logits": keras.ops.convert_to_tensor(LOGITS)},
        training,
    )
    return keras.ops.convert_to_numpy(losses)


def build(network, scheme, **options):
    return build_method("label_distribution", network, NAMES, scheme=scheme, **options)


def test_majority(tiny_network):
    expected = -log_softmax(LOGITS)[np.arange(4), [0, 3, 0, 2]]
    np.testing.assert_allclose(losses_of(build(tiny_network, "majority")), expected, rtol=1e-5)


@pytest.mark.backends
def test_multi_label(tiny_network):
    # Rows 0 and 1 have two classes of 30 % or more; in row 3 none reaches it, the largest counts.
    t = np.full((4, 4), 0.001)
    t[0, [0, 1]] = t[1, [2, 3]] = t[2, 0] = t[3, 2] = 1
    expected = -np.log((t * np.exp(log_softmax(LOGITS.astype(np.float64)))).max(-1))
    np.testing.assert_allclose(losses_of(build(tiny_network, "multi_label")), expected, rtol=1e-5)
    # Row 2: the right class has p = 1e-15, so the floor epsilon of another class is the maximum.
    assert expected[2] < 8 < -log_softmax(LOGITS)[2, 0]


def test_multi_label_options(tiny_network):
    method = build(tiny_network, "multi_label", threshold=0.2, epsilon=0.5)
    t = np.full((4, 4), 0.5)
    t[0, [0, 1]] = t[1, [1, 2, 3]] = t[2, 0] = t[3] = 1
    expected = -np.log((t * np.exp(log_softmax(LOGITS.astype(np.float64)))).max(-1))
    np.testing.assert_allclose(losses_of(method), expected, rtol=1e-5)


def test_cross_entropy(tiny_network):
    expected = -(VOTES * log_softmax(LOGITS)).sum(-1)
    np.testing.assert_allclose(losses_of(build(tiny_network, "cross_entropy")), expected, rtol=1e-5)


@pytest.mark.backends
def test_kl_divergence_is_cross_entropy_less_the_entropy_of_the_votes(tiny_network):
    shares = VOTES.astype(np.float64)
    entropy = -(shares * np.log(np.where(shares > 0, shares, 1))).sum(-1)
    cross = -(VOTES * log_softmax(LOGITS)).sum(-1)
    method = build(tiny_network, "kl_divergence")
    np.testing.assert_allclose(losses_of(method), cross - entropy, rtol=1e-4)
    reached = keras.ops.convert_to_tensor(np.log(np.maximum(VOTES, 1e-20)))
    at_votes = method.sample_losses(keras.ops.convert_to_tensor(VOTES), {"logits": reached}, True)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(at_votes), 0, atol=1e-5)


@pytest.mark.parametrize("scheme", ["probabilistic", "cross_entropy", "kl_divergence"])
def test_what_takes_mixtures_learns_their_mean_on_average(tiny_network, scheme):
    method = build(tiny_network, scheme)
    method.check_mixtures()
    logits = {"logits": keras.ops.convert_to_tensor(LOGITS[:1].repeat(2, 0))}
    mixed = keras.ops.convert_to_tensor(np.stack([0.7 * VOTES[0] + 0.3 * VOTES[2], VOTES[0]]))
    draws = [keras.ops.convert_to_numpy(method.sample_losses(mixed, logits, True))[0]
             for _ in range(400 if scheme == "probabilistic" else 1)]  # fmt: skip
    p = -log_softmax(LOGITS)[0]
    expected = 0.7 * VOTES[0] @ p + 0.3 * VOTES[2] @ p
    if scheme == "kl_divergence":
        v = (0.7 * VOTES[0] + 0.3 * VOTES[2]).astype(np.float64)
        expected += (v * np.log(np.where(v > 0, v, 1))).sum()
    np.testing.assert_allclose(np.mean(draws), expected, atol=0.2 if len(draws) > 1 else 1e-4)


@pytest.mark.parametrize("scheme", ["majority", "multi_label"])
def test_what_would_misread_mixtures_refuses_them(tiny_network, scheme):
    with pytest.raises(ConfigError, match=r"mixed targets.*cross_entropy"):
        build(tiny_network, scheme).check_mixtures()


def test_probabilistic_draws_one_voted_class_anew_in_every_step(tiny_network):
    method = build(tiny_network, "probabilistic", seed=3)
    costs = -log_softmax(LOGITS)
    drawn = np.stack([losses_of(method) for _ in range(300)])
    for row in range(4):
        voted = costs[row][VOTES[row] > 0]
        distance = np.abs(drawn[:, row, None] - voted[None]).min(1)
        assert distance.max() < 1e-4, "a loss that belongs to no class with votes"
    assert len(np.unique(drawn[:, 1].round(4))) > 1
    shares = [(np.abs(drawn[:, 0] - costs[0, c]) < 1e-4).mean() for c in range(4)]
    # Standard error of a share of 0.6 in 300 draws: 0.028.
    np.testing.assert_allclose(shares, VOTES[0], atol=0.1)


def test_probabilistic_evaluates_to_its_expectation(tiny_network):
    method = build(tiny_network, "probabilistic")
    expected = -(VOTES * log_softmax(LOGITS)).sum(-1)
    for _ in range(2):
        np.testing.assert_allclose(losses_of(method, training=False), expected, rtol=1e-5)


@pytest.mark.backends
def test_draws_go_on_from_the_stored_state(tiny_network):
    method = build(tiny_network, "probabilistic", seed=1)
    assert any(v is method.seed_generator.state for v in method.variables)
    losses_of(method)
    state = keras.ops.convert_to_numpy(method.seed_generator.state.value).copy()
    first = [losses_of(method) for _ in range(5)]
    method.seed_generator.state.assign(state)
    again = [losses_of(method) for _ in range(5)]
    np.testing.assert_array_equal(first, again)
