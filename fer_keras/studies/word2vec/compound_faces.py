"""Drawn faces that show two emotions at once: happily surprised, sadly angry and the like.

The pairs are the compounds of two emotions of Du, Tao and Martinez, "Compound facial expressions of
emotion" (PNAS 2014, table 1). A compound shows the action units of both its parts, each as strong
as in the stronger one, as the table of that paper does for most of them.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fer_keras.common.opencv import cv2
from fer_keras.data.datasets.synthetic_faces import IMAGE_SIZE, SEED, SPLIT_SUBJECTS
from fer_keras.data.drawn_faces.face_drawing import draw_face
from fer_keras.data.drawn_faces.face_parameters import (
    Expression,
    make_expression,
    make_identity,
    make_view,
)

Array = np.ndarray[Any, Any]

COMPOUNDS: dict[tuple[str, str], str] = {
    ("happiness", "surprise"): "happily surprised",
    ("happiness", "disgust"): "happily disgusted",
    ("sadness", "fear"): "sadly fearful",
    ("sadness", "anger"): "sadly angry",
    ("sadness", "surprise"): "sadly surprised",
    ("sadness", "disgust"): "sadly disgusted",
    ("fear", "anger"): "fearfully angry",
    ("fear", "surprise"): "fearfully surprised",
    ("fear", "disgust"): "fearfully disgusted",
    ("anger", "surprise"): "angrily surprised",
    ("anger", "disgust"): "angrily disgusted",
    ("disgust", "surprise"): "disgustedly surprised",
}
"""The two parts of a compound, and its name."""

_INTENSITY = 0.95


@dataclass(frozen=True)
class CompoundFaces:
    """Drawn faces of two emotions each.

    Attributes:
        images: `(n, size, size, channels)` uint8.
        parts: The two emotions of every face.
    """

    images: Array
    parts: tuple[tuple[str, str], ...]


def combine(one: Expression, other: Expression) -> Expression:
    """Both expressions on one face.

    Args:
        one: Its sides count where both have a unit.
        other: What is added.

    Returns:
        The units of both, each as strong as in the stronger one.
    """
    units = {
        unit: max(one.action_units.get(unit, 0.0), other.action_units.get(unit, 0.0))
        for unit in {**one.action_units, **other.action_units}
    }
    intensity = max(one.intensity, other.intensity)
    return Expression(units, {**other.sides, **one.sides}, intensity)


def draw_compounds(
    num_each: int, seed: int = SEED, *, size: int = IMAGE_SIZE, channels: int = 1
) -> CompoundFaces:
    """Draws every compound equally often, on people of the test split.

    Args:
        num_each: Faces of each compound, at least 1.
        seed: Seed of expressions, views and noise.
        size: Side of the pictures, pixels.
        channels: 1 for grey, 3 for RGB.

    Returns:
        `12 * num_each` faces, the compounds in turn; a face depends on the seed and its number.
    """
    subjects = SPLIT_SUBJECTS["test"]
    pairs = list(COMPOUNDS) * num_each
    images = np.empty((len(pairs), size, size, channels), np.uint8)
    for index, (first, second) in enumerate(pairs):
        rng = np.random.default_rng(np.random.SeedSequence((seed, 6, index)))
        parts = [make_expression(name, rng, _INTENSITY) for name in (first, second)]
        shown = combine(*parts)
        face = make_identity(seed, subjects[(index // len(COMPOUNDS)) % len(subjects)])
        picture, _, _ = draw_face(face, shown.action_units, make_view(rng), size, rng, shown.sides)
        if channels == 1:
            picture = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[:, :, np.newaxis]
        images[index] = picture
    return CompoundFaces(images, tuple(pairs))
