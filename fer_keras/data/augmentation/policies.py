"""Augmentation policies, made of Keras' preprocessing layers and, where Keras has none, keras-cv's.

The exceptions are the warp of `standard`, which does in one resampling what Keras does in three,
what `camera` adds, see `webcam.py`, and CutMix, MixUp and RandAugment, for the reasons in
`mixing.py` and `rand_augment.py`.

A policy is a pure function of (images, targets, seed): the layers draw from a seed that the
pipeline derives from the run's seed and the step, so a resumed run sees the same pictures, however
many threads work on them. Each policy can be looked at:
`python -m fer_keras.data preview DATASET --augment POLICY`.

Faces are shifted by whole pixels: interpolated shifts blur a picture of 48 pixels, which no
held-out picture is.
"""

import math
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from keras import layers

from fer_keras.common.errors import ConfigError, did_you_mean
from fer_keras.data.augmentation import webcam
from fer_keras.data.augmentation.affine import affine
from fer_keras.data.augmentation.mixing import CutMix, MixUp
from fer_keras.data.augmentation.rand_augment import rand_augment
from fer_keras.data.augmentation.recipes import RECIPES
from fer_keras.data.augmentation.step_seeds import draw_from, step_seeds
from fer_keras.data.augmentation.webcam import Change

_RANGE = (0.0, 255.0)

Policy = Callable[[Any, Any, Any], tuple[Any, Any]]

# Of `camera_worst` and `camera_half`.
_HARMS = (
    webcam.light_from_a_side,
    webcam.bend,
    webcam.dim,
    webcam.fade,
    webcam.coarsen,
    webcam.pixelate,
    webcam.defocus,
    webcam.grain(0.3, 32),
    webcam.compress,
    webcam.hide,
    webcam.hide_rows,
)


def _shift(share: float) -> Any:
    """A shift by whole pixels: interpolation would blur faces of 48 pixels, as no held-out one is.

    Args:
        share: Largest shift as a share of the picture.
    """
    return layers.RandomTranslation(share, share, fill_mode="nearest", interpolation="nearest")


def _warp(*, shift: float, rotation: float, scale: float, tilt: float = 0.0) -> Change:
    """A random rotation, scale, shift and turn out of the plane in one resampling.

    Keras has a layer for each, and every layer interpolates anew: after three of them a face of 48
    pixels is blurred as no held-out one is. Where a picture ends, its last pixels go on.

    Args:
        shift: Largest shift as a share of the picture.
        rotation: Largest rotation in degrees, either way.
        scale: Largest change of size: 0.1 = from 0.9 to 1.1 times.
        tilt: Of two pictures in five, the largest perspective, see `affine`; 0 = none.

    Returns:
        A function of images `(batch, height, width, channels)` and an int32 seed `(2,)`.
    """

    def warp(images: Any, seed: Any) -> Any:
        draws = tf.random.stateless_uniform((4, tf.shape(images)[0]), seed, -1.0, 1.0)
        angle = draws[0] * rotation * math.pi / 180
        zero = tf.zeros_like(angle)
        moved = (draws[2] * shift, draws[3] * shift)
        strengths = tf.stack([angle, zero, *moved, draws[1] * scale])
        if not tilt:
            return affine(images, strengths)
        turns = tf.random.stateless_uniform(
            (3, tf.shape(images)[0]), tf.random.fold_in(seed, 1), -1.0, 1.0
        )
        return affine(
            images, strengths, tilt=tilt * turns[:2] * tf.cast(turns[2] < -0.2, tf.float32)
        )

    return warp


def _none(image_shape: tuple[int, int, int]) -> list[Any]:
    return []


def _flip(image_shape: tuple[int, int, int]) -> list[Any]:
    return [layers.RandomFlip("horizontal")]


def _light(image_shape: tuple[int, int, int]) -> list[Any]:
    """Mirror and shift by up to a tenth of the picture, a little brightness and contrast."""
    return [
        layers.RandomFlip("horizontal"),
        _shift(0.1),
        layers.RandomBrightness(0.1, value_range=_RANGE),
        layers.RandomContrast(0.15, value_range=_RANGE),
    ]


def _standard(image_shape: tuple[int, int, int]) -> list[Any]:
    """Mirror, shift by 8 %, rotation to 12 degrees, scale 0.9 to 1.1, brightness and contrast."""
    return [
        layers.RandomFlip("horizontal"),
        _warp(shift=0.08, rotation=12, scale=0.1),
        layers.RandomBrightness(0.15, value_range=_RANGE),
        layers.RandomContrast(0.25, value_range=_RANGE),
    ]


def _strong(image_shape: tuple[int, int, int]) -> list[Any]:
    """`standard` with erased rectangles (Zhong et al. 2020) of 2 to 20 per cent of the picture."""
    # RandomErasing always erases; a factor from 0 makes nearly half the rectangles too small to
    # matter, which stands for the usual probability of 0.5.
    erasing = layers.RandomErasing(
        factor=(0.0, 1.0), scale=(0.02, 0.2), fill_value=127.0, value_range=_RANGE
    )
    return [*_standard(image_shape), erasing]


