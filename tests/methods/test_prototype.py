"""Distances from class points, computed by hand, and a decoder that is not part of the network."""

import keras
import numpy as np
import pytest

from fer_keras.common.errors import ConfigError
from fer_keras.methods import build_method
from fer_keras.methods.prototype import ClassPoints, build_decoder, build_transformer
from fer_keras.models import build_network

from .conftest import NAMES

# Op by op, JAX would compile every one of them.
JIT = keras.backend.backend() == "jax"


def to_numpy(x):
    return keras.ops.convert_to_numpy(x)


def build(network, **options):
    return build_method("prototype", network, NAMES, **options)


@pytest.mark.backends
def test_logits_are_squared_distances():
    layer = ClassPoints(3, temperature=2.0)
    layer.build((None, 2))
    layer.points.assign(np.array([[0, 0], [3, 4], [0, 2]], np.float32))
    logits = to_numpy(layer(np.array([[0, 0], [3, 4]], np.float32)))
    np.testing.assert_allclose(logits, [[0, -12.5, -2], [-12.5, 0, -6.5]], rtol=1e-6)


def test_the_point_of_a_class_is_surely_that_class(tiny_network, pictures):
    x, _ = pictures
    method = build(tiny_network, dimensions=4, temperature=0.01)
    latent = to_numpy(method.network(x, training=False)["embedding"])
    layer = method.network.get_layer("logits")
    layer.points.assign(latent[:4])
    logits = to_numpy(method.network(x, training=False)["logits"])
    np.testing.assert_allclose(np.diag(logits[:4]), 0, atol=1e-4)
    assert (logits[:4].argmax(axis=1) == np.arange(4)).all()


def test_the_loss_adds_the_weighed_error_of_the_picture_while_training(tiny_network, pictures):
    x, y = pictures
    method = build(tiny_network, reconstruction=2.0)
    outputs = method(x, training=True)
    drawn = to_numpy(method.decoder(outputs["embedding"]))
    error = np.square(drawn - x / 255).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(to_numpy(outputs["reconstruction_error"]), error, rtol=1e-4)
    both, alone = (
        to_numpy(method.sample_losses(keras.ops.convert_to_tensor(y), outputs, training))
        for training in (True, False)
    )
    np.testing.assert_allclose(both - alone, 2 * error, rtol=1e-3)
    assert "reconstruction_error" not in method(x)


@pytest.mark.backends
def test_the_decoder_learns_and_is_not_part_of_what_is_saved(tiny_network, pictures):
    x, y = pictures
    keras.utils.set_random_seed(0)
    method = build(tiny_network, reconstruction=10.0)
    assert {v.path for v in method.decoder.variables} <= {v.path for v in method.variables}
    inside = {v.path for v in method.network.variables}
    assert not inside & {v.path for v in method.decoder.variables}
    before = to_numpy(method(x, training=True)["reconstruction_error"]).mean()
    method.compile(optimizer=keras.optimizers.Adam(0.01), jit_compile=JIT)
    method.fit(x, y, batch_size=10, epochs=15, verbose=0)
    assert to_numpy(method(x, training=True)["reconstruction_error"]).mean() < 0.8 * before


@pytest.mark.parametrize("shape", [(8, 8, 1), (48, 48, 1), (20, 13, 3)])
@pytest.mark.parametrize("make", [build_decoder, build_transformer])
def test_the_decoder_draws_pictures_of_any_size(shape, make):
    assert make(5, shape).output.shape == (None, *shape)


def test_the_transformer_draws_every_patch_in_its_place():
    decoder = build_transformer(5, (16, 24, 2))
    tail = keras.Model(decoder.get_layer("grid").input, decoder.output)
    # Of each of 2 x 3 patches: its number, and half of that in the second channel.
    numbers = np.arange(6, dtype=np.float32).reshape(1, 6, 1)
    drawn = to_numpy(tail(np.tile(numbers * [1, 0.5], (1, 1, 64)).astype(np.float32)))
    expected = np.kron(numbers.reshape(2, 3), np.ones((8, 8)))
    np.testing.assert_array_equal(drawn[0, ..., 0], expected)
    np.testing.assert_array_equal(drawn[0, ..., 1], expected / 2)
    # Rows of a patch are rows of the picture.
    ramp = np.tile(np.arange(64, dtype=np.float32).repeat(2), (1, 6, 1))
    np.testing.assert_array_equal(to_numpy(tail(ramp))[0, :8, :8, 0], np.arange(64).reshape(8, 8))


def test_transformers_on_both_sides_learn_to_draw(pictures):
    x, y = pictures
    # Of 12 pixels: four patches.
    x = x.repeat(2, axis=1).repeat(2, axis=2)
    keras.utils.set_random_seed(0)
    side, channels = x.shape[1], x.shape[3]
    options = {"patch_size": side // 2, "hidden": 16, "depth": 1, "heads": 2, "mlp": 16}
    encoder = build_network("vit_se", (side, side, channels), 4, dropout=0.0, **options)
    method = build(encoder, reconstruction=10.0, decoder="transformer")
    before = to_numpy(method(x, training=True)["reconstruction_error"]).mean()
    method.compile(optimizer=keras.optimizers.Adam(0.003), jit_compile=JIT)
    method.fit(x, y, batch_size=10, epochs=15, verbose=0)
    assert to_numpy(method(x, training=True)["reconstruction_error"]).mean() < 0.8 * before


def test_pairs_have_no_decoder(tiny_network):
    image = keras.Input((2, 8, 8, 1))
    flat = keras.layers.Flatten()(image)
    network = keras.Model(image, {"logits": keras.layers.Dense(4)(flat), "embedding": flat})
    assert build(network).decoder is None
    with pytest.raises(ConfigError, match="single pictures"):
        build(network, reconstruction=1.0)
