"""Products and weights against hand counts."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_keras.studies.comparison.complexity import (
    onnx_macs,
    onnx_parameters,
    tflite_macs,
    tflite_parameters,
)


def test_a_tflite_graph_is_counted() -> None:
    import keras

    from fer_keras.conversion.tflite import convert, frozen_function

    image = keras.Input((12, 12, 1))
    x = keras.layers.Conv2D(4, 3, padding="same", activation="relu")(image)  # 12*12*4 * 9
    x = keras.layers.DepthwiseConv2D(3, strides=2, padding="same")(x)  # 6*6*4 * 9
    x = keras.layers.Conv2DTranspose(2, 2, strides=2)(x)  # 6*6*4 * 2*2*2
    x = keras.layers.Dense(5)(keras.layers.Flatten()(x))  # 288 * 5
    network = keras.Model(image, keras.layers.Softmax()(x))
    # Biases of zeros would be left out or stored once.
    rng = np.random.default_rng(0)
    network.set_weights([rng.normal(size=weight.shape) for weight in network.get_weights()])
    content = convert(frozen_function(network), "float32")
    assert tflite_macs(content) == 5184 + 1296 + 1152 + 1440
    assert tflite_parameters(content) == network.count_params()


def conv_graph(onnx: Any, operator: str = "Conv") -> bytes:
    kind = onnx.TensorProto.FLOAT
    weights = onnx.helper.make_tensor("w", kind, [4, 1, 3, 3], [0.1] * 36)
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node(operator, ["image", "w"], ["y"], pads=[1, 1, 1, 1]),
            onnx.helper.make_node("GlobalAveragePool", ["y"], ["z"]),
        ],
        "small",
        [onnx.helper.make_tensor_value_info("image", kind, ["n", 1, 12, 12])],
        [onnx.helper.make_tensor_value_info("z", kind, ["n", 4, 1, 1])],
        [weights],
    )
    opset = [onnx.helper.make_opsetid("", 15)]
    return bytes(onnx.helper.make_model(graph, opset_imports=opset).SerializeToString())


def test_an_onnx_graph_is_counted(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    content = conv_graph(onnx)
    assert onnx_macs(content) == 12 * 12 * 4 * 9
    assert onnx_parameters(content) == 36
    assert onnx_macs(conv_graph(onnx, "LSTM")) is None
