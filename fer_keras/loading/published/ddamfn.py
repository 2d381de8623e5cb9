"""DDAMFN and its backbone MFN, as SainingZhang/DDAMFN on GitHub saves them.

The program has no licence: its weights are not shipped, and a file of them is yours to get. Its
class names stand in its scripts, and are those of folders 0 to 7. It feeds red, green and blue
pictures of 112 pixels, enlarged linearly, with ImageNet's mean and deviation.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fer_keras.loading.published.family import (
    AFFECTNET_7,
    AFFECTNET_8,
    Family,
    outputs_of,
    standard_names,
)
from fer_keras.loading.torch_files import Tensors, load_torch_tensors

# A file of the whole network holds MFN as `features`, its parts by number.
_PARTS = (
    "conv1", "conv2_dw", "conv_23", "conv_3", "conv_34", "conv_4", "conv_45", "conv_5",
    "conv_6_sep",
)  # fmt: skip
_UNUSED = re.compile(
    r"(.*\.conv_dw\.(bn|prelu)\..*|conv_6_dw\..*|linear\..*|bn\..*"
    r"|cat_head\d+\.CoordAtt\.Linear\..*)"
)
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
    (r"^logits", "fc"),
)
# Convolutions that stand beside their batch norm in one module.
_UNITS = re.compile(r"(conv1|conv2_dw|conv_6_sep|Linear|.*\.(conv|project|Linear_[hw]))")


def _read(path: Path) -> Tensors:
    return {_plain_name(name): array for name, array in load_torch_tensors(path).items()}


def _plain_name(name: str) -> str:
    """Without what wrappers add: `features.` with a number for each part."""
    name = name.removeprefix("features.")
    number, _, rest = name.partition(".")
    return f"{_PARTS[int(number)]}.{rest}" if number.isdecimal() and int(number) < 9 else name


def _heads(names: Sequence[str]) -> int:
    return len({name.partition(".")[0] for name in names if name.startswith("cat_head")})


def _is_absent(layer: str, names: Sequence[str]) -> bool:
    """A file of MFN alone has neither heads nor pooling."""
    return _heads(names) == 0 and re.match(r"head\d|pool", layer) is not None


def _options(tensors: Tensors) -> dict[str, Any]:
    return {"num_heads": max(1, _heads(tuple(tensors)))}


def _tensor_names(layer: Any) -> list[str]:
    name = str(layer.name)
    for pattern, replacement in (*_ENDS, *_BEGINNINGS):
        name = re.sub(pattern, replacement, name)
    name = re.sub(r"^conv(\d)_block(\d+)", lambda m: f"conv_{m[1]}.model.{int(m[2]) - 1}", name)
    name = re.sub(r"^head(\d+)", lambda m: f"cat_head{int(m[1]) - 1}", name)
    kind = type(layer).__name__
    if kind == "MixedDepthwiseConv2D":
        return [f"{name}.mixed_depthwise_conv.{i}.weight" for i in range(len(layer.groups))]
    if kind == "PReLU":
        return [f"{name.removesuffix('_prelu')}.prelu.weight"]
    if kind.endswith("BatchNormalization"):
        return standard_names(layer, re.sub(r"_bn$", ".bn", name))
    return standard_names(layer, f"{name}.conv" if _UNITS.fullmatch(name) else name)


DDAMFN = Family(
    network="ddamfn",
    source="SainingZhang/DDAMFN",
    image_size=112,
    labels={
        "rafdb": AFFECTNET_7,
        "affectnet7": AFFECTNET_7,
        "affectnet8": AFFECTNET_8,
        "ferplus": AFFECTNET_8,
    },
    options=_options,
    tensor_names=_tensor_names,
    num_classes=lambda tensors: outputs_of(tensors, "fc.weight", "DDAMFN"),
    classifier=re.compile("logits"),
    unused=_UNUSED,
    is_absent=_is_absent,
    read=_read,
)
