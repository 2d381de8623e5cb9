"""ESR: published sizes, the branches as part of the graph, the vote."""

import keras
import numpy as np
import pytest

from fer_keras.common.errors import ConfigError
from fer_keras.models import build_network
from fer_keras.models.esr import SMALL, Vote
from fer_keras.models.layers import ChannelPool

NARROW = {"width": 0.0625, "num_branches": 2}


def outputs_of(network, images, training=False):
    outputs = network(images.astype("float32"), training=training)
    return {name: keras.ops.convert_to_numpy(value) for name, value in outputs.items()}


def pictures(number, shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (number, *shape), dtype=np.uint8)


def trained(network):
    return sum(int(np.prod(v.shape)) for v in network.trainable_variables)


def side_and_channels(network, layer):
    return tuple(network.get_layer(layer).output.shape[2:])


@pytest.mark.parametrize(("branches", "expected"), [(1, 131_208), (4, 355_104)])
def test_published_counts_of_the_ck_version(branches, expected):
    # Siqueira et al. 2020, the table of the CK+ networks.
    network = build_network("esr", (96, 96, 1), 8, variant="ckplus", num_branches=branches)
    assert trained(network) == expected


def test_counts_with_attention_and_with_valence_and_arousal():
    # A branch is as large as the next, so two networks tell the size of all.
    one, two = (
        trained(build_network("esr", (96, 96, 3), 8, attention=True, num_branches=branches))
        for branches in (1, 2)
    )
    assert one + 8 * (two - one) == 20_832_332
    assert one + 14 * (two - one) == 34_465_676
    plain, more = (
        trained(build_network("esr", (48, 48, 1), 8, valence_arousal=affect, **SMALL))
        for affect in (False, True)
    )
    assert more - plain == 18 * 3


def test_stage_sizes():
    network = build_network("esr", (96, 96, 3), 8, num_branches=1)
    sizes = [
        side_and_channels(network, f"{stem}_{last}")
        for stem, last in [
            ("base_conv1", "relu"),
            ("base_conv2", "pool"),
            ("base_conv3", "relu"),
            ("base_conv4", "pool"),
            ("branch1_conv1", "relu"),
            ("branch1_conv2", "pool"),
            ("branch1_conv3", "relu"),
            ("branch1_conv4", "relu"),
        ]
    ]
    base = [(92, 64), (45, 128), (43, 128), (20, 128)]
    assert sizes == [*base, (18, 128), (8, 256), (6, 256), (6, 512)]
    network = build_network("esr", (96, 96, 1), 8, variant="ckplus", num_branches=1)
    stems = ("base_conv1_relu", "base_conv2_pool", "base_conv3_pool", "branch1_conv1_pool")
    sizes = [side_and_channels(network, name) for name in (*stems, "branch1_conv2_relu")]
    assert sizes == [(92, 32), (45, 64), (21, 64), (9, 64), (7, 64)]


def test_a_picture_alone_gets_the_answer_it_gets_in_a_batch():
    keras.utils.set_random_seed(0)
    network = build_network("esr", (48, 48, 1), 5, attention=True, **SMALL)
    images = pictures(6, (48, 48, 1))
    # Moving statistics that are not those of any batch; training moves them in every branch.
    before = {v.path: keras.ops.convert_to_numpy(v) for v in network.non_trainable_variables}
    outputs_of(network, images, training=True)
    moved = {
        v.path.split("/")[0]
        for v in network.non_trainable_variables
        if not np.array_equal(keras.ops.convert_to_numpy(v), before[v.path])
    }
    assert {f"branch{b}_conv2_bn" for b in (1, 2, 3)} <= moved
    together = outputs_of(network, images)
    for index in range(len(images)):
        alone = outputs_of(network, images[index : index + 1])
        for name, value in alone.items():
            np.testing.assert_allclose(value[0], together[name][index], rtol=1e-4, atol=1e-5)


