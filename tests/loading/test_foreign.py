"""Keras files of others: what is read, and what is refused."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from fer_keras.common.errors import ModelFileError
from fer_keras.loading import load_model
from fer_keras.loading.foreign import load_hdf5, open_foreign
from fer_keras.runtime.peer_card import PeerCard

CARD = PeerCard(
    name="theirs",
    labels=("neutral", "happy", "sad"),
    image_size=(12, 12),
    source="their README",
    licence="MIT",
    value_range=(0.0, 1.0),
)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A network as Keras 2 stored it, and the network."""
    import keras

    keras.utils.set_random_seed(0)
    image = keras.Input((12, 12, 1))
    x = keras.layers.SeparableConv2D(4, 3, activation="relu", depthwise_regularizer="l2")(image)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.BatchNormalization()(x))
    network = keras.Model(image, keras.layers.Dense(3, activation="softmax")(x))
    path = tmp_path_factory.mktemp("old") / "old.hdf5"
    network.save(path)
    return path, network


def changed(path: Path, change: Callable[[dict[str, Any]], None]) -> bytes:
    """The file with another configuration."""
    stream = io.BytesIO(path.read_bytes())
    with h5py.File(stream, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        change(config)
        file.attrs["model_config"] = json.dumps(config)
    return stream.getvalue()


def test_an_old_file_gives_the_answers_of_its_network(saved: tuple[Path, Any]) -> None:
    path, network = saved
    model, read = open_foreign(CARD, path)
    assert read.count_params() == network.count_params()
    images = np.random.default_rng(0).integers(0, 256, (5, 12, 12, 1), dtype=np.uint8)
    expected = network(images.astype(np.float32) / 255, training=False).numpy()
    np.testing.assert_allclose(model.predict(images), expected, atol=1e-5)


@pytest.mark.parametrize("name", ["Lambda", "TFSMLayer", "Unheard"])
def test_layers_that_run_code_or_are_unknown_are_refused(
    name: str, saved: tuple[Path, Any]
) -> None:
    def change(config: dict[str, Any]) -> None:
        config["config"]["layers"][1] |= {"class_name": name, "module": None}

    with pytest.raises(ModelFileError, match=name):
        load_hdf5(changed(saved[0], change), Path("x.hdf5"))


def test_links_and_data_outside_the_file_are_refused(
    saved: tuple[Path, Any], tmp_path: Path
) -> None:
    stream = io.BytesIO(saved[0].read_bytes())
    with h5py.File(stream, "r+") as file:
        file["model_weights/more"] = h5py.ExternalLink("/etc/passwd", "/")
    with pytest.raises(ModelFileError, match=r"'more' points outside the file"):
        load_hdf5(stream.getvalue(), Path("x.hdf5"))
    with h5py.File(tmp_path / "more.hdf5", "w") as file:
        file.attrs["model_config"] = "{}"
        file.create_dataset("data", (4,), "u1", external=[("/etc/passwd", 0, 4)])
    with pytest.raises(ModelFileError, match=r"'data' points outside the file"):
        load_hdf5((tmp_path / "more.hdf5").read_bytes(), Path("x.hdf5"))


def test_other_files_are_refused(saved: tuple[Path, Any], tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="Not a readable HDF5"):
        load_hdf5(saved[0].read_bytes()[:3000], Path("x.hdf5"))
    with h5py.File(tmp_path / "weights.hdf5", "w") as file:
        file["a"] = 1
    with pytest.raises(ModelFileError, match="weights only"):
        load_hdf5((tmp_path / "weights.hdf5").read_bytes(), Path("x.hdf5"))
    wider = PeerCard(**{**vars(CARD), "labels": ("neutral", "happy")})
    with pytest.raises(ModelFileError, match=r"one output \(None, 2\) for neutral, happy"):
        open_foreign(wider, saved[0])


@pytest.mark.parametrize("kind", ["strings", "objects", "part", "sequential"])
def test_a_compiled_keras_file_gives_the_answers_of_its_network(kind: str, tmp_path: Path) -> None:
    import keras

    part = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(3, activation="softmax")])
    part.build((None, 12, 12, 1))
    image = keras.Input((12, 12, 1))
    network = part if kind == "sequential" else keras.Model(image, part(image))
    if kind == "objects":
        network.compile(keras.optimizers.Adam(), keras.losses.CategoricalCrossentropy())
    else:
        (part if kind == "part" else network).compile("adam", "categorical_crossentropy")
    path = tmp_path / "theirs.keras"
    network.save(path)
    model, _ = open_foreign(CARD, path)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 12, 12, 1)).astype(np.uint8)
    expected = network.predict_on_batch(pixels.astype(np.float32) / 255)
    np.testing.assert_allclose(model.predict(pixels), expected, atol=1e-5)

    # What `evaluate` reads it by: the card lies beside the file.
    card = {key: value for key, value in vars(CARD).items() if value not in ("", ())}
    (tmp_path / "theirs.card.json").write_text(json.dumps(card))
    np.testing.assert_allclose(load_model(path).predict(pixels), expected, atol=1e-5)


@pytest.mark.parametrize("is_sequential", [True, False])
def test_a_network_without_a_card_is_told_of_the_card(is_sequential: bool, tmp_path: Path) -> None:
    import keras

    image, layer = keras.Input((12, 12, 1)), keras.layers.Flatten()
    network = (
        keras.Sequential([image, layer]) if is_sequential else keras.Model(image, layer(image))
    )
    network.save(tmp_path / "theirs.keras")
    with pytest.raises(ModelFileError, match=r"theirs\.card\.json, docs/compare.*theirs\.keras"):
        load_model(tmp_path / "theirs.keras")
