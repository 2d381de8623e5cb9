"""Reads the weights of DDAMFN and of its backbone MFN from files of the authors' PyTorch program.

Their program is SainingZhang/DDAMFN on GitHub, which has no licence: its weights are not shipped,
and a file of them is yours to get. What is read is a state dict, tensors by name, alone or as
`model_state_dict` of a checkpoint; a pickled module is refused, because to read it is to run what
it says. Every tensor must have its place here, with its shape, or be one of those that their
program creates and never uses.
"""

import re
from typing import Any

import numpy as np

from fer_keras.common.errors import ConfigError

# A file of the whole network holds MFN as `features`, its parts by number.
_PARTS = (
    "conv1", "conv2_dw", "conv_23", "conv_3", "conv_34", "conv_4", "conv_45", "conv_5",
    "conv_6_sep",
)  # fmt: skip
_UNUSED = re.compile(
    r"(.*\.num_batches_tracked|.*\.conv_dw\.(bn|prelu)\..*|conv_6_dw\..*|linear\..*|bn\..*"
    r"|cat_head\d+\.CoordAtt\.Linear\..*)"
)
# Its columns have no class names, and a place is not a name.
_CLASSIFIER = ("fc.weight", "fc.bias")
# Layer name here -> module name there, the ends of the names before their beginnings.
_ENDS = (
    (r"_expand(_bn|_prelu)?$", r".conv\1"),
    (r"_mix$", r".conv_dw"),
    (r"_project(_bn)?$", r".project\1"),
    (r"_attention_hidden$", r".CA.conv1"),
    (r"_attention_hidden_bn$", r".CA.bn1"),
    (r"_attention_row_gate$", r".CA.conv2"),
    (r"_attention_column_gate$", r".CA.conv3"),
    (r"^(head\d+)_rows(_bn)?$", r"\1.CoordAtt.Linear_h\2"),
    (r"^(head\d+)_columns(_bn)?$", r"\1.CoordAtt.Linear_w\2"),
    (r"^(head\d+)_hidden$", r"\1.CoordAtt.conv1"),
    (r"^(head\d+)_hidden_bn$", r"\1.CoordAtt.bn1"),
    (r"^(head\d+)_row_gate$", r"\1.CoordAtt.conv2"),
    (r"^(head\d+)_column_gate$", r"\1.CoordAtt.conv3"),
)
_BEGINNINGS = (
    (r"^conv2", "conv2_dw"),
    (r"^conv3_half", "conv_23"),
    (r"^conv4_half", "conv_34"),
    (r"^conv5_half", "conv_45"),
    (r"^conv6", "conv_6_sep"),
    (r"^pool", "Linear"),
)
# Convolutions that stand beside their batch norm in one module.
_UNITS = re.compile(r"(conv1|conv2_dw|conv_6_sep|Linear|.*\.(conv|project|Linear_[hw]))")


def load_ddamfn(network: Any, tensors: dict[str, np.ndarray]) -> list[str]:
    """Fills a `ddamfn` with the tensors of a state dict.

    Args:
        network: Of `fer_keras.models.ddamfn`; its weights are changed, if all is well.
        tensors: Name -> array, of MFN or of the whole network.

    Returns:
        The layers that keep their fresh weights: the classifier, and where the file holds MFN
        alone, the heads and the pooling too.

    Raises:
        ConfigError: The network is another one, a tensor is missing, has another shape, or has no
            place in it.
    """
    if "mfn_features" not in network.output:
        raise ConfigError(
            "network.weights: files of PyTorch are read for the network ddamfn. Received: "
            f"{network.name!r}."
        )
    left = {_plain_name(name): array for name, array in tensors.items()}
    heads_too = any(name.startswith("cat_head") for name in left)
    filled: list[tuple[Any, list[np.ndarray]]] = []
    fresh = []
    for layer in network.layers:
        if not layer.weights:
            continue
        beyond = re.match(r"head\d|pool", layer.name) is not None
        if layer.name == "logits" or (beyond and not heads_too):
            fresh.append(layer.name)
            continue
        values = []
        for name, weight in zip(_tensor_names(layer), layer.weights, strict=True):
            if name not in left:
                raise ConfigError(
                    f"network.weights: expected the tensor {name!r} for layer {layer.name!r}. "
                    f"Received {len(tensors)} tensors without it. Give the network the options "
                    "that the other had (num_heads, width, depths)."
                )
            values.append(_in_our_order(left.pop(name), layer, tuple(weight.shape), name))
        filled.append((layer, values))
    extra = [n for n in left if n not in _CLASSIFIER and not _UNUSED.fullmatch(n)]
    if extra:
        raise ConfigError(
            f"network.weights: {len(extra)} tensors have no place in the network, the first is "
            f"{extra[0]!r}. Give it the options that the other had (num_heads, width, depths)."
        )
    for layer, values in filled:
        layer.set_weights(values)
    return fresh


def _plain_name(name: str) -> str:
    """Without what wrappers add: `module.`, and `features.` with a number for each part."""
    name = name.removeprefix("module.").removeprefix("features.")
    number, _, rest = name.partition(".")
    return f"{_PARTS[int(number)]}.{rest}" if number.isdecimal() and int(number) < 9 else name


def _tensor_names(layer: Any) -> list[str]:
    """The names of a layer's tensors there, in the order of its weights here."""
    name = str(layer.name)
    for pattern, replacement in (*_ENDS, *_BEGINNINGS):
        name = re.sub(pattern, replacement, name)
    name = re.sub(r"^conv(\d)_block(\d+)", lambda m: f"conv_{m[1]}.model.{int(m[2]) - 1}", name)
    name = re.sub(r"^head(\d+)", lambda m: f"cat_head{int(m[1]) - 1}", name)
    kind = type(layer).__name__
    if kind == "MixedDepthwiseConv2D":
        return [f"{name}.mixed_depthwise_conv.{i}.weight" for i in range(len(layer.groups))]
    if kind.endswith("BatchNormalization"):
        module = re.sub(r"_bn$", ".bn", name)
        return [f"{module}.{part}" for part in ("weight", "bias", "running_mean", "running_var")]
    if kind == "PReLU":
        return [f"{name.removesuffix('_prelu')}.prelu.weight"]
    if not layer.use_bias:
        return [f"{name}.conv.weight" if _UNITS.fullmatch(name) else f"{name}.weight"]
    return [f"{name}.weight", f"{name}.bias"]


def _in_our_order(array: np.ndarray, layer: Any, shape: tuple[int, ...], name: str) -> np.ndarray:
    """A tensor with its axes as Keras has them, checked against the shape of the weight."""
    kind = type(layer).__name__
    if array.ndim == 4:
        # Depthwise kernels are (channels, 1, h, w) there; others (filters, channels, h, w).
        axes = (2, 3, 0, 1) if "Depthwise" in kind else (2, 3, 1, 0)
        array = array.transpose(axes)
    elif kind == "PReLU":
        array = array.reshape(1, 1, -1)
    if array.shape != shape:
        raise ConfigError(
            f"network.weights: expected {name!r} to be {shape} in Keras' order. Received: "
            f"{array.shape}. Give the network the options that the other had."
        )
    return array
