"""Faces that the border of a picture cuts: how many the detectors find, and what they cost.

Pictures of FER2013's validation split, 200 pixels wide, stand in pictures of coloured shapes, whole
or with 15 or 30 % of their side beyond one border. A hit overlaps the visible part by an
intersection over union of 0.4 or more; every other box is a false hit.

    python benchmarks/faces_at_border.py
    python benchmarks/faces_at_border.py --detectors blazeface --first 0 --count 10
"""

import argparse
import time

import cv2
import numpy as np
from detectors import PICTURE_SIZE, draw_clutter, match
from numpy.typing import NDArray

from fer_keras.data.load import load_samples
from fer_keras.runtime.faces import Face
from fer_keras.runtime.faces.detect import BlazeFaceDetector, MtcnnDetector

Pixels = NDArray[np.uint8]

_NAMES = ("blazeface", "mtcnn")
_SIDE, _STEP, _EMPTY = 200, 7, 100
_CASES = [
    ("whole", 0.0),
    *((w, s) for s in (0.15, 0.3) for w in ("left", "right", "top", "bottom")),
]


def place(
    base: Pixels, face: Pixels, where: str, share: float
) -> tuple[Pixels, tuple[float, float, float, float]]:
    """A picture with a face, a share of it beyond a border, and the box of what is visible."""
    height, width = PICTURE_SIZE
    beyond = round(share * _SIDE)
    y, x = (height - _SIDE) // 2, (width - _SIDE) // 2
    x = {"left": -beyond, "right": width - _SIDE + beyond}.get(where, x)
    y = {"top": -beyond, "bottom": height - _SIDE + beyond}.get(where, y)
    left, top = max(x, 0), max(y, 0)
    right, bottom = min(x + _SIDE, width), min(y + _SIDE, height)
    picture = base.copy()
    large = cv2.resize(face, (_SIDE, _SIDE), interpolation=cv2.INTER_CUBIC)
    picture[top:bottom, left:right] = large[top - y : bottom - y, left - x : right - x, None]
    return picture, (left, top, right - left, bottom - top)


def find(detector: BlazeFaceDetector | MtcnnDetector, picture: Pixels, alone: bool) -> list[Face]:
    """The faces of the picture alone, or as the detector looks at single pictures."""
    least = detector.default_min_face
    if not alone:
        return detector.detect(picture, least, turned=True)
    if isinstance(detector, MtcnnDetector):
        return detector._find(picture, least)
    return detector._find(picture)


def main() -> None:
    """Prints a line for each detector, of the picture alone and as it looks at single pictures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--detectors", nargs="+", choices=_NAMES, default=_NAMES)
    parser.add_argument("--first", type=int, default=3, help="first picture, of every seventh")
    parser.add_argument("--count", type=int, default=60, help="how many faces")
    arguments = parser.parse_args()
    images = load_samples("fer2013", "validation").images[arguments.first :: _STEP, :, :, 0]
    faces = images[: arguments.count]
    for name in arguments.detectors:
        detector = BlazeFaceDetector() if name == "blazeface" else MtcnnDetector()
        for alone in (True, False):
            hits, false, spent = [], 0, 0.0
            for where, share in _CASES:
                hits.append(0)
                for index, face in enumerate(faces):
                    picture, box = place(draw_clutter(0, index), face, where, share)
                    start = time.process_time()
                    found = find(detector, picture, alone)
                    spent += time.process_time() - start
                    hit = match([box], found)
                    hits[-1] += hit
                    false += len(found) - hit
            empty = sum(
                len(find(detector, draw_clutter(5, index), alone)) for index in range(_EMPTY)
            )
            ms = spent * 1000 / (len(_CASES) * len(faces))
            print(
                f"{name} {'alone' if alone else 'and border'}: of {len(faces)} whole {hits[0]}, "
                f"15 % {hits[1:5]}, 30 % {hits[5:]}, false {false}, in {_EMPTY} without faces "
                f"{empty}, {ms:.1f} ms",
                flush=True,
            )


if __name__ == "__main__":
    main()
