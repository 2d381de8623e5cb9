"""The weights of an exported network, so that a shipped model can be trained on.

A `.tflite` file holds the kernel of every convolution, with its batch normalisation folded in, and
the name of the Keras layer that its output came from. The float32 file is taken where there is one,
else the file with 8-bit weights and float activations (`dynamic`), whose weights are their steps
times the size of a step: near enough to be trained on.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from fer_keras.common.errors import ModelFileError
from fer_keras.loading.tflite_files import load_tflite_bytes
from fer_keras.runtime.export_files import first_precision, read_model_files

Array = npt.NDArray[np.float32]

# Of a layer's name in a graph: the number of its call, and the layers that were folded into it.
_FOLDED = re.compile(r"(_relu)?(_bn)?$")
_CALL = re.compile(r"_\d+$")


@dataclass(frozen=True)
class ExportedWeights:
    """What the layers of an exported network compute.

    Attributes:
        path: The file.
        class_names: Ordered names of the outputs.
        image_shape: `(height, width, channels)` of a picture.
        network: Name of the network's family; empty where the manifest does not say it.
        options: The options it was built with.
        layers: Name of a convolution or dense layer -> its kernel in Keras' layout and its bias,
            the factors and offsets of a batch normalisation behind it included.
        sha256: Checksum of the file, hexadecimal.
    """

    path: Path
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    network: str
    options: Mapping[str, Any]
    layers: Mapping[str, tuple[Array, Array]] = field(repr=False)
    sha256: str


def is_export(path: Path) -> bool:
    """Whether a path is read by `read_exported_weights`: a `.tflite` file or an export folder."""
    return path.suffix == ".tflite" or (
        (path / "manifest.json").is_file() and not (path / "best.keras").is_file()
    )


def read_exported_weights(path: Path) -> ExportedWeights:
    """Reads the weights of a file with float activations.

    Args:
        path: An export folder with a float32 or a `dynamic` file, or such a file in it.

    Returns:
        The weights.

    Raises:
        ModelFileError: Missing, damaged, refused, or no such file of a network for pictures.
    """
    files = read_model_files(path, first_precision(path, ("float32", "dynamic")))
    if files.card is not None or files.input_kind not in (None, "image"):
        raise ModelFileError(
            f"Expected the export of a network of fer_keras for single pictures: {files.path}"
        )
    _, shape, _ = load_tflite_bytes(files.content, files.path)
    layers = _layers(files.content)
    if not layers or any(
        array.dtype != np.float32 for arrays in layers.values() for array in arrays
    ):
        raise ModelFileError(
            "Expected a float32 file, whose weights can be trained on, or one with 8-bit weights "
            f"(model_float32.tflite, model_dynamic.tflite). Received other numbers: {files.path}"
        )
    training = files.manifest.get("training", {})
    return ExportedWeights(
        files.path,
        files.class_names,
        (shape[-3], shape[-2], shape[-1]),
        str(training.get("network", "")),
        dict(training.get("network_options", {})),
        layers,
        hashlib.sha256(files.content).hexdigest(),
    )


def _layers(content: bytes) -> dict[str, tuple[Array, Array]]:
    """Kernel and bias by layer; of a layer that is called twice (a mirror image) those of one."""
    model = schema.Model.GetRootAs(content, 0)
    graph = model.Subgraphs(0)
    kinds = {
        schema.BuiltinOperator.CONV_2D: (1, 2, 3, 0),
        schema.BuiltinOperator.FULLY_CONNECTED: (1, 0),
    }
    layers: dict[str, tuple[Array, Array]] = {}
    for number in range(graph.OperatorsLength()):
        operator = graph.Operators(number)
        layout = kinds.get(model.OperatorCodes(operator.OpcodeIndex()).BuiltinCode())
        if layout is None or operator.InputsLength() < 3 or operator.Inputs(2) < 0:
            continue
        kernel, bias = (_constant(model, graph.Tensors(operator.Inputs(i))) for i in (1, 2))
        name = graph.Tensors(operator.Outputs(0)).Name().decode("utf-8", "replace")
        if kernel is not None and bias is not None and kernel.ndim == len(layout):
            layers.setdefault(_layer_name(name), (kernel.transpose(layout), bias))
    return layers


def _constant(model: Any, tensor: Any) -> Array | None:
    """The values of a constant; None for what is worked out. Of other types, bytes."""
    data = model.Buffers(tensor.Buffer()).DataAsNumpy()
    if not isinstance(data, np.ndarray):
        return None
    if tensor.Type() == schema.TensorType.INT8:
        return _steps_times_size(data.view(np.int8), tensor)
    if tensor.Type() != schema.TensorType.FLOAT32:
        return data
    values: Array = data.view("<f4").astype(np.float32).reshape(tensor.ShapeAsNumpy())
    return values


def _steps_times_size(steps: Any, tensor: Any) -> Array:
    """The float values of an 8-bit constant; the size of a step may differ by channel."""
    how = tensor.Quantization()
    shape = tensor.ShapeAsNumpy()
    sizes, zeros = how.ScaleAsNumpy(), how.ZeroPointAsNumpy()
    by_channel = np.ones(len(shape), int)
    by_channel[how.QuantizedDimension()] = len(sizes)
    offsets = steps.reshape(shape).astype(np.float32) - zeros.reshape(by_channel)
    values: Array = (offsets * sizes.reshape(by_channel)).astype(np.float32)
    return values


def _layer_name(tensor_name: str) -> str:
    """`a/compact_1/stem_relu_1/Relu;a/compact_1/stem_bn_1/...` is of the layer `stem`."""
    parts = tensor_name.split(";")[0].split("/")
    layer = parts[-2] if len(parts) > 1 else parts[0]
    if len(parts) > 2 and layer == "batchnorm":
        layer = parts[-3]
    return _FOLDED.sub("", _CALL.sub("", layer))
