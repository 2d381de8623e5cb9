"""Ensembles with shared representations, as their program and its diversified fork save them.

A network is a folder: the base in one file, each branch in one. siqueira-hc/Efficient-Facial-
Feature-Learning-with-Wide-Ensemble-based-Convolutional-Neural-Networks has 4 branches for CK+ and 9
elsewhere; negarhdr/Diversified-Facial-Expression-Recognition puts a CBAM behind every convolution.
Both feed pictures in 0..1, enlarged linearly to 96 pixels, the fork those of RAF-DB with ImageNet's
mean and deviation. Both take the class that most branches name; the first of those that tie.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fer_keras.common.errors import ModelFileError
from fer_keras.loading.published.family import (
    AFFECTNET_8,
    RAFDB_CODES,
    Family,
    outputs_of,
    standard_names,
)
from fer_keras.loading.torch_files import Tensors, load_torch_tensors

BASE = "Net-Base-Shared_Representations.pt"
_BRANCH = re.compile(r"Net-Branch_(\d+)\.pt")
_MAX_BRANCHES = 64
_CBAM = {
    "hidden": "ChannelGate.mlp.1",
    "weigh": "ChannelGate.mlp.3",
    "conv": "SpatialGate.spatial.conv",
    "conv_bn": "SpatialGate.spatial.bn",
}
_LAYER = re.compile(
    r"(?P<part>base|branch\d+)_(?:conv(?P<number>\d+)(?P<kind>|_bn|_cbam_(?P<gate>\w+))"
    r"|(?P<dense>logits|valence_arousal))"
)


def _read(path: Path) -> Tensors:
    folder = path if path.is_dir() else path.parent
    if not (folder / BASE).is_file():
        raise ModelFileError(f"Expected a folder with {BASE} and Net-Branch_1.pt, ...: {path}")
    numbers = sorted(
        int(match[1]) for file in folder.iterdir() if (match := _BRANCH.fullmatch(file.name))
    )
    if not numbers or numbers != list(range(1, len(numbers) + 1)) or len(numbers) > _MAX_BRANCHES:
        raise ModelFileError(
            f"Expected Net-Branch_1.pt and so on, without a gap. Received the branches "
            f"{', '.join(map(str, numbers[:_MAX_BRANCHES])) or 'none'}: {folder}"
        )
    files = {"base": BASE, **{f"branch{k}": f"Net-Branch_{k}.pt" for k in numbers}}
    return {
        f"{part}.{name}": array
        for part, file in files.items()
        for name, array in load_torch_tensors(folder / file).items()
    }


def _options(tensors: Tensors) -> dict[str, Any]:
    names = tuple(tensors)
    return {
        "num_branches": len({name.partition(".")[0] for name in names}) - 1,
        "variant": "affectnet" if "base.conv4.weight" in tensors else "ckplus",
        "attention": any(".cbam" in name for name in names),
        "valence_arousal": "branch1.fc_dimensional.weight" in tensors,
    }


def _tensor_names(layer: Any) -> list[str]:
    match = _LAYER.fullmatch(layer.name)
    if match is None:
        raise ModelFileError(f"Expected a layer of esr. Received: {layer.name!r}")
    number, gate = match["number"], match["gate"]
    if match["dense"]:
        module = "fc" if match["dense"] == "logits" else "fc_dimensional"
    elif gate:
        module = f"cbam{number}.{_CBAM[gate]}"
    else:
        module = f"{'bn' if match['kind'] else 'conv'}{number}"
    return standard_names(layer, f"{match['part']}.{module}")


def _is_absent(layer: str, names: Sequence[str]) -> bool:
    """A start for a network with more branches, or with neurons for valence and arousal."""
    part = layer.partition("_")[0]
    if layer.endswith("_valence_arousal"):
        return f"{part}.fc_dimensional.weight" not in names
    return not any(name.startswith(f"{part}.") for name in names)


def _is_surplus(tensor: str, layers: Sequence[str]) -> bool:
    """Branches of a network that grows come later; valence and arousal may not be wanted."""
    part, _, name = tensor.partition(".")
    if name.startswith("fc_dimensional."):
        return f"{part}_valence_arousal" not in layers
    return part.startswith("branch") and f"{part}_conv1" not in layers


ESR = Family(
    network="esr",
    source="siqueira-hc and negarhdr",
    image_size=96,
    labels={
        "affectnet8": AFFECTNET_8,
        "ferplus": AFFECTNET_8,
        "rafdb": RAFDB_CODES,
        "ckplus": (
            "anger", "disgust", "fear", "happiness", "sadness", "surprise", "contempt", "neutral",
        ),
    },
    options=_options,
    tensor_names=_tensor_names,
    num_classes=lambda tensors: outputs_of(tensors, "branch1.fc.weight", "ESR"),
    classifier=re.compile(r"branch\d+_logits"),
    is_absent=_is_absent,
    is_surplus=_is_surplus,
    decisions=("vote", "mean"),
    # The fork's program for RAF-DB alone, the only one that has these classes.
    label_options={"rafdb": {"normalisation": "imagenet"}},
    read=_read,
)  # fmt: skip
