"""The penalty on attention heads that look alike, against NumPy."""

import itertools

import keras
import numpy as np
import pytest

from fer_keras.common.errors import ConfigError
from fer_keras.methods import build_method

from .conftest import NAMES, build_tiny_network

SHAPE = (3, 5, 4)


def attention_network(heads, num_inputs=8):
    """One trained map for each head, straight from the input."""
    image = keras.Input((num_inputs,), name="image")
    flat = keras.layers.Dense(heads * 60, activation="sigmoid", name="maps")(image)
    attention = keras.layers.Reshape((heads, *SHAPE), name="attention")(flat)
    logits = keras.layers.Dense(len(NAMES), name="logits")(image)
    return keras.Model(image, {"logits": logits, "attention": attention}, name="heads")


def build(heads=3, **options):
    return build_method("attention_diversity", attention_network(heads), NAMES, **options)


def maps(heads=3, seed=0):
    return np.random.default_rng(seed).uniform(size=(2, heads, *SHAPE)).astype("float32")


def penalty(method, attention):
    outputs = {"attention": keras.ops.convert_to_tensor(attention)}
    return float(keras.ops.convert_to_numpy(method.penalty(outputs)))


def distances(attention):
    heads = range(attention.shape[1])
    return [
        np.mean((attention[:, i] - attention[:, k]) ** 2)
        for i, k in itertools.combinations(heads, 2)
    ]


@pytest.mark.backends
@pytest.mark.parametrize("heads", [2, 4])
def test_forms_against_sums(heads):
    attention = maps(heads)
    apart = distances(attention)
    pairs = len(apart)
    expected = {
        "code": pairs / (sum(apart) + 0.01),
        "paper": 1 / (2 * sum(apart) + 0.01),
        "bounded": np.mean(np.exp(-5 * np.array(apart))),
    }
    for form, value in expected.items():
        method = build(heads, form=form, eps=0.01, gamma=5.0)
        assert penalty(method, attention) == pytest.approx(value, rel=1e-5)


@pytest.mark.parametrize("heads", [2, 3, 4])
def test_the_program_is_heads_times_heads_less_one_times_the_paper(heads):
    code, paper = (
        penalty(build(heads, form=form, eps=1e-12), maps(heads)) for form in ("code", "paper")
    )
    assert code == pytest.approx(heads * (heads - 1) * paper, rel=1e-5)


@pytest.mark.parametrize("form", ["code", "paper", "bounded"])
def test_one_head_costs_nothing(form):
    assert penalty(build(1, form=form), maps(1)) == 0


@pytest.mark.backends
@pytest.mark.parametrize("eps", [1e-4, 2.2e-16])
@pytest.mark.parametrize("form", ["code", "paper", "bounded"])
def test_equal_heads_are_finite_in_value_and_gradient(form, eps):
    method = build(2, form=form, eps=eps)
    kernel, bias = method.network.get_layer("maps").weights
    kernel.assign(np.tile(keras.ops.convert_to_numpy(kernel)[:, :60], 2))
    equal = {"code": 1 / eps, "paper": 1 / eps, "bounded": 1.0}[form]
    attention = np.repeat(maps(1), 2, axis=1)
    assert penalty(method, attention) == pytest.approx(equal, rel=1e-4)
    fit_one_step(method)
    for variable in (kernel, bias):
        assert np.isfinite(keras.ops.convert_to_numpy(variable)).all()


def fit_one_step(method, learning_rate=0.5, steps=1):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4 * steps, 8)).astype("float32")
    y = np.eye(len(NAMES), dtype="float32")[np.arange(len(x)) % len(NAMES)]
    method.compile(optimizer=keras.optimizers.SGD(learning_rate), jit_compile=False)
    history = method.fit(x, y, batch_size=4, epochs=1, shuffle=False, verbose=0).history
    return {name: values[0] for name, values in history.items()}


