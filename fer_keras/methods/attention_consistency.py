"""Erasing attention consistency: picture and mirror image must be explained by the same places.

Zhang, Wang, Ling and Deng, "Learn from All: Erasing Attention Consistency for Noisy Label Facial
Expression Recognition" (ECCV 2022), section 3. A network memorises a wrong label by some small
region. Here parts of the picture are erased, and the class activation maps of picture and mirror
image are kept alike, so that no small region can do. Only the picture itself gets the label's loss.

Guo et al., "Visual Attention Consistency under Image Transforms for Multi-Label Image
Classification" (CVPR 2019) ask the same of pictures that are turned or scaled: `transform`.

Both are one doubled batch, not two passes: half the calls, and batch normalisation moves once a
step. Its statistics are then those of both.
"""

import math
from collections.abc import Sequence
from typing import Annotated, Any

import keras
from keras import ops

from fer_keras.common.constraints import Choices, CountOrZero, NotNegative, Share
from fer_keras.common.errors import ConfigError
from fer_keras.config import Deviation
from fer_keras.methods.base import Method, soft_cross_entropy
from fer_keras.models.graphs import linear_classifier
from fer_keras.models.layers import MirrorImage

ERASINGS = ("mirrored", "independent", "none")
TRANSFORMS = ("mirror", "rotate", "resize")
# Largest turn in radians, and smallest scale: faces of a camera stay about upright.
_TURN = math.radians(20)
_LEAST_SCALE = 0.7
FILLS = ("own_mean", "imagenet")
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
# Rectangles as in the authors' program: torchvision's RandomErasing with another scale.
_SHARE = (0.02, 0.25)
_ASPECT = (0.3, 3.3)
# Share of the pictures that get noise.
_NOISY = 0.5

DEVIATIONS = (
    Deviation(
        "passes",
        "two, each with statistics of its own",
        "one of a doubled batch",
        "half the calls; batch norm moves once a step",
    ),
    Deviation(
        "fill of an erased rectangle",
        "ImageNet's mean",
        "the mean of the picture; method.options.fill=imagenet",
        "grey pictures have another mean",
    ),
    Deviation(
        "noise",
        "Gaussian of variance 30 on half of the pictures",
        "none; method.options.noise=5.48",
        "the augmentation of the experiment stands for it",
    ),
)


