"""Where a head looks and how well it can be read, on projected points and drawn faces."""

import math

import cv2
import numpy as np
import pytest
from tiny_models import write_export

from fer_keras.common.errors import ConfigError
from fer_keras.data.drawn_faces.face_canvas import View
from fer_keras.data.drawn_faces.face_drawing import draw_face
from fer_keras.data.drawn_faces.face_parameters import make_identity
from fer_keras.runtime import Recognizer
from fer_keras.runtime.faces.face import Face
from fer_keras.runtime.faces.look import (
    HeadPose,
    head_points,
    head_pose,
    is_turned_away,
    look_at,
    sharpness,
)

SUBJECTS = range(20)


def turned(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """The head's points seen from afar, 3 pixels a millimetre, around (320, 240)."""
    y, p, r = np.radians([yaw, pitch, roll])
    about_y = [[np.cos(y), 0, -np.sin(y)], [0, 1, 0], [np.sin(y), 0, np.cos(y)]]
    about_x = [[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]]
    about_z = [[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]]
    matrix = np.array(about_z) @ about_x @ about_y
    return (head_points() @ matrix.T)[:, :2] * 3 + (320, 240)


@pytest.mark.parametrize("roll", [0, -15, 30, 90, 170])
@pytest.mark.parametrize("pitch", [0, -30, 20])
@pytest.mark.parametrize("yaw", [0, 15, -40, 60])
def test_known_angles_are_found(yaw: float, pitch: float, roll: float) -> None:
    pose = head_pose(turned(yaw, pitch, roll))
    assert pose is not None
    np.testing.assert_allclose(pose, (yaw, pitch, roll), atol=1.5)


def drawn_poses(**angles: float) -> np.ndarray:
    """Mean pose of some drawn people whose heads are turned alike."""
    poses = [
        head_pose(draw_face(make_identity(7, number), {}, View(**angles), 160)[1])
        for number in SUBJECTS
    ]
    return np.mean(poses, axis=0)


def test_drawn_faces_look_where_they_are_drawn() -> None:
    # Drawn noses are flatter and drawn faces shorter than those of people (below): yaw comes out
    # at two thirds to three quarters, and pitch with an offset.
    assert drawn_poses(yaw=0)[0] == pytest.approx(0, abs=1)
    for yaw in (-25, -15, 15, 30):
        assert 0.6 * abs(yaw) < abs(drawn_poses(yaw=yaw)[0]) < abs(yaw)
        assert math.copysign(1, drawn_poses(yaw=yaw)[0]) == math.copysign(1, yaw)
    straight, down, up = (drawn_poses(pitch=pitch)[1] for pitch in (0, 12, -12))
    assert up + 8 < straight < down - 8
    for roll in (-18, 10, 20):
        assert drawn_poses(roll=roll)[2] == pytest.approx(roll, abs=1)


def drawn_head(number: int) -> np.ndarray:
    """A drawn person's own five points in space, from two views; pixels, z away from the camera."""
    straight, aside = (
        draw_face(make_identity(7, number), {}, View(yaw=yaw), 160)[1] - 80 for yaw in (0, 20)
    )
    turn = math.radians(20)
    depth = (aside[:, 0] - straight[:, 0] * math.cos(turn)) / math.sin(turn)
    return np.column_stack([straight, -depth])


@pytest.mark.parametrize(
    "angles",
    [{}, {"pitch": 12}, {"pitch": -12}, {"yaw": -25}, {"yaw": 30}, {"roll": -18},
     {"yaw": 15, "roll": 20}, {"pitch": 12, "roll": -18}],
)  # fmt: skip
def test_drawn_heads_of_known_proportions_look_where_they_are_drawn(
    angles: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So proportions alone make the offset: the same points, read as those of a drawn head."""
    expected = [angles.get(axis, 0) for axis in ("yaw", "pitch", "roll")]
    for number in SUBJECTS:
        head = drawn_head(number)
        monkeypatch.setattr("fer_keras.runtime.faces.look.head_points", lambda head=head: head)
        pose = head_pose(draw_face(make_identity(7, number), {}, View(**angles), 160)[1])
        np.testing.assert_allclose(pose, expected, atol=2)


def test_drawn_heads_are_shorter_than_the_one_that_everybody_is_taken_for() -> None:
    """Between eyes and mouth, for eyes as far apart; and the mouth lies behind the eyes."""
    heads = np.array([drawn_head(number) for number in SUBJECTS])
    heads = (heads - heads[:, :2].mean(axis=1, keepdims=True)) / np.ptp(
        heads[:, :2, 0], axis=1
    ).reshape(-1, 1, 1)
    people = head_points() / np.ptp(head_points()[:2, 0])
    assert heads[:, 3, 1].mean() == pytest.approx(0.83 * people[3, 1], rel=0.02)
    assert heads[:, 3, 2].mean() > 0.05 > 0 > people[3, 2]


def test_points_without_a_pose_have_none() -> None:
    assert head_pose(np.zeros((5, 2))) is None
    assert head_pose(np.full((5, 2), np.nan)) is None


def test_quality_falls_with_size_blur_pose_and_the_border() -> None:
    picture, landmarks, box = draw_face(make_identity(7, 3), {}, View(), 160)
    frame = np.full((400, 400, 3), 120, np.uint8)
    frame[100:260, 100:260] = picture
    points = (landmarks + 100).astype(np.float32)
    face = Face((box[0] + 100, box[1] + 100, *box[2:]), points, 1.0)
    whole = look_at(frame, face, 0.0)
    assert 0.5 < whole.quality <= 1

    small = cv2.resize(frame, (80, 80), interpolation=cv2.INTER_AREA)
    far = Face(tuple(side / 5 for side in face.box), points / 5, 1.0)  # type: ignore[arg-type]
    assert look_at(small, far, 0.0).quality < 0.8 * whole.quality

    blurred = cv2.GaussianBlur(frame, (0, 0), 8)
    assert look_at(blurred, face, 0.0).quality < 0.4 * whole.quality

    away = Face(face.box, (turned(50, 0, 0) - (320, 240) + 180).astype(np.float32), 1.0)
    assert look_at(frame, away, 0.0).quality == pytest.approx(
        whole.quality * math.cos(math.radians(50)), rel=0.15
    )

    cut = frame[:, 180:]
    half = Face((0.0, face.box[1], face.box[0] + face.box[2] - 180, face.box[3]), None, 1.0)
    assert look_at(np.ascontiguousarray(cut), half, 0.0).quality < 0.8 * whole.quality


def test_sharpness_does_not_depend_on_light_and_contrast() -> None:
    picture = draw_face(make_identity(7, 3), {}, View(), 96)[0]
    blurred = cv2.GaussianBlur(picture, (0, 0), 2)
    dark = (blurred * 0.4 + 20).astype(np.uint8)
    assert sharpness(dark) == pytest.approx(sharpness(blurred), rel=0.1)
    assert sharpness(blurred) < 0.8 * sharpness(picture)
    assert sharpness(np.full((48, 48, 1), 77, np.uint8)) == 0


def test_heads_that_are_turned_away_are_unsure(tmp_path_factory: pytest.TempPathFactory) -> None:
    assert not is_turned_away(None)
    assert not is_turned_away(HeadPose(-44.0, 20.0, 90.0))
    assert is_turned_away(HeadPose(46.0, 0.0, 0.0))
    assert is_turned_away(HeadPose(0.0, -36.0, 0.0))

    class AwayDetector:
        name, margin, has_landmarks = "own", 0.0, True

        def detect(self, picture: np.ndarray) -> list[Face]:
            left = (turned(0, 0, 0) / 4).astype(np.float32)
            right = (turned(60, 0, 0) / 4).astype(np.float32)
            return [
                Face((50.0, 30.0, 60.0, 60.0), left, 1.0),
                Face((50.0, 30.0, 59.0, 59.0), right, 0.9),
            ]

    export = write_export(tmp_path_factory.mktemp("look") / "export")
    noise = np.random.default_rng(0).integers(0, 256, (120, 160), dtype=np.uint8)
    faces = Recognizer(export, AwayDetector()).recognize(noise)
    assert [face["unsure"] for face in faces] == [False, True]
    assert faces[1]["pose"] is not None
    assert faces[1]["pose"]["yaw"] == pytest.approx(60, abs=2)
    # The one that is turned away has half the quality.
    kept = Recognizer(export, AwayDetector(), min_quality=0.7).recognize(noise)
    assert [face["box"] for face in kept] == [(50.0, 30.0, 60.0, 60.0)]
    # And the detector is less sure of it.
    assert Recognizer(export, AwayDetector(), min_score=0.95).recognize(noise) == faces[:1]
    with pytest.raises(ConfigError, match="min_score: expected a number from 0"):
        Recognizer(export, min_score=float("nan"))
    with pytest.raises(ConfigError, match=r"min_quality: expected a number in 0\.\.1"):
        Recognizer(export, min_quality=1.5)
