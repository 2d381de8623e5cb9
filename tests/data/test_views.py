"""Fixed views: a function of (seed, view, row), made once, visited in turn."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_pipeline import make_samples, numpy_batches

from fer_keras.common.errors import ConfigError, DataError
from fer_keras.data import views as views_module
from fer_keras.data.gathered import GatheredImages
from fer_keras.data.pipeline import training_dataset
from fer_keras.data.views import fixed_views, stored_once


def test_a_view_depends_on_seed_view_and_row_alone(tmp_path: Path) -> None:
    samples = make_samples(300)
    first, second = fixed_views(samples, "standard", seed=0, count=2, cache_dir=tmp_path)
    assert first.shape == samples.images.shape
    assert first.dtype == np.uint8
    assert (first != second).mean() > 0.5
    # A part of the pictures, of which the last block is a shorter one.
    part = fixed_views(
        samples.take(np.arange(270)), "standard", seed=0, count=1, cache_dir=tmp_path
    )[0]
    np.testing.assert_array_equal(part, first[:270])
    other = fixed_views(samples, "standard", seed=1, count=1, cache_dir=tmp_path)[0]
    assert (first != other).mean() > 0.5


def test_views_are_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = make_samples(20)
    made = fixed_views(samples, "light", seed=0, count=2, cache_dir=tmp_path)

    def fails(*_: object) -> object:
        raise AssertionError

    monkeypatch.setattr(views_module, "block_augmenter", fails)
    again = fixed_views(samples, "light", seed=0, count=2, cache_dir=tmp_path)
    for a, b in zip(made, again, strict=True):
        np.testing.assert_array_equal(a, b)
        assert isinstance(b, np.memmap)
    monkeypatch.undo()
    changed = samples.images.copy()
    changed[0] = 255 - changed[0]
    digest = samples.facts["sha256"].copy().astype("U10")
    digest[0] = "changed"
    moved = replace(
        samples, images=changed, facts={**samples.facts, "sha256": digest}, fingerprint=""
    )
    assert (
        fixed_views(moved, "light", seed=0, count=1, cache_dir=tmp_path)[0][0] != made[0][0]
    ).any()


def test_what_has_no_views_is_refused(tmp_path: Path) -> None:
    samples = make_samples(20)
    assert fixed_views(samples, "none", seed=0, count=1)[0] is samples.images
    with pytest.raises(ConfigError, match="Set views=1"):
        fixed_views(samples, "none", seed=0, count=2)
    with pytest.raises(ConfigError, match="pictures alone"):
        fixed_views(samples, "mix_up", seed=0, count=2)
    pairs = replace(samples, images=np.stack([samples.images] * 2, axis=1))
    with pytest.raises(ConfigError, match="single pictures"):
        fixed_views(pairs, "light", seed=0, count=2)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(b"no array")
    with pytest.raises(DataError, match=r"Delete this file and run again: .*a\.npy"):
        stored_once(path, lambda: np.zeros(1))


def test_a_failure_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.npy"

    def fails() -> np.ndarray:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stored_once(path, fails)
    assert not path.exists()
    np.testing.assert_array_equal(stored_once(path, lambda: np.arange(3)), np.arange(3))


def test_each_pass_visits_one_view_and_every_second_round_is_mirrored() -> None:
    samples = make_samples(10)
    # Three views, told apart by the second pixel.
    images = np.stack([samples.images] * 3)
    images[:, :, 0, 1, 0] = np.array([[100], [101], [102]])
    joined = GatheredImages(list(images), np.arange(30)).as_array()
    fed = replace(
        samples,
        images=joined,
        targets=np.tile(samples.targets, (3, 1)),
        facts={"said": np.arange(30.0)},
        fingerprint="x",
    )
    batches = training_dataset(fed, batch_size=4, seed=2, views=3, target_facts=("said",))
    passes = numpy_batches(batches, 7 * 3)
    plain = numpy_batches(training_dataset(samples, batch_size=4, seed=2), 7 * 3)
    for number in range(7):
        pictures, targets = (
            np.concatenate([batch[part] for batch in passes[3 * number : 3 * number + 3]])
            for part in (0, 1)
        )
        order = np.concatenate([b[0] for b in plain[3 * number : 3 * number + 3]])[:, 0, 0, 0]
        if number // 3 % 2:
            pictures = pictures[:, :, ::-1]
        np.testing.assert_array_equal(pictures[:, 0, 0, 0], order)
        assert (pictures[:, 0, 1, 0] == 100 + number % 3).all()
        np.testing.assert_array_equal(targets[:, :2], samples.targets[order])
        np.testing.assert_array_equal(targets[:, 2], order + 10 * (number % 3))
    late = numpy_batches(
        training_dataset(fed, batch_size=4, seed=2, views=3, target_facts=("said",), first_step=10),
        4,
    )
    for expected, received in zip(passes[10:14], late, strict=True):
        np.testing.assert_array_equal(expected[0], received[0])
        np.testing.assert_array_equal(expected[1], received[1])
