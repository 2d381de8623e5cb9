"""Following faces: numbers that stay, boxes that move along, misses, crossings, ends."""

import cv2
import numpy as np
import pytest

from fer_keras.runtime.faces import Face
from fer_keras.runtime.faces.track import Tracker
from fer_keras.runtime.timing.scene import draw_scene

# The drawn face of the scene, cut out with some margin, and where the face is in it.
PATCH = draw_scene()[110:360, 210:430]
INNER = (25.0, 20.0, 170.0, 210.0)


def scene(*places: tuple[float, float], side: float = 1.0) -> np.ndarray:
    """A noisy wall with the drawn face at places (of the patch's corner), scaled by `side`."""
    rng = np.random.default_rng(0)
    picture = rng.integers(90, 150, (60, 80, 3)).astype(np.uint8)
    picture = cv2.resize(picture, (640, 480), interpolation=cv2.INTER_CUBIC)
    patch = cv2.resize(PATCH, None, fx=side, fy=side)
    for x, y in places:
        matrix = np.array([[1, 0, x], [0, 1, y]], np.float32)
        warped = cv2.warpAffine(patch, matrix, (640, 480), borderValue=(0, 0, 0))
        mask = cv2.warpAffine(np.ones(patch.shape[:2], np.uint8), matrix, (640, 480))
        picture[mask > 0] = warped[mask > 0]
    return picture


def face(x: float, y: float, side: float = 1.0) -> Face:
    box = (x + INNER[0] * side, y + INNER[1] * side, INNER[2] * side, INNER[3] * side)
    return Face(box, None, 0.9)


def centre(box: tuple[float, ...]) -> np.ndarray:
    return np.array([box[0] + box[2] / 2, box[1] + box[3] / 2])


def test_box_follows_a_moving_face_between_detections() -> None:
    tracker = Tracker()
    tracker.update(scene((100, 100)), 0.0, [face(100, 100)])
    for i in range(1, 21):
        x, y = 100 + 7 * i, 100 - 2 * i
        ((number, found, _),) = tracker.update(scene((x, y)), i / 25)
        assert number == 1
        assert np.abs(centre(found.box) - centre(face(x, y).box)).max() < 4
        assert abs(found.box[2] - INNER[2]) < 10
    assert not tracker.uncertain


def test_box_grows_with_a_face_that_comes_closer_and_landmarks_move() -> None:
    tracker = Tracker()
    landmarks = np.array([[180, 190], [250, 190], [215, 230], [190, 270], [240, 270]], np.float32)
    start = Face(face(100, 60).box, landmarks, 0.9)
    tracker.update(scene((100, 60)), 0.0, [start])
    for i in range(1, 11):
        side = 1 + 0.03 * i
        ((_, found, _),) = tracker.update(scene((100, 60), side=side), i / 25)
    expected = face(100, 60, 1.3).box
    assert found.box[2] == pytest.approx(expected[2], rel=0.08)
    assert np.abs(centre(found.box) - centre(expected)).max() < 8
    assert found.landmarks is not None
    moved = (landmarks - (100, 60)) * 1.3 + (100, 60)
    assert np.abs(found.landmarks - moved).max() < 10


def test_two_faces_keep_their_numbers_whatever_the_order_of_the_detections() -> None:
    tracker = Tracker()
    for i in range(10):
        left, right = (20 + 5 * i, 100), (380 - 5 * i, 120)
        faces = [face(*left), face(*right)]
        found = tracker.update(scene(left, right), i / 25, faces[:: -1 if i % 2 else 1])
        assert [number for number, *_ in found] == [1, 2]
        assert centre(found[0][1].box)[0] < centre(found[1][1].box)[0]


def test_a_fast_face_keeps_its_number_by_distance() -> None:
    tracker = Tracker()
    tracker.update(scene((20, 100)), 0.0, [face(20, 100)])
    # Beyond the reach of the flow, no overlap with the old box left worth the name.
    ((number, found, _),) = tracker.update(scene((150, 100)), 0.2, [face(150, 100)])
    assert number == 1
    assert found.box == face(150, 100).box


def test_short_misses_are_bridged_and_the_number_survives_longer_ones() -> None:
    tracker = Tracker(hold_s=0.5, keep_s=2.0)
    picture, at = scene((200, 100)), face(200, 100)
    tracker.update(picture, 0.0, [at])
    for time_s in (0.2, 0.4, 0.6):
        ((number, _, source),) = tracker.update(picture, time_s, [])
        assert (number, source) == (1, "tracked")
    assert tracker.update(picture, 0.8, []) == []
    assert tracker.ended == ()
    assert [n for n, *_ in tracker.update(picture, 1.5, [at])] == [1]
    tracker.update(picture, 2.0, [])
    tracker.update(picture, 4.1, [])
    assert tracker.ended == (1,)
    assert [n for n, *_ in tracker.update(picture, 4.2, [at])] == [2]


def test_numbers_are_never_used_again() -> None:
    tracker = Tracker(hold_s=0, keep_s=0.5)
    picture, seen = scene((200, 100)), []
    for i in range(9):
        seen += [n for n, *_ in tracker.update(picture, i, [] if i % 3 else [face(200, 100)])]
    assert seen == [1, 2, 3]


