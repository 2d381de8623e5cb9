"""Drawn faces in motion: expressions that differ in their course over time and in nothing else.

A sequence is one person and one expression in 8 to 12 frames, from neutral to the apex. Every frame
draws its own small head movement and its own noise, so that an order shows in the expression alone.
As clips (`dataset.clip_frames`) every sequence is shown in four orders, the classes (`COURSES`):

- `onset`, neutral to apex, and `offset`, which is the same clip played backwards;
- `fast_onset`, up in three steps and slowly down, and `slow_onset`, the same clip backwards. Posed
  smiles rise faster than spontaneous ones (Cohn and Schmidt, "The timing of facial motion in posed
  and spontaneous smiles", 2004; Schmidt et al., Journal of Nonverbal Behavior 30, 2006).

All four hold exactly the same frames. So whatever reads frames one by one and adds up, however good
it is, is right in one clip of four. Splits share no subject. A frame by itself carries the emotion
of its sequence. Scores on drawings say nothing about people.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fer_keras.common.errors import DataError
from fer_keras.common.labels import EMOTIONS
from fer_keras.common.opencv import cv2
from fer_keras.data.drawn_faces.face_canvas import View
from fer_keras.data.drawn_faces.face_drawing import draw_face
from fer_keras.data.drawn_faces.face_parameters import make_expression, make_identity, make_view
from fer_keras.data.samples import SPLITS, DatasetInfo, Example, SourceContent

Array = np.ndarray[Any, Any]

SEED = 2021
IMAGE_SIZE = 48
MIN_FRAMES, MAX_FRAMES = 8, 12
CLASS_NAMES = tuple(emotion for emotion in EMOTIONS if emotion != "neutral")
# One sequence of each subject.
SPLIT_SUBJECTS: Mapping[str, range] = {
    "train": range(400),
    "validation": range(400, 500),
    "test": range(500, 600),
}


def _fast_onset(num_frames: int) -> list[int]:
    apex = num_frames - 1
    up = [0, apex // 3, 2 * apex // 3]
    return [*up, *(frame for frame in range(apex, -1, -1) if frame not in up)]


COURSES = {
    "onset": lambda num_frames: list(range(num_frames)),
    "offset": lambda num_frames: list(range(num_frames))[::-1],
    "fast_onset": _fast_onset,
    "slow_onset": lambda num_frames: _fast_onset(num_frames)[::-1],
}

INFO = DatasetInfo(
    name="synthetic_clips",
    title="Synthetic clips, 600 drawn sequences from neutral to apex, shown in 4 courses",
    class_names=CLASS_NAMES,
    codes=dict(enumerate(CLASS_NAMES)),
    official_counts={},
    splits=SPLITS,
    licence="Drawn by this project, no person is shown; same licence as the project (MIT).",
    citation=(
        "Courses: Cohn and Schmidt, The timing of facial motion in posed and spontaneous smiles, "
        "International Journal of Wavelets, Multiresolution and Information Processing 2, 2004"
    ),
    how_to_get="Nothing to get: the faces are drawn on first use, in about a minute.",
    attributes={"sequence": "str", "frame": "int64", "intensity": "float32"},
)


def draw_sequence(
    subject: int, seed: int = SEED, size: int = IMAGE_SIZE
) -> tuple[str, Array, Array]:
    """Draws one sequence.

    Args:
        subject: Number of the person, 0 or more; their emotions follow in turn.
        seed: Of the data set, 0 or more.
        size: Side of the frames, pixels.

    Returns:
        The emotion, frames uint8 `(n, size, size, 1)` from neutral to apex, and intensities 0..1
        `(n,)`, rising.

    Raises:
        DataError: A number is out of range.
    """
    if subject < 0 or seed < 0:
        raise DataError(f"Expected subject and seed of 0 or more. Received: {subject} and {seed}.")
    rng = np.random.default_rng(np.random.SeedSequence((seed, 6, subject)))
    emotion = CLASS_NAMES[subject % len(CLASS_NAMES)]
    face = make_identity(seed, subject)
    expression = make_expression(emotion, rng, intensity=float(rng.uniform(0.7, 1.0)))
    # Nothing before the face: a hand would hide the course itself.
    view = replace(make_view(rng), occlusion="none")
    num_frames = int(rng.integers(MIN_FRAMES, MAX_FRAMES + 1))
    intensities = np.linspace(0, 1, num_frames)
    frames = []
    for level in intensities.tolist():
        units = {unit: value * level for unit, value in expression.action_units.items()}
        moved = _moved(view, rng)
        picture, _, _ = draw_face(face, units, moved, size, rng, expression.sides)
        frames.append(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[:, :, np.newaxis])
    return emotion, np.stack(frames), intensities


def _moved(view: View, rng: np.random.Generator) -> View:
    """The head a little elsewhere, in every frame anew, as the boxes of a detector leave it."""
    yaw, pitch, roll = rng.normal(0, 1.0, 3).tolist()
    x, y = rng.normal(0, 0.006, 2).tolist()
    return replace(
        view,
        yaw=view.yaw + yaw,
        pitch=view.pitch + pitch,
        roll=view.roll + roll,
        shift_x=view.shift_x + x,
        shift_y=view.shift_y + y,
    )


# ---- data set module: see `fer_keras.data.registry.DatasetModule`


def find(folder: Path) -> Path | None:
    """The source of the drawings is this module; no data folder is needed."""
    del folder
    return Path(__file__)


def source_files(source: Path) -> Sequence[Path]:
    """The code that draws: a prepared copy is stale when it changes."""
    del source
    return (Path(__file__), *sorted(Path(__file__).parents[1].glob("drawn_faces/face_*.py")))


def read(source: Path) -> SourceContent:
    """All frames, drawn as they are read."""
    del source
    splits: dict[str, Iterable[Example]] = {split: _examples(split) for split in SPLITS}
    return SourceContent(
        CLASS_NAMES, splits, ("drawn faces: scores say nothing about photographs",)
    )


def _examples(split: str) -> Iterator[Example]:
    for subject in SPLIT_SUBJECTS[split]:
        emotion, frames, intensities = draw_sequence(subject)
        sequence = f"q{subject:04d}"
        for number, (frame, level) in enumerate(zip(frames, intensities.tolist(), strict=True)):
            yield Example(
                image=frame,
                label=CLASS_NAMES.index(emotion),
                source=f"synthetic_clips:{SEED}:{subject}:{number}",
                subject=f"c{subject:04d}",
                attributes={"sequence": sequence, "frame": number, "intensity": level},
            )
