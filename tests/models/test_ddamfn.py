"""DDAMFN: sizes and parameters of the published network, its heads and its mixed kernels."""

import keras
import numpy as np
import pytest

from fer_keras.common.errors import ConfigError
from fer_keras.models import build_network
from fer_keras.models.ddamfn import SMALL, MixedDepthwiseConv2D


def trained(network):
    return sum(int(np.prod(variable.shape)) for variable in network.trainable_variables)


def to_numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


@pytest.fixture(scope="module")
def shallow():
    """The published widths with one block a stage, which takes a tenth of the time to build."""
    return build_network("ddamfn", (112, 112, 3), 8, depths=(1, 1, 1))


def test_stages_have_the_published_sizes(shallow):
    sizes = {
        "conv1": (56, 56, 64),
        "conv2": (56, 56, 64),
        "conv3_half_mix": (28, 28, 128),
        "conv3_half_project": (28, 28, 64),
        "conv3_block1_add": (28, 28, 64),
        "conv4_half_mix": (14, 14, 256),
        "conv4_half_project": (14, 14, 128),
        "conv4_block1_add": (14, 14, 128),
        "conv5_half_mix": (7, 7, 1024),
        "conv5_half_project": (7, 7, 256),
        "conv5_block1_mix": (7, 7, 512),
        "conv5_block1_add": (7, 7, 256),
        "conv6": (7, 7, 512),
        "head1_rows": (7, 1, 512),
        "head1_columns": (1, 7, 512),
        "head1_both": (14, 1, 512),
        "head1_hidden": (14, 1, 16),
        "head1_map": (7, 7, 512),
        "pool": (1, 1, 512),
    }
    assert {name: shallow.get_layer(name).output.shape[1:] for name in sizes} == sizes
    shapes = {name: output.shape[1:] for name, output in shallow.output.items()}
    assert shapes == {
        "logits": (8,),
        "embedding": (512,),
        "features": (7, 7, 512),
        "mfn_features": (7, 7, 512),
        "attention": (2, 7, 7, 512),
    }
    assert shallow.get_layer("conv5_block1_mix").groups == ((3, 172), (5, 170), (7, 170))


def test_parameters_of_one_to_four_heads(shallow):
    # Counted from the authors' program without the tensors it never uses: 4,006,568 to the map of
    # the backbone; with 8 classes 4,071,648, 4,106,512, 4,141,376 and 4,176,240.
    backbone = trained(keras.Model(shallow.input, shallow.output["mfn_features"]))
    blocks = [
        trained(keras.Model(shallow.get_layer(first).output, shallow.get_layer(last).output))
        for first, last in (
            ("conv3_half_project_bn", "conv3_block1_add"),
            ("conv4_half_project_bn", "conv4_block1_add"),
            ("conv5_half_project_bn", "conv5_block1_add"),
        )
    ]
    # The blocks of a stage are alike, so the published depths are these times 9, 16 and 6.
    missing = 8 * blocks[0] + 15 * blocks[1] + 5 * blocks[2]
    assert backbone + missing == 4_006_568
    mfn_map = shallow.output["mfn_features"]
    head = trained(keras.Model(mfn_map, shallow.get_layer("head1_map").output))
    assert head == 34_864
    totals = [trained(shallow) + missing + (k - 2) * head for k in (1, 2, 3, 4)]
    assert totals == [4_071_648, 4_106_512, 4_141_376, 4_176_240]


@pytest.mark.parametrize("num_heads", [1, 3])
def test_heads_are_joined_by_their_maximum(num_heads):
    network = build_network("ddamfn", (48, 32, 1), 5, num_heads=num_heads, **SMALL)
    assert trained(network) - trained(build_network("ddamfn", (48, 32, 1), 5, **SMALL)) == (
        num_heads - 2
    ) * trained(keras.Model(network.output["mfn_features"], network.get_layer("head1_map").output))
    images = np.random.default_rng(0).uniform(0, 255, (2, 48, 32, 1))
    outputs = {name: to_numpy(value) for name, value in network(images).items()}
    attention = outputs["attention"]
    assert attention.shape == (2, num_heads, 3, 2, 64)
    assert attention.min() > 0
    assert attention.max() < 1
    np.testing.assert_allclose(
        outputs["features"], outputs["mfn_features"] * attention.max(axis=1), rtol=1e-5, atol=1e-6
    )
    if num_heads > 1:
        assert np.abs(attention[:, 0] - attention[:, 1]).max() > 1e-3


