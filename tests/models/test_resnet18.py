"""ResNet18 of the public FER2013 baseline: stage sizes, both poolings, refusals."""

import keras
import numpy as np
import pytest

from fer_keras.common.errors import ConfigError
from fer_keras.models.resnet18 import SMALL, build


def test_stage_sizes_are_those_of_the_source() -> None:
    network = build((44, 44, 3), 7, **SMALL)
    names = ["stem_relu", *(f"stage{stage}_block2_relu" for stage in range(1, 5))]
    sizes = [tuple(network.get_layer(name).output.shape[2:]) for name in names]
    # 64, 64, 128, 256 and 512 channels by the width of 1/16.
    assert sizes == [(44, 4), (44, 4), (22, 8), (11, 16), (6, 32)]


@pytest.mark.parametrize("side", [25, 44])
def test_valid4_averages_the_first_4x4_positions(side: int) -> None:
    images = np.random.default_rng(0).uniform(0, 255, (2, side, side, 1)).astype("float32")
    outputs = {}
    for pooling in ("valid4", "global"):
        keras.utils.set_random_seed(0)
        network = build((side, side, 1), 7, pooling=pooling, **SMALL)
        outputs[pooling] = {
            name: keras.ops.convert_to_numpy(value)
            for name, value in network(images, training=False).items()
        }
    features = outputs["global"]["features"]
    np.testing.assert_array_equal(outputs["valid4"]["features"], features)
    expected = {"valid4": features[:, :4, :4].mean((1, 2)), "global": features.mean((1, 2))}
    for pooling, embedding in expected.items():
        np.testing.assert_allclose(outputs[pooling]["embedding"], embedding, rtol=1e-5, atol=1e-5)
    same = np.allclose(expected["valid4"], expected["global"], rtol=1e-3)
    assert same == (features.shape[1] == 4)


@pytest.mark.parametrize("side", [24, 57])
def test_valid4_refuses_pictures_whose_map_is_not_one_window(side: int) -> None:
    with pytest.raises(ConfigError, match=r"25 to 56 .* Received: image_shape="):
        build((44, side, 3), 7, pooling="valid4")
    assert build((44, side, 3), 7, **SMALL).output["embedding"].shape == (None, 32)