@pytest.mark.backends
def test_outputs_are_means_stacks_and_gates():
    keras.utils.set_random_seed(0)
    network = build_network("esr", (48, 48, 1), 5, attention=True, valence_arousal=True, **SMALL)
    outputs = outputs_of(network, pictures(3, (48, 48, 1)))
    assert outputs["branch_logits"].shape == (3, 3, 5)
    assert outputs["branch_features"].shape == (3, 3, 16)
    assert outputs["spatial_attention"].shape == (3, 3, *outputs["features"].shape[1:3])
    assert outputs["channel_attention"].shape == (3, 3, 16)
    assert outputs["branch_valence_arousal"].shape == (3, 3, 2)
    for whole, parts in (
        ("logits", "branch_logits"),
        ("embedding", "branch_features"),
        ("valence_arousal", "branch_valence_arousal"),
    ):
        np.testing.assert_allclose(outputs[whole], outputs[parts].mean(1), rtol=1e-4, atol=1e-6)
    maps = outputs["features"].mean((1, 2))
    np.testing.assert_allclose(outputs["embedding"], maps, rtol=1e-4, atol=1e-6)
    for gate in ("spatial_attention", "channel_attention"):
        assert (outputs[gate] > 0).all()
        assert (outputs[gate] < 1).all()
    # Branches that start alike would learn alike.
    assert np.ptp(outputs["branch_logits"], axis=1).max() > 1e-3


def test_the_attention_of_a_branch_is_that_of_its_own_last_gate():
    network = build_network("esr", (64, 64, 1), 5, attention=True, **{**SMALL, "num_branches": 2})
    images = pictures(2, (64, 64, 1)).astype("float32")
    for branch in (1, 2):
        last = f"branch{branch}_conv2_cbam"
        gates = keras.Model(
            network.input,
            [
                network.output["spatial_attention"],
                network.get_layer(f"{last}_spatial_gate").output,
                network.output["channel_attention"],
                network.get_layer(f"{last}_channel_gate").output,
            ],
        )(images)
        spatial, spatial_gate, channel, channel_gate = map(keras.ops.convert_to_numpy, gates)
        np.testing.assert_array_equal(spatial[:, branch - 1], spatial_gate[..., 0])
        np.testing.assert_array_equal(channel[:, branch - 1], channel_gate)


@pytest.mark.backends
def test_vote_is_the_share_of_the_branches_and_ties_go_to_the_first_class():
    logits = np.array(
        [[[3, 0, 1], [2, 0, 1], [0, 0, 9]], [[1, 1, 0], [0, 2, 2], [5, 5, 5]]], np.float32
    )
    vote = keras.ops.convert_to_numpy(Vote()(logits))
    expected = np.array([[2, 0, 1], [2, 1, 0]]) / 3
    np.testing.assert_allclose(vote, expected, rtol=1e-6)


def test_with_padding_48_pixels_end_in_the_map_that_96_have_without():
    large = build_network("esr", (96, 96, 1), 8, **NARROW)
    small = build_network("esr", (48, 48, 1), 8, padding="same", **NARROW)
    assert small.output["features"].shape == large.output["features"].shape == (None, 6, 6, 32)
    assert trained(small) == trained(large)


@pytest.mark.parametrize(
    ("shape", "options", "smaller"),
    [
        ((54, 54, 1), NARROW, (53, 54, 1)),
        ((42, 42, 1), SMALL, (42, 41, 1)),
        ((8, 8, 1), {**NARROW, "padding": "same"}, (8, 7, 1)),
    ],
)
def test_the_smallest_picture(shape, options, smaller):
    network = build_network("esr", shape, 3, **options)
    assert network.output["features"].shape[1:3] == (1, 1)
    with pytest.raises(ConfigError, match=rf"at least {shape[0]}x{shape[0]} pixels"):
        build_network("esr", smaller, 3, **options)


def test_channel_pool_refuses_an_unknown_reduction():
    with pytest.raises(ConfigError, match="reduction='sum'"):
        ChannelPool("sum")
