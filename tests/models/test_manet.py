"""MA-Net: published sizes, the quarters, the chains of the multi-scale blocks, the fusion."""

import keras
import numpy as np
import pytest

from fer_keras.common.errors import ConfigError
from fer_keras.models import build_network
from fer_keras.models.manet import SMALL, ChannelGroups

THIN = {**SMALL, "width": 1 / 64}


def outputs_of(network, images):
    outputs = network(images.astype("float32"), training=False)
    return {name: keras.ops.convert_to_numpy(value) for name, value in outputs.items()}


def pictures(number, shape, seed=0):
    return np.random.default_rng(seed).uniform(0, 255, (number, *shape)).astype("float32")


def test_stage_sizes():
    network = build_network("manet", (224, 224, 3), 7, **THIN)
    sides = [
        network.get_layer(name).output.shape[1]
        for name in (
            "stem_relu",
            "stem_pool",
            "stage1_block1_relu",
            "stage2_block1_relu",
            "quadrant1",
            "quadrant1_stage3_block1_relu",
            "quadrant1_stage4_block1_relu",
            "quadrants",
            "scales_stage3_block1_relu",
            "scales_stage4_block1_relu",
        )
    ]
    assert sides == [112, 56, 56, 28, 14, 7, 7, 14, 14, 7]
    channels = [
        network.get_layer(name).output.shape[-1]
        for name in ("stem", "stage2_block1_relu", "quadrant4_stage3_block1_relu", "quadrants")
    ]
    assert channels == [1, 2, 4, 8]


def test_outputs_are_the_fusion_and_the_means():
    keras.utils.set_random_seed(0)
    network = build_network("manet", (48, 64, 1), 5, beta=0.7, **SMALL)
    outputs = outputs_of(network, pictures(3, (48, 64, 1)))
    shapes = {name: value.shape for name, value in outputs.items()}
    assert shapes == {
        "logits": (3, 5),
        "branch_logits": (3, 2, 5),
        "branch_features": (3, 2, 32),
        "features": (3, 4, 4, 64),
        "embedding": (3, 64),
        "quadrant_features": (3, 4, 32),
        "quadrant_maps": (3, 4, 2, 2),
    }
    fused = 0.7 * outputs["branch_logits"][:, 0] + 0.3 * outputs["branch_logits"][:, 1]
    close = {"rtol": 1e-4, "atol": 1e-5}
    np.testing.assert_allclose(outputs["logits"], fused, **close)
    np.testing.assert_allclose(outputs["features"].mean((1, 2)), outputs["embedding"], **close)
    np.testing.assert_allclose(
        outputs["branch_features"].reshape(3, 64), outputs["embedding"], **close
    )
    maps = outputs["features"][..., :32]
    corners = (maps[:, :2, :2], maps[:, :2, 2:], maps[:, 2:, :2], maps[:, 2:, 2:])
    for index, corner in enumerate(corners):
        np.testing.assert_allclose(
            outputs["quadrant_features"][:, index], corner.mean((1, 2)), **close
        )
        np.testing.assert_allclose(outputs["quadrant_maps"][:, index], corner.mean(3), **close)


def test_each_quadrant_has_weights_of_its_own_and_sees_its_quarter():
    keras.utils.set_random_seed(0)
    network = build_network("manet", (64, 64, 1), 5, **SMALL)
    cut = keras.Model(
        network.get_layer("stage2_block1_relu").output,
        network.output["quadrant_maps"],
    )
    shape = network.get_layer("stage2_block1_relu").output.shape[1:]
    x = pictures(1, shape)
    before = keras.ops.convert_to_numpy(cut(x))
    x[:, 4:, :4] += 100
    changed = np.abs(keras.ops.convert_to_numpy(cut(x)) - before).max((0, 2, 3)) > 1e-6
    assert changed.tolist() == [False, False, True, False]
    same = np.tile(pictures(1, (4, 4, shape[-1])), (1, 2, 2, 1))
    answers = keras.ops.convert_to_numpy(cut(same))[0]
    assert all(np.abs(answers[0] - other).max() > 1e-3 for other in answers[1:])


@pytest.mark.backends
def test_one_chain_runs_up_and_the_other_down():
    network = build_network("manet", (64, 64, 1), 5, **SMALL)
    name = "scales_stage3_block1"
    chains = keras.Model(
        network.get_layer(f"{name}_conv1_relu").output,
        [network.get_layer(f"{name}_{chain}").output for chain in ("up", "down")],
    )
    x = pictures(1, network.get_layer(f"{name}_conv1_relu").output.shape[1:]) / 255
    before = [keras.ops.convert_to_numpy(part) for part in chains(x)]
    size = x.shape[-1] // 4
    reached = {0: ([1, 1, 1, 1], [1, 0, 0, 0]), 2: ([0, 0, 1, 1], [1, 1, 1, 0])}
    for group, (up, down) in reached.items():
        moved = x.copy()
        moved[..., group * size : (group + 1) * size] += 3
        for part, old, expected in zip(chains(moved), before, (up, down), strict=True):
            change = np.abs(keras.ops.convert_to_numpy(part) - old).max((0, 1, 2)).reshape(4, size)
            assert (change.max(1) > 1e-6).tolist() == [bool(value) for value in expected]


def test_channel_groups_are_in_order():
    x = np.arange(8, dtype="float32").reshape(1, 1, 1, 8)
    parts = [keras.ops.convert_to_numpy(part).ravel().tolist() for part in ChannelGroups()(x)]
    assert parts == [[0, 1], [2, 3], [4, 5], [6, 7]]


@pytest.mark.parametrize("side", [16, 48, 64, 96, 112])
def test_sizes_that_can_be_cut(side):
    network = build_network("manet", (side, side, 1), 3, **THIN)
    assert network.output["logits"].shape == (None, 3)


@pytest.mark.parametrize("shape", [(40, 48, 1), (48, 56, 1), (24, 24, 3), (8, 8, 1)])
def test_sizes_that_cannot_be_cut_are_refused(shape):
    with pytest.raises(ConfigError, match=r"even, such as 48, .* Received: image_shape"):
        build_network("manet", shape, 3, **THIN)
