"""How a face is seen: where the head looks, and how well its picture can be read.

The pose is found by matching five landmarks with five points of one head, the same for everybody
(`cv2.solvePnP`; Terzakis and Lourakis, "A Consistently Fast and Globally Optimal Solution to the
Perspective-n-Point Problem", ECCV 2020). Turns in the plane are exact. Noses and chins differ, and
a smile raises the corners of the mouth, which looks like a head that is bent down: a pitch may be
off by 20 degrees and more, a yaw by a third of itself.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fer_keras.common.decode import resize
from fer_keras.common.opencv import cv2
from fer_keras.runtime.faces.align import TEMPLATE, crop_upright, square_box
from fer_keras.runtime.faces.face import Face

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float64]

# The models were measured on FER2013's pictures: of those in which landmarks were found, 99 in 100
# lie between, by yaw and by pitch (docs/usage.md).
YAW_RANGE = (-45.0, 45.0)
PITCH_RANGE = (-35.0, 50.0)

# Between an adult's pupils: the mean of Dodgson, "Variation and extrema of human interpupillary
# distance", 2004.
_PUPILS_MM = 63.0
# Eyes, nose tip, mouth corners: how much farther from the camera than the eyes, in millimetres. The
# nose stands out; the mouth lies a little before the eyes.
_DEPTHS_MM = (0.0, 0.0, -30.0, -5.0, -5.0)
# A face is seen from so many times its own size: from afar, as the template of a head implies.
_DISTANCE = 20.0
# What the networks read, in pixels; larger faces have nothing more to tell them.
_READ_SIDE = 48
# Edges in proportion to contrast: nine tenths of FER2013's pictures have more (the first 2,000 of
# Training; median 0.83). Blurred by a sigma of 1 pixel the median is 0.25, by 1.5 it is 0.15.
_SHARP = 0.6
# Below this spread of grey levels there is nothing but an even area.
_FLAT_LEVELS = 4.0


class HeadPose(NamedTuple):
    """Where a head looks, in degrees; 0, 0, 0 looks into the camera.

    Attributes:
        yaw: -180 to 180; positive looks to the right of the picture.
        pitch: -90 to 90; positive looks down.
        roll: -180 to 180; positive is turned clockwise in the picture.
    """

    yaw: float
    pitch: float
    roll: float


class Look(NamedTuple):
    """How a face is seen.

    Attributes:
        pose: Where the head looks; None from detectors without landmarks.
        quality: 0 to 1; the product of four shares, each 0 to 1 (see `quality`).
    """

    pose: HeadPose | None
    quality: float


def head_points() -> Floats:
    """The five points of the head, `(5, 3)`: x right, y down, z away from the camera, in mm.

    As seen from the front they are ArcFace's template of a face
    (`fer_keras.runtime.faces.align.TEMPLATE`), between the eyes at the origin.
    """
    flat = TEMPLATE - TEMPLATE[:2].mean(axis=0)
    # The template is nearly a mirror image of itself; a head is one.
    mirrored = flat[[1, 0, 2, 4, 3]] * (-1, 1)
    flat = (flat + mirrored) / 2
    scale = _PUPILS_MM / (flat[1, 0] - flat[0, 0])
    return np.column_stack([flat * scale, _DEPTHS_MM])


def head_pose(landmarks: NDArray[np.floating]) -> HeadPose | None:
    """Where a head looks.

    Args:
        landmarks: `(5, 2)`, see `fer_keras.runtime.faces.Face`.

    Returns:
        The pose; None where the points show none (not finite, or all in one place).
    """
    points = np.asarray(landmarks, np.float64)
    extent = float(np.ptp(points, axis=0).max()) if np.isfinite(points).all() else 0.0
    if extent < 1e-6:
        return None
    x, y = points.mean(axis=0)
    camera = np.array([[_DISTANCE * extent, 0, x], [0, _DISTANCE * extent, y], [0, 0, 1]])
    try:
        found, turn, _ = cv2.solvePnP(
            head_points(), points[:, np.newaxis], camera, None, flags=cv2.SOLVEPNP_SQPNP
        )
    except cv2.error:
        return None
    if not found or not np.isfinite(turn).all():
        return None
    matrix = cv2.Rodrigues(turn)[0]
    # The head is turned by yaw first, then by pitch, then by roll.
    yaw = math.atan2(matrix[2, 0], matrix[2, 2])
    pitch = math.asin(min(1.0, max(-1.0, matrix[2, 1])))
    roll = math.atan2(-matrix[0, 1], matrix[1, 1])
    return HeadPose(*(round(math.degrees(angle), 1) for angle in (yaw, pitch, roll)))


def look_at(picture: Pixels, face: Face, margin: float | None) -> Look:
    """How one face of a picture is seen.

    Args:
        picture: uint8 array `(height, width, 1 or 3)`.
        face: Of this picture.
        margin: See `fer_keras.runtime.faces.Detector`; with None the whole box is the crop.

    Returns:
        Its pose and its quality.
    """
    pose = None if face.landmarks is None else head_pose(face.landmarks)
    return Look(pose, round(quality(picture, face, pose, margin), 4))


def quality(picture: Pixels, face: Face, pose: HeadPose | None, margin: float | None) -> float:
    """How well a face can be read: the product of four shares.

    - size: the longer side of the box, as a share of 48 pixels, which is what the networks read;
    - sharpness: see `sharpness`;
    - pose: the cosine of yaw times the cosine of pitch, which is how much of the face's front is
      turned to the camera; 1 where the pose is not known;
    - border: the share of the squared box that lies inside the picture.

    Args:
        picture: As `look_at`.
        face: Of this picture.
        pose: Of the face.
        margin: As `look_at`.

    Returns:
        0 (nothing can be read) to 1.
    """
    size = min(1.0, max(face.box[2:]) / _READ_SIDE)
    turned = 1.0
    if pose is not None:
        cosines = (math.cos(math.radians(angle)) for angle in (pose.yaw, pose.pitch))
        turned = math.prod(max(0.0, cosine) for cosine in cosines)
    crop = crop_upright(picture, face.box, face.landmarks, margin=margin)
    inside = 1.0 if margin is None else _inside(face.box, picture.shape[:2])
    return size * sharpness(crop) * turned * inside


def sharpness(crop: Pixels) -> float:
    """How sharp a face is at the size that the networks read, whatever its light and contrast.

    Args:
        crop: uint8 array `(height, width, 1 or 3)`.

    Returns:
        0 for an even area or strong blur, 1 for a picture as sharp as most.
    """
    small = resize(crop, _READ_SIDE)
    grey = small if small.shape[2] == 1 else cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    levels = np.asarray(grey, np.float32).reshape(_READ_SIDE, _READ_SIDE)
    spread = float(levels.std())
    if spread < _FLAT_LEVELS:
        return 0.0
    edges = float(cv2.Laplacian(levels, cv2.CV_32F)[1:-1, 1:-1].std())
    return min(1.0, edges / spread / _SHARP)


def _inside(box: Sequence[float], size: tuple[int, ...]) -> float:
    left, top, side, _ = square_box((box[0], box[1], box[2], box[3]))
    height, width = size
    across = min(left + side, width) - max(left, 0.0)
    down = min(top + side, height) - max(top, 0.0)
    return max(0.0, across) * max(0.0, down) / max(side * side, 1e-9)


def is_turned_away(pose: HeadPose | None) -> bool:
    """Whether a head is turned farther than the faces that the models were measured on.

    Args:
        pose: Of the face; None, where it is not known, is not turned away.
    """
    if pose is None:
        return False
    low, high = YAW_RANGE
    lowest, highest = PITCH_RANGE
    return not (low <= pose.yaw <= high and lowest <= pose.pitch <= highest)
