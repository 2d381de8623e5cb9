"""Keras on PyTorch without what Keras does around every layer.

PyTorch works step by step. So what Keras does around each layer (arguments as trees, names, masks,
contexts, conversions) is done anew for every batch, half a millisecond to a millisecond a layer, in
which all cores but one wait. A functional network says once and for all what is called with what:
`DirectGraph` keeps that as a list. What takes most of the time it asks PyTorch itself for, in fewer
passes through the maps: padding inside a convolution, ReLU in the place of what it is given, PReLU
with a gradient of its own. Kernels keep Keras' shape, `(h, w, in, out)`, and lie in memory as
PyTorch's convolutions take them, so no step copies them (`docs/measurements.md`).

Maps lie in memory as Keras has them, `(batch, h, w, c)`. From a convolution on they are seen in
PyTorch's order, `(batch, c, h, w)`, until a layer or an output asks for Keras': to turn the axes
back and forth around every layer is cheap once, but there are hundreds of them.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import keras
import torch
from keras.src.backend import AutocastScope
from keras.src.layers.preprocessing.data_layer import DataLayer
from keras.src.models.functional import Functional
from torch.nn.functional import conv2d, prelu

from fer_keras.models.layers import FusedBatchNormalization

# Producers of masks: Keras hands these on from layer to layer.
_MASKS = (keras.layers.Masking, keras.layers.Embedding)
_BATCH_NORMS = (FusedBatchNormalization, keras.layers.BatchNormalization)
_MERGES = {keras.layers.Add: torch.add, keras.layers.Multiply: torch.mul}
_CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)
_POOLS = {
    keras.layers.GlobalAveragePooling2D: torch.mean,
    keras.layers.GlobalMaxPooling2D: torch.amax,
}
_ELEMENTWISE = tuple(
    getattr(keras.activations, name)
    for name in ("relu", "sigmoid", "silu", "elu", "leaky_relu", "tanh", "hard_sigmoid")
)

# Axes of a kernel in memory: `(out, h, w, in)`, and of a depthwise one `(channel, times, h, w)`.
_BY_FILTER, _BY_CHANNEL = (3, 0, 1, 2), (2, 3, 0, 1)
# Axes of a map in Keras' order as PyTorch has them, and the other way.
_TO_TORCH, _TO_KERAS = (0, 3, 1, 2), (0, 2, 3, 1)

_PRECISIONS = ("float32", "mixed_bfloat16")
# PyTorch's own gradient of a kernel in bfloat16, where oneDNN has none, wants it in a row.
_HAS_BFLOAT16 = torch.cuda.is_available() or (
    torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
)
_CAST_TO = torch.preserve_format if _HAS_BFLOAT16 else torch.contiguous_format

Step = Callable[[dict[int, Any], bool | None], None]


class DirectGraph:
    """A functional network as a list of calls, which answers what the network answers.

    Layers with layers in them, with several outputs, or with a `__call__` of their own are called
    as Keras calls them. Networks inside the network become lists too. A network of several inputs,
    with masks, or of another precision than float32 or mixed bfloat16 is called as a whole.

    Attributes:
        network: The functional network.
    """

    def __init__(self, network: Any) -> None:
        self.network = network
        self._statistics = _Statistics()
        self._seen_by_torch: set[int] = set()
        self._steps: list[Step] | None = None
        if _fits(network):
            with AutocastScope(None):  # The variables themselves, not their values in bfloat16.
                self._steps = _steps(network, self._statistics, self._seen_by_torch)
        self._optimizer: Any = None

    def __call__(self, inputs: Any, training: bool | None = None) -> Any:
        """The outputs of the network; see it for the arguments."""
        if self._steps is None:
            return self.network(inputs, training=training)
        image = self.network.inputs[0]
        tensors = {id(image): keras.ops.convert_to_tensor(inputs, image.dtype)}
        with AutocastScope(self.network.compute_dtype):
            for step in self._steps:
                step(tensors, training)
        self._statistics.move()
        return keras.tree.map_structure(
            lambda each: (
                tensors[id(each)].permute(_TO_KERAS)
                if id(each) in self._seen_by_torch
                else tensors[id(each)]
            ),
            self.network.output,
        )

    def lay_out(self, optimizer: Any) -> None:
        """Lets what an optimizer keeps of the kernels lie in memory as they do.

        Of velocities and gradients that lie in two ways a sum takes several times as long.

        Args:
            optimizer: Keras' optimizer; once it is built, a second call does nothing.
        """
        if self._steps is None or optimizer is self._optimizer or not optimizer.built:
            return
        self._optimizer = optimizer
        for variable in optimizer.variables:
            if len(variable.shape) == 4:
                _lay_out(variable, _BY_FILTER)


def is_real(inputs: Any) -> bool:
    """Whether inputs are numbers: with others Keras asks for nothing but shapes.

    Args:
        inputs: What a network is called with.

    Returns:
        False too while Keras has stand-ins for the weights.
    """
    if isinstance(inputs, keras.KerasTensor):
        return False
    return keras.ops.convert_to_tensor(inputs).device.type != "meta"


def _fits(network: Any) -> bool:
    precision = network.dtype_policy.name
    return (
        len(network.inputs) == 1
        and precision in _PRECISIONS
        and all(
            layer.dtype_policy.name == precision
            and layer.quantization_mode is None
            and getattr(layer, "activity_regularizer", None) is None
            and not isinstance(layer, _MASKS)
            for layer in network._flatten_layers()
        )
    )


class _Statistics:
    """Means and variances of the batch norms of a step, which move after it, all at once."""

    def __init__(self) -> None:
        self._rows: dict[int, tuple[Any, ...]] = {}

    def add(self, layer: Any, mean: Any, deviation_inverse: Any) -> None:
        """What the batch has, each `(c,)`: a second time within a step, the first moves before."""
        if id(layer) in self._rows:
            self.move()
        averages = layer.moving_mean.value, layer.moving_variance.value
        self._rows[id(layer)] = (
            layer.momentum, layer.epsilon, *averages, mean, deviation_inverse
        )  # fmt: skip

    def move(self) -> None:
        """Moves them towards those of the batch."""
        rows, self._rows = list(self._rows.values()), {}
        with torch.no_grad():
            for momentum in {row[0] for row in rows}:
                _, epsilons, means, variances, news, inverses = zip(
                    *(row for row in rows if row[0] == momentum), strict=True
                )
                of_batch = torch._foreach_mul(inverses, inverses)
                torch._foreach_reciprocal_(of_batch)
                torch._foreach_sub_(of_batch, epsilons)
                torch._foreach_lerp_(means, news, 1 - momentum)
                torch._foreach_lerp_(variances, of_batch, 1 - momentum)


def _steps(network: Any, statistics: _Statistics, seen_by_torch: set[int]) -> list[Step]:
    """The calls in their order; a padding before nothing but convolutions is left to these.

    Args:
        network: Functional model.
        statistics: Where the batch norms leave what the batch has.
        seen_by_torch: Gets the names of the maps that are kept in PyTorch's order of the axes.
    """
    depths = network._nodes_by_depth
    nodes = [
        node
        for depth in sorted(depths, reverse=True)
        for node in depths[depth]
        if node.operation is not None and not node.is_input
    ]
    uses = Counter(id(each) for node in nodes for each in node.input_tensors)
    uses.update(id(each) for each in network.outputs)
    padded = {id(node.outputs[0]): node for node in nodes if _pads(node)}
    others = [each for node in nodes if not _takes_padding(node) for each in node.input_tensors]
    for each in (*others, *network.outputs):
        padded.pop(id(each), None)
    left_out = [id(node) for node in padded.values()]
    # Nothing else needs what batch norm gives, its own gradient neither.
    normalised = {id(node.outputs[0]) for node in nodes if _normalises(node)}
    rectified = {
        id(node.input_tensors[0])
        for node in nodes
        if _rectifies(node.operation) and uses[id(node.input_tensors[0])] == 1
    } & normalised
    steps = []
    for node in nodes:
        if id(node) in left_out:
            continue
        if _is_plain(node):
            direct = _call(node, padded, rectified, seen_by_torch, statistics)
            steps.append(_step(node, direct, padded, seen_by_torch))
        else:
            steps.append(_step_of_keras(node, seen_by_torch))
    return steps


@dataclass(frozen=True)
class _Direct:
    """What stands for `layer(...)` of a plain layer.

    Attributes:
        call: From a tensor, or a list of them, to a tensor.
        takes_torch: Whether it takes maps in PyTorch's order of the axes.
        gives_torch: Whether it gives one in that order.
    """

    call: Callable[..., Any]
    takes_torch: bool = False
    gives_torch: bool = False


def _step(node: Any, direct: _Direct, padded: dict[int, Any], seen_by_torch: set[int]) -> Step:
    """The call of one layer, whose inputs and outputs have names in `tensors`."""
    call, output = direct.call, id(node.outputs[0])
    given, takes_training = node.arguments.args[0], node.operation._call_has_training_arg
    is_one = not isinstance(given, list | tuple)
    sources = [
        id(padded[id(each)].input_tensors[0] if id(each) in padded else each)
        for each in ([given] if is_one else given)
    ]
    turned = [(source in seen_by_torch) != direct.takes_torch for source in sources]
    axes = _TO_TORCH if direct.takes_torch else _TO_KERAS
    if direct.gives_torch:
        seen_by_torch.add(output)
    default = node.arguments.kwargs.get("training")
    precision = _precision(node.operation)

    def run(tensors: dict[int, Any], training: bool | None) -> None:
        x: Any = [
            tensors[source].permute(axes) if is_turned else tensors[source]
            for source, is_turned in zip(sources, turned, strict=True)
        ]
        if precision is not None:
            x = [each.to(precision) if each.is_floating_point() else each for each in x]
        x = x[0] if is_one else x
        said = default if training is None else training
        # Left out where nothing is said: a layer may have a default of its own.
        is_said = takes_training and said is not None
        tensors[output] = call(x, training=said) if is_said else call(x)

    return run


def _step_of_keras(node: Any, seen_by_torch: set[int]) -> Step:
    """A call as Keras makes it; an operation that is no layer knows no `training`."""
    outputs = [id(each) for each in node.outputs]
    turned = [id(each) for each in node.input_tensors if id(each) in seen_by_torch]
    takes_training = getattr(node.operation, "_call_has_training_arg", False)

    def run(tensors: dict[int, Any], training: bool | None) -> None:
        in_keras_order = {source: tensors[source].permute(_TO_KERAS) for source in turned}
        arguments, named = node.arguments.fill_in({**tensors, **in_keras_order})
        if takes_training and training is not None:
            named["training"] = training
        results = keras.tree.flatten(node.operation(*arguments, **named))
        tensors.update(zip(outputs, results, strict=True))

    return run


def _call(
    node: Any,
    padded: dict[int, Any],
    rectified: set[int],
    seen_by_torch: set[int],
    statistics: _Statistics,
) -> _Direct:
    """What stands for `layer(...)` of a plain layer."""
    layer, source = node.operation, node.input_tensors[0]
    # These work in either order: they keep the one that they are given.
    is_turned = any(id(each) in seen_by_torch for each in node.input_tensors)
    if _is_inner(layer):
        return _Direct(DirectGraph(layer))
    if _takes_padding(node):
        pads = padded[id(source)].operation.padding if id(source) in padded else ((0,), (0,))
        convolve = _convolution(layer, [pad[0] for pad in pads])
        if layer.activation is keras.activations.linear:
            return _Direct(convolve, True, True)
        return _Direct(lambda maps: layer.activation(convolve(maps).permute(_TO_KERAS)), True)
    if _normalises(node):
        with_relu = id(node.outputs[0]) in rectified
        return _Direct(_batch_norm(layer, statistics, with_relu=with_relu), True, True)
    if _rectifies(layer):
        call = _as_it_is if id(source) in rectified else torch.relu
        return _Direct(call, is_turned, is_turned)
    if type(layer) is keras.layers.Activation and layer.activation in _ELEMENTWISE:
        return _Direct(layer.activation, is_turned, is_turned)
    if type(layer) is keras.layers.Dense:
        return _Direct(_dense(layer))
    if type(layer) in _MERGES and len({len(each.shape) for each in node.input_tensors}) == 1:
        merge = _MERGES[type(layer)]
        return _Direct(lambda tensors: reduce(merge, tensors), is_turned, is_turned)
    if type(layer) is keras.layers.Concatenate and is_turned:
        axis = _TO_TORCH.index(layer.axis % 4)
        return _Direct(lambda maps: torch.cat(maps, axis), True, True)
    if type(layer) is keras.layers.PReLU and tuple(layer.shared_axes or ()) == (1, 2):
        return _Direct(_prelu(layer), True, True)
    if type(layer) in _POOLS and not layer.keepdims and layer.data_format == "channels_last":
        pool, places = _POOLS[type(layer)], (2, 3) if is_turned else (1, 2)
        return _Direct(lambda maps: pool(maps, places), is_turned)
    if type(layer) is keras.layers.AveragePooling2D and _averages_all(layer, source):
        axes = [axis for axis in (1, 2) if layer.pool_size[axis - 1] > 1]
        axes = [_TO_TORCH.index(axis) for axis in axes] if is_turned else axes
        return _Direct(lambda maps: maps.mean(axes, keepdim=True), is_turned, is_turned)
    return _Direct(layer.call)


def _precision(layer: Any) -> Any:
    """What Keras casts a layer's inputs and kernels to, if that is not what they are."""
    return torch.bfloat16 if layer.autocast and layer.compute_dtype == "bfloat16" else None


