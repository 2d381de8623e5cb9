"""Embeddings that are worked out once are those that the network works out."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from fer_keras.common.errors import ConfigError
from fer_keras.config import DatasetConfig, Experiment, NetworkConfig, TrainingConfig
from fer_keras.data import splits
from fer_keras.data.pairs import with_neutral
from fer_keras.data.samples import Samples, one_hot
from fer_keras.methods import build_method
from fer_keras.models import build_network
from fer_keras.training import embedding_cache
from fer_keras.training.embedding_cache import embed_samples, feed_embeddings
from fer_keras.training.run import run

NAMES = ("neutral", "happiness", "anger")
ENCODER = {"stem_filters": 4, "widths": [8], "depths": [1]}
NETWORK = NetworkConfig(
    "difference_of_embeddings", {"encoder": "compact", "encoder_options": ENCODER, "hidden": [16]}
)


def faces(split: str, n: int) -> Samples:
    """Brighter or darker than the person's own neutral face, which is of any brightness."""
    rng = np.random.default_rng(n)
    labels, person = np.arange(n) % 3, np.arange(n) // 6
    base = rng.uniform(80, 170, n // 6 + 1)[person]
    level = base + np.array([0, 60, -60])[labels]
    images = level[:, None, None, None] + rng.normal(0, 5, (n, 16, 16, 1))
    facts = {
        "source": np.array([f"{split}{i}" for i in range(n)]),
        "sha256": np.array([f"{split}{i:060d}" for i in range(n)]),
        "subject": np.array([f"{split}{p}" for p in person]),
    }
    pixels = np.clip(images, 0, 255).astype(np.uint8)
    return Samples("synthetic_faces", split, NAMES, "hard", pixels, one_hot(labels, 3), facts)


PAIRED = DatasetConfig("synthetic_faces", image_size=16, neutral="same_subject")
TRAIN = faces("train", 192)


@pytest.fixture(scope="module")
def pairs() -> tuple[Samples, Samples]:
    return with_neutral(TRAIN, TRAIN, PAIRED), with_neutral(faces("validation", 48), TRAIN, PAIRED)


@pytest.fixture(scope="module")
def network() -> Any:
    keras.utils.set_random_seed(0)
    return build_network(NETWORK.name, (2, 16, 16, 1), 3, **NETWORK.options)


def encoder_of(network: Any) -> Any:
    return network.get_layer("embeddings").encoder


def test_they_are_the_networks_own(pairs: Any, network: Any, tmp_path: Path) -> None:
    _, validation = pairs
    embedded = embed_samples(validation, encoder_of(network), cache_dir=tmp_path)
    assert embedded.images.shape == (48, 2, 8)
    assert embedded.images.dtype == np.float32
    entrance = keras.Model(network.input, network.get_layer("embeddings").output)
    expected = entrance.predict(validation.images[:].astype(np.float32), verbose=0)
    np.testing.assert_allclose(embedded.images[:], expected, rtol=0, atol=1e-5)
    assert embedded.facts is validation.facts


def test_each_picture_is_encoded_once_for_all_policies(
    pairs: Any, network: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, validation = pairs
    encoded: list[int] = []
    encode = embedding_cache._Cache._encode

    def counted(self: Any, pictures: np.ndarray) -> np.ndarray:
        encoded.append(len(pictures))
        return encode(self, pictures)

    monkeypatch.setattr(embedding_cache._Cache, "_encode", counted)
    encoder = encoder_of(network)
    for samples in (train, validation, train):
        embed_samples(samples, encoder, cache_dir=tmp_path)
    random = with_neutral(faces("validation", 48), TRAIN, replace(PAIRED, neutral="random_neutral"))
    embed_samples(random, encoder, cache_dir=tmp_path)
    assert encoded == [192, 48]

    changed = faces("validation", 48)
    changed.images[0, 0, 0, 0] ^= 1
    embed_samples(changed, encoder, cache_dir=tmp_path)
    other = build_network("compact", (16, 16, 1), 3, **ENCODER)
    embed_samples(
        validation, keras.Model(other.input, other.output["embedding"]), cache_dir=tmp_path
    )
    assert encoded == [192, 48, 48, 48]
    weight = encoder.weights[0]
    before = keras.ops.convert_to_numpy(weight).copy()
    weight.assign(before + 1e-6)
    embed_samples(validation, encoder, cache_dir=tmp_path)
    weight.assign(before)
    assert encoded[4:] == [48]


def test_copies_are_augmented_anew(pairs: Any, network: Any) -> None:
    train, validation = pairs
    method = build_method("cross_entropy", network, NAMES)
    recipe = TrainingConfig(cached_embeddings=2)
    experiment = Experiment("d", PAIRED, "light", NETWORK, training=recipe)
    fed_train, fed_validation = feed_embeddings(method, train, validation, experiment)
    assert fed_train.images.shape == (2 * 192, 2, 8)
    assert fed_validation.images.shape == (48, 2, 8)
    np.testing.assert_array_equal(fed_train.labels, np.tile(train.labels, 2))
    assert np.abs(fed_train.images[:192] - fed_train.images[192:]).max() > 0.01
    with pytest.raises(ConfigError, match="all copies are the same"):
        feed_embeddings(method, train, validation, replace(experiment, augmentation="none"))
    with pytest.raises(ConfigError, match="mixes targets with the pictures"):
        feed_embeddings(method, train, validation, replace(experiment, augmentation="mix_up"))


def test_the_whole_network_is_what_a_run_leaves(
    pairs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undrawn: None
) -> None:
    train, validation = pairs
    monkeypatch.setattr(splits, "load_splits", lambda *_: (train, validation, train))
    training = TrainingConfig(
        epochs=12, batch_size=32, learning_rate=0.02, weight_decay=0.0, cached_embeddings=1
    )
    experiment = Experiment("d", PAIRED, "none", NETWORK, training=training)
    result = run(experiment, tmp_path / "run", track=False)
    rows = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    best = max(float(row.split('"val_accuracy": ')[1].split(",")[0]) for row in rows)
    # Measured by best.keras from the pictures, after a training that saw none.
    assert result["accuracy"] == pytest.approx(best, abs=1e-6)
    assert result["accuracy"] > 0.9
    assert result["initial_weights"] == "encoder compact: fresh"


def test_networks_without_a_frozen_encoder_are_refused(pairs: Any) -> None:
    method = build_method(
        "cross_entropy", build_network("compact", (16, 16, 1), 3, **ENCODER), NAMES
    )
    experiment = Experiment("d", training=TrainingConfig(cached_embeddings=1))
    with pytest.raises(ConfigError, match="starts with a frozen encoder"):
        feed_embeddings(method, TRAIN, TRAIN, experiment)
