"""A face of a picture: where it is, and how sure the detector is."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fer_keras.runtime.faces.align import Box


@dataclass(frozen=True)
class Face:
    """One face of a picture.

    Attributes:
        box: Left, top, width, height in pixels of the picture, inside its borders.
        landmarks: float32 `(5, 2)`, x and y in pixels of the eyes, the nose tip and the mouth
            corners, each time the one first that is left when the face stands upright; None from
            detectors without.
        score: The detector's confidence: a probability for mtcnn, yunet and blazeface, the
            cascade's weight (no upper bound) for haar, 1 for none.
    """

    box: Box
    landmarks: NDArray[np.float32] | None
    score: float