def _camera(image_shape: tuple[int, int, int], rotation: float = 20) -> list[Any]:
    """What webcams do: wider warps than `standard`, dim light, few pixels, blur, noise, a hand."""
    return [
        layers.RandomFlip("horizontal"),
        _warp(shift=0.08, rotation=rotation, scale=0.12),
        layers.RandomContrast(0.25, value_range=_RANGE),
        webcam.dim,
        webcam.coarsen,
        webcam.defocus,
        webcam.grain(0.25, 16),
        webcam.hide,
    ]


def _camera_hard(image_shape: tuple[int, int, int]) -> list[Any]:
    """`camera` with rotations to 32 degrees and, in 35 % of the pictures, a band of rows hidden."""
    return [*_camera(image_shape, rotation=32), webcam.hide_rows]


def _camera_worst(image_shape: tuple[int, int, int]) -> list[Any]:
    """Wide warps and heads turned away for all; half the pictures get a draw of all the harms.

    These are the harms of `camera_hard`, light from a side, haze, gamma, blocks and JPEG's losses.
    """
    return [
        layers.RandomFlip("horizontal"),
        _warp(shift=0.08, rotation=32, scale=0.12, tilt=0.35),
        layers.RandomContrast(0.25, value_range=_RANGE),
        webcam.some_pictures(0.5, *_HARMS),
    ]


def _camera_half(image_shape: tuple[int, int, int]) -> list[Any]:
    """Half the pictures are those of `standard`, the others turned away and harmed besides."""
    away = _warp(shift=0, rotation=22, scale=0, tilt=0.4)
    return [*_standard(image_shape), webcam.some_pictures(0.5, away, *_HARMS)]


def _ferplus(image_shape: tuple[int, int, int]) -> list[Any]:
    """The warps of Barsoum et al. 2016: shift 8 %, scale 1.05, rotation 20 degrees, skew .05."""
    return [
        layers.RandomFlip("horizontal"),
        _shift(0.08),
        layers.RandomZoom(0.05, 0.05, fill_mode="nearest"),
        layers.RandomRotation(20 / 360, fill_mode="nearest"),
        layers.RandomShear(0.05, 0.05, fill_mode="nearest"),
    ]


def _rand_augment(image_shape: tuple[int, int, int]) -> list[Any]:
    """Mirror, then two of eight operations for grey faces: RandAugment (Cubuk et al. 2020)."""
    return [layers.RandomFlip("horizontal"), rand_augment()]


def _cut_mix(image_shape: tuple[int, int, int]) -> list[Any]:
    """`light`, then a rectangle of another face in half the pictures: CutMix (Yun et al. 2019)."""
    return [*_light(image_shape), CutMix()]


def _cut_mix_halves(image_shape: tuple[int, int, int]) -> list[Any]:
    """`light`, then, in half the pictures, the eyes or the mouth of another face."""
    return [*_light(image_shape), CutMix(halves=True)]


def _mix_up(image_shape: tuple[int, int, int]) -> list[Any]:
    """`light`, then a blend with another face: MixUp (Zhang et al. 2018) with alpha 0.2."""
    return [*_light(image_shape), MixUp()]


def _grid_mask(image_shape: tuple[int, int, int]) -> list[Any]:
    """`light`, then GridMask (Chen et al. 2020) from keras-cv: regular holes over the face."""
    import keras_cv

    # Its layer asks for the global generator, which deterministic training refuses to make; nothing
    # is drawn from it.
    tf.random.set_global_generator(tf.random.Generator.from_seed(0))

    class RatioFromStep(keras_cv.core.FactorSampler):
        """Draws the share of the grid that is masked from the step's seed."""

        seeds: Any = None

        def __call__(self, shape: Any = (), dtype: Any = "float32") -> Any:
            return tf.random.stateless_uniform(shape, self.seeds.next(), 0.0, 0.5, dtype)

    # Its own rotation draws from a stateful generator, so the grid stays upright.
    return [
        *_light(image_shape),
        keras_cv.layers.GridMask(ratio_factor=RatioFromStep(), rotation_factor=0.0),
    ]


# These mix the targets with the pictures.
_MIXING = ("cut_mix", "cut_mix_halves", "mix_up")

_POLICIES: dict[str, Callable[[Any], list[Any]]] = {
    "none": _none,
    "flip": _flip,
    "light": _light,
    "standard": _standard,
    "strong": _strong,
    "camera": _camera,
    "camera_hard": _camera_hard,
    "camera_worst": _camera_worst,
    "camera_half": _camera_half,
    "ferplus": _ferplus,
    "rand_augment": _rand_augment,
    "cut_mix": _cut_mix,
    "cut_mix_halves": _cut_mix_halves,
    "mix_up": _mix_up,
    "grid_mask": _grid_mask,
    **RECIPES,
}