def _is_plain(node: Any) -> bool:
    """Whether a layer can be called by itself: of one output, from one tensor or a list of them.

    Of what Keras does before `call`, a layer in float32 without layers in it needs `training` only.
    """
    layer, arguments = node.operation, node.arguments
    if not (_is_inner(layer) or (_has_usual_call(layer) and not layer._layers)):
        return False
    if len(node.outputs) != 1 or len(arguments.args) != 1:
        return False
    given = arguments.args[0] if isinstance(arguments.args[0], list | tuple) else arguments.args
    return all(isinstance(each, keras.KerasTensor) for each in given) and all(
        value is None for name, value in arguments.kwargs.items() if name != "training"
    )


def _has_usual_call(layer: Any) -> bool:
    return type(layer).__call__ in (keras.layers.Layer.__call__, DataLayer.__call__)


def _is_inner(layer: Any) -> bool:
    return type(layer) is Functional and len(layer.inputs) == 1


def _pads(node: Any) -> bool:
    """Whether a layer pads nothing but the same zeros on both sides."""
    layer = node.operation
    return (
        type(layer) is keras.layers.ZeroPadding2D
        and layer.data_format == "channels_last"
        and all(before == after for before, after in layer.padding)
    )


def _normalises(node: Any) -> bool:
    layer = node.operation
    is_of_maps = type(layer) in _BATCH_NORMS and len(node.input_tensors[0].shape) == 4
    return is_of_maps and layer.axis in (-1, 3) and _is_plain(node)


