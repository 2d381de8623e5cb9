"""`compact` with anti-aliased halving: the blur itself, what it is for, and its 8-bit file."""

from pathlib import Path

import keras
import numpy as np
import pytest

from fer_keras.conversion.tflite import (
    convert_int8,
    deploy_graph,
    frozen_function,
    tflite_probabilities,
)
from fer_keras.data.datasets.synthetic_faces import generate
from fer_keras.loading.keras_files import load_network, save_network
from fer_keras.methods import build_method
from fer_keras.models import build_network

SMALL = {"stem_filters": 8, "widths": [16, 16, 16], "depths": [1, 1, 1]}


def faces(count: int) -> np.ndarray:
    return np.stack([face.image for face in generate(count, seed=3)])


@pytest.mark.backends
def test_the_blur_is_one_two_one_both_ways() -> None:
    network = build_network("compact", (48, 48, 1), 3, **SMALL, antialias=True)
    stem = network.get_layer("stem_relu").output
    halved = network.get_layer("stage1_block1_blur").output
    assert network.get_layer("stage1_block1_conv1").input is halved
    x, found = keras.Model(network.input, [stem, halved]).predict_on_batch(faces(2))
    kernel = np.outer([1, 2, 1], [1, 2, 1]) / 16
    at = (slice(None), 4, 5)
    window = x[:, 8:11, 10:13]
    np.testing.assert_allclose(
        found[at], np.einsum("bhwc,hw->bc", window, kernel), rtol=1e-5, atol=1e-6
    )
    plain = build_network("compact", (48, 48, 1), 3, **SMALL)
    assert network.count_params() == plain.count_params()
    assert network.output["features"].shape == plain.output["features"].shape


def test_a_shift_by_a_pixel_changes_less() -> None:
    images = faces(32)

    def change(antialias: bool) -> float:
        keras.utils.set_random_seed(0)
        network = build_network("compact", (48, 48, 1), 3, **SMALL, antialias=antialias)
        here, there = (
            network.predict_on_batch(np.roll(images, shift, axis=2))["embedding"]
            for shift in (0, 1)
        )
        return float(np.linalg.norm(here - there) / np.linalg.norm(here - here.mean(axis=0)))

    assert change(True) < 0.8 * change(False)


def test_it_is_trained_and_read_again(tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    images = faces(8).astype(np.float32)
    network = build_network("compact", (48, 48, 1), 3, **SMALL, antialias=True)
    method = build_method("cross_entropy", network, ("a", "b", "c"))
    before = [keras.ops.convert_to_numpy(v).copy() for v in method.trainable_variables]
    method.compile(keras.optimizers.SGD(0.1), jit_compile=False)
    method.fit(images, np.eye(3, dtype=np.float32)[np.arange(8) % 3], batch_size=8, verbose=0)
    for variable, old in zip(method.trainable_variables, before, strict=True):
        assert np.abs(keras.ops.convert_to_numpy(variable) - old).max() > 0, variable.path
    save_network(method.network, tmp_path / "blurred.keras")
    again, _ = load_network(tmp_path / "blurred.keras")
    found = again.predict_on_batch(images)["logits"]
    np.testing.assert_array_equal(found, method.network.predict_on_batch(images)["logits"])


def test_its_8_bit_file_answers_as_keras_does() -> None:
    keras.utils.set_random_seed(0)
    images = faces(32)
    network = build_network("compact", (48, 48, 1), 3, **SMALL, antialias=True)
    deploy = deploy_graph(network, 1.0)
    data, _ = convert_int8(frozen_function(deploy), images, lambda _: True)
    found = tflite_probabilities(data, images)
    np.testing.assert_allclose(found, deploy.predict_on_batch(images.astype("f4")), atol=0.05)
