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
from fer_keras.data.pipeline import Pass, training_dataset
from fer_keras.methods import build_method
from fer_keras.training import fit as fit_module
from fer_keras.training.callbacks import Interrupted
from fer_keras.training.distribution import Distribution
from fer_keras.training.learned import UNSEEN, LearnedPictures, harder_pass
from fer_keras.training.run import run
from fer_keras.training.task import build_task

NAMES = ("neutral", "happiness", "anger")


def flat_network() -> Any:
    image = keras.Input((4, 4, 1))
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(image))
    x = keras.layers.Dense(4)(x)
    outputs = {"logits": keras.layers.Dense(3)(x), "embedding": x, "uncertainty": x[:, :1]}
    return keras.Model(image, outputs)


def means(method: Any) -> np.ndarray:
    (found,) = [each for each in method.variables if each.path.endswith("mean_losses")]
    return np.asarray(keras.ops.convert_to_numpy(found.value))


def skipping(share: float = 0.25, **training: Any) -> Experiment:
    recipe = dataclasses.replace(TINY.training, skip_learned=share, **training)
    return dataclasses.replace(TINY, training=recipe)


def test_a_pass_leaves_out_half_of_the_easier_ones_and_the_other_half_counts_twice() -> None:
    losses = np.random.default_rng(0).permutation(40).astype(np.float32)
    passes = [harder_pass(losses, left_out=10, seed=3, epoch=epoch) for epoch in range(40)]
    missing = [set(range(40)) - set(each.rows.tolist()) for each in passes]
    assert all(len(each.rows) == len(set(each.rows.tolist())) == 30 for each in passes)
    # Each of the easier ones comes back, about every other time.
    often = np.array([sum(row in each for each in missing) for row in range(40)])
    assert often[losses >= 20].max() == 0
    assert often[losses < 20].min() >= 8
    assert often[losses < 20].max() <= 32
    assert len({tuple(sorted(each)) for each in missing}) == 40
    for each in passes:
        np.testing.assert_array_equal(each.weights, np.where(losses < 20, 2, 1))
        # As if all had been shown.
        assert each.weights[each.rows].sum() == 40
    # What is shown stands in the order of the plain shuffle.
    shuffled = np.random.default_rng([3, 5]).permutation(40)
    expected = shuffled[np.isin(shuffled, passes[5].rows)]
    np.testing.assert_array_equal(passes[5].rows, expected)


def test_what_was_never_seen_is_left_out_by_chance_and_only_where_all_else_is() -> None:
    seen = np.zeros(40)
    for epoch in range(100):
        first = harder_pass(np.full(40, UNSEEN, np.float32), left_out=16, seed=0, epoch=epoch)
        seen[first.rows] += 1
        assert (first.weights == 1).all()
    assert 40 <= seen.min() <= seen.max() <= 80
    losses = np.ones(40, np.float32)
    losses[:8] = UNSEEN
    assert set(range(8)) <= set(harder_pass(losses, left_out=16, seed=0, epoch=1).rows.tolist())


def test_rows_and_weights_reach_the_batches() -> None:
    samples = make_samples("train", 12)
    images = np.concatenate([samples.images, samples.images[::-1]])
    two_views = dataclasses.replace(
        samples, images=images, targets=np.tile(samples.targets, (2, 1)), facts={}
    )
    only = Pass(np.array([4, 9, 1, 0, 7]), np.arange(12, dtype=np.float32))
    for class_weights, factor in ((None, 1), (np.full(3, 0.5, np.float32), 0.5)):
        batches = training_dataset(
            two_views, batch_size=2, seed=0, first_step=1, views=2, with_rows=True,
            class_weights=class_weights, only=only,
        )  # fmt: skip
        rows, weights = [], []
        for (pictures, numbers), targets, weight in batches.take(5).as_numpy_iterator():
            np.testing.assert_array_equal(targets, two_views.targets[numbers])
            np.testing.assert_array_equal(pictures, images[numbers])
            rows.append(numbers.tolist())
            weights.append(weight.tolist())
        # The rest of the first view, then the second view.
        assert rows == [[1, 0], [7], [16, 21], [13, 12], [19]]
        assert weights == [[factor * (row % 12) for row in batch] for batch in rows]


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
    first = learned.pass_of(0, 0, begins=True)
    assert first is not None
    mean = means(method)
    np.testing.assert_allclose(mean[rows % 12], expected[rows % 12], rtol=1e-4)
    assert (mean[np.setdiff1d(np.arange(12), rows % 12)] == UNSEEN).all()
    np.testing.assert_array_equal(first.rows, harder_pass(mean, left_out=3, seed=0, epoch=0).rows)
    # The next pass moves the mean of what it saw by half, and leaves the others.
    other = np.roll(targets, 1, axis=1)
    method.fit((images[:2], np.array([1, 0], np.int32)), other[:2], batch_size=2, verbose=0)
    within = learned.pass_of(0, 0, begins=False)
    assert within is not None
    np.testing.assert_array_equal(within.rows, first.rows)
    second = -np.sum(other * (logits - np.logaddexp.reduce(logits, axis=1)[:, None]), axis=1)
    learned.pass_of(1, 0, begins=True)
    after = means(method)
    np.testing.assert_allclose(after[1], (expected[1] + second[0]) / 2, rtol=1e-4)
    np.testing.assert_array_equal(after[2:], mean[2:])
    # Validation feeds pictures alone, and changes nothing.
    method.evaluate(images, targets, verbose=0)
    learned.pass_of(2, 0, begins=True)
    np.testing.assert_array_equal(means(method), after)


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
    assert all(each["with_rows"] for each in shown)
    rows = [set(each["only"].rows.tolist()) for each in shown]
    assert [len(each) for each in rows] == [27] * 4
    # The first pass left nine out, which the second shows; then all are known.
    assert set(range(36)) - rows[0] <= rows[1]
    counted = [int((each["only"].weights == 2).sum()) for each in shown]
    assert counted == [0, 18, 18, 18]
    assert rows[2] != rows[3]


def test_early_stopping_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch)
    frozen = skipping(epochs=6, learning_rate=0.0, weight_decay=0.0, early_stopping_patience=1)
    task = build_task(frozen, make_samples("train", 36), make_samples("validation", 12))
    assert task.steps_per_epoch == 4
    assert run(frozen, tmp_path / "run", track=False)["epochs"] < 6


def test_a_plain_training_has_no_such_variables() -> None:
    task = build_task(TINY, make_samples("train", 36), make_samples("validation", 12))
    assert task.learned.left_out == 0
    assert task.learned.pass_of(0, 0, begins=True) is None
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
