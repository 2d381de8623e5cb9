"""How much a model computes: multiply-accumulates of one picture, counted over its graph.

One definition for all models: the products of convolutions, dense layers and matrix products, in
the graph that is run, so with everything that an export adds to it (a mirror image doubles them).
Additions, activations and the softmax are not counted. A graph with an operator whose products
cannot be told from shapes (recurrent layers, loops) has no figure.
"""

import math
from typing import Any

import numpy as np

# Operators of which a graph has no figure.
_UNKNOWN = (
    "CUSTOM", "CALL", "CALL_ONCE", "IF", "WHILE", "LSTM", "UNIDIRECTIONAL_SEQUENCE_LSTM",
    "BIDIRECTIONAL_SEQUENCE_LSTM", "RNN", "UNIDIRECTIONAL_SEQUENCE_RNN",
    "BIDIRECTIONAL_SEQUENCE_RNN", "SVDF", "CONV_3D", "CONV_3D_TRANSPOSE",
)  # fmt: skip


def tflite_macs(content: bytes) -> int | None:
    """Multiply-accumulates of one run of a TFLite graph.

    Args:
        content: The file.

    Returns:
        The number, or None where it cannot be told.
    """
    from ai_edge_litert import schema_py_generated as schema

    names = {value: name for name, value in vars(schema.BuiltinOperator).items()}
    model = schema.Model.GetRootAs(content, 0)
    graph = model.Subgraphs(0)
    total = 0
    for i in range(graph.OperatorsLength()):
        operator = graph.Operators(i)
        code = model.OperatorCodes(operator.OpcodeIndex())
        # Files from before there were more than 127 operators have the code in another field.
        name = names[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
        if name in _UNKNOWN:
            return None
        shapes = [_shape(graph, operator.Inputs(k)) for k in range(operator.InputsLength())]
        output = math.prod(_shape(graph, operator.Outputs(0)))
        if name == "CONV_2D":
            total += output * math.prod(shapes[1][1:])
        elif name == "DEPTHWISE_CONV_2D":
            total += output * math.prod(shapes[1][1:3])
        elif name == "FULLY_CONNECTED":
            total += output * shapes[1][1]
        elif name == "TRANSPOSE_CONV":
            total += math.prod(shapes[2]) * math.prod(shapes[1][:3])
        elif name == "BATCH_MATMUL":
            options = schema.BatchMatMulOptions()
            table = operator.BuiltinOptions()
            if table is not None:
                options.Init(table.Bytes, table.Pos)
            transposed = table is not None and options.AdjX()
            total += output * shapes[0][-2 if transposed else -1]
    return total


def tflite_parameters(content: bytes) -> int:
    """Numbers that a TFLite graph holds as weights, batch normalisation folded into them.

    Args:
        content: The file.

    Returns:
        The elements of all constants that are floating-point or 8-bit, and of biases.
    """
    from ai_edge_litert import schema_py_generated as schema

    types = schema.TensorType
    weights = (types.FLOAT32, types.FLOAT16, types.INT8, types.UINT8)
    model = schema.Model.GetRootAs(content, 0)
    graph = model.Subgraphs(0)
    found: dict[int, int] = {}
    for i in range(graph.OperatorsLength()):
        operator = graph.Operators(i)
        for position in range(operator.InputsLength()):
            index = operator.Inputs(position)
            tensor = graph.Tensors(index) if index >= 0 else None
            if tensor is None or not model.Buffers(tensor.Buffer()).DataLength():
                continue
            # The biases of 8-bit layers are 32-bit integers, and so are shapes and axes.
            is_bias = tensor.Type() == types.INT32 and position == 2
            if tensor.Type() in weights or is_bias:
                found[index] = math.prod(_shape(graph, index))
    return sum(found.values())


def onnx_macs(content: bytes) -> int | None:
    """Multiply-accumulates of one run of an ONNX graph on one picture.

    Args:
        content: The file.

    Returns:
        The number, or None where it cannot be told.
    """
    import onnx

    model = onnx.shape_inference.infer_shapes(onnx.load_model_from_string(content))
    graph = model.graph
    shapes = {one.name: tuple(one.dims) for one in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        sides = value.type.tensor_type.shape.dim
        # A batch of any size is one picture here.
        shapes[value.name] = tuple(
            side.dim_value or (1 if i == 0 else 0) for i, side in enumerate(sides)
        )
    total = 0
    for node in graph.node:
        if node.op_type in ("Conv", "ConvTranspose"):
            spread = node.output if node.op_type == "Conv" else node.input
            count = math.prod(shapes.get(spread[0], (0,))) * math.prod(shapes[node.input[1]][1:])
        elif node.op_type in ("Gemm", "MatMul"):
            sides = shapes.get(node.input[0], ())
            turned = any(a.name == "transA" and a.i for a in node.attribute)
            inner = sides[0 if turned else -1] if sides else 0
            count = math.prod(shapes.get(node.output[0], (0,))) * inner
        elif node.op_type in ("LSTM", "GRU", "RNN", "Loop", "If", "Scan"):
            return None
        else:
            continue
        if not count:  # a shape that is not stated
            return None
        total += count
    return total


def onnx_parameters(content: bytes) -> int:
    """Numbers that an ONNX graph holds as floating-point or 8-bit weights."""
    import onnx

    types = onnx.TensorProto
    weights = (types.FLOAT, types.FLOAT16, types.BFLOAT16, types.INT8, types.UINT8)
    graph = onnx.load_model_from_string(content).graph
    return sum(math.prod(one.dims) for one in graph.initializer if one.data_type in weights)


def _shape(graph: Any, index: int) -> tuple[int, ...]:
    if index < 0:  # an input that is left out
        return ()
    sides = graph.Tensors(index).ShapeAsNumpy()
    return () if isinstance(sides, int) else tuple(int(side) for side in np.abs(sides))
