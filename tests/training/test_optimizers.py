"""Schedules have the shape their names say; a recipe becomes the optimizer it describes."""

import dataclasses

import numpy as np
import pytest

from fer_keras.common.errors import ConfigError
from fer_keras.config import TrainingConfig
from fer_keras.methods import build_method
from fer_keras.training.device import accelerator, precision_note, use_xla
from fer_keras.training.optimizers import (
    WarmUp,
    build_optimizer,
    build_schedule,
    freeze_layers,
    rate_factor,
)

RECIPE = TrainingConfig(epochs=10, learning_rate=0.1, warmup_epochs=0.0, decay_epochs=3)


def rates(training: TrainingConfig, steps_per_epoch: int = 10) -> np.ndarray:
    schedule = build_schedule(training, steps_per_epoch)
    return np.array([float(schedule(step)) for step in range(training.epochs * steps_per_epoch)])


@pytest.mark.backends
@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", {0: 0.1, 50: 0.1, 99: 0.1}),
        ("cosine", {0: 0.1, 50: 0.05}),
        ("step", {0: 0.1, 29: 0.1, 30: 0.05, 60: 0.025, 90: 0.0125}),
        ("exponential", {0: 0.1, 9: 0.1, 10: 0.05, 25: 0.025}),
    ],
)
def test_schedules(schedule: str, expected: dict[int, float]) -> None:
    values = rates(dataclasses.replace(RECIPE, schedule=schedule, decay_rate=0.5))
    for step, rate in expected.items():
        assert values[step] == pytest.approx(rate, rel=1e-5)
    assert (np.diff(values) <= 1e-9).all()


def test_warm_up_is_linear_and_then_the_schedule_itself() -> None:
    plain = rates(RECIPE)
    warm = rates(dataclasses.replace(RECIPE, warmup_epochs=1.0))
    np.testing.assert_allclose(warm[:10], plain[:10] * np.arange(1, 11) / 10, rtol=1e-5)
    np.testing.assert_allclose(warm[10:], plain[10:])


def test_a_schedule_survives_its_own_config() -> None:
    schedule = build_schedule(dataclasses.replace(RECIPE, warmup_epochs=0.5), 10)
    again = WarmUp.from_config(schedule.get_config())
    assert [float(again(step)) for step in (0, 3, 40)] == [
        float(schedule(step)) for step in (0, 3, 40)
    ]


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_optimizer_takes_the_recipe(name: str) -> None:
    training = dataclasses.replace(
        RECIPE, optimizer=name, weight_decay=0.01, clip_norm=1.0, nesterov=True
    )
    optimizer = build_optimizer(training, 10)
    assert type(optimizer).__name__.lower() == name
    assert optimizer.weight_decay == 0.01
    assert optimizer.global_clipnorm == 1.0
    if name == "sgd":
        assert optimizer.momentum == 0.9
        assert optimizer.nesterov


def test_biases_and_norms_do_not_decay() -> None:
    import keras

    image = keras.Input((4,))
    x = keras.layers.Dense(3, name="first")(image)
    model = keras.Model(image, keras.layers.BatchNormalization(name="norm")(x))
    optimizer = build_optimizer(dataclasses.replace(RECIPE, weight_decay=0.1), 10)
    optimizer.build(model.trainable_variables)
    decaying = [v.path for v in model.trainable_variables if optimizer._use_weight_decay(v)]
    assert decaying == ["first/kernel"]


def test_xla_setting() -> None:
    assert use_xla("on")
    assert not use_xla("off")
    assert use_xla("auto") == (accelerator() != "CPU")


@pytest.mark.parametrize("name", ["sgd", "adam", pytest.param("adamw", marks=pytest.mark.backends)])
def test_layers_learn_and_decay_at_their_own_rates(name: str) -> None:
    import keras

    image = keras.Input((4,))
    layers = [keras.layers.Dense(3, kernel_initializer="ones", name=n) for n in ("old", "new")]
    network = keras.Model(image, keras.layers.Add()([layer(image) for layer in layers]))
    rates = {"*": 0.25, "new": 1.0}
    training = dataclasses.replace(
        RECIPE, optimizer=name, schedule="constant", layer_rates=rates, weight_decay=0.1
    )
    freeze_layers(network, rates)
    network.compile(build_optimizer(training, 10), "mse", jit_compile=False)
    x = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
    for _ in range(3):
        network.train_on_batch(x, np.ones((8, 3), np.float32))
    moved = [1 - keras.ops.convert_to_numpy(layer.kernel) for layer in layers]
    # Both see the same gradient. Decay shrinks with the kernel, so it is not quite a quarter.
    assert np.abs(moved[1]).min() > 1e-3
    np.testing.assert_allclose(moved[0] / moved[1], 0.25, rtol=0.08)


@pytest.mark.backends
@pytest.mark.parametrize("rates", [{}, {"*": 0.5, "norm": 0.1}])
def test_the_average_follows_the_weights_step_by_step(rates: dict[str, float]) -> None:
    import keras

    image = keras.Input((4,))
    x = keras.layers.BatchNormalization(name="norm")(image)  # Nothing of it decays.
    network = keras.Model(image, keras.layers.Dense(3, name="head")(x))
    training = dataclasses.replace(
        RECIPE, optimizer="adamw", schedule="constant", layer_rates=rates, ema_momentum=0.7
    )
    optimizer = build_optimizer(training, 10)
    network.compile(optimizer, "mse", jit_compile=False)
    pictures = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
    expected: list[np.ndarray] = []
    for step in range(4):
        network.train_on_batch(pictures, np.ones((8, 3), np.float32))
        weights = [keras.ops.convert_to_numpy(each) for each in network.trainable_variables]
        kept = 0.7 if step else 0.0
        expected = [
            kept * before + (1 - kept) * now
            for before, now in zip(expected or weights, weights, strict=True)
        ]
    for average, wanted in zip(optimizer._model_variables_moving_average, expected, strict=True):
        np.testing.assert_allclose(keras.ops.convert_to_numpy(average), wanted, rtol=1e-5)
    if keras.backend.backend() == "torch":  # All variables at once.
        assert type(optimizer)._backend_update_step is not keras.Optimizer._backend_update_step


