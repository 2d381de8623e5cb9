"""What is drawn: identities, expressions and views taken at random.

An emotion is a set of facial action units, following the prototypes of EMFACS and of Ekman, Friesen
and Hager (FACS Investigator's Guide, 2002, emotion prediction tables): happiness 6+12, sadness
1+4+15(+17), surprise 1+2+5+26, fear 1+2+4+5+20+25/26, anger 4+5+7+23/24, disgust 9/10+15/16,
contempt 12+14 on one side.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from fer_keras.common.labels import canonical
from fer_keras.data.drawn_faces.face_canvas import OCCLUSIONS, View
from fer_keras.data.drawn_faces.face_geometry import ACTION_UNITS, BEARDS, HAIR_STYLES, Colour, Face

# Prototypes: (units always there, units there by chance). Intensities are those of full expression.
_Variant = tuple[dict[int, float], dict[int, float]]
PROTOTYPES: Mapping[str, tuple[_Variant, ...]] = {
    "neutral": (({}, {}),),
    "happiness": (
        ({6: 0.9, 12: 1.0}, {25: 0.5}),
        ({6: 0.9, 12: 1.0, 25: 0.9}, {26: 0.4}),
        ({6: 0.6, 12: 0.9}, {}),
    ),
    "surprise": (
        ({1: 1.0, 2: 1.0, 5: 0.8, 25: 0.9, 26: 1.0}, {}),
        ({1: 1.0, 2: 1.0, 5: 0.7, 25: 0.8, 26: 0.6}, {}),
    ),
    "sadness": (
        ({1: 1.0, 4: 0.7, 15: 1.0}, {17: 0.8, 7: 0.3}),
        ({1: 0.9, 4: 0.6, 15: 0.9, 17: 0.7}, {25: 0.3}),
    ),
    "anger": (
        ({4: 1.0, 5: 0.6, 7: 0.8, 23: 0.9}, {17: 0.5}),
        ({4: 1.0, 5: 0.5, 7: 0.8, 24: 0.9}, {17: 0.5}),
        ({4: 1.0, 5: 0.7, 7: 0.7, 10: 0.5, 23: 0.3, 25: 0.9}, {26: 0.3}),
    ),
    "disgust": (
        ({9: 1.0, 15: 0.5}, {10: 0.7, 17: 0.5}),
        ({9: 1.0, 10: 0.9, 16: 0.7, 25: 0.9}, {4: 0.3}),
        ({9: 0.8, 10: 1.0, 15: 0.4}, {6: 0.3}),
    ),
    "fear": (
        ({1: 1.0, 2: 0.7, 4: 0.8, 5: 1.0, 20: 1.0, 25: 1.0}, {26: 0.5}),
        ({1: 1.0, 2: 0.6, 4: 0.8, 5: 0.9, 20: 0.8, 25: 0.9, 26: 0.5}, {7: 0.3}),
    ),
    "contempt": (({12: 0.7, 14: 1.0}, {}), ({12: 0.5, 14: 0.9}, {24: 0.3})),
}
ONE_SIDED = {"contempt": (12, 14)}


# ---- who is drawn


@lru_cache(maxsize=512)
def make_identity(seed: int, subject: int) -> Face:
    """The face of a subject: the same for the same two numbers.

    Args:
        seed: Seed of the data set, 0 or more.
        subject: Number of the subject, 0 or more.

    Returns:
        An identity; about three in ten are children.
    """
    rng = np.random.default_rng(np.random.SeedSequence((seed, 1, subject)))
    child = bool(rng.random() < 0.3)

    def spread(middle: float, width: float) -> float:
        return middle + width * float(rng.uniform(-1.0, 1.0))

    tone = int(rng.integers(len(_SKIN_COLOURS)))
    skin, lips = _skin_and_lips(rng, tone)
    hairs = _HAIR_COLOURS[:3] if tone >= _NUM_LIGHT_SKINS else _HAIR_COLOURS
    hair = _pick(rng, hairs if child else (*hairs, *_GREY_HAIR_COLOURS))
    wrinkles = 0.0 if child else float(rng.uniform(0.1, 1.0))
    style = "short"
    while True:
        style = str(rng.choice(HAIR_STYLES))
        if not child or style not in ("bald", "receding"):
            break
    bearded = not child and style not in ("long", "bun") and rng.random() < 0.45
    beard = str(rng.choice(BEARDS[1:])) if bearded else "none"
    eye_y = spread(0.05 if child else -0.10, 0.05)
    brow_gap = spread(0.235, 0.035)
    chin = spread(1.08 if child else 1.24, 0.06)
    nose_y = spread(0.45 if child else 0.40, 0.05)
    return Face(
        age_group="child" if child else "adult",
        width=spread(1.02 if child else 0.97, 0.07),
        jaw=spread(0.4 if child else 0.5, 0.4),
        chin_y=chin,
        eye_distance=spread(0.42, 0.045),
        eye_y=eye_y,
        eye_size=spread(1.18 if child else 1.0, 0.12),
        eye_tilt=spread(0.0, 0.03),
        brow_y=eye_y - brow_gap,
        brow_thickness=spread(0.038, 0.01) if child else spread(0.055, 0.022),
        brow_arch=spread(0.05, 0.03),
        nose_y=nose_y,
        nose_width=spread(0.155 if child else 0.19, 0.035),
        mouth_y=nose_y + 0.40 * (chin - nose_y) + spread(-0.02, 0.04),
        mouth_width=spread(0.31 if child else 0.36, 0.045),
        lip_thickness=spread(0.085, 0.03),
        resting_corner=spread(0.0, 0.03),
        wrinkles=wrinkles,
        skin=skin,
        hair=hair,
        iris=_pick(rng, _IRIS_COLOURS),
        lips=lips,
        clothes=_pick(rng, _CLOTHES_COLOURS),
        hair_style=style,
        beard=beard,
        glasses=bool(rng.random() < 0.18),
    )


_SKIN_COLOURS: tuple[Colour, ...] = (
    (246, 214, 192), (236, 196, 168), (224, 182, 152), (208, 160, 124), (186, 136, 100),
    (160, 112, 82), (132, 90, 66), (106, 72, 54),
)  # fmt: skip
_NUM_LIGHT_SKINS = 5
_HAIR_COLOURS: tuple[Colour, ...] = (
    (24, 20, 20), (46, 32, 26), (74, 50, 34), (110, 74, 44), (160, 116, 66), (200, 164, 104),
    (138, 62, 34),
)  # fmt: skip
_GREY_HAIR_COLOURS: tuple[Colour, ...] = ((128, 126, 124), (196, 194, 190))
_IRIS_COLOURS: tuple[Colour, ...] = (
    (60, 40, 26), (84, 58, 36), (96, 104, 60), (70, 110, 140), (50, 34, 24),
)  # fmt: skip
_CLOTHES_COLOURS: tuple[Colour, ...] = (
    (60, 80, 130), (150, 50, 50), (60, 110, 80), (200, 200, 205), (40, 40, 46), (190, 150, 70),
)  # fmt: skip


def _pick(rng: np.random.Generator, colours: Sequence[Colour]) -> Colour:
    return colours[int(rng.integers(len(colours)))]


def _skin_and_lips(rng: np.random.Generator, tone: int) -> tuple[Colour, Colour]:
    factor = float(rng.uniform(0.94, 1.04))
    r, g, b = (min(255.0, channel * factor) for channel in _SKIN_COLOURS[tone])
    red = float(rng.uniform(0.30, 0.60))
    lips = (r * 0.86, g * (0.86 - 0.5 * red), b * (0.90 - 0.5 * red))
    return (r, g, b), lips


# ---- what is shown


@dataclass(frozen=True)
class Expression:
    """Action units of one picture, their balance between the sides, and the overall strength."""

    action_units: Mapping[int, float]
    sides: Mapping[int, float]
    intensity: float


def make_expression(
    emotion: str, rng: np.random.Generator, intensity: float | None = None
) -> Expression:
    """Draws the action units of an emotion, with missing and extra units and asymmetry.

    Args:
        emotion: One of `EMOTIONS`, in any known spelling.
        rng: Source of chance.
        intensity: Strength 0..1; drawn if None, seldom weak.

    Returns:
        The expression; neutral has traces of other units only, and intensity 0.
    """
    name = canonical(emotion)
    if intensity is None:
        intensity = 0.2 + 0.8 * float(rng.beta(1.9, 1.1))
    variants = PROTOTYPES[name]
    core, optional = variants[int(rng.integers(len(variants)))]
    wanted = dict(core)
    wanted.update({unit: value for unit, value in optional.items() if rng.random() < 0.5})
    units: dict[int, float] = {}
    for unit, value in wanted.items():
        if len(core) > 2 and rng.random() < 0.06:
            continue
        units[unit] = min(1.0, value * intensity * float(rng.uniform(0.8, 1.1)))
    if rng.random() < 0.35:  # a trace of something else
        extra = int(rng.choice(ACTION_UNITS))
        units[extra] = min(1.0, units.get(extra, 0.0) + float(rng.uniform(0.05, 0.35)))
    sides = {unit: float(np.clip(rng.normal(0.0, 0.12), -0.4, 0.4)) for unit in units}
    if name in ONE_SIDED:
        side = -1.0 if rng.random() < 0.5 else 1.0
        for unit in ONE_SIDED[name]:
            sides[unit] = side * float(rng.uniform(0.8, 1.0))
    return Expression(units, sides, 0.0 if name == "neutral" else intensity)


def make_view(rng: np.random.Generator) -> View:
    """Draws pose, light, background, camera and, one time in twelve, something before the face."""
    normal, uniform = rng.normal, rng.uniform
    occluded = rng.random() < 1 / 12
    return View(
        yaw=float(np.clip(normal(0, 10), -28, 28)),
        pitch=float(np.clip(normal(0, 6), -16, 16)),
        roll=float(np.clip(normal(0, 6), -18, 18)),
        scale=float(uniform(0.32, 0.40)),
        shift_x=float(uniform(-0.05, 0.05)),
        shift_y=float(uniform(-0.05, 0.05)),
        gaze=float(np.clip(normal(0, 0.4), -1, 1)),
        light_x=float(np.clip(normal(0, 0.22), -0.5, 0.5)),
        light_y=float(np.clip(normal(-0.1, 0.16), -0.5, 0.4)),
        brightness=float(uniform(0.75, 1.2)),
        contrast=float(uniform(0.65, 1.1)),
        background=int(rng.integers(2**32)),
        blur=float(uniform(0.0, 0.75)) if rng.random() < 0.5 else 0.0,
        noise=float(uniform(0.0, 6.5)),
        jpeg_quality=int(rng.integers(50, 96)) if rng.random() < 0.5 else 100,
        occlusion=str(rng.choice(OCCLUSIONS[1:])) if occluded else "none",
        occlusion_seed=int(rng.integers(2**32)),
    )
