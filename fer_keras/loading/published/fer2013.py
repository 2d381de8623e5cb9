"""VGG19 and ResNet18 as WuJie1010/Facial-Expression-Recognition.Pytorch saves them.

Both were trained on crops of 44 pixels of grey pictures of 48 in three channels, and are tested on
ten crops, whose logits are averaged. The files end in `.t7`, and are PyTorch's all the same.

To start from, ResNet18 is also read under torchvision's names and with the stem of ImageNet, such
as the file of MS-Celeb-1M that RUL and others take.
"""

import re
from pathlib import Path
from typing import Any

from fer_keras.common.errors import ModelFileError
from fer_keras.loading.published.family import Family, outputs_of, standard_names
from fer_keras.loading.torch_files import Tensors, load_torch_tensors

_LABELS = {
    "fer2013": (
        "anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral",
    ),
    "ckplus": (
        "anger", "disgust", "fear", "happiness", "sadness", "surprise", "contempt",
    ),
}  # fmt: skip
_SOURCE = "WuJie1010/Facial-Expression-Recognition.Pytorch"
_VGG_DEPTHS = (2, 2, 4, 4, 4)
_VGG_LAYER = re.compile(r"stage(\d)_conv(\d+)(_bn)?")
_RESNET_LAYER = re.compile(r"stage(\d)_block(\d)_(conv1|conv2|shortcut)(_bn)?")


def _vgg_names(layer: Any) -> list[str]:
    if layer.name == "logits":
        return standard_names(layer, "classifier")
    match = _VGG_LAYER.fullmatch(layer.name)
    if match is None:
        raise ModelFileError(f"Expected a layer of vgg19. Received: {layer.name!r}")
    stage, number = int(match[1]), int(match[2])
    # In one sequence: three modules for a convolution, one for the maximum behind each stage.
    before = sum(3 * depth + 1 for depth in _VGG_DEPTHS[: stage - 1])
    return standard_names(layer, f"features.{before + 3 * (number - 1) + bool(match[3])}")


def _resnet_names(layer: Any) -> list[str]:
    others = {"stem": "conv1", "stem_bn": "bn1", "logits": "linear"}
    if layer.name in others:
        return standard_names(layer, others[layer.name])
    match = _RESNET_LAYER.fullmatch(layer.name)
    if match is None:
        raise ModelFileError(f"Expected a layer of resnet18. Received: {layer.name!r}")
    part = match[3]
    if part == "shortcut":
        part = f"shortcut.{1 if match[4] else 0}"
    elif match[4]:
        part = part.replace("conv", "bn")
    return standard_names(layer, f"layer{match[1]}.{int(match[2]) - 1}.{part}")


def _read_resnet(path: Path) -> Tensors:
    """The tensors, under the names of the FER2013 project."""
    return {
        re.sub(r"^fc\.", "linear.", name.replace(".downsample.", ".shortcut.")): tensor
        for name, tensor in load_torch_tensors(path).items()
    }


def _resnet_options(tensors: Tensors) -> dict[str, Any]:
    first = tensors.get("conv1.weight")
    if first is not None and first.shape[-1] == 7:
        return {"stem": "imagenet", "normalisation": "imagenet"}
    return {"pooling": "valid4"}


VGG19 = Family(
    network="vgg19",
    source=_SOURCE,
    image_size=44,
    labels=_LABELS,
    options=lambda tensors: {},
    tensor_names=_vgg_names,
    num_classes=lambda tensors: outputs_of(tensors, "classifier.weight", "VGG19"),
    classifier=re.compile("logits"),
    decisions=("ten_crop", "centre"),
    trained_on_grey=True,
)
RESNET18 = Family(
    network="resnet18",
    source=_SOURCE,
    image_size=44,
    labels=_LABELS,
    options=_resnet_options,
    tensor_names=_resnet_names,
    num_classes=lambda tensors: outputs_of(tensors, "linear.weight", "ResNet18"),
    classifier=re.compile("logits"),
    decisions=("ten_crop", "centre"),
    trained_on_grey=True,
    read=_read_resnet,
)
