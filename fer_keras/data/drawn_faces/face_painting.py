"""Paints the parts of a face, from the ears to the glasses, on a canvas.

The arguments are those of `face_drawing.draw_face`: `shapes` in face units and `at`, the same
points in pixels of the canvas.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from fer_keras.data.drawn_faces.face_canvas import Canvas, View, mix, oval, tone
from fer_keras.data.drawn_faces.face_geometry import Colour, Face, smooth

Array = np.ndarray[Any, Any]

# Units whose wrinkles and folds are painted as lines.
LINED_UNITS = (1, 2, 4, 6, 9, 10, 12, 14, 15, 17, 20, 23, 24)


def paint_body(canvas: Canvas, face: Face) -> None:
    """Hair behind the head, neck, shoulders and ears."""
    w = face.width
    chin = face.chin_y
    if face.hair_style == "long":
        back = [
            (0, -1.50), (0.75 * w, -1.36), (1.14 * w, -0.7), (1.20 * w, 0.2), (1.22 * w, 1.1),
            (1.0 * w, 1.75), (-1.0 * w, 1.75), (-1.22 * w, 1.1), (-1.20 * w, 0.2),
            (-1.14 * w, -0.7), (-0.75 * w, -1.36),
        ]  # fmt: skip
        canvas.fill(smooth(canvas.project(np.array(back), -0.3), True), tone(face.hair, 0.8))
    if face.hair_style == "bun":
        canvas.fill(canvas.project(oval(0.0, -1.55, 0.36, 0.30), -0.3), tone(face.hair, 0.85))
    shoulders = [
        (-2.4, 2.6), (-1.9, chin + 0.75), (-0.62, chin + 0.42), (0.62, chin + 0.42),
        (1.9, chin + 0.75), (2.4, 2.6),
    ]  # fmt: skip
    neck = [
        (-0.56, chin - 0.5), (-0.56, chin + 0.25), (-0.72, chin + 0.5), (0.0, chin + 0.72),
        (0.72, chin + 0.5), (0.56, chin + 0.25), (0.56, chin - 0.5),
    ]  # fmt: skip
    canvas.fill(canvas.project(np.array(shoulders), -0.5), face.clothes)
    canvas.fill(canvas.project(np.array(neck), -0.4), tone(face.skin, 0.74))
    for side in (-1, 1):
        ear = canvas.project(oval(side * 1.0 * w, 0.08, 0.13, 0.26), -0.05)
        canvas.fill(ear, tone(face.skin, 0.90))
        inner = canvas.project(oval(side * 1.02 * w, 0.08, 0.06, 0.15), -0.05)
        canvas.fill(inner, tone(face.skin, 0.72))


def paint_relief(
    canvas: Canvas,
    face: Face,
    at: Mapping[str, Array],
    levels: Mapping[int, float],
    sides: Mapping[int, float],
) -> None:
    """Soft shade of the sockets, cheeks and chin, then folds and wrinkles."""
    age = face.wrinkles
    # Soft shades come first, as one blurred layer.
    for sign, side in ((-1, "left"), (1, "right")):
        level = {
            unit: value * min(1.0, 1.0 + sign * sides.get(unit, 0.0))
            for unit, value in levels.items()
        }
        canvas.shade(
            smooth(np.concatenate([at[f"crease_{side}"], at[f"pouch_{side}"][::-1]]), True), -0.15
        )
        fold = 0.05 * age + 0.24 * max(level[12], level[10], 0.9 * level[9])
        canvas.shade_line(smooth(at[f"fold_{side}"]), -fold, 0.07)
        x, y = at[f"cheek_{side}"][0] / canvas.unit
        cheek = oval(x, y, 0.21, 0.15) * canvas.unit
        canvas.shade(cheek, 0.08 + 0.16 * max(level[6], 0.6 * level[12]))
        if level[14] > 0.05:
            canvas.shade_line(smooth(at[f"dimple_{side}"]), -0.28 * level[14], 0.06)
        if level[15] > 0.05:
            canvas.shade_line(smooth(at[f"droop_{side}"]), -0.28 * level[15], 0.06)
    under = at["chin"]
    canvas.shade_line(smooth(under), -0.10 - 0.22 * levels[17], 0.07)
    bridge = at["nose_bridge"]
    canvas.shade_line(smooth(bridge), -0.15, 0.08)
    frown = levels[4] * (1 - 0.5 * levels[1])
    if max(frown, levels[9]) > 0.1:
        for side in ("left", "right"):
            canvas.shade_line(at[f"frown_{side}"], -0.26 * max(frown, levels[9]), 0.07)
    canvas.apply_shade(0.045)
    # Then the thin lines.
    for sign, side in ((-1, "left"), (1, "right")):
        level = {
            unit: value * min(1.0, 1.0 + sign * sides.get(unit, 0.0))
            for unit, value in levels.items()
        }
        canvas.stroke(smooth(at[f"crease_{side}"]), tone(face.skin, 0.70), 0.018)
        depth = max(0.35 * age, level[12], level[10], 0.9 * level[9])
        if depth > 0.2:
            shade = tone(face.skin, 1 - 0.36 * depth)
            canvas.stroke(smooth(at[f"fold_{side}"]), shade, 0.026)
        if level[6] > 0.2:
            shade = tone(face.skin, 1 - 0.30 * level[6])
            canvas.stroke(smooth(at[f"pouch_{side}"]), shade, 0.024)
            if age > 0.3:
                for first in (0, 2, 4):
                    canvas.stroke(at[f"crow_{side}"][first : first + 2], shade, 0.016)
        if level[9] > 0.2:
            shade = tone(face.skin, 1 - 0.42 * level[9])
            for first in (0, 2, 4):
                canvas.stroke(at[f"nose_wrinkle_{side}"][first : first + 2], shade, 0.024)
        if level[14] > 0.15:
            canvas.stroke(
                smooth(at[f"dimple_{side}"]), tone(face.skin, 1 - 0.42 * level[14]), 0.026
            )
        if frown > 0.2:
            shade = tone(face.skin, 1 - 0.42 * frown * (0.5 + 0.5 * age))
            canvas.stroke(smooth(at[f"frown_{side}"]), shade, 0.024)
    raised = max(levels[2], 0.9 * levels[1]) * (0.25 + 0.75 * age)
    if raised > 0.2:
        shade = tone(face.skin, 1 - 0.28 * raised)
        for row in range(3):
            left = at[f"forehead{row}_left"][::-1]
            if levels[2] < 0.25:  # the inner brows alone wrinkle only the middle
                joined = np.concatenate([left[1:], at[f"forehead{row}_right"][:2]])
            else:
                joined = np.concatenate([left, at[f"forehead{row}_right"]])
            canvas.stroke(smooth(joined, steps=3), shade, 0.018)
    if levels[17] > 0.3:
        shade = tone(face.skin, 1 - 0.30 * levels[17])
        canvas.stroke(smooth(at["chin"]), shade, 0.026)


def paint_beard(canvas: Canvas, face: Face, shapes: Mapping[str, Array]) -> None:
    w, head = face.width, shapes["head"]
    chin = float(head[:, 1].max())
    top = face.mouth_y - 0.24
    colour = mix(tone(face.hair, 0.85), face.skin, 0.62 if face.beard == "stubble" else 0.2)
    if face.beard in ("stubble", "full"):
        left = [(-0.90 * w, 0.10), (-0.80 * w, 0.45), (-0.52, face.mouth_y - 0.14)]
        middle = [(-0.30, top), (0.0, top + 0.07), (0.30, top)]
        jaw = head[4:10] * (1.01, 1.0)
        outline = np.array([*left, *middle, *[(-x, y) for x, y in reversed(left)], *jaw])
        canvas.fill(smooth(canvas.project(outline), True, 3), colour)
    if face.beard == "goatee":
        goatee = [
            (-0.24, face.mouth_y + 0.12), (0.24, face.mouth_y + 0.12), (0.27, chin - 0.16),
            (0.0, chin + 0.03), (-0.27, chin - 0.16),
        ]  # fmt: skip
        canvas.fill(smooth(canvas.project(np.array(goatee)), True), colour)
    if face.beard in ("moustache", "goatee", "full"):
        lip = shapes["lip_top"]
        rim = lip[4:-4]
        peak = face.nose_y + 0.09
        upper = np.stack([rim[:, 0], 0.35 * rim[:, 1] + 0.65 * peak], axis=1)[::-1]
        canvas.fill(canvas.project(np.concatenate([rim * (1.1, 1.0), upper])), colour)


def paint_nose(canvas: Canvas, face: Face, at: Mapping[str, Array]) -> None:
    shade = tone(face.skin, 0.66)
    canvas.stroke(smooth(at["nose_base"]), shade, 0.030)
    for nostril in at["nostrils"]:
        hole = oval(0.0, 0.0, 0.045, 0.024, 8) * canvas.unit + nostril
        canvas.fill(hole, tone(face.skin, 0.34))
    shine = at["nose_tip"][0] - (0.0, 0.06 * canvas.unit)
    canvas.fill(oval(0.0, 0.0, 0.04, 0.035, 8) * canvas.unit + shine, tone(face.skin, 1.10))


def paint_eyes(
    canvas: Canvas, face: Face, shapes: Mapping[str, Array], at: Mapping[str, Array], view: View
) -> None:
    lash = (34.0, 24.0, 22.0)
    for side in ("left", "right"):
        top, bottom = shapes[f"lid_top_{side}"], shapes[f"lid_bottom_{side}"]
        canvas.fill(
            np.concatenate([at[f"lid_top_{side}"], at[f"lid_bottom_{side}"][::-1]]),
            (238.0, 236.0, 232.0),
        )
        centre, rim = shapes[f"iris_{side}"]
        radius = float(rim[0] - centre[0])
        x = float(centre[0]) + 0.08 * view.gaze
        order = slice(None) if top[0, 0] < top[-1, 0] else slice(None, None, -1)
        parts = []
        for part_radius in (radius, 0.52 * radius):
            # The lids cut the iris: each point is held between the two lid curves.
            part = oval(x, float(centre[1]), part_radius, part_radius, 20)
            upper = np.interp(part[:, 0], top[order, 0], top[order, 1])
            lower = np.interp(part[:, 0], bottom[order, 0], bottom[order, 1])
            part[:, 1] = np.clip(part[:, 1], upper, lower)
            parts.append(part)
        glint = oval(x - 0.35 * radius, float(centre[1]) - 0.30 * radius, 0.025, 0.025, 8)
        projected = canvas.project(np.concatenate([*parts, glint]))
        canvas.fill(projected[:20], face.iris)
        canvas.fill(projected[20:40], (14.0, 12.0, 12.0))
        if float(np.ptp(parts[0][:, 1])) > 0.09:
            canvas.fill(projected[40:], (250.0, 250.0, 250.0))
        canvas.stroke(at[f"lid_bottom_{side}"], tone(face.skin, 0.55), 0.016)
        canvas.stroke(at[f"lid_top_{side}"], lash, 0.038)


def paint_mouth(
    canvas: Canvas, face: Face, shapes: Mapping[str, Array], at: Mapping[str, Array]
) -> None:
    lower = np.concatenate([at["mouth_bottom"], at["lip_bottom"][::-1]])
    upper = np.concatenate([at["lip_top"], at["mouth_top"][::-1]])
    gap, _ = shapes["mouth_size"][0]
    if gap > 0.012:
        cavity = np.concatenate([at["mouth_top"], at["mouth_bottom"][::-1]])
        canvas.fill(cavity, (62.0, 22.0, 26.0))
        if gap > 0.2:
            # The tongue: an oval held inside the mouth.
            bottom, top = shapes["mouth_bottom"], shapes["mouth_top"]
            x, y = shapes["tongue"][0]
            tongue = oval(x, y + 0.16 * gap, 0.5 * face.mouth_width, 0.32 * gap)
            high = np.interp(tongue[:, 0], top[:, 0], top[:, 1])
            low = np.interp(tongue[:, 0], bottom[:, 0], bottom[:, 1])
            tongue[:, 1] = np.clip(tongue[:, 1], high, low)
            canvas.fill(canvas.project(tongue), (164.0, 70.0, 72.0))
        canvas.fill(at["teeth_bottom"], (222.0, 216.0, 204.0))
        canvas.fill(at["teeth_top"], (244.0, 240.0, 232.0))
    canvas.fill(upper, tone(face.lips, 0.90))
    canvas.fill(lower, face.lips)
    seam = tone(face.lips, 0.45)
    canvas.stroke(at["mouth_top"], seam, 0.022 if gap <= 0.012 else 0.012)


def paint_hair(canvas: Canvas, face: Face) -> None:
    if face.hair_style == "bald":
        return
    w = face.width
    # Hairline: temple height, height at the sides of the forehead and at its middle.
    temple, side, middle, lift = {
        "buzz": (-0.45, -0.84, -0.92, 0.02),
        "short": (-0.30, -0.80, -0.90, 0.12),
        "side": (-0.30, -0.74, -0.84, 0.15),
        "fringe": (-0.05, -0.52, -0.50, 0.14),
        "receding": (-0.42, -1.10, -0.92, 0.06),
        "long": (0.15, -0.72, -0.98, 0.16),
        "curly": (-0.15, -0.78, -0.84, 0.16),
        "bun": (-0.30, -0.82, -0.96, 0.08),
    }[face.hair_style]
    outer = [
        (-1.0 * w, temple), (-(0.94 + lift) * w, -0.80), (-0.56 * w, -1.26 - lift),
        (0.0, -1.36 - lift), (0.56 * w, -1.26 - lift), ((0.94 + lift) * w, -0.80),
        (1.0 * w, temple),
    ]  # fmt: skip
    part = 0.35 if face.hair_style == "side" else 0.0
    inner = [
        (0.90 * w, temple - 0.05), (0.74 * w, side + 0.1), (0.45 * w, side - 0.06 - part * 0.4),
        (part * 0.6, middle - part * 0.5), (-0.45 * w, side - 0.06 + part * 0.35),
        (-0.74 * w, side + 0.1 + part * 0.2), (-0.90 * w, temple - 0.05),
    ]  # fmt: skip
    colour = mix(face.hair, face.skin, 0.35) if face.hair_style == "buzz" else face.hair
    outline = smooth(canvas.project(np.array(outer + inner)), True, 4)
    canvas.fill(outline, colour)
    if face.hair_style == "curly":
        angle = np.linspace(np.pi * 1.02, np.pi * 1.98, 11)
        curls = np.stack([1.02 * w * np.cos(angle), -0.35 + 1.08 * np.sin(angle)], axis=1)
        for index, curl in enumerate(canvas.project(curls)):
            canvas.disc(curl, 0.20 + 0.03 * (index % 2), tone(colour, 0.92 + 0.08 * (index % 3)))
    elif face.hair_style not in ("buzz", "receding"):
        # Strands run from the crown to the hairline, lighter than the rest.
        roots = np.array(outer[1:6]) * (0.55, 1.0)
        ends = np.array(inner[1:6][::-1])
        for share in (0.0, 0.33, 0.66):
            start = roots[:-1] * (1 - share) + roots[1:] * share
            stop = ends[:-1] * (1 - share) + ends[1:] * share
            bend = 0.35 * start + 0.65 * stop + (0.10 * np.sign(stop[:, :1]) * (1, 0))
            for points in zip(start, bend, 0.12 * start + 0.88 * stop, strict=True):
                strand = smooth(canvas.project(np.array(points)), steps=3)
                canvas.stroke(strand, tone(colour, 1.10 if share else 0.86), 0.020)


def paint_glasses(canvas: Canvas, face: Face, colour: Colour, filled: bool) -> None:
    size = 0.30 * (0.6 + 0.4 * face.eye_size)
    for side in (-1, 1):
        lens = oval(side * face.eye_distance, face.eye_y + 0.03, size, size * 0.80, 12)
        pixels = smooth(canvas.project(lens, 0.10), True, 2)
        if filled:
            canvas.fill(pixels, colour)
        canvas.stroke(pixels, colour, 0.040, closed=True)
        arm = [(side * (face.eye_distance + size), face.eye_y), (side * face.width, face.eye_y)]
        canvas.stroke(canvas.project(np.array(arm), 0.05), colour, 0.035)
    gap = face.eye_distance - size
    bridge = np.array([(-gap, face.eye_y), (0.0, face.eye_y - 0.04), (gap, face.eye_y)])
    canvas.stroke(canvas.project(bridge, 0.15), colour, 0.040)
