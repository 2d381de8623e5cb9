"""A training starts from an exported network, and a narrower one from its best channels."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from fer_keras.common.errors import ConfigError, ModelFileError
from fer_keras.loading.exported_weights import read_exported_weights
from fer_keras.loading.keras_files import save_network
from fer_keras.loading.load import load_model
from fer_keras.models import build_network
from fer_keras.models.layers import with_class_names
from fer_keras.training.start import load_start

MODELS = Path(__file__).parents[2] / "saved_models"
TINY = MODELS / "ferplus_tiny"
OPTIONS = read_exported_weights(TINY).options
NAMES = read_exported_weights(TINY).class_names
NARROWER = [width - 4 for width in OPTIONS["widths"]]


def faces(n: int = 48) -> np.ndarray:
    """Pictures with structure: blobs of light."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:48, :48]
    centre = rng.uniform(8, 40, (n, 2, 1, 1))
    blobs = np.exp(-((x - centre[:, 0]) ** 2 + (y - centre[:, 1]) ** 2) / 120)
    return (
        (60 + 150 * blobs + rng.normal(0, 8, blobs.shape)).clip(0, 255).astype(np.uint8)[..., None]
    )


def build(seed: int = 0, **options: Any) -> Any:
    keras.utils.set_random_seed(seed)
    return build_network("compact", (48, 48, 1), len(NAMES), **{**OPTIONS, **options})


def probabilities(network: Any, pictures: np.ndarray, *, training: bool = False) -> np.ndarray:
    logits = network(pictures.astype(np.float32), training=training)["logits"]
    return keras.ops.convert_to_numpy(keras.ops.softmax(logits))


def test_it_computes_what_the_file_computes() -> None:
    pictures, network = faces(), build()
    line = load_start(network, NAMES, str(TINY), whole=True, pictures=pictures)
    assert "model_float32.tflite" in line
    model = load_model(TINY)
    # The file averages logits over the mirror image and divides them by its temperature.
    logits = sum(
        keras.ops.convert_to_numpy(network(x.astype(np.float32), training=False)["logits"])
        for x in (pictures, pictures[:, :, ::-1])
    )
    expected = keras.ops.softmax(logits / 2 / model.temperature)
    np.testing.assert_allclose(model.predict(pictures), expected, atol=1e-4)
    # The statistics are those of the pictures: a training step starts from the same function.
    no_dropout = build(dropout=0.0)
    no_dropout.set_weights(network.get_weights())
    np.testing.assert_allclose(
        probabilities(no_dropout, pictures, training=True),
        probabilities(network, pictures),
        atol=0.02,
    )


def test_weights_of_8_bits_are_their_steps_times_the_size_of_a_step() -> None:
    exact = read_exported_weights(TINY / "model_float32.tflite").layers
    rounded = read_exported_weights(TINY / "model_dynamic.tflite").layers
    assert rounded.keys() == exact.keys()
    for name, (kernel, bias) in exact.items():
        # Half a step of 127 to the largest weight of a channel.
        largest = np.abs(kernel).max(axis=tuple(range(kernel.ndim - 1)))
        assert np.all(np.abs(rounded[name][0] - kernel) <= largest / 127 * 0.501)
        np.testing.assert_array_equal(rounded[name][1], bias)


def test_a_shipped_model_without_a_float32_file_is_loaded_and_trained_on() -> None:
    shipped = MODELS / "fer2013"
    model = load_model(shipped)
    assert model.path.name == "model_dynamic.tflite"
    options = read_exported_weights(shipped).options
    network = build_network("compact", (48, 48, 1), len(model.class_names), **options)
    line = load_start(network, model.class_names, str(shipped), whole=True, pictures=faces())
    assert "model_dynamic.tflite" in line
    pictures = faces()
    logits = sum(
        keras.ops.convert_to_numpy(network(x.astype(np.float32), training=False)["logits"])
        for x in (pictures, pictures[:, :, ::-1])
    )
    expected = keras.ops.convert_to_numpy(keras.ops.softmax(logits / 2 / model.temperature))
    # The file rounds activations to 8 bits on their way into a convolution.
    np.testing.assert_allclose(model.predict(pictures), expected, atol=0.05)


def test_a_narrower_network_gets_the_channels_that_matter() -> None:
    pictures = faces()
    wide = build()
    load_start(wide, NAMES, str(TINY), pictures=pictures)
    expected = probabilities(wide, pictures)
    narrow = build(widths=NARROWER)
    line = load_start(narrow, NAMES, str(TINY), whole=True, pictures=pictures)
    assert line.endswith("narrowed")
    off = np.abs(probabilities(narrow, pictures) - expected).mean()
    fresh = np.abs(probabilities(build(seed=3, widths=NARROWER), pictures) - expected).mean()
    assert off < 0.5 * fresh


def test_a_narrower_network_is_cut_from_a_keras_file_as_from_its_export(tmp_path: Path) -> None:
    pictures = faces()
    wide = with_class_names(build(), NAMES)
    load_start(wide, NAMES, str(TINY), pictures=pictures)
    save_network(wide, tmp_path / "wide.keras")
    answers = []
    for path in (TINY / "model_float32.tflite", tmp_path / "wide.keras"):
        narrow = build(seed=1, widths=NARROWER)
        line = load_start(narrow, NAMES, str(path), whole=True, pictures=pictures)
        assert line.endswith("narrowed")
        answers.append(probabilities(narrow, pictures))
    np.testing.assert_allclose(*answers, atol=1e-3)


def test_other_classes_keep_a_fresh_classifier() -> None:
    network = build_network("compact", (48, 48, 1), 2, **OPTIONS)
    line = load_start(network, ("happiness", "boredom"), str(TINY), pictures=faces(8))
    assert "; fresh: logits" in line
    part = build_network("compact", (48, 48, 1), 2, **OPTIONS)
    assert "; fresh" not in load_start(part, ("fear", "anger"), str(TINY), pictures=faces(8))
    bias = read_exported_weights(TINY).layers["logits"][1]
    order = [NAMES.index("fear"), NAMES.index("anger")]
    np.testing.assert_allclose(part.get_layer("logits").get_weights()[1], bias[order])


def test_what_cannot_be_started_from_is_refused() -> None:
    with pytest.raises(ModelFileError, match="float32"):
        load_start(build(), NAMES, str(MODELS / "ferplus" / "model_int8.tflite"))
    wider = [width + 8 for width in OPTIONS["widths"]]
    with pytest.raises(ConfigError, match=rf"not wider .*Received: {wider[0]}"):
        load_start(build(widths=wider), NAMES, str(TINY), pictures=faces(8))
    network = build(widths=NARROWER[:2], depths=OPTIONS["depths"][:2])
    with pytest.raises(ConfigError, match=r"Lacking in 'compact': stage3_block1_conv1"):
        load_start(network, NAMES, str(TINY), pictures=faces(8))
    with pytest.raises(ConfigError, match="expected pictures"):
        load_start(build(widths=NARROWER), NAMES, str(TINY))
