"""MA-Net as zengqunzhao/MA-Net saves it, and the form of it in the diversified fork.

Both feed pictures of 224 pixels in 0..1, enlarged linearly; the fork takes ImageNet's mean and
deviation for RAF-DB. In the fork both chains of the multi-scale blocks run from the first group of
channels to the last, under the same names of tensors, so the file cannot tell: the name of the
family does. The start from MS-Celeb-1M has a classifier of 12,666 persons, which is left out.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fer_keras.common.errors import ModelFileError
from fer_keras.loading.published.family import (
    AFFECTNET_7,
    AFFECTNET_8,
    RAFDB_CODES,
    Family,
    outputs_of,
    standard_names,
)

_GROUPS = 4
_CBAM = {
    "hidden": "ChannelGate.mlp.1",
    "weigh": "ChannelGate.mlp.3",
    "conv": "SpatialGate.spatial.conv",
    "conv_bn": "SpatialGate.spatial.bn",
}
_BLOCK = re.compile(
    r"(?:(?P<scales>scales_)|quadrant(?P<quadrant>\d)_)?stage(?P<stage>\d)_block(?P<block>\d+)_"
    r"(?:cbam_(?P<gate>\w+)"
    r"|(?P<part>conv|up|down|shortcut)(?P<number>\d*)(?P<norm>_bn)?)"
)
_OTHERS: Mapping[str, str] = {
    "stem": "conv1",
    "stem_bn": "bn1",
    "quadrants_logits": "fc_1",
    "scales_logits": "fc_2",
}


def _tensor_names(layer: Any, second_chain: str) -> list[str]:
    if layer.name in _OTHERS:
        return standard_names(layer, _OTHERS[layer.name])
    match = _BLOCK.fullmatch(layer.name)
    if match is None:
        raise ModelFileError(f"Expected a layer of manet. Received: {layer.name!r}")
    stage, number = match["stage"], match["number"]
    if match["quadrant"]:
        stage = f"{stage}_1_p{match['quadrant']}"
    elif match["scales"]:
        stage = f"{stage}_2"
    kind = "bn" if match["norm"] else "conv"
    if match["gate"]:
        module = f"cbam.{_CBAM[match['gate']]}"
    elif match["part"] == "shortcut":
        module = f"downsample.{1 if match['norm'] else 0}"
    elif match["part"] == "up":
        module = f"{kind}1_2_{number}"
    elif match["part"] == "down":
        # Our numbers follow the chain, theirs the groups.
        group = _GROUPS + 1 - int(number) if second_chain == "down" else int(number)
        module = f"{kind}2_2_{group}"
    else:
        module = f"{kind}{number}"
    return standard_names(layer, f"layer{stage}.{int(match['block']) - 1}.{module}")


MANET = Family(
    network="manet",
    source="zengqunzhao/MA-Net",
    image_size=224,
    labels={
        "rafdb": AFFECTNET_7,
        "affectnet7": AFFECTNET_7,
        "affectnet8": AFFECTNET_8,
    },
    options=lambda tensors: {},
    tensor_names=lambda layer: _tensor_names(layer, "down"),
    num_classes=lambda tensors: outputs_of(tensors, "fc_1.weight", "MA-Net"),
    classifier=re.compile(r"(quadrants|scales)_logits"),
)
MANET_DIVERSIFIED = replace(
    MANET,
    source="negarhdr/Diversified-Facial-Expression-Recognition",
    labels={"rafdb": RAFDB_CODES, "affectnet8": AFFECTNET_8, "ferplus": AFFECTNET_8},
    options=lambda tensors: {"second_chain": "up"},
    tensor_names=lambda layer: _tensor_names(layer, "up"),
    label_options={"rafdb": {"normalisation": "imagenet"}},
)
