"""Sigmoids and "none of them": the formula, the rule of one half, and a training with it."""

from typing import Any

import cv2
import keras
import numpy as np
import pytest

from fer_keras.common.errors import ConfigError
from fer_keras.conversion import tflite as conversion
from fer_keras.data.datasets.synthetic_faces import generate
from fer_keras.methods import build_method
from fer_keras.models import build_network

from .conftest import build_tiny_network

NAMES = ("anger", "none", "happiness", "surprise")
ASKED = [0, 2, 3]


def sigmoids(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(logits[:, 1:2] - logits[:, ASKED]))


@pytest.mark.backends
def test_the_loss_is_binary_cross_entropy_of_every_emotion(tiny_network: Any) -> None:
    method = build_method("binary_cross_entropy", tiny_network, NAMES)
    logits = np.random.default_rng(0).normal(0, 3, size=(5, 4)).astype(np.float32)
    # One of each, and two emotions mixed.
    y = np.vstack([np.eye(4), [[0.3, 0, 0.7, 0]]]).astype(np.float32)
    received = method.sample_losses(keras.ops.convert_to_tensor(y), {"logits": logits}, True)
    s, t = sigmoids(logits), y[:, ASKED]
    expected = -(t * np.log(s) + (1 - t) * np.log(1 - s)).sum(axis=1)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(received), expected, rtol=1e-4)
    # Far from zero it stays finite.
    far = method.sample_losses(y, {"logits": 1e4 * logits}, True)
    assert np.isfinite(keras.ops.convert_to_numpy(far)).all()


def test_none_is_the_answer_exactly_where_no_sigmoid_reaches_one_half() -> None:
    logits = np.random.default_rng(1).normal(size=(1000, 4))
    none = logits.argmax(axis=1) == 1
    np.testing.assert_array_equal(none, (sigmoids(logits) < 0.5).all(axis=1))
    assert 100 < none.sum() < 400


def test_without_pictures_of_none_it_says_how_to_mend() -> None:
    network = build_tiny_network()
    with pytest.raises(ConfigError, match=r"none_class.*'none' of a, b, c, d. Mend: put such"):
        build_method("binary_cross_entropy", network, ("a", "b", "c", "d"))


def without_face(face: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The tiles of a drawn face in another order: its light and lines, and no face."""
    tiles = face.reshape(4, 12, 4, 12).swapaxes(1, 2).reshape(16, 12, 12)
    mixed = tiles[rng.permutation(16)].reshape(4, 4, 12, 12).swapaxes(1, 2).reshape(48, 48)
    return np.asarray(cv2.GaussianBlur(mixed, (3, 3), 0))


def drawn(first: int, people: range) -> tuple[np.ndarray, np.ndarray]:
    """Clear drawn faces of two emotions, and as many pictures without a face."""
    rng = np.random.default_rng(first)
    x, y = [], []
    for face in generate(560, seed=5, first=first, subjects=people):
        if face.emotion not in ("happiness", "surprise") or face.intensity < 0.5:
            continue
        picture = face.image[..., 0]
        x += [picture, without_face(picture, rng)]
        y += [NAMES.index(face.emotion), NAMES.index("none")]
    return np.stack(x)[..., np.newaxis].astype(np.float32), np.array(y)


def test_a_network_says_none_of_pictures_without_a_face_and_so_does_its_file() -> None:
    x, y = drawn(0, range(35))
    unseen, truth = drawn(600, range(100, 135))
    keras.utils.set_random_seed(0)
    network = build_network(
        "compact", (48, 48, 1), 4, stem_filters=8, widths=[16, 32], depths=[1, 1]
    )
    method = build_method("binary_cross_entropy", network, NAMES)
    method.compile(optimizer=keras.optimizers.Adam(0.004), jit_compile=False)
    method.fit(x, np.eye(4, dtype=np.float32)[y], batch_size=32, epochs=25, verbose=0)

    deploy = conversion.deploy_graph(method.network, 1.0)
    data = conversion.convert(conversion.frozen_function(deploy), "float32")
    probabilities = conversion.tflite_probabilities(data, unseen.astype(np.uint8))
    answers = probabilities.argmax(axis=1)
    assert np.mean(answers == truth) > 0.75
    assert np.mean((answers == 1) == (truth == 1)) > 0.85
    np.testing.assert_array_equal(
        answers == 1,
        (sigmoids(np.log(probabilities.astype(np.float64) + 1e-30)) < 0.5).all(axis=1),
    )
