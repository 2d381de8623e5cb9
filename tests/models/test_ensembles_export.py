"""Networks with branches as TFLite files of built-in operators: the answers of Keras."""

import keras
import numpy as np
import pytest

from fer_keras.conversion.tflite import (
    convert,
    deploy_graph,
    frozen_function,
    tflite_probabilities,
)
from fer_keras.models import build_network
from fer_keras.models.layers import with_class_names

NAMES = ("neutral", "happiness", "anger")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        (
            "esr",
            {"num_branches": 2, "width": 1 / 8, "padding": "same", "attention": True},
        ),
        ("manet", {"width": 1 / 8, "depths": (1, 1, 1, 1)}),
    ],
)
def test_the_file_answers_as_the_network(name, options):
    keras.utils.set_random_seed(0)
    network = with_class_names(build_network(name, (48, 48, 1), 3, **options), NAMES)
    # Of different brightness: the mean of a map of mere noise is the same for all.
    noise = np.random.default_rng(0).integers(0, 256, (4, 48, 48, 1))
    images = (noise * np.array([0.1, 0.4, 0.7, 1.0])[:, None, None, None]).astype(np.uint8)
    # Moving statistics of pictures: those of a fresh network leave one answer for all.
    for layer in network._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    network(images.astype(np.float32), training=True)
    # Fresh gates of about a quarter leave logits too small to tell pictures apart.
    for layer in (layer for layer in network.layers if layer.name.endswith("_logits")):
        if layer.weights:
            layer.kernel.assign(10 * layer.kernel)
    deploy = deploy_graph(network, 1.0)
    expected = keras.ops.convert_to_numpy(deploy(images.astype(np.float32), training=False))
    assert np.ptp(expected, axis=0).max() > 1e-3
    found = tflite_probabilities(convert(frozen_function(deploy), "float32"), images)
    np.testing.assert_allclose(found, expected, atol=1e-5)
