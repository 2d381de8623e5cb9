"""Class activation maps against what is known of small networks."""

from typing import Any

import numpy as np
import pytest

from fer_keras.common.errors import ModelFileError
from fer_keras.studies.shared.maps import (
    Explainer,
    cam,
    eigen_cam,
    enlarged,
    grad_cam,
    head_maps,
    normalised,
    overlay,
)


@pytest.fixture(scope="module")
def networks() -> dict[str, Any]:
    """One map, and logits that follow from its mean, from all of it, or from something else too."""
    import keras

    # Weights above 0, so that no map is empty.
    positive = {"kernel_initializer": keras.initializers.RandomUniform(0.01, 0.1, seed=0)}
    image = keras.Input((12, 12, 1))
    scaled = keras.layers.Rescaling(1 / 255)(image)
    features = keras.layers.Conv2D(3, 4, strides=4, activation="relu", **positive)(scaled)
    mean = keras.layers.GlobalAveragePooling2D()(features)
    dropped = keras.layers.Dropout(0.5)(mean)
    linear = keras.layers.Dense(4, bias_initializer="ones", **positive)(dropped)
    hidden = keras.layers.Dense(5, activation="tanh", **positive)(keras.layers.Flatten()(features))
    deep = keras.layers.Dense(4, **positive)(hidden)
    both = keras.layers.Add()([deep, keras.layers.Dense(4)(keras.layers.Flatten()(scaled))])
    return {
        name: keras.Model(image, {"logits": logits, "features": features})
        for name, logits in (("linear", linear), ("deep", deep), ("bypassed", both))
    }


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (5, 12, 12, 1), np.uint8)


@pytest.mark.backends
def test_of_a_linear_classifier_grad_cam_is_cam(
    networks: dict[str, Any], images: np.ndarray
) -> None:
    """Selvaraju et al., section 3.1: Grad-CAM is the positive part of CAM, but for a factor."""
    classes = np.array([0, 1, 2, 3, 1])
    maps = Explainer(networks["linear"]).maps(images, classes)
    assert list(maps) == ["CAM", "Grad-CAM", "Eigen-CAM"]
    np.testing.assert_allclose(maps["CAM"], maps["Grad-CAM"], atol=1e-5)
    assert maps["CAM"].shape == (5, 3, 3)
    assert len({m.tobytes() for m in maps["CAM"]}) == 5


def test_the_mean_of_a_cam_is_the_logit_less_its_bias(
    networks: dict[str, Any], images: np.ndarray
) -> None:
    network = networks["linear"]
    given = network.predict_on_batch(images.astype(np.float32))
    kernel, bias = network.layers[-1].get_weights()
    assert set(bias) == {1.0}
    maps = cam(given["features"], kernel, np.array([2] * 5))
    np.testing.assert_allclose(maps.mean(axis=(1, 2)), given["logits"][:, 2] - 1, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "expected"), [("deep", ["Grad-CAM", "Eigen-CAM"]), ("bypassed", ["Eigen-CAM"])]
)
def test_what_a_network_allows(
    networks: dict[str, Any], images: np.ndarray, name: str, expected: list[str]
) -> None:
    maps = Explainer(networks[name]).maps(images, [0] * 5)
    assert list(maps) == expected
    for values in maps.values():
        assert values.min() >= 0
        assert values.max() == pytest.approx(1)


def test_ddamfn_has_maps_before_and_after_its_attention(images: np.ndarray) -> None:
    from fer_keras.models import build_network

    network = build_network("ddamfn", (12, 12, 1), 4, width=1 / 32, depths=(1, 1, 1))
    assert list(Explainer(network).maps(images, [0] * 5)) == [
        "Grad-CAM MFN", "Grad-CAM DDAN", "Eigen-CAM MFN", "Eigen-CAM DDAN",
        "Head 1", "Head 2",
    ]  # fmt: skip


def test_a_network_without_maps_is_refused() -> None:
    import keras

    image = keras.Input((4, 4, 1))
    network = keras.Model(image, {"logits": keras.layers.Dense(2)(keras.layers.Flatten()(image))})
    with pytest.raises(ModelFileError, match=r"output 'features'.*Received: logits"):
        Explainer(network)


def test_eigen_cam_finds_the_places_of_the_strongest_direction() -> None:
    place = np.array([[0.0, 1.0], [2.0, 3.0]], np.float32)
    direction = np.array([-0.6, 0.8], np.float32)
    features = (place[..., None] * direction)[None]
    # Of rank one: the map is the places, whatever the sign of the channels.
    np.testing.assert_allclose(eigen_cam(features)[0], place, atol=1e-5)


def test_grad_cam_leaves_out_what_speaks_against() -> None:
    features = np.ones((1, 1, 2, 2), np.float32)
    features[0, 0, 1] = [3, 1]
    gradients = np.full((1, 1, 2, 2), [-1.0, 2.0], np.float32)
    np.testing.assert_allclose(grad_cam(features, gradients), [[[1.0, 0.0]]])


def test_the_small_functions() -> None:
    attention = np.zeros((1, 2, 1, 1, 4), np.float32)
    attention[0, 1] = [0, 1, 0, 1]
    np.testing.assert_allclose(head_maps(attention)[0, :, 0, 0], [0, 0.5])
    maps = np.array([[[-2.0, 1.0]], [[0.0, 0.0]]], np.float32)
    np.testing.assert_allclose(normalised(maps), [[[0, 1]], [[0, 0]]])
    assert enlarged(maps, (3, 8)).shape == (2, 3, 8)
    grey = np.full((2, 2, 1), 100, np.uint8)
    red = overlay(grey, np.ones((2, 2), np.float32), opacity=1.0)[0, 0]
    assert red[0] > red[2]  # the highest place is red, not blue
    np.testing.assert_array_equal(overlay(grey, np.ones((2, 2), np.float32), 0.0), 100)
