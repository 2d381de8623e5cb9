"""Keras on PyTorch works on the maps where they lie, and answers what it answered before."""

from typing import Any

import keras
import numpy as np
import pytest

from fer_keras.models import layers  # noqa: F401 (it takes the copies out)

pytestmark = [
    pytest.mark.backends,
    pytest.mark.skipif(keras.backend.backend() != "torch", reason="of Keras on PyTorch"),
]
LAYERS = {
    "convolution": lambda same: keras.layers.Conv2D(4, 3, padding=same, strides=2),
    "depthwise": lambda same: keras.layers.DepthwiseConv2D(3, padding=same),
    "separable": lambda same: keras.layers.SeparableConv2D(4, 3, padding=same),
    "grouped": lambda same: keras.layers.Conv2D(6, 3, padding=same, groups=3),
    "transposed": lambda same: keras.layers.Conv2DTranspose(4, 3, padding=same, strides=2),
    "maximum": lambda same: keras.layers.MaxPooling2D(3, 2, padding=same),
    "mean": lambda same: keras.layers.AveragePooling2D(3, 2, padding=same),
}


def answer_and_gradients(layer: Any, pictures: np.ndarray) -> list[np.ndarray]:
    import torch

    x = torch.tensor(pictures, requires_grad=True)
    answer = layer(x)
    (answer * torch.arange(answer.numel()).reshape(answer.shape)).sum().backward()
    weights = [variable.value.grad for variable in layer.trainable_variables]
    found = [each.detach().numpy().copy() for each in (answer, x.grad, *weights)]
    layer.zero_grad()
    return found


@pytest.mark.parametrize("same", ["same", "valid"])
@pytest.mark.parametrize("kind", LAYERS)
def test_answers_and_gradients_are_kerass(
    kind: str, same: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from keras.src.backend.torch import nn

    layer = LAYERS[kind](same)
    pictures = np.random.default_rng(0).normal(size=(2, 9, 8, 3)).astype("float32")
    layer.build(pictures.shape)
    ours = answer_and_gradients(layer, pictures)
    # As Keras 3.15 has it.
    monkeypatch.setattr(
        nn, "_transpose_spatial_inputs", lambda x: x.permute(0, 3, 1, 2).contiguous()
    )
    for one, other in zip(ours, answer_and_gradients(layer, pictures), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-4)


def test_a_picture_is_seen_where_it_lies_and_others_as_before() -> None:
    """A Keras without this function would copy unnoticed: then this test says so."""
    import torch
    from keras.src.backend.torch import nn

    maps = torch.zeros((2, 9, 8, 3))
    seen = nn._transpose_spatial_inputs(maps)
    assert seen.shape == (2, 3, 9, 8)
    assert seen.data_ptr() == maps.data_ptr()
    assert nn._transpose_spatial_inputs(torch.zeros((2, 9, 3))).shape == (2, 3, 9)
