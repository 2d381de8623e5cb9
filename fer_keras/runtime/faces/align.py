"""Cut faces out of a picture: by their box, or turned upright by five landmarks."""

import math

import numpy as np
from numpy.typing import NDArray

from fer_keras.common.decode import resize
from fer_keras.common.errors import DataError
from fer_keras.common.opencv import cv2

Box = tuple[float, float, float, float]
Pixels = NDArray[np.uint8]

# Where the eyes, the nose tip and the mouth corners lie in a 112 x 112 crop; Deng et al.,
# "ArcFace", 2019 (insightface, face_align.py, arcface_dst).
TEMPLATE_SIDE = 112
TEMPLATE = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ]
)

# A face that is turned by more is turned upright before it is cut out by its box. The networks are
# trained with smaller turns, and of 117 upright FER2013 faces (see `turn`) none had more.
MAX_ROLL_DEGREES = 30.0


def clip_box(box: Box, picture_size: tuple[int, int]) -> Box:
    """The part of a box that lies inside the picture.

    Args:
        box: Left, top, width, height in pixels.
        picture_size: `(height, width)` in pixels.

    Returns:
        Left, top, width, height; width or height is 0 where the box lies outside.
    """
    height, width = picture_size
    left, top = (min(max(box[0], 0.0), width), min(max(box[1], 0.0), height))
    right = min(max(box[0] + box[2], left), width)
    bottom = min(max(box[1] + box[3], top), height)
    return float(left), float(top), float(right - left), float(bottom - top)


def square_box(box: Box, margin: float = 0.0) -> Box:
    """The square about a box's centre with the longer side, grown on each side.

    Args:
        box: Left, top, width, height in pixels.
        margin: What to add on each side, as a share of the longer side; over -0.5.

    Returns:
        Left, top, side, side in pixels; may reach over the borders of the picture.
    """
    side = max(box[2], box[3]) * (1 + 2 * margin)
    return box[0] + (box[2] - side) / 2, box[1] + (box[3] - side) / 2, side, side


def crop_face(
    picture: Pixels,
    box: Box,
    size: tuple[int, int] | None = None,
    margin: float | None = 0.0,
) -> Pixels:
    """Cut one face out of a picture.

    Where the crop reaches over the border of the picture, the border pixels are repeated: black
    bars would look like nothing the network has seen.

    Args:
        picture: uint8 array `(height, width)` or `(height, width, channels)`.
        box: Left, top, width, height in pixels.
        size: `(height, width)` of the result in pixels; None keeps the crop's own size.
        margin: The box is made square and grown by this share of its side on each side; None cuts
            out the box as it is.

    Returns:
        uint8 array with as many dimensions as `picture`.

    Raises:
        DataError: The box is empty, not finite or outside the picture.
    """
    height, width = picture.shape[:2]
    # Python's max and min let NaN through, so it is looked for first.
    inside = all(map(math.isfinite, box)) and min(clip_box(box, (height, width))[2:]) > 0
    if not inside:
        raise DataError(
            f"box: expected left, top, width, height inside a picture of {width} x {height} "
            f"pixels, received {tuple(box)}"
        )
    left, top, box_width, box_height = box if margin is None else square_box(box, margin)
    x1, y1 = math.floor(left + 0.5), math.floor(top + 0.5)
    x2 = max(x1 + 1, math.floor(left + box_width + 0.5))
    y2 = max(y1 + 1, math.floor(top + box_height + 0.5))
    # A box may touch the picture with less than half a pixel.
    x1, y1, x2, y2 = min(x1, width - 1), min(y1, height - 1), max(x2, 1), max(y2, 1)
    crop = picture[max(y1, 0) : min(y2, height), max(x1, 0) : min(x2, width)]
    border = ((max(-y1, 0), max(y2 - height, 0)), (max(-x1, 0), max(x2 - width, 0)))
    if any(map(any, border)):
        crop = np.pad(crop, (*border, *[(0, 0)] * (picture.ndim - 2)), mode="edge")
    return np.ascontiguousarray(crop if size is None else resize(crop, size))