def _rectifies(layer: Any) -> bool:
    if type(layer) is keras.layers.ReLU:
        return layer.max_value is None and layer.negative_slope == layer.threshold == 0
    return type(layer) is keras.layers.Activation and layer.activation is keras.activations.relu


def _as_it_is(x: Any) -> Any:
    return x


def _takes_padding(node: Any) -> bool:
    """Whether a layer is a convolution that PyTorch has: with the same zeros on both sides."""
    layer = node.operation
    if type(layer) not in _CONVOLUTIONS or not _is_plain(node):
        return False
    if layer.data_format != "channels_last":
        return False
    is_symmetric = set(layer.strides) == {1} and all(side % 2 for side in layer.kernel_size)
    return layer.padding == "valid" or (layer.padding == "same" and is_symmetric)


def _averages_all(layer: Any, source: Any) -> bool:
    """Whether a pooling takes means over whole rows, columns or both, which are cheaper."""
    sides = source.shape[1:3]
    return (
        layer.padding == "valid"
        and max(layer.pool_size) > 1
        and all(
            pool in (1, side) and (pool == side or stride == 1)
            for pool, side, stride in zip(layer.pool_size, sides, layer.strides, strict=True)
        )
    )


def _convolution(layer: Any, pads: list[int]) -> Any:
    """A convolution without its activation, with zeros around: `pads` and those of "same"."""
    if layer.padding == "same":
        spans = zip(layer.kernel_size, layer.dilation_rate, strict=True)
        pads = [
            pad + dilation * (side - 1) // 2
            for pad, (side, dilation) in zip(pads, spans, strict=True)
        ]
    is_depthwise = type(layer) is keras.layers.DepthwiseConv2D
    shape = tuple(layer.kernel.shape)
    filters = shape[2] * shape[3] if is_depthwise else shape[3]
    groups = shape[2] if is_depthwise else layer.groups
    _lay_out(layer.kernel, _BY_CHANNEL if is_depthwise else _BY_FILTER)
    values, bias = layer.kernel.value, layer.bias.value if layer.use_bias else None
    strides, dilations, precision = layer.strides, layer.dilation_rate, _precision(layer)

    def call(maps: Any) -> Any:
        if is_depthwise:
            kernel = values.permute(2, 3, 0, 1).reshape(filters, 1, *shape[:2])
        else:
            kernel = values.permute(3, 2, 0, 1)
        kernel, added = _cast(kernel, precision), _cast(bias, precision)
        return conv2d(maps, kernel, added, strides, pads, dilations, groups)

    return call


