"""Covered faces cannot be read any more; what is around them stays."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_keras import camera
from fer_keras.runtime.faces.detect import MtcnnDetector
from fer_keras.runtime.stream.blur import HOLD_S, FaceBlur

MODEL = Path(__file__).parents[2] / "saved_models" / "ferplus_tiny"
BOX = (40.0, 30.0, 40.0, 40.0)


@pytest.fixture
def noise() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)


def test_few_colours_are_left_and_the_rest_is_untouched(noise: np.ndarray) -> None:
    before = noise.copy()
    covered = FaceBlur().cover(noise, [BOX], 0.0)
    np.testing.assert_array_equal(noise, before)
    # The box, grown by a fifth on each side: 56 pixels.
    inside = (slice(22, 78), slice(32, 88))
    assert covered[inside].std() < 0.2 * noise[inside].std()
    changed = (covered != noise).any(axis=2)
    changed[inside] = False
    assert not changed.any()


def test_a_face_that_is_missed_stays_covered_for_a_while(noise: np.ndarray) -> None:
    blur = FaceBlur()
    first = blur.cover(noise, [BOX], 5.0)
    np.testing.assert_array_equal(blur.cover(noise, [], 5.0 + HOLD_S), first)
    np.testing.assert_array_equal(blur.cover(noise, [], 5.1 + HOLD_S), noise)


def test_a_face_at_the_border_and_one_outside(noise: np.ndarray) -> None:
    covered = FaceBlur().cover(noise, [(150.0, 100.0, 30.0, 30.0), (500.0, 0.0, 9.0, 9.0)], 0.0)
    assert covered.shape == noise.shape
    assert (covered[110:, 155:] != noise[110:, 155:]).any()


def frame_of(path: Path) -> np.ndarray:
    film = cv2.VideoCapture(str(path))
    read, bgr = film.read()
    film.release()
    assert read
    return np.ascontiguousarray(bgr[..., ::-1])


def test_nobody_is_found_in_a_film_with_covered_faces(tmp_path: Path) -> None:
    data = pytest.importorskip("skimage.data", reason="needs the package scikit-image")
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(3):
        cv2.imwrite(str(folder / f"{number}.png"), data.astronaut()[..., ::-1])
    words = ["--source", str(folder), "--model", str(MODEL), "--output", str(tmp_path / "f.csv")]
    words += ["--append", "--no-window", "--video"]
    assert camera.main([*words, str(tmp_path / "open.mp4")]) == 0
    assert camera.main([*words, str(tmp_path / "covered.mp4"), "--blur-faces"]) == 0
    detector = MtcnnDetector()
    assert detector.detect(frame_of(tmp_path / "open.mp4"))
    assert not detector.detect(frame_of(tmp_path / "covered.mp4"))
