"""The camera and the canvas of a drawn face.

`View` says how the face is seen; `Canvas` projects face units to pixels and paints on a picture
three times as large as asked for.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fer_keras.common.opencv import cv2
from fer_keras.data.drawn_faces.face_geometry import Colour

Array = np.ndarray[Any, Any]
OCCLUSIONS = ("none", "hand", "bar", "sunglasses", "mask")

SUPERSAMPLE = 3
_SUBPIXEL_BITS = 4
_SUBPIXEL = 1 << _SUBPIXEL_BITS


@dataclass(frozen=True)
class View:
    """How the face is seen. Angles in degrees, lengths as fractions of the picture's side."""

    yaw: float = 0.0
    pitch: float = 0.0  # positive: looks down
    roll: float = 0.0
    scale: float = 0.36  # half head width / side
    shift_x: float = 0.0
    shift_y: float = 0.0
    gaze: float = 0.0  # -1 left .. 1 right
    light_x: float = 0.0  # shading slope, -1 (light from the left) .. 1 (from the right)
    light_y: float = -0.15  # negative: light from above
    brightness: float = 1.0
    contrast: float = 1.0
    background: int | None = None  # seed of the clutter; None is a plain grey
    blur: float = 0.0  # sigma, pixels of a 48 pixel picture
    noise: float = 0.0  # standard deviation, grey levels
    jpeg_quality: int = 100  # 100: no loss
    occlusion: str = "none"
    occlusion_seed: int = 0


def tone(colour: Colour, factor: float) -> Colour:
    r, g, b = colour
    return (min(r * factor, 255.0), min(g * factor, 255.0), min(b * factor, 255.0))


def mix(first: Colour, second: Colour, share: float) -> Colour:
    keep = 1.0 - share
    return (
        first[0] * keep + second[0] * share,
        first[1] * keep + second[1] * share,
        first[2] * keep + second[2] * share,
    )


class Canvas:
    """A picture three times too large, and the projection from face units to its pixels."""

    def __init__(self, size: int, view: View) -> None:
        self.size = size
        self.side = size * SUPERSAMPLE
        self.unit = view.scale * self.side
        self.pixels = np.empty((self.side, self.side, 3), np.uint8)
        self.soft = np.full((size, size), 128, np.uint8)  # blurred light and shade, 128 = none
        yaw, pitch, roll = np.deg2rad((view.yaw, view.pitch, view.roll))
        self._turn = (np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch))
        self._roll = np.array(((np.cos(roll), np.sin(roll)), (-np.sin(roll), np.cos(roll))))
        centre = (0.5 + view.shift_x, 0.5 + view.shift_y)
        self._centre = np.array(centre) * self.side

    def project(self, points: Array, relief: Array | float = 0.0) -> Array:
        """Pixels of the canvas for points `(n, 2)` on the face, an ellipsoid seen from afar."""
        x, y = points[:, 0], points[:, 1]
        depth = 0.80 * np.sqrt(np.maximum(0.0, 1 - (x / 1.05) ** 2 - (y / 1.5) ** 2)) + relief
        cos_yaw, sin_yaw, cos_pitch, sin_pitch = self._turn
        turned = np.empty_like(points)
        turned[:, 0] = x * cos_yaw + depth * sin_yaw
        turned[:, 1] = y * cos_pitch + depth * sin_pitch
        pixels: Array = (turned @ self._roll) * self.unit + self._centre
        return pixels

    def _fixed(self, pixels: Array) -> Array:
        # OpenCV measures from the centre of the first pixel.
        return np.rint((pixels - 0.5) * _SUBPIXEL).astype(np.int32)

    def fill(self, pixels: Array, colour: Colour) -> None:
        cv2.fillPoly(self.pixels, [self._fixed(pixels)], colour, cv2.LINE_AA, _SUBPIXEL_BITS)

    def stroke(self, pixels: Array, colour: Colour, width: float, closed: bool = False) -> None:
        thickness = max(1, round(width * self.unit))
        points = self._fixed(pixels)
        cv2.polylines(self.pixels, [points], closed, colour, thickness, cv2.LINE_AA, _SUBPIXEL_BITS)

    def disc(self, pixel: Array, radius: float, colour: Colour) -> None:
        x, y = self._fixed(pixel).tolist()
        length = max(1, round(radius * self.unit * _SUBPIXEL))
        cv2.circle(self.pixels, (x, y), length, colour, -1, cv2.LINE_AA, _SUBPIXEL_BITS)

    def shade(self, pixels: Array, level: float) -> None:
        """Lays a soft area of light (level > 0) or shade (level < 0) on the skin, -1..1."""
        points = self._fixed(pixels / SUPERSAMPLE)
        value = int(min(max(128 * (1 + level), 0), 255))
        cv2.fillPoly(self.soft, [points], value, cv2.LINE_AA, _SUBPIXEL_BITS)

    def shade_line(self, pixels: Array, level: float, width: float) -> None:
        points = self._fixed(pixels / SUPERSAMPLE)
        value = int(min(max(128 * (1 + level), 0), 255))
        thickness = max(1, round(width * self.unit / SUPERSAMPLE))
        cv2.polylines(self.soft, [points], False, value, thickness, cv2.LINE_AA, _SUBPIXEL_BITS)

    def apply_shade(self, sigma: float) -> None:
        blurred = cv2.GaussianBlur(self.soft, (0, 0), sigma * self.unit / SUPERSAMPLE)
        large = cv2.resize(blurred, (self.side, self.side), interpolation=cv2.INTER_LINEAR)
        cv2.multiply(self.pixels, cv2.merge((large, large, large)), self.pixels, 1 / 128)


def oval(x: float, y: float, rx: float, ry: float, points: int = 12) -> Array:
    angle = np.arange(points) * (2 * np.pi / points)
    return np.stack([x + rx * np.cos(angle), y + ry * np.sin(angle)], axis=1)