def _cast(values: Any, precision: Any) -> Any:
    """Weights in a layer's precision."""
    if precision is None or values is None:
        return values
    return values.to(precision, memory_format=_CAST_TO)


def _lay_out(variable: Any, axes: Sequence[int]) -> None:
    """Moves the values of a variable in memory, which keeps its shape and takes values as before.

    Args:
        variable: Keras' variable.
        axes: Its axes, from the outermost in memory to the innermost.
    """
    back = [axes.index(axis) for axis in range(len(axes))]
    values = variable.value
    values.data = values.data.permute(axes).contiguous().permute(back)


def _batch_norm(layer: Any, statistics: _Statistics, *, with_relu: bool) -> Any:
    """Training by PyTorch's operation, under the conditions of `FusedBatchNormalization`."""
    is_usual = layer.scale and layer.center and not layer.renorm and not layer.synchronized
    if is_usual:
        gamma, beta = layer.gamma.value, layer.beta.value

    def call(maps: Any, training: bool | None = None) -> Any:
        if training and layer.trainable and is_usual:
            y, mean, deviation_inverse = torch.native_batch_norm(
                maps, gamma, beta, None, None, True, 0.0, layer.epsilon
            )
            statistics.add(layer, mean, deviation_inverse)
            return torch.relu_(y) if with_relu else y
        y = layer.call(maps.permute(_TO_KERAS), training=training).permute(_TO_TORCH)
        return torch.relu(y) if with_relu else y

    return call


