"""What each picture costs is known from the training step, and decides what the next pass shows."""

import dataclasses
import json
import signal
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from test_train import TINY, make_samples, stand_in, stop_at, weights_of

from fer_keras.common.errors import ConfigError
from fer_keras.config import Experiment, MethodConfig, override
from fer_keras.data.pipeline import harder_order, training_dataset
from fer_keras.methods import build_method
from fer_keras.training import fit as fit_module
from fer_keras.training.callbacks import Interrupted
from fer_keras.training.distribution import Distribution
from fer_keras.training.learned import LearnedPictures
from fer_keras.training.run import run
from fer_keras.training.task import build_task

NAMES = ("neutral", "happiness", "anger")


def flat_network() -> Any:
    image = keras.Input((4, 4, 1))
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(image))
    x = keras.layers.Dense(4)(x)
    outputs = {"logits": keras.layers.Dense(3)(x), "embedding": x, "uncertainty": x[:, :1]}
    return keras.Model(image, outputs)


def skipping(share: float = 0.25, **training: Any) -> Experiment:
    recipe = dataclasses.replace(TINY.training, skip_learned=share, **training)
    return dataclasses.replace(TINY, training=recipe)


def test_a_pass_leaves_out_half_of_the_easier_ones() -> None:
    losses = np.random.default_rng(0).permutation(40).astype(np.float32)
    orders = [harder_order(losses, left_out=10, seed=3, epoch=epoch) for epoch in range(40)]
    missing = [set(range(40)) - set(order.tolist()) for order in orders]
    assert all(len(order) == len(set(order.tolist())) == 30 for order in orders)
    assert all(losses[list(each)].max() < 20 for each in missing)
    # Each of them comes back, about every other time.
    often = np.array([sum(row in each for each in missing) for row in range(40)])
    assert often[losses >= 20].max() == 0
    assert often[losses < 20].min() >= 8
    assert often[losses < 20].max() <= 32
    assert len({tuple(sorted(each)) for each in missing}) == 40
    # What is shown stands in the order of the plain shuffle.
    shuffled = np.random.default_rng([3, 5]).permutation(40)
    np.testing.assert_array_equal(orders[5], shuffled[np.isin(shuffled, orders[5])])
    whole = harder_order(losses, left_out=0, seed=3, epoch=5)
    np.testing.assert_array_equal(whole, shuffled)


def test_among_equal_ones_the_draw_decides() -> None:
    seen = np.zeros(40)
    for epoch in range(100):
        seen[harder_order(np.ones(40, np.float32), left_out=16, seed=0, epoch=epoch)] += 1
    assert 40 <= seen.min() <= seen.max() <= 80


