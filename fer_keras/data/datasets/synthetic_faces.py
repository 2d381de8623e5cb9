"""Drawn faces in eight emotions: the built-in data set, for which nothing is downloaded.

Each picture draws its own identity, intensity, missing and extra action units, asymmetry, pose,
light, background and camera (`face_parameters`); weak expressions look, and are voted, neutral.

Splits share no subject. Sample `i` depends on the seed and on `i` alone, not on how many samples
are drawn. The scores of models on these drawings say that training works; they say nothing about
photographs.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from fer_keras.common.errors import DataError
from fer_keras.common.labels import EMOTIONS
from fer_keras.common.opencv import cv2
from fer_keras.data.drawn_faces.face_drawing import draw_face
from fer_keras.data.drawn_faces.face_geometry import ACTION_UNITS
from fer_keras.data.drawn_faces.face_parameters import (
    Expression,
    make_expression,
    make_identity,
    make_view,
)
from fer_keras.data.samples import (
    SPLITS,
    DatasetInfo,
    Example,
    Samples,
    SourceContent,
    one_hot,
    pixel_sha256,
)

Array = np.ndarray[Any, Any]

SEED = 2013  # of the data set; other seeds give other people and other pictures
IMAGE_SIZE = 48
SPLIT_SIZES: Mapping[str, int] = {"train": 4000, "validation": 800, "test": 800}
# Sixteen pictures of each subject, two in each emotion.
SPLIT_SUBJECTS: Mapping[str, range] = {
    "train": range(250),
    "validation": range(250, 300),
    "test": range(300, 350),
}
LANDMARK_NAMES = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")

_ATTRIBUTES: dict[str, str] = {
    "age_group": "str",
    "intensity": "float32",
    "valence": "float32",
    "arousal": "float32",
    **{f"au{unit}": "float32" for unit in ACTION_UNITS},
    **{f"box_{key}": "float32" for key in ("x", "y", "width", "height")},
    **{f"{name}_{axis}": "float32" for name in LANDMARK_NAMES for axis in "xy"},
}

INFO = DatasetInfo(
    name="synthetic_faces",
    title="Synthetic faces, 5,600 drawn grey faces of 48 x 48 pixels in 8 emotions",
    class_names=EMOTIONS,
    codes=dict(enumerate(EMOTIONS)),
    official_counts={},
    splits=SPLITS,
    licence="Drawn by this project, no person is shown; same licence as the project (MIT).",
    citation=(
        "Action unit prototypes: Ekman, Friesen and Hager, Facial Action Coding System: "
        "Investigator's Guide, 2002"
    ),
    how_to_get="Nothing to get: the faces are drawn on first use, in about a minute.",
    has_votes=True,
    attributes=_ATTRIBUTES,
)

# Where an emotion lies on the circle of valence and arousal, in degrees from pleasure (Russell, "A
# Circumplex Model of Affect", 1980, figure 2: happy, astonished, sad, angry, afraid). There is
# neither disgust nor contempt: they stand at frustrated and annoyed. The radius is the intensity.
_AFFECT_DEGREES: Mapping[str, float] = {
    "neutral": 0.0, "happiness": 7.8, "surprise": 69.8, "sadness": 207.5, "anger": 99.0,
    "disgust": 141.1, "fear": 115.9, "contempt": 123.0,
}  # fmt: skip

# What raters answer to a full expression, and to one too weak to be sure of; FER+ column order
# neutral, happiness, surprise, sadness, anger, disgust, fear, contempt, unknown, not a face.
# The pairs mixed up most are those of the FER+ and AffectNet raters: fear with surprise, disgust
# with anger, sadness and contempt with neutral.
_CLEAR: Mapping[str, tuple[int, ...]] = {
    "neutral": (88, 2, 1, 4, 2, 0, 0, 2, 1, 0),
    "happiness": (3, 94, 1, 0, 0, 0, 0, 1, 1, 0),
    "surprise": (2, 2, 84, 0, 0, 0, 11, 0, 1, 0),
    "sadness": (6, 0, 0, 84, 3, 2, 3, 1, 1, 0),
    "anger": (5, 0, 1, 2, 83, 6, 1, 1, 1, 0),
    "disgust": (3, 0, 0, 3, 13, 78, 1, 1, 1, 0),
    "fear": (2, 0, 15, 3, 1, 1, 77, 0, 1, 0),
    "contempt": (9, 6, 0, 2, 2, 2, 0, 77, 2, 0),
}
_WEAK: Mapping[str, tuple[int, ...]] = {
    "neutral": (70, 5, 3, 10, 4, 1, 1, 4, 2, 0),
    "happiness": (66, 27, 1, 0, 1, 0, 0, 3, 2, 0),
    "surprise": (66, 3, 24, 0, 1, 0, 4, 0, 2, 0),
    "sadness": (66, 0, 0, 26, 3, 1, 1, 1, 2, 0),
    "anger": (66, 0, 0, 4, 24, 2, 0, 2, 2, 0),
    "disgust": (60, 0, 0, 6, 12, 17, 0, 3, 2, 0),
    "fear": (60, 0, 11, 7, 1, 1, 18, 0, 2, 0),
    "contempt": (66, 8, 0, 2, 2, 1, 0, 19, 2, 0),
}


@dataclass(frozen=True)
class FaceSample:
    """One drawn face and all that is known about it.

    Attributes:
        image: `(size, size, channels)` uint8, grey or RGB.
        emotion: What was meant to be shown, one of `EMOTIONS`.
        votes: `(10,)` int64, ten raters' answers in FER+ column order.
        subject: Who is drawn, `"s0007"`.
        age_group: `"child"` or `"adult"`.
        intensity: Strength 0..1 of the expression; 0 for neutral.
        action_units: `(18,)` float32, intensities 0..1 in the order of `ACTION_UNITS`; of the
            stronger side where the sides differ.
        box: Face box x, y, width, height, pixels.
        landmarks: `(5, 2)` float32, x and y in pixels, in the order of `LANDMARK_NAMES`; left and
            right as seen in the picture.
        source: `"synthetic:seed:index"`.
        sha256: Of the pixels.
    """

    image: Array
    emotion: str
    votes: Array
    subject: str
    age_group: str
    intensity: float
    action_units: Array
    box: tuple[float, float, float, float]
    landmarks: Array
    source: str
    sha256: str

    @property
    def label(self) -> int:
        """Index of the emotion in `EMOTIONS`."""
        return EMOTIONS.index(self.emotion)


# ---- samples


def draw_votes(expression: Expression, emotion: str, rng: np.random.Generator) -> Array:
    """Ten raters' answers to an expression.

    Args:
        expression: What is shown.
        emotion: What is meant.
        rng: Source of chance.

    Returns:
        `(10,)` int64 counts, sum 10, FER+ column order. Weak expressions drift to neutral.
    """
    if emotion == "neutral":
        clarity = 1.0 - max(expression.action_units.values(), default=0.0)
    else:
        ramp = min(max((expression.intensity - 0.2) / 0.4, 0.0), 1.0)
        clarity = ramp * ramp * (3 - 2 * ramp)
    clear, weak = (np.asarray(table[emotion], np.float64) for table in (_CLEAR, _WEAK))
    chances = clarity * clear + (1 - clarity) * weak
    votes: Array = rng.multinomial(10, chances / chances.sum())
    return votes.astype(np.int64)


def generate(
    n: int,
    seed: int = SEED,
    *,
    size: int = IMAGE_SIZE,
    channels: int = 1,
    subjects: Sequence[int] = SPLIT_SUBJECTS["train"],
    first: int = 0,
) -> Iterator[FaceSample]:
    """Draws samples; each subject shows all eight emotions, in a mixed order, before the next.

    Args:
        n: Number of samples.
        seed: Seed of the data set, 0 or more.
        size: Side of the pictures, pixels.
        channels: 1 for grey, 3 for RGB.
        subjects: Numbers of the subjects to draw, used in turn.
        first: Index of the first sample. The sample of an index never depends on `n`.

    Returns:
        Iterator of `n` samples.

    Raises:
        DataError: A number is out of range.
    """
    if n < 0 or seed < 0 or first < 0 or not len(subjects):
        raise DataError(
            "generate: expected n, seed and first of 0 or more and at least one subject. "
            f"Received: n={n}, seed={seed}, first={first}, {len(subjects)} subjects."
        )
    if channels not in (1, 3):
        raise DataError(f"generate: expected channels 1 (grey) or 3 (RGB). Received: {channels}.")
    return (
        _sample(seed, first + i, subjects[(i // len(EMOTIONS)) % len(subjects)], size, channels)
        for i in range(n)
    )


def _sample(seed: int, index: int, subject: int, size: int, channels: int) -> FaceSample:
    rng = np.random.default_rng(np.random.SeedSequence((seed, 2, index)))
    emotion = EMOTIONS[_emotion_order(seed, index // len(EMOTIONS))[index % len(EMOTIONS)]]
    face = make_identity(seed, subject)
    expression = make_expression(emotion, rng)
    votes = draw_votes(expression, emotion, rng)
    view = make_view(rng)
    image, landmarks, box = draw_face(
        face, expression.action_units, view, size, rng, expression.sides
    )
    if channels == 1:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[:, :, np.newaxis]
    return FaceSample(
        image=image,
        emotion=emotion,
        votes=votes,
        subject=f"s{subject:04d}",
        age_group=face.age_group,
        intensity=expression.intensity,
        action_units=action_unit_vector(expression.action_units),
        box=box,
        landmarks=landmarks,
        source=f"synthetic:{seed}:{index}",
        sha256=pixel_sha256(image),
    )


def draw_neutral(source: str, subject: str, size: int = IMAGE_SIZE, channels: int = 1) -> Array:
    """The person of a sample with a neutral face, in the same pose, light and camera.

    Args:
        source: Of the sample, `"synthetic:seed:index"`.
        subject: Of the sample, `"s0007"`.
        size: Side of the picture, pixels.
        channels: 1 for grey, 3 for RGB.

    Returns:
        Picture `(size, size, channels)` uint8, whose noise is another one.

    Raises:
        DataError: This is no sample of the built-in faces.
    """
    kind, *numbers = source.split(":")
    if kind != "synthetic" or len(numbers) != 2 or not all(n.isdigit() for n in numbers):
        raise DataError(f"Expected a built-in face, synthetic:seed:index. Received: {source!r}.")
    seed, index = int(numbers[0]), int(numbers[1])
    rng = np.random.default_rng(np.random.SeedSequence((seed, 2, index)))
    emotion = EMOTIONS[_emotion_order(seed, index // len(EMOTIONS))[index % len(EMOTIONS)]]
    # What `_sample` draws before the view, in its order.
    draw_votes(make_expression(emotion, rng), emotion, rng)
    view = make_view(rng)
    noise = np.random.default_rng(np.random.SeedSequence((seed, 5, index)))
    image, _, _ = draw_face(make_identity(seed, int(subject[1:])), {}, view, size, noise)
    if channels == 1:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[:, :, np.newaxis]
    return np.asarray(image)


@lru_cache(maxsize=512)
def _emotion_order(seed: int, block: int) -> tuple[int, ...]:
    """Order of the eight emotions in a block of eight samples; mixed, so that strides are fair."""
    rng = np.random.default_rng(np.random.SeedSequence((seed, 4, block)))
    return tuple(rng.permutation(len(EMOTIONS)).tolist())


def action_unit_vector(action_units: Mapping[int, float]) -> Array:
    """Intensities as `(18,)` float32 in the order of `ACTION_UNITS`, 0 where a unit is missing."""
    return np.array([action_units.get(unit, 0.0) for unit in ACTION_UNITS], np.float32)


def generate_split(split: str, limit: int | None = None) -> Iterator[FaceSample]:
    """The samples of a split of the data set.

    Args:
        split: `"train"`, `"validation"` or `"test"`.
        limit: Only the first so many, at least 1.

    Returns:
        Iterator of 48 x 48 grey samples.

    Raises:
        DataError: There is no such split.
    """
    if split not in SPLIT_SIZES:
        raise DataError(f"split: expected one of {', '.join(SPLITS)}. Received: {split!r}.")
    first = sum(SPLIT_SIZES[name] for name in SPLITS[: SPLITS.index(split)])
    count = SPLIT_SIZES[split] if limit is None else min(limit, SPLIT_SIZES[split])
    return generate(count, SEED, subjects=SPLIT_SUBJECTS[split], first=first)


def draw_samples(split: str, limit: int | None = None) -> Samples:
    """A split as arrays, drawn in memory, labelled with the emotion meant (rule "hard").

    Args:
        split: `"train"`, `"validation"` or `"test"`.
        limit: Only the first so many, at least 1.

    Returns:
        Samples with the same facts that the prepared data set has.

    Raises:
        DataError: There is no such split.
    """
    drawn = list(generate_split(split, limit))
    columns: dict[str, list[Any]] = {key: [] for key in ("source", "sha256", "subject", "votes")}
    for sample in drawn:
        for key, values in columns.items():
            values.append(getattr(sample, key))
    attributes = [_attributes(sample) for sample in drawn]
    facts = {key: np.asarray(values) for key, values in columns.items()}
    for key, kind in _ATTRIBUTES.items():
        dtype = np.str_ if kind == "str" else np.dtype(kind)
        facts[key] = np.asarray([row[key] for row in attributes], dtype=dtype)
    return Samples(
        name=INFO.name,
        split=split,
        class_names=EMOTIONS,
        label_rule="hard",
        images=np.stack([sample.image for sample in drawn]),
        targets=one_hot(np.array([sample.label for sample in drawn]), len(EMOTIONS)),
        facts=facts,
    )


def _attributes(sample: FaceSample) -> dict[str, str | int | float]:
    angle = math.radians(_AFFECT_DEGREES[sample.emotion])
    row: dict[str, str | int | float] = {
        "age_group": sample.age_group,
        "intensity": sample.intensity,
        "valence": sample.intensity * math.cos(angle),
        "arousal": sample.intensity * math.sin(angle),
    }
    for unit, level in zip(ACTION_UNITS, sample.action_units.tolist(), strict=True):
        row[f"au{unit}"] = level
    for key, value in zip(("x", "y", "width", "height"), sample.box, strict=True):
        row[f"box_{key}"] = value
    for name, (x, y) in zip(LANDMARK_NAMES, sample.landmarks.tolist(), strict=True):
        row[f"{name}_x"], row[f"{name}_y"] = x, y
    return row


# ---- data set module: see `fer_keras.data.registry.DatasetModule`


def find(folder: Path) -> Path | None:
    """The source of the drawings is this module; no data folder is needed."""
    del folder
    return Path(__file__)


def source_files(source: Path) -> tuple[Path, ...]:
    """The code that draws: a prepared copy is stale when it changes."""
    del source
    return (Path(__file__), *sorted(Path(__file__).parents[1].glob("drawn_faces/face_*.py")))


def read(source: Path) -> SourceContent:
    """All examples, drawn as they are read."""
    del source
    splits: dict[str, Iterable[Example]] = {split: _examples(split) for split in SPLITS}
    return SourceContent(EMOTIONS, splits, ("drawn faces: scores say nothing about photographs",))


def _examples(split: str) -> Iterator[Example]:
    for sample in generate_split(split):
        yield Example(
            image=sample.image,
            label=sample.label,
            source=sample.source,
            subject=sample.subject,
            votes=sample.votes,
            attributes=_attributes(sample),
        )