@pytest.mark.backends
@pytest.mark.parametrize(
    ("name", "is_method"), [("adam", False), ("adamw", False), ("adamw", True)]
)
def test_adam_steps_as_keras_has_it(name: str, is_method: bool) -> None:
    import keras

    def trained(optimizer: keras.Optimizer) -> list[np.ndarray]:
        keras.utils.set_random_seed(0)
        image = keras.Input((6, 6, 2))
        x = keras.layers.Conv2D(3, 3, name="conv")(image)
        x = keras.layers.Conv2D(4, 1, name="point")(x)
        logits = keras.layers.GlobalAveragePooling2D(name="logits")(x)
        network = keras.Model(image, {"logits": logits} if is_method else logits)
        if is_method:  # PyTorch's way: kernels lie otherwise in memory.
            network = build_method("cross_entropy", network, "abcd")
            network.compile(optimizer=optimizer, jit_compile=False)
        else:
            network.compile(optimizer, "mse", jit_compile=False)
        pictures = np.random.default_rng(0).normal(size=(8, 6, 6, 2)).astype(np.float32)
        for _ in range(5):
            network.train_on_batch(pictures, np.ones((8, 4), np.float32))
        kept = [*network.trainable_variables, *optimizer.variables]
        return [keras.ops.convert_to_numpy(each) for each in kept if len(each.shape) > 0]

    training = dataclasses.replace(RECIPE, optimizer=name, learning_rate=0.01, weight_decay=1.0)
    kind = {"adam": keras.optimizers.Adam, "adamw": keras.optimizers.AdamW}[name]
    # Keras asks the schedule, which changes from step to step, for every variable that decays.
    expected = kind(build_schedule(training, 1), weight_decay=1.0)
    expected.exclude_from_weight_decay(var_names=["bias"])
    ours, theirs = trained(build_optimizer(training, 1)), trained(expected)
    assert len(ours) == len(theirs) == 3 * 4
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_layers_with_rate_0_are_frozen_and_patterns_are_checked() -> None:
    import keras

    image = keras.Input((4, 4, 1))
    x = keras.layers.BatchNormalization(name="base_bn")(image)
    network = keras.Model(image, keras.layers.Conv2D(2, 3, name="branch1_conv")(x))
    freeze_layers(network, {"*": 1.0, "base*": 0.0})
    assert [layer.trainable for layer in network.layers[1:]] == [False, True]
    for rates, message in (
        ({"brunch*": 0.5}, r"no layer of .* fits the pattern 'brunch\*'"),
        ({"base*": -1}, "0 or more. Received: base.*=-1"),
        ({"base*": "slow"}, "Received: base.*='slow'"),
        ({"*": 0}, "not frozen. Found none"),
    ):
        with pytest.raises(ConfigError, match=message):
            freeze_layers(network, rates)
    assert rate_factor("branch2_conv", {"*": 0.1, "branch2_*": 1}) == 1.0
    assert rate_factor("other", {"branch2_*": 0.1}) == 1.0


@pytest.mark.parametrize("name", ["sgd", pytest.param("adamw", marks=pytest.mark.backends)])
def test_the_classifier_learns_alone_at_first(name: str) -> None:
    import keras

    image = keras.Input((4,))
    body = keras.layers.Dense(3, kernel_initializer="ones", name="body")
    head = keras.layers.Dense(3, kernel_initializer="ones", name="branch1_logits")
    network = keras.Model(image, head(body(image)))
    training = dataclasses.replace(
        RECIPE, optimizer=name, schedule="constant", head_epochs=0.2, weight_decay=0.1
    )
    network.compile(build_optimizer(training, 10), "mse", jit_compile=False)
    x = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
    moved = []
    for _ in range(3):
        network.train_on_batch(x, np.zeros((8, 3), np.float32))
        kernels = [keras.ops.convert_to_numpy(layer.kernel) for layer in (body, head)]
        moved.append([bool((kernel != 1).any()) for kernel in kernels])
    assert moved == [[False, True], [False, True], [True, True]]


def test_without_a_classifier_it_cannot_learn_alone() -> None:
    import keras

    image = keras.Input((4,))
    network = keras.Model(image, keras.layers.Dense(3, name="body")(image))
    optimizer = build_optimizer(dataclasses.replace(RECIPE, head_epochs=1.0), 10)
    with pytest.raises(ConfigError, match=r"head_epochs: expected a classifier.* Received: body"):
        optimizer.build(network.trainable_variables)


def test_half_precision_on_a_processor_is_not_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    half = TrainingConfig(precision="mixed_float16")
    monkeypatch.setattr("fer_keras.training.device.accelerator", lambda: "CPU")
    assert "training.precision=float32" in precision_note(half)
    assert precision_note(TrainingConfig()) == ""
    monkeypatch.setattr("fer_keras.training.device.accelerator", lambda: "GPU")
    assert precision_note(half) == ""
