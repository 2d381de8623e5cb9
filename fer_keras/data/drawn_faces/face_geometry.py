"""The shapes of a drawn face, moved by facial action units.

`face_shapes` turns an identity (`Face`) and action unit intensities into named control points in
face units: half the width of the head is about 1, x to the right of the picture, y down, origin
between the eyes and the nose. `face_drawing` projects and paints them. The action units are those
of the Facial Action Coding System (Ekman, Friesen and Hager, "FACS: the manual", 2002).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from fer_keras.common.errors import DataError

Array = np.ndarray[Any, Any]
Colour = tuple[float, float, float]

# The order of every action unit vector of the project's synthetic faces.
ACTION_UNITS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 16, 17, 20, 23, 24, 25, 26)
HAIR_STYLES = ("bald", "buzz", "short", "side", "fringe", "receding", "long", "curly", "bun")
BEARDS = ("none", "stubble", "moustache", "goatee", "full")

_SIDES = (-1, 1)  # left and right as seen in the picture


@dataclass(frozen=True)
class Face:
    """Who the face is: everything that an expression does not change.

    Lengths are in face units, colours are RGB in 0..255.
    """

    age_group: str = "adult"
    width: float = 1.0
    jaw: float = 0.5  # 0 pointed .. 1 square
    chin_y: float = 1.24
    eye_distance: float = 0.42  # from the middle line to the middle of an eye
    eye_y: float = -0.10
    eye_size: float = 1.0
    eye_tilt: float = 0.0  # positive: outer corners higher
    brow_y: float = -0.33
    brow_thickness: float = 0.055
    brow_arch: float = 0.05
    nose_y: float = 0.40
    nose_width: float = 0.19
    mouth_y: float = 0.72
    mouth_width: float = 0.36
    lip_thickness: float = 0.085
    resting_corner: float = 0.0  # mouth corners at rest, positive: lower
    wrinkles: float = 0.5  # 0 smooth .. 1 deep
    skin: Colour = (224.0, 182.0, 152.0)
    hair: Colour = (60.0, 40.0, 30.0)
    iris: Colour = (80.0, 60.0, 40.0)
    lips: Colour = (176.0, 92.0, 88.0)
    clothes: Colour = (70.0, 90.0, 130.0)
    hair_style: str = "short"
    beard: str = "none"
    glasses: bool = False


@lru_cache(maxsize=256)
def _spline(num_points: int, closed: bool, steps: int) -> Array:
    """Matrix that takes `(num_points, 2)` control points to points on their Catmull-Rom spline."""
    segments = num_points if closed else num_points - 1
    rows = []
    for segment in range(segments):
        last = 1 if (not closed and segment == segments - 1) else 0
        for step in range(steps + last):
            t = step / steps
            weights = (
                -0.5 * t + t * t - 0.5 * t**3,
                1.0 - 2.5 * t * t + 1.5 * t**3,
                0.5 * t + 2.0 * t * t - 1.5 * t**3,
                -0.5 * t * t + 0.5 * t**3,
            )
            row = np.zeros(num_points)
            for offset, weight in zip((-1, 0, 1, 2), weights, strict=True):
                index = segment + offset
                row[index % num_points if closed else min(max(index, 0), num_points - 1)] += weight
            rows.append(row)
    matrix: Array = np.asarray(rows)
    matrix.setflags(write=False)
    return matrix


def smooth(points: Array, closed: bool = False, steps: int = 5) -> Array:
    """Points of the Catmull-Rom spline through control points `(n, 2)`."""
    smoothed: Array = _spline(len(points), closed, steps) @ points
    return smoothed


def _levels(
    action_units: Mapping[int, float], sides: Mapping[int, float]
) -> list[dict[int, float]]:
    """Intensities on the left and on the right of the picture."""
    unknown = set(action_units) - set(ACTION_UNITS)
    if unknown:
        raise DataError(
            f"action_units: expected units of {ACTION_UNITS}. Received: {sorted(unknown)}."
        )
    both = []
    for side in _SIDES:
        levels = dict.fromkeys(ACTION_UNITS, 0.0)
        for unit, intensity in action_units.items():
            balance = sides.get(unit, 0.0) * side
            levels[unit] = min(max(float(intensity), 0.0), 1.0) * min(1.0, 1.0 + balance)
        both.append(levels)
    return both


def face_shapes(
    face: Face, action_units: Mapping[int, float], sides: Mapping[int, float] | None = None
) -> dict[str, Array]:
    """Control points of every feature of a face.

    Args:
        face: the identity.
        action_units: intensity 0..1 for each active unit of `ACTION_UNITS`.
        sides: balance -1..1 of units that act on one side: 0 both, -1 only the left of the
            picture, 1 only the right.

    Returns:
        Name -> `(n, 2)` points in face units. Names of paired features end in `_left` or `_right`
        (of the picture).

    Raises:
        DataError: for an unknown action unit.
    """
    both = _levels(action_units, sides or {})
    shapes: dict[str, Any] = {}
    mean = {unit: 0.5 * (both[0][unit] + both[1][unit]) for unit in ACTION_UNITS}
    jaw_drop = 0.36 * mean[26]
    _head_shapes(face, jaw_drop, mean, shapes)
    for side, levels, name in zip(_SIDES, both, ("left", "right"), strict=True):
        _eye_shapes(face, levels, side, name, shapes)
        _brow_shapes(face, levels, side, name, shapes)
        _cheek_shapes(face, levels, side, name, shapes)
    _mouth_shapes(face, both, mean, jaw_drop, shapes)
    return {key: np.asarray(points, dtype=np.float64) for key, points in shapes.items()}


def _head_shapes(
    face: Face, jaw_drop: float, mean: Mapping[int, float], shapes: dict[str, Any]
) -> None:
    w, chin = face.width, face.chin_y + 0.6 * jaw_drop - 0.03 * mean[17]
    low = chin - 1.24
    square = 0.14 * (face.jaw - 0.5)
    right = [
        (0.52 * w, -1.24),
        (0.88 * w, -0.82),
        (0.97 * w, -0.20),
        (0.92 * w, 0.38 + 0.2 * low),
        ((0.73 + square) * w, 0.82 + 0.7 * low),
        ((0.40 + square) * w, 1.15 + low),
    ]
    shapes["head"] = [(0.0, -1.34), *right, (0.0, chin), *[(-x, y) for x, y in reversed(right)]]
    wing = face.nose_width * (1 + 0.12 * mean[9] + 0.06 * mean[12])
    base = face.nose_y - 0.06 * mean[9] - 0.01 * mean[10]
    shapes["nose_tip"] = [(0.0, base - 0.02)]
    shapes["nose_base"] = [
        (-wing, base - 0.07),
        (-wing * 0.92, base + 0.02),
        (-wing * 0.45, base + 0.015),
        (0.0, base + 0.055),
        (wing * 0.45, base + 0.015),
        (wing * 0.92, base + 0.02),
        (wing, base - 0.07),
    ]
    shapes["nose_bridge"] = [
        (0.10, face.eye_y - 0.04),
        (0.075, 0.5 * (face.eye_y + base)),
        (wing * 0.8, base - 0.10),
    ]
    shapes["nostrils"] = [(-wing * 0.5, base + 0.0), (wing * 0.5, base + 0.0)]
    shapes["chin"] = [
        (-0.17, chin - 0.17),
        (0.0, chin - 0.235 - 0.03 * mean[17]),
        (0.17, chin - 0.17),
    ]


def _eye_shapes(
    face: Face, a: Mapping[int, float], side: int, name: str, shapes: dict[str, Any]
) -> None:
    half = 0.205 * face.eye_size
    x, y = face.eye_distance, face.eye_y
    # Upper lid: raised by AU5, lowered by AU7 and a little by AU4, AU6, AU9; its inner end
    # follows AU1, AU4 and AU9.
    squeeze = max(a[7], 0.85 * a[9], 0.6 * a[6])
    upper = 0.105 * face.eye_size + 0.085 * a[5] - 0.045 * squeeze - 0.010 * a[4] * (1 - a[5])
    droop = 0.05 * a[1] * a[4] * (1 - a[5]) + 0.03 * a[1] * a[15]
    inner_down = 0.045 * a[4] * (1 - a[1]) * (1 - 0.5 * a[5]) + 0.03 * a[9]
    # Lower lid: raised by AU6, AU7 and AU9.
    lower = 0.070 * face.eye_size - 0.058 * max(0.95 * a[6], a[7], 0.8 * a[9]) + 0.012 * a[5]
    upper = max(upper, 0.022)
    lid_x = np.array((-half, -0.55 * half, 0.0, 0.55 * half, half))  # inner .. outer
    lid_up = np.array(
        (
            -0.012,
            upper * 0.80 - inner_down + 0.4 * droop,
            upper,
            upper * 0.86 - droop,
            -0.3 * droop,
        )
    )
    bag = np.array((-0.012, lower * 0.75, lower, lower * 0.85, 0.3 * droop))
    slope = face.eye_tilt * np.linspace(-1.0, 1.0, 5)
    top = np.stack([lid_x, -lid_up - slope], axis=1)
    bottom = np.stack([lid_x, np.concatenate([-lid_up[:1], bag[1:4], -lid_up[4:]]) - slope], axis=1)
    # Half-closed lids never cross.
    bottom[1:4, 1] = np.maximum(bottom[1:4, 1], top[1:4, 1] + 0.012)
    radius = 0.098 * (0.5 + 0.5 * face.eye_size)
    place = np.array((x, y))
    for key, points in (("lid_top", smooth(top)), ("lid_bottom", smooth(bottom))):
        shapes[f"{key}_{name}"] = (points + place) * (side, 1.0)
    crease = top + np.array((0.01, -0.055 - 0.02 * a[5] + 0.02 * squeeze))
    shapes[f"crease_{name}"] = (crease + place) * (side, 1.0)
    shapes[f"iris_{name}"] = [(side * x, y - 0.012), (side * x + radius, y)]
    # Pouch under the eye (AU6) and crow's feet.
    pouch = np.array((-0.9 * half, 0.0, 0.95 * half))
    depth = lower + 0.075 - 0.02 * a[6]
    shapes[f"pouch_{name}"] = np.stack(
        [side * (x + pouch), y + np.array((0.06, depth + 0.01, 0.05))], axis=1
    )
    start, stop = x + half + 0.05, x + half + 0.18
    feet = [((start, y), (stop, y + slant)) for slant in (-0.07, 0.02, 0.10)]
    shapes[f"crow_{name}"] = np.asarray(feet).reshape(6, 2) * (side, 1.0)


def _brow_shapes(
    face: Face, a: Mapping[int, float], side: int, name: str, shapes: dict[str, Any]
) -> None:
    y = face.brow_y
    pull = a[4] * (1 - 0.75 * a[1])  # AU4 lowers less where AU1 raises
    inner = y - 0.19 * a[1] - 0.03 * a[2] + 0.15 * pull + 0.07 * a[9]
    middle = y - face.brow_arch - 0.10 * a[1] - 0.13 * a[2] + 0.105 * pull + 0.05 * a[9]
    peak = y - face.brow_arch * 1.1 - 0.01 * a[1] - 0.20 * a[2] + 0.045 * pull + 0.03 * a[9]
    # Lifting only the inner end lets the outer end sink (AU1+4 of sadness).
    outer = y + 0.05 - 0.14 * a[2] + 0.035 * a[1] * (1 - a[2]) + 0.02 * pull
    x = face.eye_distance
    inner_x = x - 0.235 - 0.075 * a[4] - 0.02 * a[9]
    spine = np.array(
        ((inner_x, inner), (x - 0.08 - 0.02 * a[4], middle), (x + 0.12, peak), (x + 0.29, outer))
    )
    thick = face.brow_thickness * np.array((0.85, 1.05, 0.85, 0.2))
    up = np.stack([spine[:, 0], spine[:, 1] - thick], axis=1)
    down = np.stack([spine[:, 0], spine[:, 1] + thick], axis=1)[::-1]
    shapes[f"brow_{name}"] = np.concatenate([smooth(up, steps=4), smooth(down, steps=4)]) * (
        side,
        1.0,
    )
    # Frown lines between the brows (AU4).
    shapes[f"frown_{name}"] = [
        (side * (inner_x - 0.07), inner - 0.10),
        (side * (inner_x - 0.085), inner),
        (side * (inner_x - 0.06), inner + 0.09),
    ]
    forehead = np.array((0.06, 0.30, 0.58))
    for row, height in enumerate((0.16, 0.27, 0.38)):
        lift = np.array((inner - 0.02, min(middle, peak), outer - 0.08))
        shapes[f"forehead{row}_{name}"] = np.stack([side * forehead, lift - height], axis=1)


def _cheek_shapes(
    face: Face, a: Mapping[int, float], side: int, name: str, shapes: dict[str, Any]
) -> None:
    smile, sneer = a[12], max(a[10], 0.8 * a[9])
    wing = face.nose_width
    top_y = face.nose_y - 0.06 - 0.05 * sneer
    corner_x = face.mouth_width * (1 + 0.25 * smile)
    shapes[f"fold_{name}"] = [
        (side * (wing + 0.03), top_y),
        (side * (wing + 0.13 + 0.10 * smile + 0.03 * sneer), top_y + 0.11 - 0.02 * smile),
        (side * (corner_x + 0.10), face.mouth_y - 0.10 - 0.06 * smile),
        (side * (corner_x + 0.11), face.mouth_y + 0.02),
    ]
    shapes[f"cheek_{name}"] = [(side * (face.eye_distance + 0.14), 0.24 - 0.06 * a[6])]
    # Wrinkles beside the root of the nose (AU9).
    shapes[f"nose_wrinkle_{name}"] = [
        (side * 0.04, face.eye_y + 0.08),
        (side * 0.14, face.eye_y + 0.12),
        (side * 0.05, face.eye_y + 0.17),
        (side * 0.16, face.eye_y + 0.21),
        (side * 0.04, face.eye_y - 0.01),
        (side * 0.13, face.eye_y + 0.03),
    ]


def _mouth_shapes(
    face: Face,
    both: list[dict[int, float]],
    mean: Mapping[int, float],
    jaw_drop: float,
    shapes: dict[str, Any],
) -> None:
    y, a = face.mouth_y, mean
    part = 0.075 * a[25]
    bared = 0.5 * (a[10] + a[16])
    stretched = 0.05 * a[20] * a[25]
    gap = part + jaw_drop + stretched + (0.10 * bared if part + jaw_drop > 0.01 else 0.0)
    thin = 1 - 0.30 * a[12] - 0.25 * a[20] - 0.55 * a[23] - 0.75 * a[24]
    lip_up = max(face.lip_thickness * 0.85 * thin * (1 - 0.25 * a[10]), 0.012)
    lip_low = max(face.lip_thickness * thin * (1 + 0.25 * a[17] + 0.35 * a[16]), 0.014)
    upper_y = (
        y - 0.35 * part - 0.07 * a[10] - 0.035 * a[9] - 0.05 * a[17] - 0.04 * a[26] + 0.03 * a[12]
    )
    lower_y = upper_y + gap + (0.03 * a[16] if gap > 0 else 0.0)
    top, bottom, lip_top, lip_bottom = [], [], [], []
    for side, level, name in zip(_SIDES, both, ("left", "right"), strict=True):
        cx = face.mouth_width * (
            1 + 0.26 * level[12] + 0.32 * level[20] + 0.08 * level[14] - 0.05 * level[15]
            - 0.16 * level[23] - 0.20 * level[24] - 0.24 * level[26] * (1 - level[20])
            - 0.04 * level[17]
        )  # fmt: skip
        cy = (
            y + face.resting_corner - 0.17 * level[12] - 0.11 * level[14] + 0.13 * level[15]
            + 0.10 * level[20] + 0.36 * jaw_drop - 0.02 * level[10] + 0.03 * level[16]
        )  # fmt: skip
        sneer = 0.06 * max(level[10], 0.7 * level[9])
        wide = 0.15 * level[26] * (1 - level[12])
        top.append(
            [
                (cx * (0.55 + wide), upper_y + 0.30 * (cy - upper_y) - sneer - 0.02 * level[20]),
                (cx, cy),
            ]
        )
        low_bow = 0.22 + 0.15 * level[20]
        bottom.append(
            [(cx * (0.58 + wide), lower_y + low_bow * (cy - lower_y) + 0.2 * sneer), (cx, cy)]
        )
        lip_top.append(
            [
                (cx * 0.22, upper_y - lip_up * 1.15 - 0.5 * sneer),
                (cx * (0.60 + wide), upper_y + 0.32 * (cy - upper_y) - lip_up * 0.85 - sneer),
                (cx, cy),
            ]
        )
        lip_bottom.append(
            [(cx * (0.52 + wide), lower_y + 0.85 * lip_low + 0.16 * (cy - lower_y)), (cx, cy)]
        )
        shapes[f"corner_{name}"] = [(side * cx, cy)]
        shapes[f"dimple_{name}"] = [
            (side * (cx + 0.06), cy - 0.08),
            (side * (cx + 0.095), cy),
            (side * (cx + 0.06), cy + 0.08),
        ]
        shapes[f"droop_{name}"] = [
            (side * (cx - 0.01), cy + 0.01),
            (side * (cx + 0.05), cy + 0.07),
            (side * (cx + 0.06), cy + 0.16),
        ]

    def contour(halves: list[list[tuple[float, float]]], middle: float) -> Array:
        left = [(-px, py) for px, py in reversed(halves[0])]
        return smooth(np.asarray([*left, (0.0, middle), *halves[1]]), steps=4)

    inner_top, inner_bottom = contour(top, upper_y), contour(bottom, lower_y)
    if gap <= 0.012:
        inner_bottom = inner_top
    inner_bottom[:, 1] = np.maximum(
        inner_bottom[:, 1], np.interp(inner_bottom[:, 0], inner_top[:, 0], inner_top[:, 1])
    )
    shapes["mouth_top"], shapes["mouth_bottom"] = inner_top, inner_bottom
    shapes["lip_top"] = contour(lip_top, upper_y - lip_up * 0.85)
    shapes["lip_bottom"] = contour(lip_bottom, lower_y + lip_low)
    # Teeth: the upper row hangs from the upper lip, the lower row (AU16) stands on the lower lip.
    show = min(0.115, 0.75 * gap) * (1 - 0.45 * a[26] * (1 - a[12])) * (1 - 0.25 * a[20])
    for key, edge, other, sign in (
        ("teeth_top", inner_top, inner_bottom, 1.0),
        ("teeth_bottom", inner_bottom, inner_top, -1.0),
    ):
        amount = show if sign > 0 else show * max(a[16], 0.5 * a[20])
        rim = edge[:, 1] + sign * amount
        limit = np.interp(edge[:, 0], other[:, 0], other[:, 1])
        rim = np.minimum(rim, limit) if sign > 0 else np.maximum(rim, limit)
        shapes[key] = np.concatenate([edge, np.stack([edge[:, 0], rim], axis=1)[::-1]])
    shapes["tongue"] = [(0.0, lower_y - 0.3 * gap)]
    shapes["mouth_size"] = [(gap, jaw_drop)]
