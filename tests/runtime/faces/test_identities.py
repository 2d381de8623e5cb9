"""With identities, who comes back after an absence has the number of before; others do not."""

from collections.abc import Iterator

import numpy as np

from fer_keras.data.datasets.synthetic_faces import make_identity
from fer_keras.data.drawn_faces.face_drawing import draw_face
from fer_keras.data.drawn_faces.face_parameters import PROTOTYPES
from fer_keras.runtime import Recognizer
from fer_keras.runtime.faces import Face
from fer_keras.runtime.faces.identities import MIN_LIKENESS, Identities, describe_face
from fer_keras.runtime.faces.track import TrackedFace
from fer_keras.runtime.stream.sources import ArraySource
from fer_keras.runtime.stream.stream import Stream

FPS = 5


def drawn(subject: int, emotion: str) -> tuple[np.ndarray, Face]:
    picture, landmarks, box = draw_face(
        make_identity(1, subject), PROTOTYPES[emotion][0][0], None, 160
    )
    return np.ascontiguousarray(picture), Face(box, landmarks.astype(np.float32), 1.0)


def scene(subject: int | None, left: int, emotion: str = "neutral") -> np.ndarray:
    picture = np.full((240, 400, 3), 150, np.uint8)
    if subject is not None:
        picture[40:200, left : left + 160] = drawn(subject, emotion)[0]
    return picture


def film() -> Iterator[np.ndarray]:
    """One person, nobody for three seconds, the same one elsewhere; nobody, then another."""
    for subject, left, emotion, frames in (
        (2, 20, "neutral", 8), (None, 0, "", 15), (2, 200, "happiness", 8), (None, 0, "", 15),
        (5, 20, "neutral", 8),
    ):  # fmt: skip
        for _ in range(frames):
            yield scene(subject, left, emotion)


def numbers(identities: bool) -> list[list[int]]:
    """The numbers that are seen in the three parts of the film with a face."""
    seen: list[set[int]] = [set(), set(), set()]
    source = ArraySource(film, fps=FPS)
    with Stream(source, Recognizer(), identities=identities) as stream:
        for moment in stream:
            if moment.frame is not None:
                part = sum(moment.frame.index >= start for start in (23, 46))
                seen[part].update(face.track for face in moment.faces)
    return [sorted(each) for each in seen]


def test_the_same_face_is_one_person_and_another_is_two() -> None:
    assert numbers(identities=True) == [[1], [1], [3]]
    # Without it the tracker knows nobody by the looks.
    assert numbers(identities=False) == [[1], [2], [3]]


def test_expressions_change_the_likeness_less_than_people() -> None:
    same, others = [], []
    for subject in range(8):
        views = [describe_face(*drawn(subject, name)) for name in ("neutral", "surprise")]
        same.append(float(views[0] @ views[1]))
        others.append(float(views[0] @ describe_face(*drawn((subject + 1) % 8, "neutral"))))
        np.testing.assert_allclose(np.linalg.norm(views[0]), 1, rtol=1e-5)
    assert min(same) >= MIN_LIKENESS
    assert sum(likeness >= MIN_LIKENESS for likeness in others) <= 1


def test_two_people_in_one_picture_are_never_one() -> None:
    picture, face = drawn(2, "neutral")
    identities = Identities()
    both = np.concatenate([picture, picture], axis=1)
    moved = Face((face.box[0] + 160, *face.box[1:]), face.landmarks, 1.0)
    assert moved.landmarks is not None
    moved = Face(moved.box, moved.landmarks + np.float32([160, 0]), 1.0)
    tracked = [TrackedFace(1, face, "detected"), TrackedFace(2, moved, "detected")]
    assert [seen.number for seen in identities.update(both, tracked, [])] == [1, 2]
    # One of the twins comes back as the one who is away.
    again = [TrackedFace(1, face, "detected"), TrackedFace(3, moved, "detected")]
    assert [seen.number for seen in identities.update(both, again, [2])] == [1, 2]
    assert identities.people([3, 9]) == [2, 9]


def test_faces_that_are_carried_along_teach_nothing() -> None:
    picture, face = drawn(2, "neutral")
    identities = Identities()
    identities.update(picture, [TrackedFace(1, face, "detected")], [])
    other, other_face = drawn(5, "neutral")
    identities.update(other, [TrackedFace(1, other_face, "tracked")], [])
    (seen,) = identities.update(other, [TrackedFace(2, other_face, "detected")], [1])
    assert seen.number == 2
