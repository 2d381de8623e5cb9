"""SAM: the weights after a step are those worked out by hand, and nothing else moves twice."""

import dataclasses
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from fer_keras.common.errors import ConfigError
from fer_keras.config import Experiment, TrainingConfig, override
from fer_keras.methods import build_method
from fer_keras.methods.base import Method
from fer_keras.methods.sharpness import ascend
from fer_keras.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from fer_keras.training.distribution import Distribution
from fer_keras.training.optimizers import build_optimizer

NAMES = ("anger", "fear", "happiness")
RHO = 0.05
# A quadratic loss of six weights, three of them seen by each sample.
X = np.array([[1.0, 2.0], [0.5, -1.0], [-2.0, 1.0], [1.0, 1.0]], np.float32)
Y = np.eye(3, dtype=np.float32)[[0, 1, 2, 0]]
START = np.array([[0.3, -0.2, 0.1], [0.4, 0.0, -0.5]])


class Squares(Method):
    """Half the squared distance of the logits from the targets."""

    def sample_losses(self, y: Any, outputs: dict[str, Any], training: bool) -> Any:
        return ops.sum(ops.square(ops.cast(outputs["logits"], "float32") - y), axis=-1) / 2


def linear(optimizer: Any, rho: float) -> Squares:
    vector = keras.Input((2,))
    logits = keras.layers.Dense(3, use_bias=False, name="logits")(vector)
    method = Squares(keras.Model(vector, {"logits": logits}), NAMES)
    method.network.get_layer("logits").set_weights([START])
    method.sam_rho = rho
    method.compile(optimizer=optimizer, jit_compile=keras.backend.backend() == "jax")
    return method


def one_step(method: Method, x: np.ndarray = X, y: np.ndarray = Y) -> dict[str, float]:
    found = method.fit(x, y, batch_size=len(x), shuffle=False, verbose=0)
    return {name: values[0] for name, values in found.history.items()}


def kernel(method: Method) -> np.ndarray:
    (values,) = method.network.get_layer("logits").get_weights()
    return np.asarray(values, np.float64)


def gradient(w: np.ndarray) -> np.ndarray:
    return X.astype(np.float64).T @ (X @ w - Y) / len(X)


def at_the_top(w: np.ndarray, rho: float = RHO) -> np.ndarray:
    g = gradient(w)
    return w + rho * g / np.sqrt((g**2).sum())


@pytest.mark.backends
def test_a_step_against_one_by_hand() -> None:
    method = linear(keras.optimizers.SGD(0.1), rho=0.5)
    logs = one_step(method)
    expected = START - 0.1 * gradient(at_the_top(START, 0.5))
    np.testing.assert_allclose(kernel(method), expected, rtol=0, atol=1e-6)
    # Far from the plain step: the test would see that one.
    assert np.abs(START - 0.1 * gradient(START) - expected).max() > 0.01
    # The loss is that of the weights before the step, not of those on top.
    assert logs["loss"] == pytest.approx(((X @ START - Y) ** 2).sum() / 2 / len(X), rel=1e-5)


def test_steps_with_momentum_decay_and_clipping(eager: None) -> None:
    """The optimizer sees the second gradient alone; clipping and decay are its own."""
    recipe = TrainingConfig(
        optimizer="sgd", learning_rate=0.1, momentum=0.9, nesterov=False, weight_decay=0.01,
        schedule="constant", warmup_epochs=0, clip_norm=0.3,
    )  # fmt: skip
    method = linear(build_optimizer(recipe, 1), RHO)
    w, velocity = START.copy(), np.zeros_like(START)
    clipped = []
    for _ in range(3):
        one_step(method)
        g = gradient(at_the_top(w))
        length = np.sqrt((g**2).sum())
        clipped.append(length > 0.3)
        w = w - 0.01 * 0.1 * w
        velocity = 0.9 * velocity - 0.1 * g * min(1, 0.3 / length)
        w = w + velocity
    assert clipped[0]
    np.testing.assert_allclose(kernel(method), w, rtol=0, atol=1e-6)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_a_small_radius_is_the_plain_optimizer(optimizer: str, eager: None) -> None:
    recipe = TrainingConfig(optimizer=optimizer, learning_rate=0.05, schedule="constant")
    plain, small = (linear(build_optimizer(recipe, 1), rho) for rho in (0.0, 1e-6))
    for _ in range(3):
        one_step(plain)
        one_step(small)
    np.testing.assert_allclose(kernel(small), kernel(plain), rtol=0, atol=1e-5)
    assert np.abs(kernel(plain) - START).max() > 0.05


def build_network() -> Any:
    """Statistics that move, a dropout and, in the method around it, a counter of steps."""
    image = keras.Input((8, 8, 1))
    x = keras.layers.Rescaling(1 / 128, offset=-1.0)(image)
    x = keras.layers.Conv2D(4, 3, use_bias=False)(x)
    x = keras.layers.BatchNormalization(momentum=0.5, name="bn")(x)
    heads = keras.layers.Reshape((2, 6, 6, 2))(keras.layers.Activation("sigmoid")(x))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Activation("relu")(x))
    x = keras.layers.Dropout(0.5, seed=3)(x)
    logits = keras.layers.Dense(3, name="logits")(x)
    return keras.Model(image, {"logits": logits, "attention": heads})


def batch() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (12, 8, 8, 1)).astype(np.float32)
    return images, np.eye(3, dtype=np.float32)[np.arange(12) % 3]