class AttentionConsistency(Method):
    """Trains `logits` by cross-entropy, and class activation maps to be those of the mirror image.

    While training, picture and mirror image go through the network as one batch of twice the size:
    the batch normalisations see the statistics of both together and move once a step (the authors'
    program makes two passes, with statistics of their own). Evaluating, there is one pass.
    """

    required_outputs = ("logits", "features")

    def __init__(
        self,
        network: keras.Model,
        class_names: Sequence[str],
        *,
        weight: float,
        erasing: str,
        erasing_rate: float,
        fill: str,
        noise: float,
        transform: str,
        seed: int,
    ) -> None:
        """Builds the method; see `build`."""
        super().__init__(network, class_names)
        classifier = linear_classifier(network.output["features"], network.output["logits"])
        if classifier is None or len(network.inputs[0].shape) != 4:
            raise ConfigError(
                "attention_consistency needs class activation maps: a network of single pictures "
                "whose logits are one linear layer on the mean of the map 'features', such as "
                f"compact or resnet18. Received: network {network.name!r}."
            )
        self.weight = weight
        self.erasing = erasing
        self.erasing_rate = erasing_rate
        self.fill = fill
        self.noise = noise
        self.transform = transform
        self.classifier = classifier
        # float32: under mixed precision a layer would round the maps to half precision.
        self.mirror = MirrorImage(dtype="float32")
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, inputs: Any, training: bool | None = None) -> dict[str, Any]:
        """The network's outputs, and while training `cam` and `mirrored_cam`; see `Method.call`.

        Both are `(batch, h, w, classes)` and in the places of the picture: the map of the mirror
        image is mirrored back. Of a picture that was turned or scaled, `cam_mask` `(batch, h, w,
        1)` says which places came back.
        """
        if not training:
            return super().call(inputs, training=training)
        inputs = self._with_noise(ops.cast(inputs, "float32"))
        first = inputs if self.erasing == "none" else self._erase(inputs)
        second = self._erase(inputs) if self.erasing == "independent" else first
        angle, scale = self._draw(ops.shape(inputs)[0])
        if self.transform == "mirror":
            second = self.mirror(second)
        else:
            second = turned(second, angle, scale, fill_mode="nearest")
        both = super().call(ops.concatenate([first, second], axis=0), training=training)
        count = ops.shape(inputs)[0]
        outputs = {name: value[:count] for name, value in both.items()}
        maps = class_maps(both["features"], self.classifier.kernel)
        outputs["cam"] = maps[:count]
        if self.transform == "mirror":
            outputs["mirrored_cam"] = self.mirror(maps[count:])
        else:
            outputs["mirrored_cam"] = turned(maps[count:], -angle, 1.0 / scale)
            seen = turned(ops.ones_like(maps[:count, ..., :1]), -angle, 1.0 / scale)
            outputs["cam_mask"] = ops.cast(seen > 0.99, "float32")
        return outputs

    def _draw(self, count: Any) -> tuple[Any, Any]:
        """An angle in radians and a scale for each picture, of which the transform has one."""
        if self.transform == "mirror":
            return None, None
        draws = keras.random.uniform((count,), seed=self.seed_generator)
        if self.transform == "rotate":
            return (2.0 * draws - 1.0) * _TURN, ops.ones_like(draws)
        return ops.zeros_like(draws), 1.0 - draws * (1.0 - _LEAST_SCALE)

    def _with_noise(self, images: Any) -> Any:
        if not self.noise:
            return images
        chosen = keras.random.uniform((ops.shape(images)[0], 1, 1, 1), seed=self.seed_generator)
        noise = keras.random.normal(ops.shape(images), 0.0, self.noise, seed=self.seed_generator)
        return ops.clip(images + ops.where(chosen < _NOISY, noise, 0.0), 0.0, 255.0)

    def _erase(self, images: Any) -> Any:
        count, height, width, channels = ops.shape(images)
        draws = keras.random.uniform((count, 5), seed=self.seed_generator)
        colour = None
        if self.fill == "imagenet":
            whole = [255 * value for value in _IMAGENET_MEAN]
            colour = whole if channels == len(whole) else [sum(whole) / len(whole)]
        return erased(images, draws, self.erasing_rate, height, width, colour)

    def sample_losses(self, y: Any, outputs: dict[str, Any], training: bool) -> Any:
        """Cross-entropy and weighed distance of the maps of each sample, `(batch,)`.

        Evaluating, the cross-entropy alone. See `Method.sample_losses`.
        """
        losses = soft_cross_entropy(y, outputs["logits"])
        if not training:
            return losses
        distance = ops.square(outputs["cam"] - outputs["mirrored_cam"])
        if "cam_mask" not in outputs:
            return losses + self.weight * ops.mean(distance, axis=(1, 2, 3))
        mask = outputs["cam_mask"]
        places = ops.maximum(ops.sum(mask, axis=(1, 2, 3)), 1.0)
        by_place = ops.mean(distance, axis=3, keepdims=True)
        return losses + self.weight * ops.sum(mask * by_place, axis=(1, 2, 3)) / places


def class_maps(features: Any, kernel: Any) -> Any:
    """Class activation maps of all classes, with no gradient to the classifier.

    Args:
        features: `(batch, h, w, c)`.
        kernel: `(c, classes)` of the classifier.

    Returns:
        `(batch, h, w, classes)` float32.
    """
    # float32 also under mixed precision: what is compared are small differences.
    weights = ops.stop_gradient(ops.cast(kernel, "float32"))
    return ops.matmul(ops.cast(features, "float32"), weights)


def turned(maps: Any, angle: Any, scale: Any, fill_mode: str = "constant") -> Any:
    """Pictures or maps turned and scaled about their centre.

    Args:
        maps: `(batch, h, w, c)` float32.
        angle: `(batch,)` in radians, clockwise.
        scale: `(batch,)`, above 0; below 1 what is seen becomes smaller.
        fill_mode: What stands where nothing was: `"constant"`, zeros, or `"nearest"`, the border.

    Returns:
        As `maps`. The opposite angle and the inverse scale turn it back.
    """
    height, width = maps.shape[1:3]
    x, y = (width - 1) / 2, (height - 1) / 2
    # From a place of the result to that of the input.
    cos, sin = ops.cos(angle) / scale, ops.sin(angle) / scale
    none = ops.zeros_like(cos)
    rows = (cos, sin, x - cos * x - sin * y, -sin, cos, y + sin * x - cos * y, none, none)
    return ops.image.affine_transform(
        maps,
        ops.stack(rows, axis=1),
        interpolation="bilinear",
        fill_mode=fill_mode,
        data_format="channels_last",
    )


