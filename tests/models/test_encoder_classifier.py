"""A trainable encoder with a classifier, and ResNet18 with ImageNet's stem."""

import keras
import numpy as np
import pytest

from fer_keras.common.errors import ConfigError
from fer_keras.methods import build_method
from fer_keras.models import build_network
from fer_keras.models.encoders import build_encoder

NAMES = ("neutral", "happiness", "anger")


def test_resnet50_trains_all_its_layers_and_has_a_map_for_attention() -> None:
    options = {"encoder": "resnet50_vggface2", "encoder_options": {"width": 2, "depths": [1] * 4}}
    network = build_network("encoder_classifier", (64, 64, 3), 3, **options)
    outputs = network.output
    assert outputs["features"].shape == (None, 2, 2, 64)
    assert outputs["embedding"].shape == (None, 64)
    frozen = [layer.name for layer in network.layers if layer.weights and not layer.trainable]
    assert frozen == []
    method = build_method("attention_consistency", network, NAMES, fill="imagenet")
    method.compile(keras.optimizers.SGD(0.01), jit_compile=False)
    images = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3)).astype(np.float32)
    targets = np.eye(3, dtype=np.float32)[[0, 1, 2, 0]]
    before = network.get_layer("conv1").get_weights()[0].copy()
    assert np.isfinite(method.train_on_batch(images, targets, return_dict=True)["loss"])
    assert (network.get_layer("conv1").get_weights()[0] != before).any()


def test_resnet50_of_imagenet_reads_blue_green_red_less_their_means() -> None:
    encoder = build_encoder("resnet50_imagenet", (32, 32, 3))
    trunk = next(layer for layer in encoder.layers if layer.name == "resnet50")
    inside = keras.Model(encoder.input, encoder.get_layer("scale").output)
    picture = np.full((1, 32, 32, 3), [10, 20, 30], np.float32)
    expected = keras.applications.resnet50.preprocess_input(picture.copy())
    np.testing.assert_allclose(inside.predict_on_batch(picture), expected, atol=1e-4)
    answer = trunk.predict_on_batch(expected).mean(axis=(1, 2))
    np.testing.assert_allclose(encoder.predict_on_batch(picture), answer, atol=1e-5)
    with pytest.raises(ConfigError, match=r"Encoder 'resnet50_imagenet' has the options"):
        build_encoder("resnet50_imagenet", (32, 32, 3), {"width": 2})


def test_imagenet_weights_are_of_some_encoders_alone() -> None:
    with pytest.raises(ConfigError, match="imagenet for MobileNetV3 and resnet50_imagenet"):
        build_encoder("resnet50_vggface2", (32, 32, 3), None, "imagenet")


def test_resnet18_with_the_stem_of_imagenet() -> None:
    network = build_network("resnet18", (224, 224, 3), 7, stem="imagenet")
    assert network.output["features"].shape == (None, 7, 7, 512)
    assert sum(int(np.prod(w.shape)) for w in network.trainable_weights) == 11_180_103
    with pytest.raises(ConfigError, match="Expected sides of 100 to 224"):
        build_network("resnet18", (44, 44, 3), 7, stem="imagenet", pooling="valid4")