def test_a_face_behind_another_is_hidden_and_comes_back_with_its_number() -> None:
    tracker = Tracker()
    tracker.update(scene((60, 100), (330, 100)), 0.0, [face(60, 100), face(330, 100)])
    # The left one walks in front of the right one, which is not found meanwhile.
    for i in range(1, 11):
        x = 60 + 27 * i
        found = tracker.update(
            scene((330, 100), (x, 100)),
            i / 25,
            [face(x, 100)] + ([face(330, 100)] if x < 200 else []),
        )
    assert [n for n, *_ in found] == [1]
    for i in range(11, 21):
        x = 330 - 27 * (i - 10)
        both = [face(x, 100)] + ([face(330, 100)] if x < 200 else [])
        found = tracker.update(scene((330, 100), (x, 100)), i / 25, both)
    assert [n for n, *_ in found] == [1, 2]
    assert found[0][1].box[0] < found[1][1].box[0]


def test_a_box_inside_a_face_begins_no_track() -> None:
    tracker = Tracker()
    nose = Face((270.0, 200.0, 60.0, 60.0), None, 0.2)
    found = tracker.update(scene((200, 100)), 0.0, [face(200, 100), nose])
    assert [n for n, *_ in found] == [1]


def test_a_face_that_slips_away_is_not_given_and_asks_for_a_detection() -> None:
    tracker = Tracker()
    tracker.update(scene((100, 100)), 0.0, [face(100, 100)])
    # The face alone is gone: what is in its place is not the face, and not read as one.
    assert tracker.update(scene(), 0.04) == []
    assert tracker.uncertain
    assert tracker.detected([]) == []
    for i in range(2, 12):
        assert tracker.update(scene(), i / 25) == []
        assert not tracker.uncertain
    # Back at its place within keep_s, it has its number again.
    picture = scene((100, 100))
    assert tracker.update(picture, 0.5) == []
    ((number, _, source),) = tracker.update(picture, 0.54, [face(100, 100)])
    assert (number, source) == (1, "detected")


def test_a_followed_box_that_fills_with_something_else_is_lost() -> None:
    tracker = Tracker()
    tracker.update(scene((100, 100)), 0.0, [face(100, 100)])
    one, other = scene((100, 100)).astype(np.float32), scene().astype(np.float32)
    given = []
    # A slow dissolve: the flow never breaks off.
    for i in range(1, 26):
        mixed = (one * (1 - i / 25) + other * i / 25).astype(np.uint8)
        given.append(len(tracker.update(mixed, i / 25)))
    assert given[0] == 1
    assert given[-2:] == [0, 0]


def test_a_hard_cut_ends_every_track() -> None:
    tracker = Tracker()
    tracker.update(scene((100, 100)), 0.0, [face(100, 100)])
    # Another person at the very same place of another scene.
    other = 255 - scene((100, 100))[:, ::-1]
    found = tracker.update(other, 0.04, [face(100, 100)])
    assert ([n for n, *_ in found], tracker.ended) == ([2], (1,))
    assert tracker.uncertain


def test_a_lamp_is_no_cut() -> None:
    tracker = Tracker()
    picture = scene((100, 100))
    tracker.update(picture, 0.0, [face(100, 100)])
    bright = np.clip(picture.astype(np.float32) * 0.7 + 70, 0, 255).astype(np.uint8)
    found = tracker.update(bright, 0.04, [face(100, 100)])
    assert ([n for n, *_ in found], tracker.ended) == ([1], ())


def test_scores_are_the_detector_s_or_the_tracker_s() -> None:
    tracker = Tracker()
    ((_, found, source),) = tracker.update(scene((100, 100)), 0.0, [face(100, 100)])
    assert (found.score, source) == (0.9, "detected")
    ((_, found, source),) = tracker.update(scene((104, 101)), 0.04)
    assert source == "tracked"
    assert 0.5 <= found.score <= 1
    assert found.score != 0.9


def test_boxes_stay_inside_the_picture_and_end_outside_it() -> None:
    tracker = Tracker()
    tracker.update(scene((0, 100)), 0.0, [face(0, 100)])
    for i in range(1, 60):
        x = -12 * i
        found = tracker.update(scene((x, 100)), i / 25)
        for _, moved, _ in found:
            assert moved.box[0] >= 0
            assert min(moved.box[2:]) > 0
        if tracker.ended:
            break
    assert tracker.ended == (1,)


def test_other_sizes_and_long_gaps_do_not_break_it() -> None:
    tracker = Tracker()
    tracker.update(scene((100, 100)), 0.0, [face(100, 100)])
    half = cv2.resize(scene((100, 100)), (320, 240))
    found = tracker.update(half, 0.1, [Face((60.0, 60.0, 85.0, 105.0), None, 0.9)])
    assert ([n for n, *_ in found], tracker.ended) == ([2], (1,))
    # Nobody is followed over half a second without frames: detect again.
    assert tracker.update(half, 0.6) == []
    assert tracker.uncertain
    found = tracker.detected([Face((60.0, 60.0, 85.0, 105.0), None, 0.9)])
    assert [n for n, *_ in found] == [2]
