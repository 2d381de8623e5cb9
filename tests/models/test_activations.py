"""The activations that networks of ours can have."""

import keras
import numpy as np
import pytest

from fer_keras.common.errors import ConfigError
from fer_keras.conversion.tflite import convert, deploy_graph, frozen_function, tflite_probabilities
from fer_keras.models import build_network, network_module
from fer_keras.models.layers import ACTIVATIONS, activate

AT_MINUS_TWO = {"relu": 0, "leaky_relu": -0.02, "prelu": -0.5, "elu": np.expm1(-2)}


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_values(activation: str) -> None:
    x = keras.Input((2, 2, 3))
    layer = keras.Model(x, activate(x, activation, name="one"))
    found = layer.predict_on_batch(np.full((1, 2, 2, 3), -2, np.float32))
    expected = AT_MINUS_TWO.get(activation, -2 / (1 + np.exp(2)))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert layer.layers[-1].name == f"one_{activation}"
    # A slope for each channel, shared by all places; also behind a dense layer.
    assert layer.count_params() == (3 if activation == "prelu" else 0)
    vector = keras.Input((5,))
    count = keras.Model(vector, activate(vector, activation, name="one")).count_params()
    assert count == (5 if activation == "prelu" else 0)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_compact_has_it_everywhere_and_is_exported(activation: str) -> None:
    options = {"stem_filters": 4, "widths": [8], "depths": [1], "activation": activation}
    network = build_network("compact", (24, 24, 1), 3, **options)
    names = [layer.name for layer in network.layers]
    stems = ("stem", "stage1_block1_conv1", "stage1_block1")
    assert [f"{stem}_{activation}" in names for stem in stems] == [True] * 3
    images = np.random.default_rng(0).integers(0, 256, (3, 24, 24, 1), dtype=np.uint8)
    deploy = deploy_graph(network, 1.0)
    found = tflite_probabilities(convert(frozen_function(deploy), "float32"), images)
    np.testing.assert_allclose(found, deploy.predict_on_batch(images.astype("f4")), atol=1e-5)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("name", ["clip_r2plus1d", "esr", "mini_xception", "resnet18", "vgg19"])
def test_other_networks_have_it_in_the_place_of_every_relu(name: str, activation: str) -> None:
    module = network_module(name)
    options = getattr(module, "SMALL", {"width": 1 / 16} if name == "vgg19" else {})
    shape = (3, 24, 24, 1) if name == "clip_r2plus1d" else (48, 48, 1)
    network = build_network(name, shape, 3, **options, activation=activation)
    kept = [layer.name for layer in network._flatten_layers() if layer.name.endswith("relu")]
    assert bool(kept) == (activation in ("relu", "leaky_relu", "prelu"))
    assert all(name.endswith(f"_{activation}") for name in kept)
    plain = build_network(name, shape, 3, **options)
    assert len(network.layers) == len(plain.layers)
    grown = network.count_params() - plain.count_params()
    assert grown > 0 if activation == "prelu" else grown == 0


def test_another_one_is_refused() -> None:
    with pytest.raises(ConfigError, match="activation"):
        build_network("compact", (24, 24, 1), 3, activation="gelu")
