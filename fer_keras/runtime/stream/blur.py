"""Makes the faces of a film unrecognisable, for what is shown and saved of it.

What is left of a face are 6 x 6 colours, from which nobody can work the picture out again. A face
that is missed for a moment stays covered where it was. One that was never found is not covered: no
detector finds everybody.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from fer_keras.common.decode import resize
from fer_keras.common.opencv import cv2
from fer_keras.runtime.faces.align import Box, clip_box, square_box

Pixels = NDArray[np.uint8]

_COLOURS = 6
# Hair and ears tell people apart too.
_MARGIN = 0.2
# For how long the place of a face that is missed stays covered.
HOLD_S = 1.0


class FaceBlur:
    """Covers the faces of one film."""

    def __init__(self) -> None:
        self._seen: list[tuple[float, Box]] = []

    def cover(self, picture: Pixels, boxes: Iterable[Box], time_s: float) -> Pixels:
        """Cover faces, and the places where some were a moment ago.

        Args:
            picture: uint8 RGB array `(height, width, 3)`; it stays as it is.
            boxes: Left, top, width, height of its faces in pixels.
            time_s: When it was taken, in seconds; not before the last one.

        Returns:
            A picture of the same size.
        """
        self._seen = [(seen_s, box) for seen_s, box in self._seen if time_s - seen_s <= HOLD_S]
        self._seen += [(time_s, box) for box in boxes]
        covered = picture.copy()
        for _, box in self._seen:
            left, top, width, height = clip_box(square_box(box, _MARGIN), picture.shape[:2])
            rows = slice(int(top), int(np.ceil(top + height)))
            columns = slice(int(left), int(np.ceil(left + width)))
            face = picture[rows, columns]
            if face.size:
                few = resize(face, _COLOURS)
                size = (face.shape[1], face.shape[0])
                covered[rows, columns] = cv2.resize(few, size, interpolation=cv2.INTER_LINEAR)
        return covered
