"""A drawn camera picture with one face in it, for timing and trying out without any photo."""

import numpy as np
from numpy.typing import NDArray

from fer_keras.common.opencv import cv2

_HEIGHT, _WIDTH = 480, 640
_FACE_CENTRE = (320, 235)
_SKIN, _SHADE, _DARK, _LIPS = (224, 172, 140), (196, 140, 110), (50, 35, 30), (170, 80, 80)
_EYE_WHITE, _TEETH, _SHIRT = (245, 245, 245), (250, 250, 250), (60, 80, 130)
# Left, top, right, bottom in pixels: a cupboard, a window, a table.
_FURNITURE = {
    (40, 60, 150, 300): (120, 90, 60),
    (480, 40, 610, 200): (200, 210, 220),
    (0, 400, 640, 480): (90, 70, 60),
}


def draw_scene() -> NDArray[np.uint8]:
    """Draw one smiling face in front of a wall: the same picture every time.

    mtcnn, haar and blazeface find it. It serves measurements of time; no figure about expressions
    can be had from it.

    Returns:
        uint8 RGB array `(480, 640, 3)`.
    """
    picture = np.empty((_HEIGHT, _WIDTH, 3), np.uint8)
    picture[:] = np.linspace(90, 170, _HEIGHT)[:, None, None]
    for (left, top, right, bottom), colour in _FURNITURE.items():
        cv2.rectangle(picture, (left, top), (right, bottom), colour, cv2.FILLED)
    x, y = _FACE_CENTRE
    _oval(picture, (x, _HEIGHT), (150, 110), _SHIRT)
    cv2.rectangle(picture, (x - 35, y + 75), (x + 35, y + 165), _SHADE, cv2.FILLED)
    _oval(picture, (x, y - 40), (100, 115), _DARK)
    _oval(picture, (x, y), (82, 108), _SKIN)
    for side in (-1, 1):
        eye = x + 33 * side
        _oval(picture, (eye, y - 20), (15, 8), _EYE_WHITE)
        _oval(picture, (eye, y - 20), (7, 8), _DARK)
        _arc(picture, (eye, y - 18), (18, 12), (195, 345), _DARK, 3)
        _arc(picture, (eye, y - 35), (22, 10), (200, 340), _DARK, 6)
        _oval(picture, (x + 10 * side, y + 33), (6, 4), _SHADE)
    _arc(picture, (x, y + 15), (12, 22), (20, 160), _SHADE, 3)
    _arc(picture, (x, y + 55), (32, 20), (10, 170), _LIPS, 7)
    _arc(picture, (x, y + 57), (28, 12), (10, 170), _TEETH, cv2.FILLED)
    # A camera's softness and grain: a decoder and a detector have less to do with flat colours.
    soft = cv2.GaussianBlur(picture, (0, 0), 1.5)
    grain = np.random.default_rng(0).normal(0, 4, soft.shape)
    return np.clip(np.rint(soft + grain), 0, 255).astype(np.uint8)


_Point = tuple[int, int]
_Colour = tuple[int, int, int]


def _oval(picture: NDArray[np.uint8], centre: _Point, axes: _Point, colour: _Colour) -> None:
    cv2.ellipse(picture, centre, axes, 0, 0, 360, colour, cv2.FILLED, cv2.LINE_AA)


def _arc(
    picture: NDArray[np.uint8],
    centre: _Point,
    axes: _Point,
    degrees: _Point,
    colour: _Colour,
    thickness: int,
) -> None:
    cv2.ellipse(picture, centre, axes, 0, *degrees, colour, thickness, cv2.LINE_AA)
