"""Faces that lie or stand on their heads are read as they are upright."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from fer_keras.data.datasets.synthetic_faces import make_identity
from fer_keras.data.drawn_faces.face_drawing import draw_face
from fer_keras.runtime import Recognizer
from fer_keras.runtime.faces import Face, crop_face, crop_upright
from fer_keras.runtime.faces.align import Box, roll_degrees
from fer_keras.runtime.faces.detect import YuNetDetector
from fer_keras.runtime.faces.turn import find_turned, turned_back, with_true_turns

LANDMARKS = np.array([[40, 50], [80, 50], [60, 70], [45, 95], [75, 95]], np.float32)


@pytest.fixture(scope="module")
def photo() -> Any:
    return np.ascontiguousarray(pytest.importorskip("skimage.data").astronaut()[:360, :400])


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return Recognizer()


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_photo_is_read_alike_however_it_lies(
    photo: Any, recognizer: Recognizer, quarters: int
) -> None:
    (upright,) = recognizer.recognize(photo)
    (turned,) = recognizer.recognize(np.ascontiguousarray(np.rot90(photo, quarters)))
    assert turned["dominant"] == upright["dominant"]
    assert turned["score"] == pytest.approx(upright["score"], abs=0.02)
    for name, probability in upright["emotions"].items():
        assert turned["emotions"][name] == pytest.approx(probability, abs=0.05)
    assert turned["landmarks"] is not None
    roll = roll_degrees(np.array(turned["landmarks"]))
    assert abs((roll + 90 * quarters + 180) % 360 - 180) < 10


@pytest.mark.parametrize("angle", [60, 120, 200, 290])
def test_any_angle(photo: Any, recognizer: Recognizer, angle: int) -> None:
    height, width = photo.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1)
    matrix[:, 2] += (300 - width / 2, 300 - height / 2)
    turned = cv2.warpAffine(photo, matrix, (600, 600), borderMode=cv2.BORDER_REPLICATE)
    (upright,) = recognizer.recognize(photo)
    (face,) = recognizer.recognize(np.asarray(turned, np.uint8))
    assert face["dominant"] == upright["dominant"]
    assert face["emotions"][face["dominant"]] > 0.9


def test_drawn_faces_on_their_heads(recognizer: Recognizer) -> None:
    """Not all are found; without the turn none has the landmarks of its true angle."""
    right = 0
    for subject in range(6):
        picture = np.ascontiguousarray(draw_face(make_identity(0, subject), {}, None, 240)[0])
        (upright,) = recognizer.detect(picture)[:1]
        found = recognizer.detect(np.ascontiguousarray(np.rot90(picture, 2)))
        if found and found[0].landmarks is not None:
            right += abs(abs(roll_degrees(found[0].landmarks)) - 180) < 15
        assert upright.landmarks is not None
        assert abs(roll_degrees(upright.landmarks)) < 15
    assert right >= 3


def test_doubtful_faces_alone_are_looked_at_again() -> None:
    calls = []

    def confirm(patch: Any, place: Box) -> list[Face]:
        calls.append(patch.shape)
        return []

    sure, doubtful = (Face((10, 10, 40, 40), LANDMARKS, score) for score in (0.999, 0.9))
    picture = np.zeros((100, 100, 3), np.uint8)
    assert with_true_turns(confirm, picture, [sure]) == [sure]
    assert calls == []
    assert with_true_turns(confirm, picture, [doubtful])[0] is doubtful
    assert len(calls) == 3
    # Who stood upright in the frame before is not asked again.
    assert with_true_turns(confirm, picture, [doubtful], [(8, 8, 40, 40)])[0] is doubtful
    assert len(calls) == 3
    with_true_turns(confirm, picture, [doubtful], [(60, 8, 40, 40)])
    assert len(calls) == 6


@pytest.mark.parametrize("side", [50, 300])
def test_the_place_asked_about_is_the_face_in_every_turn(side: int) -> None:
    """Small and large faces alike, also where the patch reaches over the border."""
    picture = np.zeros((400, 400, 3), np.uint8)
    picture[10 : 10 + side, 20 : 20 + side] = 255
    seen = []

    def confirm(patch: Any, place: Box) -> list[Face]:
        left, top, width, height = (round(value) for value in place)
        inside = patch[top : top + height, left : left + width].mean()
        around = (patch.sum() / 3 - 255 * width * height) / 255 / width / height
        seen.append((inside, around))
        return []

    with_true_turns(confirm, picture, [Face((20, 10, side, side), LANDMARKS, 0.9)])
    assert len(seen) == 3
    for inside, around in seen:
        assert inside > 240
        assert around < 0.12


def test_unsure_faces_of_a_turned_picture_are_not_believed() -> None:
    def find(picture: Any, score: float) -> list[Face]:
        return [Face((1, 2, 3, 4), LANDMARKS, score)]

    picture = np.zeros((60, 80, 3), np.uint8)
    assert find_turned(lambda view: find(view, 0.9), picture) == []
    assert len(find_turned(lambda view: find(view, 0.99), picture)) == 1


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_yunet_looks_for_turned_faces_too(monkeypatch: pytest.MonkeyPatch, quarters: int) -> None:
    """A network that finds a face where the light comes from above, as scores of YuNet are."""

    class Network:
        def __init__(self, model: object) -> None:
            pass

        def detect(self, picture: Any) -> tuple[Any, Any, Any]:
            height = len(picture)
            lit = float(picture[: height // 2].mean()) > picture[height // 2 :].mean() + 50
            box, points = np.array([[30, 30, 90, 90]]), LANDMARKS[None]
            return (box, points, np.array([0.85])) if lit else (box[:0], points[:0], np.zeros(0))

    monkeypatch.setattr("fer_keras.runtime.faces.detect.YuNet", Network)
    picture = np.zeros((160, 160, 3), np.uint8)
    picture[:80] = 200
    turned = np.ascontiguousarray(np.rot90(picture, quarters))
    assert YuNetDetector().detect(turned) == []
    (face,) = YuNetDetector().detect(turned, turned=True)
    assert face.landmarks is not None
    assert (roll_degrees(face.landmarks) + 90 * quarters) % 360 == pytest.approx(0, abs=1)


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_turned_back_is_where_it_was(quarters: int) -> None:
    picture = np.zeros((60, 90), np.uint8)
    picture[20:30, 50:80] = 1
    view = np.rot90(picture, quarters)
    x, y, width, height = cv2.boundingRect(np.ascontiguousarray(view))
    face = Face((x, y, width, height), np.array([[x, y]], np.float32), 1.0)
    back = turned_back(face, quarters, (60, 90))
    assert back.box == (50, 20, 30, 10)
    assert back.landmarks is not None
    assert back.landmarks[0].tolist() in ([[50, 20], [80, 20], [50, 30], [80, 30]])


@pytest.mark.parametrize("angle", [90, 180, 270])
def test_the_crop_of_a_turned_face_is_that_of_the_upright_one(angle: int) -> None:
    picture, landmarks, box = draw_face(make_identity(0, 1), {}, None, 240)
    quarters = angle // 90
    face = Face(box, landmarks.astype(np.float32), 1.0)
    turned = turned_back(face, 4 - quarters, (240, 240))
    view = np.ascontiguousarray(np.rot90(picture, quarters))
    expected = crop_face(picture, box, (48, 48)).astype(int)
    received = crop_upright(view, turned.box, turned.landmarks, (48, 48)).astype(int)
    # The drawn face is not quite upright, and the turn makes it so: it is no copy.
    assert np.abs(received - expected).mean() < 12
    assert np.abs(np.rot90(received, 2) - expected).mean() > 24


def test_faces_that_are_hardly_tilted_are_cut_out_as_they_are() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (120, 120, 3)).astype(np.uint8)
    box = (20.0, 25.0, 70.0, 80.0)
    for angle, same in ((20, True), (40, False)):
        matrix = cv2.getRotationMatrix2D((60, 60), angle, 1)
        points = LANDMARKS @ matrix[:, :2].T + matrix[:, 2]
        assert abs(roll_degrees(points)) == pytest.approx(angle, abs=3)
        crop = crop_upright(picture, box, points)
        assert crop.shape == (80, 80, 3)
        assert np.array_equal(crop, crop_face(picture, box)) == same


@pytest.mark.parametrize(
    "points", [np.zeros((5, 2)), np.full((5, 2), np.nan), None], ids=["one place", "nan", "none"]
)
def test_landmarks_without_an_angle_leave_the_face_as_it_is(points: Any) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (120, 120, 3)).astype(np.uint8)
    box = (20.0, 25.0, 70.0, 80.0)
    assert np.array_equal(crop_upright(picture, box, points), crop_face(picture, box))


def test_a_phone_photo_is_upright_before_it_is_searched(
    photo: Any, recognizer: Recognizer, tmp_path: Path
) -> None:
    """EXIF says that the stored pixels lie on their side."""
    image_module = pytest.importorskip("PIL.Image")
    exif = image_module.Exif()
    exif[0x0112] = 6
    image_module.fromarray(np.rot90(photo, 1)).save(tmp_path / "a.jpg", exif=exif, quality=95)
    (face,) = recognizer.recognize(tmp_path / "a.jpg")
    (upright,) = recognizer.recognize(photo)
    assert face["dominant"] == upright["dominant"]
    assert face["box"] == pytest.approx(upright["box"], abs=6)


@pytest.mark.parametrize(
    ("upright", "turned", "roll", "is_turned"),
    [
        (0.9, 0.99, 10, True),
        (0.9, 0.904, 10, False),  # Hardly surer.
        (0.995, 0.99, 10, False),  # In the patch the upright face is surer than in the picture.
        (0.9, 0.99, 68, False),  # What is seen there does not stand upright.
    ],
)
def test_a_face_is_turned_only_where_that_is_clear(
    upright: float, turned: float, roll: float, is_turned: bool
) -> None:
    views = 0

    def confirm(patch: Any, place: Box) -> list[Face]:
        nonlocal views
        views += 1
        matrix = cv2.getRotationMatrix2D((60, 70), -roll, 1)
        points = (LANDMARKS @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)
        # Three turns, and where one of them is surer the patch as it is.
        scores = {1: (turned, points), 4: (upright, LANDMARKS)}
        return [Face(place, scores[views][1], scores[views][0])] if views in scores else []

    face = Face((10, 10, 40, 40), LANDMARKS, 0.89)
    (told,) = with_true_turns(confirm, np.zeros((100, 100, 3), np.uint8), [face])
    assert (told is not face) == is_turned
    assert views == (4 if turned > 0.89 and roll < 50 else 3)
