"""Faces that lie or stand on their heads: found out by asking the detector again, turned.

A cascade that was trained on upright faces finds some turned ones, but then says landmarks of an
upright face: the angle that they show is not the face's. Its score tells: it is highest where the
face stands upright. Of 1,197 FER2013 pictures in a grey frame (every third of PublicTest; mtcnn)
117 faces were found turned by 90, 180 or 270 degrees, and 99 of them are told right here. Of 528
that stood upright one is taken for turned.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fer_keras.common.opencv import cv2
from fer_keras.runtime.faces.align import Box, roll_degrees, square_box
from fer_keras.runtime.faces.face import Face

Pixels = NDArray[np.uint8]
Find = Callable[[Pixels], Sequence[Face]]
Confirm = Callable[[Pixels, Box], Sequence[Face]]


@dataclass(frozen=True)
class Trust:
    """What a detector's scores say about the turn of a face.

    Attributes:
        sure: A face with a higher score stands upright.
        believed: In a picture where nobody stands upright, only faces with this score are believed:
            three times as many places are looked at.
    """

    sure: float
    believed: float


# Of the 117 turned faces 4 have more than the first, of the upright ones half; nineteen of twenty
# upright faces have more than the second.
MTCNN_TRUST = Trust(0.995, 0.92)
# In 120 such pictures none of the 14 turned ones had more than 0.871; nineteen of twenty upright
# ones have more than 0.807.
YUNET_TRUST = Trust(0.9, 0.8)
# By so much the score of the patch in another turn must be higher than upright.
_CLEARLY_SURER = 0.005
# A score in the patch may be lower by this than in the picture.
_SAME_SCORE = 0.005
# What landmarks may be off between two turns.
_TILT_DEGREES = 5
# What `np.rot90` makes in one, two and three quarters.
_ROTATIONS = (cv2.ROTATE_90_COUNTERCLOCKWISE, cv2.ROTATE_180, cv2.ROTATE_90_CLOCKWISE)
_PATCH_SIDE = 112
_PATCH_MARGIN = 0.5
# Left, top, width, height of the face in its patch, however that is turned.
_PLACE = (_PATCH_SIDE / 4, _PATCH_SIDE / 4, _PATCH_SIDE / 2, _PATCH_SIDE / 2)


def with_true_turns(
    confirm: Confirm,
    picture: Pixels,
    faces: Sequence[Face],
    upright: Sequence[Box] = (),
    trust: Trust = MTCNN_TRUST,
) -> list[Face]:
    """Look at every doubtful face again, upright and turned by 90, 180 and 270 degrees.

    Args:
        confirm: What the detector finds about a place of a small picture.
        picture: uint8 RGB `(height, width, 3)`.
        faces: What was found in it, with landmarks.
        upright: Where faces stood upright a moment ago: they are not looked at again, which takes
            about a fifth as long as the detection.
        trust: In the scores of the detector.

    Returns:
        The faces in the same order; those that are surer in another turn with the box, the
        landmarks and the score that they have there.
    """
    return [
        face
        if face.score >= trust.sure or any(lies_in(face.box, box) for box in upright)
        else _best_turn(confirm, picture, face)
        for face in faces
    ]


def find_turned(find: Find, picture: Pixels, trust: Trust = MTCNN_TRUST) -> list[Face]:
    """Faces of a picture that lies or stands on its head.

    Args:
        find: The detector.
        picture: uint8 RGB `(height, width, 3)`.
        trust: In the scores of the detector.

    Returns:
        The faces of the turn that shows the surest one, in pixels of the picture.
    """
    best: list[Face] = []
    for quarters in (1, 2, 3):
        view = np.ascontiguousarray(np.rot90(picture, quarters))
        sure = [face for face in find(view) if face.score >= trust.believed]
        if max((face.score for face in sure), default=0) > max(
            (face.score for face in best), default=0
        ):
            best = [turned_back(face, quarters, picture.shape[:2]) for face in sure]
    return best


def turned_back(face: Face, quarters: int, size: tuple[int, int]) -> Face:
    """A face of a picture that `np.rot90` turned, in pixels of the picture before.

    Args:
        face: Found in the turned picture.
        quarters: The quarter turns that `np.rot90` made, 1 to 3.
        size: `(height, width)` of the picture before.

    Returns:
        The face; its landmarks keep their order, so they show how it is turned.
    """
    height, width = size

    def back(points: NDArray[np.floating]) -> NDArray[np.float64]:
        x, y = points.astype(np.float64).T
        turned = {1: (width - y, x), 2: (width - x, height - y), 3: (y, height - x)}[quarters]
        return np.stack(turned, axis=1)

    left, top, box_width, box_height = face.box
    corners = back(np.array([[left, top], [left + box_width, top + box_height]]))
    low, high = corners.min(axis=0), corners.max(axis=0)
    box = (float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1]))
    points = None if face.landmarks is None else back(face.landmarks).astype(np.float32)
    return replace(face, box=box, landmarks=points)


def moved(face: Face, left: float, top: float, scale: float = 1.0) -> Face:
    """A face of a part of a picture, in pixels of the picture.

    Args:
        face: Found in the part.
        left: Of the part, in pixels of the picture.
        top: Of the part, in pixels of the picture.
        scale: Pixels of the picture for each of the part.

    Returns:
        The face.
    """
    x, y, width, height = (value * scale for value in face.box)
    points = face.landmarks
    if points is not None:
        points = (points * scale + (left, top)).astype(np.float32)
    return replace(face, box=(left + x, top + y, width, height), landmarks=points)


def _best_turn(confirm: Confirm, picture: Pixels, face: Face) -> Face:
    square = square_box(face.box, _PATCH_MARGIN)
    patch = _patch(picture, face.box)
    # In another size the same face has another score: the patch decides, below.
    best, least = face, face.score - _SAME_SCORE
    for quarters, code in enumerate(_ROTATIONS, start=1):
        for found in confirm(np.asarray(cv2.rotate(patch, code), np.uint8), _PLACE):
            if found.score > least and is_upright(found):
                turned = turned_back(found, quarters, (_PATCH_SIDE, _PATCH_SIDE))
                best = moved(turned, square[0], square[1], square[2] / _PATCH_SIDE)
                least = found.score
    if best is not face:
        upright = [found.score for found in confirm(patch, _PLACE)]
        if best.score <= max(upright, default=0.0) + _CLEARLY_SURER:
            return face
    return best


def _patch(picture: Pixels, box: Box) -> Pixels:
    """The square about a box; halving first takes a tenth of the time of an area average."""
    left, top, side, _ = square_box(box, _PATCH_MARGIN)
    x, y = max(0, math.floor(left)), max(0, math.floor(top))
    part = picture[y : math.ceil(top + side), x : math.ceil(left + side)]
    pixel = 1
    while side >= 2 * _PATCH_SIDE * pixel and min(part.shape[:2]) > 1:
        height, width = part.shape[:2]
        part = cv2.resize(part, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
        pixel *= 2
    step = side / pixel / _PATCH_SIDE
    # Pixel centres, not corners, are what is warped.
    x_start, y_start = (left - x) / pixel + (step - 1) / 2, (top - y) / pixel + (step - 1) / 2
    patch = cv2.warpAffine(
        part,
        np.array([[step, 0.0, x_start], [0.0, step, y_start]]),
        (_PATCH_SIDE, _PATCH_SIDE),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(patch, np.uint8)


def lies_in(box: Box, other: Box) -> bool:
    """Whether the middle of a box lies in another; both are left, top, width, height in pixels."""
    x, y = box[0] + box[2] / 2 - other[0], box[1] + box[3] / 2 - other[1]
    return 0 < x < other[2] and 0 < y < other[3]


def is_upright(face: Face) -> bool:
    """Whether a face is nearer to upright than to another turn; False where that is not known.

    Args:
        face: With or without landmarks.
    """
    return face.landmarks is not None and abs(roll_degrees(face.landmarks)) <= 45 + _TILT_DEGREES
