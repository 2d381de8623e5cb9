"""VGG19 of the public FER2013 baseline: stage sizes, the flattened map, refusals."""

import keras
import numpy as np
import pytest

from fer_keras.common.errors import ConfigError
from fer_keras.models.vgg19 import SMALL, build


def test_stage_sizes_are_those_of_the_source() -> None:
    network = build((44, 44, 3), 7, **SMALL)
    pools = [network.get_layer(f"stage{stage}_pool") for stage in range(1, 6)]
    assert [pool.input.shape[1] for pool in pools] == [44, 22, 11, 5, 2]
    # 64, 128, 256, 512 and 512 channels by the width of 1/16.
    assert [tuple(pool.output.shape[2:]) for pool in pools] == [
        (22, 4),
        (11, 8),
        (5, 16),
        (2, 32),
        (1, 32),
    ]
    convolutions = [layer for layer in network.layers if isinstance(layer, keras.layers.Conv2D)]
    assert len(convolutions) == 16
    assert all(layer.use_bias for layer in convolutions)


@pytest.mark.parametrize("side", [32, 63])
def test_the_mean_is_the_flattened_map_at_the_published_sizes(side: int) -> None:
    network = build((side, side, 1), 7, **SMALL)
    images = np.random.default_rng(0).uniform(0, 255, (2, side, side, 1)).astype("float32")
    outputs = network(images, training=False)
    features = keras.ops.convert_to_numpy(outputs["features"])
    assert features.shape == (2, 1, 1, 32)
    np.testing.assert_array_equal(
        keras.ops.convert_to_numpy(outputs["embedding"]), features.reshape(2, -1)
    )


def test_a_width_is_rounded_and_never_zero() -> None:
    network = build((32, 32, 1), 2, width=0.001)
    assert network.output["embedding"].shape == (None, 1)
    assert build((32, 32, 1), 2, width=0.03).output["embedding"].shape == (None, 15)


def test_a_picture_that_is_too_small_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"Expected at least 32x32 .* Received: "):
        build((31, 44, 3), 7)