def _prelu(layer: Any) -> Any:
    slopes, precision = layer.alpha.value, _precision(layer)

    def call(maps: Any) -> Any:
        return _Prelu.apply(maps, _cast(slopes, precision))

    return call


def _dense(layer: Any) -> Any:
    kernel, bias = layer.kernel.value, layer.bias.value if layer.use_bias else None
    precision = _precision(layer)
    activation = None if layer.activation is keras.activations.linear else layer.activation

    def call(x: Any, training: bool | None = None) -> Any:
        # As Keras rounds; one operation for both rounds otherwise.
        y = torch.matmul(x, _cast(kernel, precision))
        if bias is not None:
            y = y + _cast(bias, precision)
        return y if activation is None else activation(y)

    return call


class _Prelu(torch.autograd.Function):
    """PReLU with a slope for each channel: PyTorch's gradient of it takes several times as long."""

    @staticmethod
    def forward(context: Any, maps: Any, slopes: Any) -> Any:
        context.save_for_backward(maps, slopes)
        return prelu(maps, slopes.flatten())

    @staticmethod
    def backward(context: Any, gradient: Any) -> Any:
        maps, slopes = context.saved_tensors
        above = torch.ops.aten.threshold_backward(gradient, maps, 0)
        below = gradient - above
        of_slopes = (below * maps).sum((0, 2, 3)).reshape(slopes.shape)
        return torch.addcmul(above, below, slopes.reshape(1, -1, 1, 1)), of_slopes