@pytest.mark.parametrize("form", ["code", "paper", "bounded"])
def test_a_step_moves_the_heads_apart(form):
    keras.utils.set_random_seed(0)
    method = build(3, form=form, weight=1.0, eps=0.1)
    x = np.random.default_rng(0).normal(size=(4, 8)).astype("float32")
    before = distances(method.predict(x, verbose=0)["attention"])
    fit_one_step(method)
    after = distances(method.predict(x, verbose=0)["attention"])
    assert sum(after) > sum(before) * 1.0001


def test_loss_is_cross_entropy_and_the_weighed_penalty():
    keras.utils.set_random_seed(0)
    method = build(3, weight=0.2, eps=0.01)
    plain = build_method("cross_entropy", method.network, NAMES)
    x = np.random.default_rng(0).normal(size=(4, 8)).astype("float32")
    y = np.eye(len(NAMES), dtype="float32")
    weights = np.array([1, 2, 0, 5], np.float32)
    scores = []
    for each in (method, plain):
        each.compile(jit_compile=False)
        scores.append(
            each.evaluate(x, y, sample_weight=weights, batch_size=4, verbose=0, return_dict=True)
        )
    expected = penalty(method, method.predict(x, verbose=0)["attention"])
    assert scores[0]["attention_loss"] == pytest.approx(expected, rel=1e-4)
    assert scores[0]["loss"] - scores[1]["loss"] == pytest.approx(0.2 * expected, rel=1e-3)


def test_weight_grows_over_the_first_training_steps():
    method = build(2, weight=3.0, warmup_steps=3)
    zeros = np.zeros((1, len(NAMES)), np.float32)
    target = np.eye(1, len(NAMES), dtype=np.float32)
    outputs = {"logits": zeros, "attention": maps(2)}
    outputs = {name: keras.ops.convert_to_tensor(value) for name, value in outputs.items()}
    full = 3 * penalty(method, maps(2))
    target = keras.ops.convert_to_tensor(target)

    def added(training):
        (loss,) = keras.ops.convert_to_numpy(method.sample_losses(target, outputs, training))
        return (loss - np.log(len(NAMES))) / full

    assert added(training=False) == pytest.approx(1, rel=1e-4)
    found = [added(training=True) for _ in range(5)]
    np.testing.assert_allclose(found, [1 / 3, 2 / 3, 1, 1, 1], rtol=1e-4)


def test_warm_up_counts_the_steps_of_fit_in_a_variable_of_the_method():
    method = build(2, warmup_steps=10)
    assert any(variable is method.steps for variable in method.variables)
    assert all(variable is not method.steps for variable in method.trainable_variables)
    fit_one_step(method, 0.01, steps=3)
    assert float(keras.ops.convert_to_numpy(method.steps.value)) == 3
    method.steps.assign(7.0)
    fit_one_step(method, 0.01)
    assert float(keras.ops.convert_to_numpy(method.steps.value)) == 8


def test_half_precision_maps_are_compared_in_full():
    near = maps(2)
    near[:, 1] = near[:, 0] + 0.01
    rounded = keras.ops.cast(near, "bfloat16")
    method = build(2, eps=1e-6)
    found = keras.ops.convert_to_numpy(method.penalty({"attention": rounded}))
    assert found.dtype == np.float32
    exact = keras.ops.convert_to_numpy(keras.ops.cast(rounded, "float32"))
    assert found == pytest.approx(1 / (distances(exact)[0] + 1e-6), rel=1e-4)


def test_training_in_bfloat16_is_finite():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        method = build(2, warmup_steps=2)
        assert np.isfinite(list(fit_one_step(method, 0.01, steps=2).values())).all()
    finally:
        keras.config.set_dtype_policy("float32")


def test_attention_without_heads_is_refused():
    network = build_tiny_network()
    flat = keras.Model(
        network.input, {**network.output, "attention": network.output["features"]}, name="flat"
    )
    with pytest.raises(ConfigError, match=r"attention \(batch, heads, h, w, c\).*'flat'"):
        build_method("attention_diversity", flat, NAMES)