def untrained(rho: float) -> Method:
    """For plain gradient descent: Adam's first step is the sign of the gradient."""
    recipe = TrainingConfig(
        optimizer="sgd", learning_rate=1.0, momentum=0.0, nesterov=False, weight_decay=0.0,
        schedule="constant", warmup_epochs=0,
    )  # fmt: skip
    keras.utils.set_random_seed(0)
    network = build_network()
    method = build_method("attention_diversity", network, NAMES, warmup_steps=10)
    method.sam_rho = rho
    method.compile(build_optimizer(recipe, 1), jit_compile=keras.backend.backend() == "jax")
    method.optimizer.build(method.trainable_variables)
    return method


def trained(rho: float) -> tuple[Method, dict[str, float]]:
    method = untrained(rho)
    return method, one_step(method, *batch())


@pytest.mark.backends
def test_the_second_pass_leaves_no_trace_but_its_gradient() -> None:
    (plain, plain_logs), (ours, logs) = trained(0.0), trained(RHO)
    for name, value in plain_logs.items():
        assert logs[name] == pytest.approx(value, rel=1e-5), name
    # Moving statistics, the state of dropout and the counter of the warm-up, bit for bit.
    assert len(ours.non_trainable_variables) == len(plain.non_trainable_variables) >= 4
    for one, other in zip(ours.non_trainable_variables, plain.non_trainable_variables, strict=True):
        np.testing.assert_array_equal(
            ops.convert_to_numpy(one), ops.convert_to_numpy(other), err_msg=one.path
        )
    mean, variance = ours.network.get_layer("bn").get_weights()[2:]
    assert np.abs(mean).min() > 0
    assert np.abs(variance - 1).min() > 1e-3
    assert float(ops.convert_to_numpy(ours.steps)) == 1
    kernels = [m.network.get_layer("logits").get_weights()[0] for m in (plain, ours)]
    assert np.abs(kernels[0] - kernels[1]).max() > 1e-4


@pytest.mark.backends
def test_the_statistics_move_twice_where_that_is_asked_for() -> None:
    once, twice = untrained(RHO), untrained(RHO)
    twice.sam_twice = True
    for method in (once, twice):
        one_step(method, *batch())
    (mean, variance), (mean2, variance2) = (
        method.network.get_layer("bn").get_weights()[2:] for method in (once, twice)
    )
    # Nearly the same statistics twice, as the weights are hardly others: m, then .9 m + m.
    momentum = twice.network.get_layer("bn").momentum
    np.testing.assert_allclose(mean2, (1 + momentum) * mean, rtol=0.2, atol=1e-4)
    assert np.abs(variance2 - 1).min() > 1.3 * np.abs(variance - 1).min()


def test_both_passes_draw_the_same_dropout() -> None:
    """With a vanishing radius both gradients are then the same, dropout or not."""
    (plain, _), (ours, _) = trained(0.0), trained(1e-6)
    for one, other in zip(ours.trainable_variables, plain.trainable_variables, strict=True):
        np.testing.assert_allclose(
            ops.convert_to_numpy(one), ops.convert_to_numpy(other), rtol=0, atol=1e-4
        )


def test_a_resumed_run_takes_the_same_steps(tmp_path: Path) -> None:
    straight, _ = trained(RHO)
    save_checkpoint(tmp_path, straight, Progress(1))
    resumed = untrained(RHO)
    assert load_checkpoint(tmp_path, resumed) == Progress(1)
    for method in (straight, resumed):
        one_step(method, *batch())
    for one, other in zip(straight.variables, resumed.variables, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(one), ops.convert_to_numpy(other))


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision(precision: str) -> None:
    keras.config.set_dtype_policy(precision)
    try:
        method = linear(keras.optimizers.SGD(0.1), rho=0.5)
        one_step(method)
    finally:
        keras.config.set_dtype_policy("float32")
    assert method.network.get_layer("logits").kernel.dtype == "float32"
    expected = START - 0.1 * gradient(at_the_top(START, 0.5))
    np.testing.assert_allclose(kernel(method), expected, rtol=0, atol=3e-3)


@pytest.mark.backends
def test_a_gradient_that_is_not_finite_leaves_the_weights_alone() -> None:
    """The loss scale of float16 skips such a step; NaN weights of the second pass must not stay."""
    keras.config.set_dtype_policy("mixed_float16")
    try:
        method = linear(keras.optimizers.SGD(0.1), RHO)
        one_step(method, X * np.float32(60_000))
    finally:
        keras.config.set_dtype_policy("float32")
    np.testing.assert_array_equal(kernel(method).astype(np.float32), START.astype(np.float32))


def test_weights_without_a_gradient_stay() -> None:
    weights = [ops.convert_to_tensor([3.0, 4.0]), ops.convert_to_tensor([1.0])]
    moved = ascend(weights, [ops.convert_to_tensor([3.0, 4.0]), None], 0.5)
    np.testing.assert_allclose(ops.convert_to_numpy(moved[0]), [3.3, 4.4], rtol=1e-6)
    assert moved[1] is weights[1]
    still = ascend(weights, [ops.zeros(2), ops.zeros(1)], 0.5)
    np.testing.assert_array_equal(ops.convert_to_numpy(still[0]), [3.0, 4.0])


@pytest.mark.backends
def test_where_it_cannot_work_it_says_so() -> None:
    with pytest.raises(ConfigError, match=r"training\.sam_rho: expected at least 0"):
        override(Experiment("x"), ["training.sam_rho=-1"])
    if keras.backend.backend() == "tensorflow":
        recipe = dataclasses.replace(TrainingConfig(), sam_rho=0.05)
        with pytest.raises(ConfigError, match=r"training\.sam_rho.*--backend jax"):
            Distribution(devices=2).start(recipe, 0)
