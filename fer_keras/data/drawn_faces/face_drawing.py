"""Paints a drawn face: numpy and OpenCV only.

`draw_face` takes the shapes of `face_geometry`, turns and tilts them in depth, paints them on a
canvas three times as large and shrinks it. Light, blur, sensor noise and lossy compression follow
at the final size.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from fer_keras.common.errors import DataError
from fer_keras.common.opencv import cv2
from fer_keras.data.drawn_faces.face_canvas import OCCLUSIONS, SUPERSAMPLE, Canvas, View, mix, tone
from fer_keras.data.drawn_faces.face_geometry import Face, face_shapes, smooth
from fer_keras.data.drawn_faces.face_painting import (
    LINED_UNITS,
    paint_beard,
    paint_body,
    paint_eyes,
    paint_glasses,
    paint_hair,
    paint_mouth,
    paint_nose,
    paint_relief,
)

Array = np.ndarray[Any, Any]


# How far in front of the skin a feature lies, face units; the rest lie on it.
_RELIEF = {"nose_tip": 0.24, "nose_base": 0.16, "nostrils": 0.18, "nose_bridge": 0.08}


def draw_face(
    face: Face,
    action_units: Mapping[int, float],
    view: View | None = None,
    size: int = 96,
    rng: np.random.Generator | None = None,
    sides: Mapping[int, float] | None = None,
) -> tuple[Array, Array, tuple[float, float, float, float]]:
    """Draws one face.

    Args:
        face: the identity.
        action_units: intensity 0..1 for each active unit of `ACTION_UNITS`.
        view: pose, light, camera and occlusion; frontal and clean if None.
        size: side of the picture in pixels, at least 16.
        rng: source of the sensor noise; without it there is none.
        sides: balance -1..1 of one-sided units: -1 left of the picture, 1 right.

    Returns:
        Picture uint8 `(size, size, 3)` RGB; landmarks float32 `(5, 2)`, x and y in pixels of the
        left eye, right eye, tip of the nose, left and right corner of the mouth (left and right as
        seen in the picture); box of the face (x, y, width, height) in pixels, within the picture.

    Raises:
        DataError: for an unknown action unit or occlusion, or a size under 16.
    """
    view = view or View()
    if size < 16:
        raise DataError(f"size: expected 16 pixels or more. Received: {size}.")
    shapes = face_shapes(face, action_units, sides)
    canvas = Canvas(size, view)
    counts = [len(points) for points in shapes.values()]
    relief = np.repeat([_RELIEF.get(name, 0.0) for name in shapes], counts)
    pixels = canvas.project(np.concatenate(list(shapes.values())), relief)
    ends = np.cumsum(counts)
    at = {
        name: pixels[end - count : end]
        for name, count, end in zip(shapes, counts, ends, strict=True)
    }
    levels = {unit: float(action_units.get(unit, 0.0)) for unit in LINED_UNITS}
    _paint_background(canvas, view)
    paint_body(canvas, face)
    head = smooth(at["head"], closed=True)
    canvas.fill(head, face.skin)
    paint_relief(canvas, face, at, levels, sides or {})
    if face.beard != "none":
        paint_beard(canvas, face, shapes)
    paint_nose(canvas, face, at)
    paint_eyes(canvas, face, shapes, at, view)
    paint_mouth(canvas, face, shapes, at)
    paint_hair(canvas, face)
    for side in ("left", "right"):
        canvas.fill(at[f"brow_{side}"], mix(face.hair, (40.0, 28.0, 22.0), 0.35))
    if face.glasses:
        paint_glasses(canvas, face, (38.0, 34.0, 36.0), filled=False)
    if view.occlusion != "none":
        _paint_occlusion(canvas, face, view)
    picture = cv2.resize(canvas.pixels, (size, size), interpolation=cv2.INTER_AREA)
    picture = _photograph(picture, canvas, view, rng)
    landmarks = np.concatenate(
        [
            at["iris_left"][:1],
            at["iris_right"][:1],
            at["nose_tip"],
            at["corner_left"],
            at["corner_right"],
        ]
    )
    low = np.clip(head.min(axis=0) / SUPERSAMPLE, 0, size)
    high = np.clip(head.max(axis=0) / SUPERSAMPLE, 0, size)
    box = (float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1]))
    return picture, (landmarks / SUPERSAMPLE).astype(np.float32), box


def _paint_background(canvas: Canvas, view: View) -> None:
    if view.background is None:
        canvas.pixels[:] = (150, 155, 160)
        return
    rng = np.random.default_rng(view.background)
    side = canvas.size
    small = np.empty((side, side, 3), np.uint8)
    colours = rng.integers(20, 236, (8, 3)).tolist()
    small[:] = colours[0]
    for colour in colours[1 : 1 + int(rng.integers(0, 7))]:
        corners = rng.integers(-side // 4, side + side // 4, (int(rng.integers(2, 5)), 2))
        if len(corners) == 2:
            thickness = int(rng.integers(1, 1 + side // 6))
            cv2.line(small, corners[0].tolist(), corners[1].tolist(), colour, thickness)
        else:
            cv2.fillPoly(small, [corners.astype(np.int32)], colour)
    small = cv2.GaussianBlur(small, (0, 0), side * float(rng.uniform(0.01, 0.06)))
    cv2.resize(small, (canvas.side, canvas.side), dst=canvas.pixels, interpolation=cv2.INTER_LINEAR)


def _paint_occlusion(canvas: Canvas, face: Face, view: View) -> None:
    if view.occlusion not in OCCLUSIONS:
        raise DataError(
            f"occlusion: expected one of {', '.join(OCCLUSIONS)}. Received: {view.occlusion!r}."
        )
    rng = np.random.default_rng(view.occlusion_seed)
    if view.occlusion == "sunglasses":
        paint_glasses(canvas, face, (24.0, 24.0, 28.0), filled=True)
    elif view.occlusion == "mask":
        shade = (150.0, 190.0, 205.0) if rng.random() < 0.6 else (232.0, 232.0, 228.0)
        w, top, chin = face.width, face.nose_y - 0.22, face.chin_y
        mask = [
            (0.0, top), (0.45, top + 0.10), (0.86 * w, top + 0.16), (0.74 * w, chin - 0.35),
            (0.35, chin + 0.02), (-0.35, chin + 0.02), (-0.74 * w, chin - 0.35),
            (-0.86 * w, top + 0.16), (-0.45, top + 0.10),
        ]  # fmt: skip
        canvas.fill(smooth(canvas.project(np.array(mask), 0.1), True), shade)
        for height in (0.22, 0.42, 0.62):
            pleat = [
                (-0.62 * w, top + height),
                (0.0, top + height + 0.04),
                (0.62 * w, top + height),
            ]
            canvas.stroke(canvas.project(np.array(pleat), 0.1), tone(shade, 0.86), 0.02)
    elif view.occlusion == "bar":
        centre, angle = rng.uniform((-0.8, -0.5), (0.8, 1.0)), rng.uniform(0, np.pi)
        along = np.array((np.cos(angle), np.sin(angle)))
        across = np.array((-along[1], along[0])) * rng.uniform(0.10, 0.24)
        ends = (centre - 4 * along, centre + 4 * along)
        bar = np.array([ends[0] - across, ends[0] + across, ends[1] + across, ends[1] - across])
        shade = rng.uniform(20, 230, 3).tolist()
        canvas.fill(bar * canvas.unit + canvas.side / 2, (shade[0], shade[1], shade[2]))
    elif view.occlusion == "hand":
        side = 1.0 if rng.random() < 0.5 else -1.0
        tip = np.array((side * rng.uniform(0.05, 0.45), rng.uniform(-0.1, 0.95)))
        skin = tone(face.skin, 0.94)
        for finger in range(4):
            start = tip + np.array((side * (0.04 * finger**2 - 0.06 * finger), 0.21 * finger))
            wrist = np.array((side * 1.9, tip[1] + 0.75 + 0.1 * finger))
            ends_px = np.stack([start, wrist]) * canvas.unit + canvas.side / 2
            canvas.stroke(ends_px, tone(skin, 0.70), 0.235)
            canvas.stroke(ends_px, skin, 0.20)


def _photograph(
    picture: Array, canvas: Canvas, view: View, rng: np.random.Generator | None
) -> Array:
    """Light, exposure, blur, noise and compression at the final size."""
    side = canvas.size
    centre = canvas.project(np.zeros((1, 2)))[0] / SUPERSAMPLE
    unit = canvas.unit / SUPERSAMPLE
    u = np.clip((np.arange(side, dtype=np.float32) + 0.5 - centre[0]) / unit, -1.3, 1.3)
    v = np.clip((np.arange(side, dtype=np.float32) + 0.5 - centre[1]) / (1.35 * unit), -1.3, 1.3)
    across = view.light_x * u - 0.14 * u * u
    down = view.light_y * v - 0.10 * v * v
    gain = (1.06 + across[None, :] + down[:, None]) * (view.brightness * view.contrast)
    level = 110.0 * view.brightness * (1 - view.contrast)
    shot = picture * np.maximum(gain, 0.12)[:, :, None].astype(np.float32) + np.float32(level)
    if view.blur > 0:
        shot = cv2.GaussianBlur(shot, (0, 0), view.blur * side / 48)
    if rng is not None and view.noise > 0:
        grain = rng.standard_normal((side, side, 1), dtype=np.float32) * np.float32(view.noise)
        shot = shot + grain
    result: Array = np.clip(np.rint(shot), 0, 255).astype(np.uint8)
    if view.jpeg_quality < 100:
        _, data = cv2.imencode(".jpg", result, (cv2.IMWRITE_JPEG_QUALITY, view.jpeg_quality))
        decoded: Array = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))
        return decoded
    return result