@pytest.mark.backends
@pytest.mark.parametrize("name", ["cross_entropy", "label_distribution"])
def test_the_training_step_remembers_what_each_picture_cost(name: str) -> None:
    keras.utils.set_random_seed(0)
    method = build_method(name, flat_network(), NAMES)
    learned = LearnedPictures(skipping(), method, 12)
    method.compile(
        optimizer=keras.optimizers.SGD(0.0), jit_compile=keras.backend.backend() == "jax"
    )
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (12, 4, 4, 1)).astype(np.float32)
    targets = np.eye(3, dtype=np.float32)[rng.integers(0, 3, 12)]
    # Views of the same pictures: the last one that was seen counts.
    rows = np.array([3, 1, 7, 12 + 4], np.int32)
    x = (images[rows % 12], rows)
    weights = np.array([2, 1, 1, 0.5], np.float32)
    method.fit(x, targets[rows % 12], sample_weight=weights, batch_size=4, verbose=0)

    logits = keras.ops.convert_to_numpy(method.network(images)["logits"])
    expected = -np.sum(targets * (logits - np.logaddexp.reduce(logits, axis=1)[:, None]), axis=1)
    mean = learned.losses(first=True)
    assert mean is not None
    np.testing.assert_allclose(mean[rows % 12], expected[rows % 12], rtol=1e-4)
    unseen = np.setdiff1d(np.arange(12), rows % 12)
    assert (mean[unseen] > 1e30).all()
    # The next pass moves the mean of what it saw by half, and leaves the others.
    other = np.roll(targets, 1, axis=1)
    method.fit((images[:2], np.array([1, 0], np.int32)), other[:2], batch_size=2, verbose=0)
    again = learned.losses(first=False)
    np.testing.assert_array_equal(again, mean)
    second = -np.sum(other * (logits - np.logaddexp.reduce(logits, axis=1)[:, None]), axis=1)
    after = learned.losses(first=True)
    assert after is not None
    np.testing.assert_allclose(after[1], (expected[1] + second[0]) / 2, rtol=1e-4)
    np.testing.assert_array_equal(after[2:], mean[2:])
    # Validation feeds pictures alone, and changes nothing.
    method.evaluate(images, targets, verbose=0)
    np.testing.assert_array_equal(learned.losses(first=True), after)


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("method", "step"),
    [
        pytest.param("cross_entropy", 6, marks=pytest.mark.backends),
        ("cross_entropy", 8),
        ("label_distribution", 10),
        ("multi_teacher", 10),
    ],
)
def test_interrupted_and_resumed_shows_the_same_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, step: int
) -> None:
    stand_in(monkeypatch)
    options: dict[str, Any] = {}
    if method == "multi_teacher":
        run(dataclasses.replace(TINY, training=skipping(epochs=1).training), tmp_path / "first",
            track=False)  # fmt: skip
        options = {"teachers": [str(tmp_path / "first")], "views": 2}
    # Batches of 8 of 27 pictures: four steps an epoch.
    experiment = dataclasses.replace(skipping(), method=MethodConfig(method, options))
    handler = signal.getsignal(signal.SIGTERM)
    result = run(experiment, tmp_path / "straight", track=False)
    assert signal.getsignal(signal.SIGTERM) is handler
    with monkeypatch.context() as patch:
        stop_at(patch, step)
        with pytest.raises(Interrupted):
            run(experiment, tmp_path / "cut", track=False)
    assert run(experiment, tmp_path / "cut", resume=True, track=False)["epochs"] == 3
    expected, received = (weights_of(tmp_path / name) for name in ("straight", "cut"))
    assert any(name.endswith("mean_losses") for name in expected)
    for name in expected:
        np.testing.assert_array_equal(expected[name], received[name])
    rows = (tmp_path / "straight" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(row)["epoch"] for row in rows] == [1, 2, 3]
    with np.load(tmp_path / "straight" / "checkpoint" / "state.npz") as file:
        assert json.loads(bytes(file["progress"]))["step"] == 12
    # The cosine ends where the steps end.
    assert json.loads(rows[-1])["learning_rate"] < 0.1 * TINY.training.learning_rate
    assert result["images_per_second"] > 0


@pytest.mark.usefixtures("undrawn")
def test_what_is_learned_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The network is shown what it finds hard, by the losses of the passes before."""
    stand_in(monkeypatch)
    shown: list[Any] = []

    def watched(*arguments: Any, **options: Any) -> Any:
        shown.append(options)
        return training_dataset(*arguments, **options)

    monkeypatch.setattr(fit_module, "training_dataset", watched)
    run(skipping(epochs=4), tmp_path / "run", track=False)
    assert [each["first_step"] for each in shown] == [0, 4, 8, 12]
    assert all(each["left_out"] == 9 and each["with_rows"] for each in shown)
    losses = [each["losses"] for each in shown]
    assert (losses[0] > 1e30).all()
    # The first pass shows 27 of 36; the second what was not seen, so from then on all are known.
    assert [int((each < 1e30).sum()) for each in losses] == [0, 27, 36, 36]
    assert not np.array_equal(losses[2], losses[3])


def test_early_stopping_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch)
    frozen = skipping(epochs=6, learning_rate=0.0, weight_decay=0.0, early_stopping_patience=1)
    task = build_task(frozen, make_samples("train", 36), make_samples("validation", 12))
    assert task.steps_per_epoch == 4
    assert run(frozen, tmp_path / "run", track=False)["epochs"] < 6


def test_a_plain_training_has_no_such_variables() -> None:
    task = build_task(TINY, make_samples("train", 36), make_samples("validation", 12))
    assert task.learned.left_out == 0
    assert task.learned.losses(first=True) is None
    assert not task.method.needs_rows
    assert not [each for each in task.method.variables if "losses" in each.path]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("method.name=relative_uncertainty", "RelativeUncertainty trains on more than"),
        ("training.sampling=balanced", "Expected shuffle. Received: balanced"),
        ("augmentation=mix_up", "mixes pictures, so none has a loss of its own"),
    ],
)
def test_what_has_no_loss_of_its_own_is_refused(change: str, message: str) -> None:
    experiment = override(skipping(), [change])
    with pytest.raises(ConfigError, match=message) as error:
        build_task(experiment, make_samples("train", 36), make_samples("validation", 12))
    assert "\n" not in str(error.value)


def test_it_is_for_one_device() -> None:
    with pytest.raises(ConfigError, match=r"training\.skip_learned.*below 0\.5"):
        override(TINY, ["training.skip_learned=0.5"])
    if keras.backend.backend() != "tensorflow":
        return
    with pytest.raises(ConfigError, match=r"skip_learned: expected 0 on several devices"):
        Distribution(devices=2).start(skipping().training, 0)