def crop_upright(
    picture: Pixels,
    box: Box,
    landmarks: NDArray[np.floating] | None,
    size: tuple[int, int] | None = None,
    margin: float | None = 0.0,
) -> Pixels:
    """Cut one face out of a picture, turned upright where it lies or stands on its head.

    Args:
        picture: As for `crop_face`.
        box: As for `crop_face`.
        landmarks: `(5, 2)`, see `fer_keras.runtime.faces.Face`; None where they are not known.
            Such as show no angle (not finite, all in one place) leave the face as it is.
        size: As for `crop_face`.
        margin: As for `crop_face`; with None the box is cut out as it is.

    Returns:
        As `crop_face`, which also cuts out faces that are turned by up to `MAX_ROLL_DEGREES`.

    Raises:
        DataError: As `crop_face`.
    """
    try:
        turn = 0.0 if landmarks is None else roll_degrees(landmarks)
    except DataError:
        turn = 0.0
    if margin is None or abs(turn) <= MAX_ROLL_DEGREES:
        return crop_face(picture, box, size, margin)
    left, top, side, _ = square_box(box, margin)
    pixels = max(1, math.floor(side + 0.5))
    # Pixel centres, not corners, are what is turned.
    centre = left + (side - 1) / 2, top + (side - 1) / 2
    matrix = cv2.getRotationMatrix2D(centre, turn, 1.0)
    matrix[:, 2] += np.array([(pixels - 1) / 2, (pixels - 1) / 2]) - centre
    warped = cv2.warpAffine(
        picture,
        matrix,
        (pixels, pixels),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    crop = np.asarray(warped, np.uint8).reshape((pixels, pixels, *picture.shape[2:]))
    return crop if size is None else resize(crop, size)


def roll_degrees(landmarks: NDArray[np.floating]) -> float:
    """How far a face is turned in the plane of the picture, in degrees.

    Args:
        landmarks: `(5, 2)`, see `fer_keras.runtime.faces.Face`.

    Returns:
        -180 to 180; 0 is upright, 90 is turned clockwise: the chin is on the left.

    Raises:
        DataError: As `similarity_transform`.
    """
    upright = similarity_transform(landmarks, TEMPLATE)
    return math.degrees(math.atan2(-upright[1, 0], upright[0, 0]))


def similarity_transform(
    source: NDArray[np.floating], target: NDArray[np.floating]
) -> NDArray[np.float64]:
    """The rotation, uniform scale and shift that bring points onto others with least squares.

    Source: Umeyama, "Least-squares estimation of transformation parameters between two point
    patterns", 1991, equations 38-42, for two dimensions, where it needs no decomposition and no
    mirror image can come out.

    Args:
        source: `(n, 2)` points, n >= 2, not all in one place.
        target: `(n, 2)` points.

    Returns:
        float64 `(2, 3)` matrix M with `target ~ source @ M[:, :2].T + M[:, 2]`.

    Raises:
        DataError: The shapes differ, a value is not finite, or the source points coincide.
    """
    source, target = np.asarray(source, np.float64), np.asarray(target, np.float64)
    fits = source.shape == target.shape and source.ndim == 2 and source.shape[1] == 2
    if not fits or not np.isfinite(source).all() or not np.isfinite(target).all():
        raise DataError(
            f"landmarks: expected two finite arrays (n, 2), received {source.shape} and "
            f"{target.shape}"
        )
    source_centre, target_centre = source.mean(axis=0), target.mean(axis=0)
    # Points as complex numbers: a similarity is a multiplication and a shift.
    a = (source - source_centre) @ np.array([1, 1j])
    b = (target - target_centre) @ np.array([1, 1j])
    spread = float(np.vdot(a, a).real)
    if len(source) < 2 or spread < 1e-12:
        raise DataError(f"landmarks: expected at least two different points, received {source}")
    factor = np.vdot(a, b) / spread
    turn = np.array([[factor.real, -factor.imag], [factor.imag, factor.real]])
    return np.column_stack([turn, target_centre - turn @ source_centre])


def align_face(picture: Pixels, landmarks: NDArray[np.floating], size: int = 112) -> Pixels:
    """Cut out a face so that its eyes, nose and mouth lie where ArcFace's template has them.

    Args:
        picture: uint8 array `(height, width)` or `(height, width, channels)`.
        landmarks: `(5, 2)`, x and y in pixels: eyes, nose tip, mouth corners, left ones first.
        size: Side of the result in pixels; the template is scaled to it.

    Returns:
        uint8 array `(size, size[, channels])`; beyond the picture's border its edge is repeated.

    Raises:
        DataError: Not five finite landmarks, or all in one place.
    """
    matrix = similarity_transform(landmarks, TEMPLATE * (size / TEMPLATE_SIDE))
    # Warping reads four pixels for each new one: a strong reduction is warped larger and averaged.
    scale = math.hypot(matrix[0, 0], matrix[1, 0])
    oversampling = max(1, min(8, math.floor(1 / scale)))
    side = size * oversampling
    matrix = matrix * oversampling
    # Pixel centres, not corners, are what is averaged.
    matrix[:, 2] += (oversampling - 1) / 2
    warped = cv2.warpAffine(
        picture,
        matrix,
        (side, side),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return resize(np.asarray(warped, np.uint8).reshape((side, side, *picture.shape[2:])), size)
