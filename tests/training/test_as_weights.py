"""A training that takes its network from a file: size, classes, and what is refused."""

import dataclasses
import json
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_keras.common.errors import ConfigError, ModelFileError
from fer_keras.common.files import write_text
from fer_keras.config import NetworkConfig, load_experiment
from fer_keras.loading import save_network
from fer_keras.loading.transfer import with_classes
from fer_keras.methods import build_method
from fer_keras.models import build_network, list_networks
from fer_keras.models.layers import class_names_of, with_class_names
from fer_keras.training.as_weights import options_of, with_input_of_weights
from fer_keras.training.start import network_of_weights

NAMES = ("neutral", "happiness", "surprise", "anger")
FINETUNE = load_experiment("finetune")


def starting_with(**network: Any) -> Any:
    return dataclasses.replace(FINETUNE, network=NetworkConfig("as_weights", **network))


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A run folder of a network with options that nobody has written down."""
    folder = tmp_path / "run"
    folder.mkdir()
    options = {"stem_filters": 4, "widths": [8], "depths": [1]}
    network = build_network("compact", (16, 16, 3), len(NAMES), **options)
    save_network(with_class_names(network, NAMES), folder / "best.keras")
    return folder


def test_the_pictures_get_the_size_of_the_network(trained: Path) -> None:
    experiment = with_input_of_weights(starting_with(weights=str(trained)))
    assert (experiment.dataset.image_size, experiment.dataset.channels) == (16, 3)
    assert experiment.network.weights == str(trained / "best.keras")
    network, line = network_of_weights(experiment.network, ("happy", "drowsy"))
    assert class_names_of(network) == ("happy", "drowsy")
    assert network.input.shape == (None, 16, 16, 3)
    assert line.endswith("fresh: logits")
    other = load_experiment("cross_entropy")
    assert with_input_of_weights(other) == other
    shipped = with_input_of_weights(starting_with(weights="ferplus"))
    assert (shipped.network.name, shipped.dataset.image_size) == ("compact", 48)
    assert shipped.network.options["widths"] == [32, 64, 128, 256]
    earlier = load_experiment("ferplus_camera").dataset
    experiment = with_input_of_weights(starting_with(weights="ferplus_camera"))
    assert experiment.dataset.image_size == earlier.image_size


def test_the_options_of_the_network_are_known_to_the_next_run(trained: Path) -> None:
    experiment = with_input_of_weights(starting_with(weights=str(trained)))
    assert options_of(experiment.network) == {}
    options = {"stem_filters": 4, "widths": [8], "depths": [1]}
    write_text(trained / "result.json", json.dumps({"network_options": options}))
    assert options_of(experiment.network) == options
    (trained / "result.json").rename(trained / "manifest.json")
    assert options_of(experiment.network) == {}
    manifest = {"training": {"network_options": options}}
    write_text(trained / "manifest.json", json.dumps(manifest))
    assert options_of(experiment.network) == options
    assert options_of(load_experiment("ferplus_tiny").network)["widths"] == [40, 72, 96]


def test_what_cannot_be_started_from_is_refused_before_any_data(trained: Path) -> None:
    for network, error, message in (
        ({}, ConfigError, "Received: no weights"),
        ({"weights": str(trained), "options": {"depths": [1]}}, ConfigError, "Received: options"),
        ({"weights": "no_such"}, ModelFileError, "expected a .keras file, a run folder or a ship"),
    ):
        with pytest.raises(error, match=message):
            with_input_of_weights(starting_with(**network))
    (trained / "best.keras").write_bytes(b"no archive")
    with pytest.raises(ModelFileError, match=r"Not a \.keras file"):
        with_input_of_weights(starting_with(weights=str(trained)))


@pytest.mark.parametrize("name", list_networks())
def test_every_network_takes_other_classes(name: str) -> None:
    module = import_module(f"fer_keras.models.{name}")
    kind = getattr(module, "INPUT_KIND", "image")
    shape = ({"image": (), "pair": (2,), "clip": (4,)}[kind]) + (48, 48, 1)
    built = build_network(name, shape, len(NAMES), **getattr(module, "SMALL", {}))
    trained = with_class_names(built, NAMES)
    order = (2, 0, 3, 1)
    network, fresh = with_classes(trained, [NAMES[i] for i in order])
    assert fresh == []
    pictures = np.random.default_rng(0).integers(0, 256, (2, *shape)).astype("float32")
    expected = np.asarray(trained(pictures)["logits"])[:, order]
    np.testing.assert_allclose(np.asarray(network(pictures)["logits"]), expected, atol=1e-6)
    network, fresh = with_classes(trained, ("happy", "drowsy", "fear"))
    assert fresh
    assert network.output["logits"].shape == (None, 3)
    assert {*network.output} == {*trained.output}


def test_a_table_of_words_makes_place_for_a_classifier() -> None:
    built = build_network(
        "compact", (16, 16, 1), len(NAMES), stem_filters=4, widths=[8], depths=[1]
    )
    trained = build_method("word2vec", built, NAMES).network
    network, fresh = with_classes(trained, ("happy", "drowsy"))
    assert fresh == ["logits"]
    assert class_names_of(network) == ("happy", "drowsy")
    assert network.output["logits"].shape == (None, 2)