def test_attention_maps_are_products_of_rows_and_columns():
    keras.utils.set_random_seed(0)
    network = build_network("ddamfn", (64, 64, 1), 5, **SMALL)
    attention = to_numpy(
        network(np.random.default_rng(0).uniform(0, 255, (1, 64, 64, 1)))["attention"]
    )
    one = attention[0, 0, :, :, 0].astype(np.float64)
    assert one.shape == (4, 4)
    assert np.ptp(one) > 1e-5
    np.testing.assert_allclose(np.linalg.svd(one, compute_uv=False)[1:], 0, atol=1e-6)


@pytest.mark.backends
@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("side", [6, 7])
def test_mixed_kernels_against_sums(side, strides):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, side, side, 3)).astype("float32")
    layer = MixedDepthwiseConv2D([(3, 2), (5, 1)], strides)
    layer.build(x.shape)
    kernels = [rng.normal(size=(3, 3, 2, 1)), rng.normal(size=(5, 5, 1, 1))]
    layer.set_weights(kernels)
    found = to_numpy(layer(x))
    assert found.shape == layer.compute_output_shape(x.shape)
    for channel, (kernel, column) in enumerate([(0, 0), (0, 1), (1, 0)]):
        weights = kernels[kernel][:, :, column, 0]
        half = len(weights) // 2
        # As many zeros on every side, as PyTorch has them.
        padded = np.pad(x[..., channel], ((0, 0), (half, half), (half, half)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, weights.shape, axis=(1, 2))
        expected = np.einsum("nhwij,ij->nhw", windows, weights)[:, ::strides, ::strides]
        np.testing.assert_allclose(found[..., channel], expected, rtol=1e-4, atol=1e-5)


def test_mixed_kernels_must_fit_the_channels():
    with pytest.raises(ConfigError, match="groups of 4 channels"):
        MixedDepthwiseConv2D([(3, 2), (5, 1)]).build((None, 6, 6, 4))


def test_grey_pictures_look_like_the_same_pictures_in_colour():
    # The three standardisations of a colour picture lie around the one of the grey picture.
    grey = build_network("ddamfn", (16, 16, 1), 3, **SMALL).get_layer("scale")
    colour = build_network("ddamfn", (16, 16, 3), 3, **SMALL).get_layer("scale")
    pixels = np.array([0.0, 0.449 * 255, 255.0]).reshape(3, 1, 1, 1)
    in_colour = to_numpy(colour(np.repeat(pixels, 3, axis=-1)))
    expected = (pixels / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    np.testing.assert_allclose(in_colour, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(to_numpy(grey(pixels))[..., 0], expected.mean(-1), atol=0.01)


def test_prelu_has_a_slope_for_each_channel(shallow):
    slopes = shallow.get_layer("conv1_prelu").weights[0]
    assert slopes.shape == (1, 1, 64)
    np.testing.assert_allclose(to_numpy(slopes), 0.25)


def test_signals_keep_their_size_through_the_untrained_network():
    # With Keras' own start of depthwise kernels the map after the mixed kernels nearly vanishes.
    keras.utils.set_random_seed(0)
    network = build_network("ddamfn", (48, 48, 1), 5, **SMALL)
    name = "conv5_half"
    before, after = (
        network.get_layer(f"{name}_{layer}").output for layer in ("expand_prelu", "mix")
    )
    images = np.random.default_rng(0).uniform(0, 255, (8, 48, 48, 1))
    before, after = keras.Model(network.input, [before, after])(images, training=True)
    assert 0.3 < np.std(to_numpy(after)) / np.std(to_numpy(before)) < 3


def test_other_activations_than_a_slope_for_each_channel():
    networks = {
        name: build_network("ddamfn", (16, 16, 1), 3, activation=name, **SMALL)
        for name in ("prelu", "relu", "leaky_relu")
    }
    slopes = sum(
        int(np.prod(layer.alpha.shape))
        for layer in networks["prelu"].layers
        if isinstance(layer, keras.layers.PReLU)
    )
    assert slopes > 300
    for name in ("relu", "leaky_relu"):
        assert trained(networks[name]) == trained(networks["prelu"]) - slopes
    x = np.array([[-2.0, 3.0]], np.float32)
    leaky = networks["leaky_relu"].get_layer("conv1_leaky_relu")
    np.testing.assert_allclose(to_numpy(leaky(x)), [[-0.02, 3.0]], rtol=1e-6)
    np.testing.assert_array_equal(
        to_numpy(networks["relu"].get_layer("conv1_relu")(x)), [[0.0, 3.0]]
    )