def list_policies() -> tuple[str, ...]:
    """The names of all policies."""
    return tuple(_POLICIES)


def check_policy(name: str) -> None:
    """Refuses an unknown policy before anything is loaded.

    Args:
        name: The name to look up.

    Raises:
        ConfigError: There is none of this name; the nearest are listed.
    """
    if name not in _POLICIES:
        raise ConfigError(f"Unknown augmentation {name!r}. {did_you_mean(name, _POLICIES)}")


def mixes_pictures(name: str) -> bool:
    """Whether a policy mixes pictures and their targets.

    Args:
        name: One of `list_policies()`.
    """
    return name in _MIXING


def build_policy(name: str, image_shape: tuple[int, ...]) -> Policy | None:
    """Builds an augmentation policy.

    Args:
        name: One of `list_policies()`.
        image_shape: `(height, width, channels)` of a picture; `(2, height, width, channels)` of a
            pair, whose pictures are then augmented each by itself; `(frames, height, width,
            channels)` of a clip, all of whose frames are then changed alike, and padding not.

    Returns:
        A function of images `(batch, height, width, channels)` float32 in 0..255, targets
        `(batch, classes)` and an int32 seed `(2,)`, which returns images and targets alike. The
        same seed gives the same result; it runs eagerly and inside tf.data. None for `none`, which
        leaves everything as it is.

    Raises:
        ConfigError: An unknown name, or one that mixes samples for several pictures.
    """
    check_policy(name)
    if len(image_shape) == 4:
        if mixes_pictures(name):
            raise ConfigError(
                f"augmentation={name!r} mixes pictures: it cannot be used for pairs and clips."
            )
        is_pair = image_shape[0] == 2
        return (_picture_by_picture if is_pair else _all_frames_alike)(name, image_shape)
    # A network in mixed precision must not make its pictures coarse: bfloat16 has 8 bits.
    network_precision = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        steps = _POLICIES[name](image_shape)
    finally:
        keras.config.set_dtype_policy(network_precision)
    if not steps:
        return None

    def policy(images: Any, targets: Any, seed: Any) -> tuple[Any, Any]:
        seeds = step_seeds(seed)
        for layer in steps:
            if isinstance(layer, CutMix | MixUp):
                images, targets = layer(images, targets, seeds.next())
                continue
            if not isinstance(layer, layers.Layer):
                images = layer(images, seeds.next())
                continue
            draw_from(layer, seeds)
            if hasattr(layer, "_random_generator"):
                images = _image_by_image(layer, images, seeds.next())
            else:
                images = layer(images, training=True)
        return tf.clip_by_value(tf.cast(images, tf.float32), 0.0, 255.0), targets

    return policy


def _picture_by_picture(name: str, image_shape: tuple[int, ...]) -> Policy | None:
    """A policy for `(batch, k, height, width, channels)`: every picture draws its own numbers."""
    policy = build_policy(name, image_shape[1:])
    if policy is None:
        return None

    def of_all(images: Any, targets: Any, seed: Any) -> tuple[Any, Any]:
        flat = tf.reshape(images, (-1, *image_shape[1:]))
        # The targets pass through; one row for each picture is what a policy expects.
        changed, _ = policy(flat, tf.repeat(targets, image_shape[0], axis=0), seed)
        return tf.reshape(changed, (-1, *image_shape)), targets

    return of_all


def _all_frames_alike(name: str, image_shape: tuple[int, ...]) -> Policy | None:
    """A policy for clips: a head that jumps from frame to frame would be another course."""
    policy = build_policy(name, image_shape[1:])
    if policy is None:
        return None

    def of_clips(clips: Any, targets: Any, seed: Any) -> tuple[Any, Any]:
        # A policy is a function of its seed, so every frame of a clip gets the same draws.
        by_frame = tf.transpose(clips, (1, 0, 2, 3, 4))
        changed = tf.map_fn(lambda frames: policy(frames, targets, seed)[0], by_frame)
        real = tf.reduce_any(clips > 0, axis=(2, 3, 4), keepdims=True)
        changed = tf.where(real, tf.transpose(changed, (1, 0, 2, 3, 4)), 0.0)
        return tf.ensure_shape(changed, clips.shape), targets

    return of_clips


def _image_by_image(layer: Any, images: Any, seed: Any) -> Any:
    """Applies a keras-cv layer that draws one set of numbers for a whole batch to each picture."""

    def one(pair: tuple[Any, Any]) -> Any:
        image, index = pair
        draw_from(layer, step_seeds(tf.random.fold_in(seed, index)))
        return layer(image, training=True)

    indices = tf.range(tf.shape(images)[0])
    return tf.map_fn(one, (images, indices), fn_output_signature=tf.float32)
