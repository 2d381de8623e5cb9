"""A fixed box in the middle of the picture in place of a detector: the user moves, not the box."""

import numpy as np
from numpy.typing import NDArray

from fer_keras.common.errors import ConfigError
from fer_keras.runtime.faces.align import clip_box
from fer_keras.runtime.faces.face import Face


class CentreBoxDetector:
    """The camera of the DDAMFN project has such a box of 224 pixels.

    Args:
        side: Of the square box, in pixels; smaller pictures give what they have.

    Raises:
        ConfigError: The side is under 16.
    """

    name = "centre_box"
    # The user fills the box with the face.
    margin: float | None = None
    has_landmarks = False

    def __init__(self, side: int) -> None:
        if side < 16:
            raise ConfigError(f"box: expected a side of at least 16 pixels, received {side}")
        self._side = float(side)

    def detect(self, picture: NDArray[np.uint8]) -> list[Face]:
        """The box as the one face; see `fer_keras.runtime.faces.Detector.detect`."""
        height, width = picture.shape[:2]
        left, top = (width - self._side) / 2, (height - self._side) / 2
        box = clip_box((left, top, self._side, self._side), (height, width))
        return [Face(box, None, 1.0)]
