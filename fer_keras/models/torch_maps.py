"""Keras on PyTorch without copies of the feature maps.

Keras' maps are `(batch, height, width, channels)`; PyTorch calls the same memory channels last,
and has convolutions and pooling for it. Keras 3.15 copies every map before each of them into the
order of PyTorch's own, and back again, which makes a training step of MobileNetV3 1.2 to 1.4
times as long (docs/measurements.md). What PyTorch is given here is the same map, seen in its order.
"""

from typing import Any


def keep_maps_in_place() -> None:
    """Takes the copies out of Keras' convolutions and pooling on PyTorch; results stay the same.

    Keras has no setting for it, so a function of Keras' own is replaced, of pictures alone: others
    go through it as before. In a Keras without that function nothing is done.
    """
    from keras.src.backend.torch import nn

    in_torch_order = getattr(nn, "_transpose_spatial_inputs", None)
    if in_torch_order is None or getattr(in_torch_order, "copies_nothing", False):
        return

    def seen_in_torch_order(inputs: Any) -> Any:
        return inputs.permute(0, 3, 1, 2) if inputs.ndim == 4 else in_torch_order(inputs)

    seen_in_torch_order.copies_nothing = True  # type: ignore[attr-defined]
    nn._transpose_spatial_inputs = seen_in_torch_order