def erased(
    images: Any,
    draws: Any,
    rate: float,
    height: int,
    width: int,
    colour: Sequence[float] | None = None,
) -> Any:
    """Pictures of which some have a rectangle in one colour.

    Args:
        images: `(batch, height, width, channels)` float32.
        draws: `(batch, 5)` in 0..1: whether, share, aspect, top, left.
        rate: Share of the pictures that have one.
        height: Of the pictures.
        width: Of the pictures.
        colour: Of the rectangles, one number for each channel; None for the mean of each picture.

    Returns:
        As `images`. A rectangle covers 2 to 25 % of the picture and is 0.3 to 3.3 times as high as
        it is wide, where the picture has room for it.
    """
    chosen, share, aspect, top, left = (draws[:, i, None, None] for i in range(5))
    area = (_SHARE[0] + share * (_SHARE[1] - _SHARE[0])) * (height * width)
    low, high = (math.log(end) for end in _ASPECT)
    ratio = ops.exp(low + aspect * (high - low))
    box_height = ops.minimum(ops.sqrt(area * ratio), float(height))
    box_width = ops.minimum(ops.sqrt(area / ratio), float(width))
    top, left = top * (height - box_height), left * (width - box_width)
    y = ops.reshape(ops.arange(height, dtype="float32"), (1, -1, 1))
    x = ops.reshape(ops.arange(width, dtype="float32"), (1, 1, -1))
    inside_y = ops.logical_and(y >= top, y < top + box_height)
    inside_x = ops.logical_and(x >= left, x < left + box_width)
    covered = ops.logical_and(ops.logical_and(inside_y, inside_x), chosen < rate)
    if colour is None:
        fill = ops.mean(images, axis=(1, 2), keepdims=True)
    else:
        fill = ops.reshape(ops.convert_to_tensor(colour, "float32"), (1, 1, 1, -1))
    return ops.where(ops.expand_dims(covered, -1), fill, images)


def build(
    network: keras.Model,
    class_names: Sequence[str],
    *,
    weight: NotNegative = 5.0,
    erasing: Annotated[str, Choices(ERASINGS)] = "mirrored",
    erasing_rate: Share = 0.5,
    fill: Annotated[str, Choices(FILLS)] = "own_mean",
    noise: NotNegative = 0.0,
    transform: Annotated[str, Choices(TRANSFORMS)] = "mirror",
    seed: CountOrZero = 0,
) -> AttentionConsistency:
    """Training by erasing attention consistency (EAC).

    The loss is `CE(x) + weight * MSE(CAM(x), mirror(CAM(mirror(x))))`, the mean over places and
    classes. The gradient of the second part reaches the features, not the classifier, whose weights
    would else shrink to make all maps alike. A step costs about twice that of `cross_entropy`.

    Args:
        network: Functional network with `features` `(batch, h, w, c)` and `logits` that are one
            linear layer on the mean of that map.
        class_names: The ordered names of the classes.
        weight: Of the distance between the maps, at least 0.
        erasing: Which rectangles are hidden. `"mirrored"`: the mirror image is that of the erased
            picture, as in the authors' program for clean labels. `"independent"`: each of the two
            has its own, as there for noisy labels. `"none"`: none here; with the augmentation
            policy `strong` rectangles are then mirrored ones too.
        erasing_rate: Share of the pictures with a rectangle, 0..1.
        fill: Colour of the rectangles: `"own_mean"`, that of the picture; `"imagenet"`, the mean of
            ImageNet, which is 0 after the normalisation of the authors' program.
        noise: Standard deviation, in grey levels, of Gaussian noise on half of the pictures; the
            program has the square root of 30.
        transform: How the second picture differs: `"mirror"`, the mirror image; `"rotate"`, turned
            by up to 20 degrees; `"resize"`, smaller by up to 30 %. The last two compare the places
            that are seen in both.
        seed: Of the rectangles; the state of the draws is one of the method's variables.

    Returns:
        The method, to be compiled with an optimizer.

    Raises:
        ConfigError: The network has no class activation maps.
    """
    return AttentionConsistency(
        network,
        class_names,
        weight=weight,
        erasing=erasing,
        erasing_rate=erasing_rate,
        fill=fill,
        noise=noise,
        transform=transform,
        seed=seed,
    )
