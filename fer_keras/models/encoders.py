"""Encoders: networks from a picture to a vector, for networks that are built on another one.

Any network of this folder that has the output `embedding` is one. More are here because they are
used as encoders only: MobileNetV3 (Howard et al., "Searching for MobileNetV3", ICCV 2019) and the
ResNet-50 of ImageNet as `keras.applications` has them, and the ResNet-50 of VGGFace2 (Cao et al.,
"VGGFace2: A dataset for recognising faces across pose and age", FG 2018), which recognises people.
Nothing is fetched unless `weights="imagenet"` asks for it.

A frozen encoder is a layer that calls its network in inference mode. Inside a graph Keras hands
training=True on to what was called with training=False, and trainable=False leaves dropout on.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from fer_keras.common.errors import ConfigError, ModelFileError, did_you_mean
from fer_keras.models import build_network, list_networks
from fer_keras.models.layers import FusedBatchNormalization, batch_norm, conv, imagenet_normalised

# Of the pictures of VGGFace2, in red, green and blue: resnet50_ft.prototxt.
_VGGFACE2_MEAN = (131.0912, 103.8827, 91.4953)
# Of ImageNet's pictures, in blue, green and red, as Caffe and `keras.applications` have them.
_IMAGENET_MEAN = (103.939, 116.779, 123.68)
_MOBILENET_LAYER = re.compile(
    r"expanded_conv(_(?P<block>\d+))?_(?P<part>expand|depthwise|squeeze_excite|project)(_conv)?(_1)?(_bn)?"
)


def list_encoders() -> tuple[str, ...]:
    """Names that `build_encoder` takes: those of this file, then all networks."""
    return (*_OWN, *list_networks())


def build_encoder(
    encoder: Any,
    image_shape: tuple[int, int, int],
    options: Mapping[str, Any] | None = None,
    weights: str = "none",
) -> Any:
    """Builds an encoder, or takes one that is built.

    Args:
        encoder: One of `list_encoders()`, or a `keras.Model` with the output `embedding` or a
            vector as its only output.
        image_shape: `(height, width, channels)` of its pictures.
        options: Keyword options of a network's `build`; for MobileNetV3 `alpha`, the width, and
            `padding`: `"tensorflow"`, or `"pytorch"`, with the borders and the scaling (ImageNet's
            mean and deviation) that torchvision's weights were trained with; `width` and `depths`
            for the ResNet-50 of VGGFace2.
        weights: `"none"`, or `"imagenet"`, which Keras downloads, for those of
            `keras.applications`.

    Returns:
        `keras.Model` from raw pixels 0..255 to vectors `(batch, d)`.

    Raises:
        ConfigError: An unknown name, option or kind of weights, an encoder of other pictures, or a
            network without `embedding`.
    """
    given = dict(options or {})
    if not isinstance(encoder, str):
        return _vector_of(encoder, image_shape)
    if encoder not in list_encoders():
        raise ConfigError(f"Unknown encoder {encoder!r}. {did_you_mean(encoder, list_encoders())}")
    if weights not in ("none", "imagenet") or (weights == "imagenet" and encoder not in _OPTIONS):
        raise ConfigError(
            "Invalid value for the weights of an encoder. Expected none, imagenet for MobileNetV3 "
            "and resnet50_imagenet, or in an experiment a file. Received: "
            f"{weights!r} for {encoder!r}"
        )
    if encoder not in _OWN:
        return _vector_of(build_network(encoder, image_shape, 2, **given), image_shape)
    known = _OPTIONS.get(encoder, {"width", "depths"})
    if not set(given) <= known:
        raise ConfigError(f"Encoder {encoder!r} has the options {known}. Received: {set(given)}.")
    return _OWN[encoder](image_shape, weights, **given)


def _vector_of(network: Any, image_shape: tuple[int, int, int]) -> Any:
    """The part of a network that ends in its embedding."""
    outputs = network.output
    vector = outputs.get("embedding") if isinstance(outputs, dict) else outputs
    if len(network.inputs) != 1 or vector is None or len(vector.shape) != 2:
        raise ConfigError(
            f"Network {network.name!r} is no encoder: expected one input and the output "
            f"'embedding' (batch, d). It has: {', '.join(outputs) if vector is None else vector}."
        )
    if tuple(network.inputs[0].shape[1:]) != tuple(image_shape):
        raise ConfigError(
            f"Encoder {network.name!r} reads pictures {tuple(network.inputs[0].shape[1:])}. "
            f"Received: {image_shape}. Mend: dataset.image_size and dataset.channels"
        )
    return keras.Model(network.inputs[0], vector, name=network.name)


def _in_colour(image: Any) -> Any:
    if image.shape[-1] == 3:
        return image
    return keras.layers.Concatenate(name="grey_in_colour")([image] * 3)


def _mobilenet_v3(size: str) -> Callable[..., Any]:
    def build(
        image_shape: tuple[int, int, int],
        weights: str,
        alpha: float = 1.0,
        padding: str = "tensorflow",
    ) -> Any:
        if min(image_shape[:2]) < 32:
            raise ConfigError(f"MobileNetV3 needs 32 pixels or more. Received: {image_shape}.")
        if padding not in ("tensorflow", "pytorch") or (padding, weights) == (
            "pytorch",
            "imagenet",
        ):
            raise ConfigError(
                "Invalid value for `padding` of MobileNetV3. Expected tensorflow, as the weights "
                "imagenet of keras.applications need it, or pytorch, as a file of torchvision's. "
                f"Received: {padding!r} with the weights {weights!r}"
            )
        image = keras.Input(image_shape, name="image")
        application = getattr(keras.applications, f"MobileNetV3{size.capitalize()}")
        of_torch = padding == "pytorch"
        x = _in_colour(image)
        if of_torch:
            # Zeros after the scaling, on both sides: the first convolution then has none.
            x = keras.layers.ZeroPadding2D(1, name="pad")(imagenet_normalised(x))
        # Its own scaling, to -1..1, is that of its own weights.
        trunk = application(
            input_shape=(*x.shape[1:3], 3),
            alpha=alpha,
            include_top=False,
            weights=None if weights == "none" else weights,
            pooling="avg",
            include_preprocessing=not of_torch,
        )
        changed = _padded_as_in_pytorch if of_torch else _with_fused_batch_norm
        fused = keras.models.clone_model(trunk, clone_function=changed)
        fused.set_weights(trunk.get_weights())
        return keras.Model(image, fused(x), name=f"mobilenet_v3_{size}")

    return build


def _with_fused_batch_norm(layer: Any) -> Any:
    kind = type(layer)
    if kind is keras.layers.BatchNormalization:
        kind = FusedBatchNormalization
    return kind.from_config(layer.get_config())


def _padded_as_in_pytorch(layer: Any) -> Any:
    """As above; halving convolutions of even maps have a pixel less on one side in TensorFlow."""
    config = layer.get_config()
    if isinstance(layer, keras.layers.ZeroPadding2D):
        (_, below), (_, right) = config["padding"]
        return keras.layers.ZeroPadding2D((below, right), name=layer.name)
    if layer.name == "conv":
        return keras.layers.Conv2D.from_config({**config, "padding": "valid"})
    return _with_fused_batch_norm(layer)


def _resnet50_vggface2(
    image_shape: tuple[int, int, int],
    weights: str,
    width: int = 64,
    depths: Sequence[int] = (3, 4, 6, 3),
) -> Any:
    """The ResNet-50 that VGGFace2 was published with: blocks are strided in their first layer.

    Layers are named as in its PyTorch form, with underscores for dots.
    """
    if any(side % 4 for side in image_shape[:2]):
        raise ConfigError(f"Expected sides that are multiples of 4. Received: {image_shape}.")
    image = keras.Input(image_shape, name="image")
    offset = [-mean for mean in _VGGFACE2_MEAN]
    x = keras.layers.Rescaling(1.0, offset=offset, name="scale")(_in_colour(image))
    x = _conv_bn(x, width, 7, 2, "conv1", "bn1")
    # PyTorch's pooling without padding, rounded up, is "same" on maps of even size.
    x = keras.layers.MaxPooling2D(3, strides=2, padding="same", name="maxpool")(x)
    for stage, depth in enumerate(depths, start=1):
        for block in range(depth):
            strides = 2 if block == 0 and stage > 1 else 1
            x = _bottleneck(x, width * 2 ** (stage - 1), strides, f"layer{stage}_{block}")
    vector = keras.layers.GlobalAveragePooling2D(name="avgpool")(x)
    return keras.Model(image, vector, name="resnet50_vggface2")


def _resnet50_imagenet(image_shape: tuple[int, int, int], weights: str) -> Any:
    """The ResNet-50 of `keras.applications`; it reads blue, green and red less their means."""
    image = keras.Input(image_shape, name="image")
    bgr = keras.ops.flip(_in_colour(image), axis=-1)
    offset = [-mean for mean in _IMAGENET_MEAN]
    trunk = keras.applications.ResNet50(
        input_shape=(*image_shape[:2], 3),
        include_top=False,
        weights=None if weights == "none" else weights,
    )
    features = trunk(keras.layers.Rescaling(1.0, offset=offset, name="scale")(bgr))
    vector = keras.layers.GlobalAveragePooling2D(name="avgpool")(features)
    return keras.Model(image, vector, name="resnet50_imagenet")


def _bottleneck(x: Any, filters: int, strides: int, name: str) -> Any:
    shortcut = x
    if strides > 1 or x.shape[-1] != 4 * filters:
        names = (f"{name}_downsample_0", f"{name}_downsample_1")
        shortcut = _conv_bn(x, 4 * filters, 1, strides, *names, relu=False)
    y = _conv_bn(x, filters, 1, strides, f"{name}_conv1", f"{name}_bn1")
    y = _conv_bn(y, filters, 3, 1, f"{name}_conv2", f"{name}_bn2")
    y = _conv_bn(y, 4 * filters, 1, 1, f"{name}_conv3", f"{name}_bn3", relu=False)
    y = keras.layers.Add(name=f"{name}_add")([shortcut, y])
    return keras.layers.Activation("relu", name=f"{name}_relu")(y)


def _conv_bn(
    x: Any, filters: int, size: int, strides: int, conv_name: str, bn_name: str, relu: bool = True
) -> Any:
    x = conv(x, filters, size, strides=strides, name=conv_name)
    x = batch_norm(x, name=bn_name)
    return keras.layers.Activation("relu", name=f"{bn_name}_relu")(x) if relu else x


def load_vggface2(encoder: Any, arrays: Mapping[str, np.ndarray]) -> None:
    """Fills the ResNet-50 from the arrays of its PyTorch form, every one of which must fit.

    Args:
        encoder: Of `build_encoder("resnet50_vggface2", ...)`.
        arrays: `conv1.weight`, `layer1.0.bn1.running_mean`, ...; `fc.*` is left out. It reads blue,
            green and red; here its first kernel is turned round instead.

    Raises:
        ModelFileError: An array is missing, left over, or of another shape.
    """
    kernel = arrays.get("conv1.weight")
    if kernel is not None:
        arrays = {**arrays, "conv1.weight": kernel[:, ::-1]}
    _fill({x.name.replace("_", "."): x for x in encoder.layers if x.weights}, arrays, ignored="fc.")


def load_torchvision_mobilenet(encoder: Any, arrays: Mapping[str, np.ndarray]) -> None:
    """Fills MobileNetV3 from the arrays of torchvision's, every one of which must fit.

    Args:
        encoder: Of `build_encoder("mobilenet_v3_large", ..., {"padding": "pytorch"})`, or small.
        arrays: `features.0.0.weight`, `features.1.block.0.1.running_mean`, ...; `classifier.*` is
            left out.

    Raises:
        ModelFileError: An array is missing, left over, or of another shape.
    """
    trunk = next(layer for layer in encoder.layers if isinstance(layer, keras.Model))
    layers: dict[str, Any] = {}
    block, part, last = 0, -1, ""
    for layer in (layer for layer in trunk.layers if layer.weights):
        inside = _MOBILENET_LAYER.fullmatch(layer.name)
        place = "1" if layer.name.endswith("_bn") else "0"
        if inside is None:  # The first convolution and the last one.
            block += 1 if layer.name == "conv_1" else 0
            layers[f"features.{block}.{place}"] = layer
            continue
        if inside["part"] != last:
            # torchvision numbers the parts that a block has: not all of them expand or squeeze.
            block, part = (
                (block + 1, 0) if int(inside["block"] or 0) == block else (block, part + 1)
            )
            last = inside["part"]
        if last == "squeeze_excite":
            place = "fc2" if layer.name.endswith("conv_1") else "fc1"
        layers[f"features.{block}.block.{part}.{place}"] = layer
    _fill(layers, arrays, ignored="classifier.")


def _fill(layers: Mapping[str, Any], arrays: Mapping[str, np.ndarray], ignored: str) -> None:
    """Fills layers from the arrays of PyTorch's modules of these names."""
    left = {name for name in arrays if not name.startswith(ignored)}
    left = {name for name in left if not name.endswith("num_batches_tracked")}
    for name, layer in layers.items():
        is_conv = isinstance(layer, (keras.layers.Conv2D, keras.layers.DepthwiseConv2D))
        parts: tuple[str, ...] = ("weight", "bias", "running_mean", "running_var")
        if is_conv:
            parts = parts[: len(layer.weights)]
        names = [f"{name}.{part}" for part in parts]
        missing = [each for each in names if each not in arrays]
        if missing:
            raise ModelFileError(f"Expected the array {missing[0]}. Received none of this name.")
        values = [np.asarray(arrays[each], np.float32) for each in names]
        if is_conv and values[0].ndim == 4:
            depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
            values[0] = values[0].transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0))
        shapes = [tuple(weight.shape) for weight in layer.weights]
        if [value.shape for value in values] != shapes:
            raise ModelFileError(
                f"Array {names[0]}: expected {shapes[0]} (height, width, in, out). Received: "
                f"{values[0].shape}."
            )
        layer.set_weights(values)
        left -= set(names)
    if left:
        raise ModelFileError(
            f"{len(left)} arrays belong to no layer, the first is {min(left)}: another network."
        )


# Options of those of `keras.applications`, which have ImageNet weights.
_OPTIONS: Mapping[str, set[str]] = {
    "mobilenet_v3_large": {"alpha", "padding"},
    "mobilenet_v3_small": {"alpha", "padding"},
    "resnet50_imagenet": set(),
}
_OWN: Mapping[str, Callable[..., Any]] = {
    "mobilenet_v3_large": _mobilenet_v3("large"),
    "mobilenet_v3_small": _mobilenet_v3("small"),
    "resnet50_imagenet": _resnet50_imagenet,
    "resnet50_vggface2": _resnet50_vggface2,
}
